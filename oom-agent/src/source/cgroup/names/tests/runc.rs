//! States of runc 1.1, as recorded, and of crun, after its sources; under podman, containerd and docker, too.

use super::*;

/// What runc writes; directories as on a machine with both versions, or the second.
fn state(id: &str, labels: &str, path: &str, own: &str) -> String {
    let paths = if own == "v2" {
        format!(r#"{{"":"/sys/fs/cgroup{path}"}}"#)
    } else {
        format!(
            r#"{{"":"/sys/fs/cgroup/unified{path}","cpu":"/sys/fs/cgroup/cpu{path}",
            "memory":"/sys/fs/cgroup/memory{own}{path}"}}"#
        )
    };
    fill(&format!(
        r#"{{"id":"{id}","init_process_pid":28748,"init_process_start":2368149,
        "created":"2026-11-21T08:03:44.290540069Z","config":{{"no_pivot_root":false,"rootfs":"/r",
        "labels":{labels},"cgroups":{{"path":"{path}"}}}},"rootless":false,"cgroup_paths":{paths},
        "namespace_paths":{{"NEWNS":"/proc/28748/ns/mnt"}},"external_descriptors":["/dev/null"],
        "intel_rdt_path":""}}"#
    ))
}

#[test]
fn runc_alone() {
    let own = r#"["a=b","bundle=/tmp/b"]"#;
    let podman = r#"["io.kubernetes.cri-o.TTY=false","io.container.manager=libpod"]"#;
    let cri = r#"["io.kubernetes.cri.container-name=app","io.kubernetes.cri.sandbox-name=app-x"]"#;
    for (root, id, labels, said, below, path, expected) in [
        (
            "run/runc",
            "web",
            own,
            "/web",
            "",
            "/web",
            "Runc id=web name=web",
        ),
        (
            "run/runc",
            "web",
            own,
            "/web",
            "v2",
            "/web",
            "Runc id=web name=web",
        ),
        (
            "run/runc",
            "web",
            "null",
            "/web",
            "/own/cg",
            "/own/cg/web",
            "Runc id=web name=web",
        ),
        ("run/runc", "web", own, "/web", "/own/cg", "/web", "Absent"),
        (
            "run/runc",
            "web",
            own,
            "/system.slice/runc-web.scope",
            "v2",
            "/system.slice/runc-web.scope",
            "Runc id=web name=web",
        ),
        (
            "run/runc",
            ID,
            podman,
            "/foo/libpod-{id}",
            "",
            "/foo/libpod-{id}",
            "Podman id={id}",
        ),
        (
            "run/containerd/runc/default",
            "web",
            own,
            "/default/web",
            "",
            "/default/web",
            "Containerd id=web name=web",
        ),
        (
            "run/containerd/runc/k8s.io",
            ID,
            cri,
            "/kubepods/pod{uid}/{id}",
            "",
            "/kubepods/pod{uid}/{id}",
            "Containerd id={id} name=app pod=-/app-x/-",
        ),
        (
            "run/docker/runtime-runc/moby",
            ID,
            own,
            "/mine/{id}",
            "v2",
            "/mine/{id}",
            "Docker id={id}",
        ),
    ] {
        let file = format!("{root}/{id}/state.json");
        let host = Host::new(&[(&file, &state(id, labels, said, below))]);
        assert_eq!(
            told(&host.lookup(path)),
            fill(expected),
            "{root} {said} {path}"
        );
    }
    let host = Host::new(&[("run/runc/web/state.json", &state("db", own, "/web", ""))]);
    assert_eq!(
        host.lookup("/web"),
        Lookup::Unreadable(Unreadable::Mismatch)
    );
}

#[test]
fn crun_alone() {
    for (said, path, found) in [
        ("/web", "/web", true),
        ("web", "/web", true),
        (
            "/system.slice/crun-web.scope",
            "/system.slice/crun-web.scope",
            true,
        ),
        (
            "/system.slice/crun-web.scope/container",
            "/system.slice/crun-web.scope",
            true,
        ),
        ("/x/web", "/web", false),
        ("", "/web", false),
    ] {
        let status = format!(
            r#"{{"pid":7,"process-start-time":9,"cgroup-path":"{said}","scope":"","rootfs":"/r",
            "systemd-cgroup":false,"bundle":"/b","created":"2026-11-21T08:03:44Z","owner":"root",
            "detached":true,"external_descriptors":"[]"}}"#
        );
        let host = Host::new(&[("run/crun/web/status", &status)]);
        let expected = if found {
            "Runc id=web name=web"
        } else {
            "Absent"
        };
        assert_eq!(told(&host.lookup(path)), expected, "{said} {path}");
    }
}
