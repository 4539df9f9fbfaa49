//! How containers ended, by the files of podman, CRI-O and docker.

use super::{
    docker::{RUNNING, docker_config},
    *,
};
use crate::source::cgroup::Ended;

/// What docker writes of a container that has ended just now.
fn state(running: bool, restarting: bool, code: i32) -> String {
    let now = jiff::Timestamp::now();
    format!(
        r#""Running":{running},"Restarting":{restarting},"ExitCode":{code},"FinishedAt":"{now}""#
    )
}

#[test]
fn how_it_ended() {
    let podman = "/machine.slice/libpod-{id}.scope";
    let never = r#""Running":false,"ExitCode":0,"FinishedAt":"0001-01-01T00:00:00Z""#;
    // With a restart policy.
    let restarting = &state(true, true, 137);
    let restarted = &state(true, false, 0);
    // It could not be started again: this is the end of the run before.
    let of_before = r#""Running":false,"ExitCode":0,"FinishedAt":"2026-11-21T08:05:20.123456789Z""#;
    let docker = "var/lib/docker/containers/{id}/config.v2.json";
    let persisted = "var/lib/containers/storage/overlay-containers/{id}/userdata/exit";
    let exits = "run/libpod/exits/{id}";
    let crio = "/kubepods.slice/kubepods-pod{u_id}.slice/crio-{id}.scope";
    for (file, content, path, expected) in [
        (exits, "137", podman, Ended::With(137)),
        (exits, "0\n", podman, Ended::With(0)),
        ("run/crio/exits/{id}", "1", crio, Ended::With(1)),
        (
            "run/crio/exits/{id}",
            "1",
            "/kubepods/pod{uid}/{id}",
            Ended::With(1),
        ),
        (persisted, "2", podman, Ended::With(2)),
        (exits, "", podman, Ended::Untold),
        (exits, "x", podman, Ended::Untold),
        (exits, "11111111111111111", podman, Ended::Untold),
        ("run/libpod/exits/{other}", "1", podman, Ended::Untold),
        ("run/crio/exits/{other}", "1", crio, Ended::Untold),
        (
            exits,
            "1",
            "/machine.slice/libpod-{id}.scope/x",
            Ended::Untold,
        ),
        (exits, "1", "/foo/{id}", Ended::Untold),
        (
            docker,
            &docker_config("{}", restarting),
            "/docker/{id}",
            Ended::With(137),
        ),
        (
            docker,
            &docker_config("{}", restarted),
            "/docker/{id}",
            Ended::NotYet,
        ),
        (
            docker,
            &docker_config("{}", never),
            "/docker/{id}",
            Ended::NotYet,
        ),
        (
            docker,
            &docker_config("{}", of_before),
            "/docker/{id}",
            Ended::NotYet,
        ),
        (docker, "{", "/docker/{id}", Ended::Untold),
        // With `--rm` it is gone.
        (exits, "1", "/docker/{id}", Ended::Untold),
    ] {
        let host = Host::new(&[(file, content)]);
        let found = host.finder().ended(&fill(path), None);
        assert_eq!(found, expected, "{file} {content} {path}");
    }
    // What the path does not tell, the names do.
    let host = Host::new(&[(exits, "9")]);
    let names = Names {
        container_id: Some(ID.to_owned()),
        runtime: Some(Runtime::Podman),
        ..Names::default()
    };
    let found = host.finder().ended(&fill("/foo/libpod-{id}"), Some(&names));
    assert_eq!(found, Ended::With(9));
}

/// As dockerd does it: the cgroup is removed, and only then the end is written down.
#[test]
fn docker_writes_it_down_after_the_cgroup_is_gone() {
    let docker = "var/lib/docker/containers/{id}/config.v2.json";
    let host = Host::new(&[(docker, &docker_config("{}", RUNNING))]);
    let mut finder = host.finder();
    let path = fill("/docker/{id}");
    let Lookup::Found(names) = finder.lookup(&path) else {
        panic!("no names");
    };
    assert_eq!(finder.ended(&path, Some(&names)), Ended::NotYet);
    host.write(docker, docker_config("{}", &state(false, false, 137)));
    assert_eq!(finder.ended(&path, Some(&names)), Ended::With(137));
}
