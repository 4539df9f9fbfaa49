//! How containers ended, by the files of podman, CRI-O and docker.

use super::{
    docker::{RUNNING, docker_config},
    *,
};

#[test]
fn how_it_ended() {
    let podman = "/machine.slice/libpod-{id}.scope";
    let ended = r#""Running":false,"ExitCode":137,"FinishedAt":"2026-11-21T08:05:20Z""#;
    let never = r#""Running":false,"ExitCode":0,"FinishedAt":"0001-01-01T00:00:00Z""#;
    let docker = "var/lib/docker/containers/{id}/config.v2.json";
    let persisted = "var/lib/containers/storage/overlay-containers/{id}/userdata/exit";
    for (file, content, path, expected) in [
        ("run/libpod/exits/{id}", "137", podman, Some(137)),
        ("run/libpod/exits/{id}", "0\n", podman, Some(0)),
        (
            "run/crio/exits/{id}",
            "1",
            "/kubepods.slice/kubepods-pod{u_id}.slice/crio-{id}.scope",
            Some(1),
        ),
        (
            "run/crio/exits/{id}",
            "1",
            "/kubepods/pod{uid}/{id}",
            Some(1),
        ),
        (persisted, "2", podman, Some(2)),
        ("run/libpod/exits/{id}", "", podman, None),
        ("run/libpod/exits/{id}", "x", podman, None),
        ("run/libpod/exits/{id}", "11111111111111111", podman, None),
        ("run/libpod/exits/{other}", "1", podman, None),
        (
            "run/libpod/exits/{id}",
            "1",
            "/machine.slice/libpod-{id}.scope/x",
            None,
        ),
        ("run/libpod/exits/{id}", "1", "/foo/{id}", None),
        (
            docker,
            &docker_config("{}", ended),
            "/docker/{id}",
            Some(137),
        ),
        (docker, &docker_config("{}", RUNNING), "/docker/{id}", None),
        (docker, &docker_config("{}", never), "/docker/{id}", None),
    ] {
        let host = Host::new(&[(file, content)]);
        let found = host.finder().exit_code(&fill(path), None);
        assert_eq!(found, expected, "{file} {content} {path}");
    }
    // What the path does not tell, the names do.
    let host = Host::new(&[("run/libpod/exits/{id}", "9")]);
    let names = Names {
        container_id: Some(ID.to_owned()),
        runtime: Some(Runtime::Podman),
        ..Names::default()
    };
    let found = host
        .finder()
        .exit_code(&fill("/foo/libpod-{id}"), Some(&names));
    assert_eq!(found, Some(9));
}
