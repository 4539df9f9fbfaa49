//! What dockerd keeps, after its sources, and what containerd knows of its containers.

use std::os::unix::fs::symlink;

use super::{containerd::TASKS, *};

/// What dockerd keeps.
pub(super) fn docker_config(labels: &str, state: &str) -> String {
    fill(&format!(
        r#"{{"StreamConfig":{{}},"State":{{{state},"Pid":1,"Error":"","StartedAt":"2026-11-21T08:04:20Z","Health":null}},
        "ID":"{{id}}","Created":"2026-11-21T08:04:20Z","Managed":false,"Path":"nginx","Args":["-g"],
        "Config":{{"Hostname":"39291bf5d1dd","Image":"nginx:1.27","Volumes":null,"Labels":{labels}}},
        "Image":"sha256:0f3c","NetworkSettings":{{"Networks":{{}}}},"Name":"/web","Driver":"overlay2"}}"#
    ))
}

/// The state of one that runs.
pub(super) const RUNNING: &str =
    r#""Running":true,"ExitCode":0,"FinishedAt":"0001-01-01T00:00:00Z""#;

#[test]
fn docker() {
    let kube = r#"{"io.kubernetes.container.name":"app","io.kubernetes.docker.type":"container",
        "io.kubernetes.pod.name":"app-x","io.kubernetes.pod.namespace":"shop","io.kubernetes.pod.uid":"{uid}"}"#;
    let pause = r#"{"io.kubernetes.container.name":"POD","io.kubernetes.docker.type":"podsandbox",
        "io.kubernetes.pod.name":"app-x","io.kubernetes.pod.namespace":"shop","io.kubernetes.pod.uid":"{uid}"}"#;
    for (labels, path, expected) in [
        (
            "{}",
            "/docker/{id}",
            "Docker id={id} name=web image=nginx:1.27",
        ),
        (
            "null",
            "/system.slice/docker-{id}.scope",
            "Docker id={id} name=web image=nginx:1.27",
        ),
        // Labels that anybody can write.
        (
            kube,
            "/docker/{id}",
            "Docker id={id} name=web image=nginx:1.27",
        ),
        (
            kube,
            "/kubepods/pod{uid}/{id}",
            "Docker id={id} name=app image=nginx:1.27 pod=shop/app-x/{uid}",
        ),
        (
            pause,
            "/kubepods/pod{uid}/{id}",
            "Docker id={id} pod=shop/app-x/{uid} sandbox",
        ),
        ("{}", "/mine/{id}", "Absent"),
    ] {
        for root in ["var/lib/docker", "var/snap/docker/common/var-lib-docker"] {
            let file = format!("{root}/containers/{{id}}/config.v2.json");
            let host = Host::new(&[(&file, &docker_config(labels, RUNNING))]);
            assert_eq!(told(&host.lookup(path)), fill(expected), "{path}");
        }
    }
    let config = docker_config("{}", RUNNING);
    let file = "var/lib/docker/containers/{other}/config.v2.json";
    let host = Host::new(&[(file, &config)]);
    let mismatch = Lookup::Unreadable(Unreadable::Mismatch);
    assert_eq!(host.lookup("/docker/{other}"), mismatch);
    // Its data may be elsewhere, by configuration or by a link.
    let host = Host::new(&[
        (
            "etc/docker/daemon.json",
            r#"{"data-root":"/srv/d","debug":true}"#,
        ),
        ("srv/d/containers/{id}/config.v2.json", &config),
    ]);
    let found = fill("Docker id={id} name=web image=nginx:1.27");
    assert_eq!(told(&host.lookup("/docker/{id}")), found);
    let host = Host::new(&[("srv/d/containers/{id}/config.v2.json", &config)]);
    fs::create_dir_all(host.root().join("var/lib")).unwrap();
    symlink("/srv/d", host.root().join("var/lib/docker")).unwrap();
    assert_eq!(told(&host.lookup("/docker/{id}")), found);
    // With userns-remap; among much else, and among what is no such root.
    for (file, expected) in [
        (
            "var/lib/docker/165536.165536/containers/{id}/config.v2.json",
            &*found,
        ),
        (
            "var/lib/docker/100000.100001/containers/{id}/config.v2.json",
            &found,
        ),
        (
            "var/lib/docker/x.165536/containers/{id}/config.v2.json",
            "Absent",
        ),
        (
            "var/lib/docker/165536/containers/{id}/config.v2.json",
            "Absent",
        ),
        (
            "var/lib/docker/1.2.3/containers/{id}/config.v2.json",
            "Absent",
        ),
    ] {
        let host = Host::new(&[
            (file, &config),
            ("var/lib/docker/7.7/containers/{other}/config.v2.json", "{}"),
            ("var/lib/docker/containers/{other}/config.v2.json", "{}"),
        ]);
        assert_eq!(told(&host.lookup("/docker/{id}")), expected, "{file}");
    }
    // A cgroup parent of somebody's choice: the bundle knows the cgroup, docker the names.
    host.write(
        &format!("{TASKS}/moby/{{id}}/config.json"),
        bundle("{}", "/mine/{id}"),
    );
    assert_eq!(told(&host.lookup("/mine/{id}")), found);
}
