//! Users' own storage, in which they can write anything: their containers, no pod, and nobody else's files.

use std::os::unix::fs::symlink;

use super::*;

/// A user's own storage, in which that user can write anything.
fn users_host(annotations: &str) -> (Host, u32) {
    let uid = rustix::process::getuid().as_raw();
    let storage = "home/ann/.local/share/containers/storage/overlay-containers";
    let host = Host::new(&[
        (
            "etc/passwd",
            &format!("bin:x:7:7::/bin:/bin/sh\nann:x:{uid}:{uid}:,,,:/home/ann:/bin/sh\n"),
        ),
        (
            &format!("{storage}/{{id}}/userdata/config.json"),
            &fill(annotations),
        ),
        (
            &format!("{storage}/containers.json"),
            &fill(
                r#"[{"id":"{id}","names":["mine"],"metadata":"{\"image-name\":\"img\",\"name\":\"mine\"}"}]"#,
            ),
        ),
        (
            "home/ann/.local/share/docker/containers/{id}/config.v2.json",
            &fill(
                r#"{"ID":"{id}","Name":"/mine","Config":{"Image":"img","Labels":{
                "io.kubernetes.pod.name":"p","io.kubernetes.docker.type":"podsandbox"}}}"#,
            ),
        ),
    ]);
    (host, uid)
}

#[test]
fn a_users_storage_names_that_users_containers_and_no_pod() {
    let forged = r#"{"annotations":{"io.container.manager":"libpod","io.kubernetes.pod.name":"p",
        "io.kubernetes.pod.namespace":"kube-system","io.kubernetes.pod.uid":"{uid}",
        "io.kubernetes.cri-o.ContainerType":"sandbox"}}"#;
    let (host, uid) = users_host(forged);
    let slice = format!("/user.slice/user-{uid}.slice/user@{uid}.service");
    let path = format!("{slice}/user.slice/libpod-{{id}}.scope");
    assert_eq!(
        told(&host.lookup(&path)),
        fill("Podman id={id} name=mine image=img")
    );
    let docker = format!("{slice}/docker.slice/docker-{{id}}.scope");
    let found = told(&host.lookup(&docker));
    assert!(
        found == fill("Docker id={id} name=mine image=img") || found == "Absent",
        "{found}"
    );
    // Nobody else's, and none of the system's.
    let other = slice.replace(&uid.to_string(), "4242");
    let other = format!("{other}/user.slice/libpod-{{id}}.scope");
    assert_eq!(host.lookup(&other), Lookup::Absent);
    assert_eq!(
        host.lookup("/machine.slice/libpod-{id}.scope"),
        Lookup::Absent
    );
    assert_eq!(host.lookup("/kubepods/pod{uid}/{id}"), Lookup::Absent);
    let crio = forged.replace("libpod", "cri-o");
    let malformed = Lookup::Unreadable(Unreadable::Malformed);
    assert_eq!(users_host(&crio).0.lookup(&path), malformed);
}

#[test]
fn a_user_cannot_hand_out_files_of_others() {
    let (host, uid) = users_host(r#"{"annotations":{"io.container.manager":"libpod"}}"#);
    if uid != 0 {
        return;
    }
    let storage = "home/ann/.local/share/containers/storage/overlay-containers";
    let file = host.root().join(storage).join("containers.json");
    let path = "/user.slice/user-0.slice/user@0.service/user.slice/libpod-{id}.scope";
    // Whoever it is, it is not the user.
    rustix::fs::chown(&file, Some(rustix::process::Uid::from_raw(4242)), None).unwrap();
    let not_a_file = Lookup::Unreadable(Unreadable::NotAFile);
    assert_eq!(host.lookup(path), not_a_file);
    fs::rename(&file, host.root().join("list")).unwrap();
    symlink("/list", &file).unwrap();
    assert_eq!(host.lookup(path), not_a_file);
}

#[test]
fn a_user_cannot_lead_elsewhere_by_a_link() {
    let (host, uid) = users_host(r#"{"annotations":{"io.container.manager":"libpod"}}"#);
    let path =
        format!("/user.slice/user-{uid}.slice/user@{uid}.service/user.slice/libpod-{{id}}.scope");
    let share = host.root().join("home/ann/.local/share");
    fs::rename(&share, host.root().join("share")).unwrap();
    symlink("/share", &share).unwrap();
    let not_a_file = Lookup::Unreadable(Unreadable::NotAFile);
    assert_eq!(host.lookup(&path), not_a_file);
}

#[test]
fn a_users_unit_has_that_users_containers() {
    let uid = rustix::process::getuid().as_raw();
    let unit = format!("/user.slice/user-{uid}.slice/user@{uid}.service/app.slice/web.service");
    let (host, _) = users_host(&format!(
        r#"{{"annotations":{{"io.container.manager":"libpod"}},
        "linux":{{"cgroupsPath":"{unit}/libpod-payload-{{id}}"}}}}"#
    ));
    assert_eq!(
        told(&host.lookup(&format!("{unit}/libpod-payload-{{id}}"))),
        fill("Podman id={id} name=mine image=img")
    );
    let other = unit.replace("web", "db");
    let other = host.lookup(&format!("{other}/libpod-payload-{{id}}"));
    assert_eq!(other, Lookup::Absent);
}
