//! Storage of podman 4.3, as recorded: bundles and the list of containers.

use super::*;

const LIBPOD: &str = r#"{"io.container.manager":"libpod","io.kubernetes.cri-o.Created":"2026-11-21T08:04:20Z",
    "io.kubernetes.cri-o.TTY":"false","io.podman.annotations.init":"FALSE",
    "io.kubernetes.pod.name":"none","io.kubernetes.container.name":"none"}"#;
const LIST: &str = r#"[{"id":"{other}","names":["db"],"metadata":"{\"name\":\"db\"}"},{"id":"{id}","names":["web"],
    "image":"a1","layer":"a2219","metadata":"{\"image-name\":\"docker.io/library/nginx:1.27\",\"image-id\":\"a1\",\"name\":\"web\",\"created-at\":1795248260}",
    "created":"2026-11-21T08:04:21.208505951Z","flags":{"MountLabel":"","ProcessLabel":""}}]"#;

#[test]
fn podman() {
    let found = "Podman id={id} name=web image=docker.io/library/nginx:1.27";
    let storage = "var/lib/containers/storage/overlay-containers";
    for (said, list, file, path, expected) in [
        (
            "/libpod_parent/libpod-{id}",
            LIST,
            "containers.json",
            "/libpod_parent/libpod-{id}",
            found,
        ),
        (
            "machine.slice:libpod:{id}",
            LIST,
            "volatile-containers.json",
            "/machine.slice/libpod-{id}.scope",
            found,
        ),
        // With --cgroups=split.
        (
            "/system.slice/web.service/libpod-payload-{id}",
            LIST,
            "containers.json",
            "/system.slice/web.service/libpod-payload-{id}",
            found,
        ),
        (
            "/system.slice/web.service/libpod-payload-{id}",
            LIST,
            "containers.json",
            "/system.slice/web.service/libpod-payload-{id}/container",
            "NotNeeded",
        ),
        // A cgroup parent of somebody's choice.
        (
            "/foo/libpod-{id}",
            LIST,
            "containers.json",
            "/foo/libpod-{id}",
            found,
        ),
        (
            "/foo/libpod-{id}",
            LIST,
            "containers.json",
            "/bar/libpod-{id}",
            "Absent",
        ),
        (
            "/x",
            "[]",
            "containers.json",
            "/machine.slice/libpod-{id}.scope",
            "Podman id={id}",
        ),
        (
            "/x",
            "{}",
            "containers.json",
            "/machine.slice/libpod-{id}.scope",
            "Unreadable(Malformed)",
        ),
    ] {
        let host = Host::new(&[
            (
                &format!("{storage}/{{id}}/userdata/config.json"),
                &bundle(LIBPOD, said),
            ),
            (&format!("{storage}/{file}"), &fill(list)),
        ]);
        assert_eq!(told(&host.lookup(path)), fill(expected), "{said} {path}");
    }
    let config = "[storage]\ndriver = \"vfs\"\ngraphroot = \"/srv/c\"\n[storage.options]\n";
    let host = Host::new(&[
        ("etc/containers/storage.conf", config),
        (
            "srv/c/vfs-containers/{id}/userdata/config.json",
            &bundle(LIBPOD, "/x"),
        ),
        ("srv/c/vfs-containers/containers.json", &fill(LIST)),
    ]);
    assert_eq!(
        told(&host.lookup("/machine.slice/libpod-{id}.scope")),
        fill(found)
    );
}
