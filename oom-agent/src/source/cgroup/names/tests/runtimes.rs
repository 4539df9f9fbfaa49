//! Files in the form of each runtime, as recorded from containerd 1.6 and 2, runc 1.1, podman 4.3, and
//! written after the sources of crun, CRI-O, docker and the kubelet.

use std::os::unix::fs::symlink;

use super::*;

const TASKS: &str = "run/containerd/io.containerd.runtime.v2.task";

/// A bundle; `annotations` is JSON.
fn bundle(annotations: &str, cgroups_path: &str) -> String {
    let head = r#""ociVersion":"1.0.2-dev","process":{"user":{"uid":0,"gid":0},"args":["/h"],"cwd":"/",
        "rlimits":[{"type":"RLIMIT_NOFILE","hard":1024,"soft":1024}],"noNewPrivileges":true},
        "root":{"path":"rootfs"},"mounts":[{"destination":"/proc","type":"proc","source":"proc"}]"#;
    let linux = format!(
        r#""linux":{{"resources":{{"cpu":{{"shares":1024}}}},"cgroupsPath":"{cgroups_path}",
        "namespaces":[{{"type":"pid"}}],"maskedPaths":["/proc/acpi"]}}"#
    );
    fill(&format!(
        r#"{{{head},"annotations":{annotations},{linux}}}"#
    ))
}

const CRI: &str = r#"{"io.kubernetes.cri.container-name":"app","io.kubernetes.cri.container-type":"container",
    "io.kubernetes.cri.image-name":"registry.example/shop/app:1.2","io.kubernetes.cri.sandbox-id":"{other}",
    "io.kubernetes.cri.sandbox-name":"app-7d9-x2x","io.kubernetes.cri.sandbox-namespace":"shop",
    "io.kubernetes.cri.sandbox-uid":"{uid}"}"#;
const CRI_SANDBOX: &str = r#"{"io.kubernetes.cri.container-type":"sandbox","io.kubernetes.cri.sandbox-cpu-shares":"2",
    "io.kubernetes.cri.sandbox-id":"{id}","io.kubernetes.cri.sandbox-log-directory":"/var/log/pods/x",
    "io.kubernetes.cri.sandbox-name":"app-7d9-x2x","io.kubernetes.cri.sandbox-namespace":"shop"}"#;

#[test]
fn containerd_for_kubernetes() {
    let found = "Containerd id={id} name=app image=registry.example/shop/app:1.2 \
        pod=shop/app-7d9-x2x/{uid}";
    let sandbox = "Containerd id={id} pod=shop/app-7d9-x2x/- sandbox";
    for (annotations, said, path, expected) in [
        (
            CRI,
            "/kubepods/burstable/pod{uid}/{id}",
            "/kubepods/burstable/pod{uid}/{id}",
            found,
        ),
        (
            CRI,
            "kubepods-burstable-pod{u_id}.slice:cri-containerd:{id}",
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{u_id}.slice/cri-containerd-{id}.scope",
            found,
        ),
        (
            CRI,
            "kubepods-burstable-pod{u_id}.slice:cri-containerd:{id}",
            "/system.slice/containerd.service/kubepods-burstable-pod{u_id}.slice:cri-containerd:{id}",
            found,
        ),
        (
            CRI_SANDBOX,
            "/kubepods/pod{uid}/{id}",
            "/kubepods/pod{uid}/{id}",
            sandbox,
        ),
        // Made through the socket without the kubelet's cgroup.
        (CRI, "/k8s.io/{id}", "/k8s.io/{id}", found),
        (CRI, "/k8s.io/{id}", "/elsewhere/{id}", "Absent"),
        // Another pod; a static pod, whose path has the hash of its configuration.
        (
            CRI,
            "/x",
            "/kubepods/pod00000000-7d3a-4f55-9a61-0b7f4c1de911/{id}",
            "Unreadable(Mismatch)",
        ),
        (
            CRI,
            "/x",
            "/kubepods/burstable/pod0a1b2c3d4e5f60718293a4b5c6d7e8f9/{id}",
            "Containerd id={id} name=app image=registry.example/shop/app:1.2 pod=shop/app-7d9-x2x/-",
        ),
    ] {
        for state in [
            "run/containerd",
            "run/k3s/containerd",
            "var/snap/microk8s/common/run/containerd",
        ] {
            let file = format!("{state}/io.containerd.runtime.v2.task/k8s.io/{{id}}/config.json");
            let host = Host::new(&[(&file, &bundle(annotations, said))]);
            assert_eq!(told(&host.lookup(path)), fill(expected), "{path} {state}");
        }
    }
}

#[test]
fn a_state_directory_of_the_administrators_choice() {
    let file = "srv/state/io.containerd.runtime.v2.task/default/demo/config.json";
    let config = "version = 2\nstate = \"/srv/state\"\n[plugins]\n";
    let host = Host::new(&[(file, &bundle("{}", "/default/demo"))]);
    assert_eq!(host.lookup("/default/demo"), Lookup::Absent);
    host.write("etc/containerd/config.toml", config);
    assert_eq!(
        told(&host.lookup("/default/demo")),
        "Containerd id=demo name=demo"
    );
}

#[test]
fn containerd_for_others() {
    let nerdctl =
        r#"{"nerdctl/hostname":"0e9a","nerdctl/name":"shop-db","nerdctl/namespace":"default"}"#;
    for (namespace, id, annotations, said, path, expected) in [
        (
            "default",
            "demo",
            "null",
            "/default/demo",
            "/default/demo",
            "Containerd id=demo name=demo",
        ),
        (
            "build",
            "a_b.c-d",
            "{}",
            "/x/a_b.c-d",
            "/x/a_b.c-d",
            "Containerd id=a_b.c-d name=a_b.c-d",
        ),
        (
            "default",
            "demo",
            "{}",
            "system.slice:my:demo",
            "/system.slice/my-demo.scope",
            "Containerd id=demo name=demo",
        ),
        (
            "default",
            ID,
            nerdctl,
            "/default/{id}",
            "/default/{id}",
            "Containerd id={id} name=shop-db",
        ),
        (
            "default",
            ID,
            nerdctl,
            "system.slice:nerdctl:{id}",
            "/system.slice/nerdctl-{id}.scope",
            "Containerd id={id} name=shop-db",
        ),
        // Annotations of the CRI plugin from somebody else are none.
        (
            "default",
            "demo",
            CRI,
            "/default/demo",
            "/default/demo",
            "Containerd id=demo name=demo",
        ),
        (
            "moby",
            ID,
            "{}",
            "/mine/{id}",
            "/mine/{id}",
            "Docker id={id}",
        ),
    ] {
        let file = format!("{TASKS}/{namespace}/{id}/config.json");
        let host = Host::new(&[(&file, &bundle(annotations, said))]);
        assert_eq!(told(&host.lookup(path)), fill(expected), "{said} {path}");
    }
}

#[test]
fn a_container_of_the_same_name_is_not_the_one() {
    for (namespace, id, annotations, said, path, expected) in [
        // Not this cgroup.
        (
            "default",
            "demo",
            "{}",
            "/default/demo",
            "/other/demo",
            "Absent",
        ),
        (
            "default",
            "demo",
            "{}",
            "/default/demo",
            "/default/demo/demo",
            "Absent",
        ),
        (
            "default",
            "demo",
            "{}",
            "default/demo",
            "/default/demo",
            "Absent",
        ),
        ("default", "demo", "{}", "", "/default/demo", "Absent"),
        (
            "default",
            "demo",
            "{}",
            "system.slice:my:demo",
            "/my-demo.scope",
            "Absent",
        ),
        // Not this name.
        (
            "default",
            "demo",
            "{}",
            "/default/demo2",
            "/default/demo2",
            "Absent",
        ),
        (
            ".x",
            "demo",
            "{}",
            "/default/demo",
            "/default/demo",
            "Absent",
        ),
    ] {
        let file = format!("{TASKS}/{namespace}/{id}/config.json");
        let host = Host::new(&[(&file, &bundle(annotations, said))]);
        assert_eq!(told(&host.lookup(path)), expected, "{said} {path}");
    }
}

#[test]
fn paths_that_cannot_be_a_container_are_not_looked_for() {
    let host = Host::new(&[]);
    let mut finder = host.finder();
    for path in [
        "",
        "/",
        "/kubepods",
        "/kubepods.slice/kubepods-burstable.slice",
        "/kubepods/burstable/pod{uid}",
        "/system.slice",
        "/system.slice/ssh.service",
        "/init.scope",
        "/user.slice/user-1000.slice",
        "/user.slice/user-1000.slice/session-3.scope",
        "/user.slice/user-1000.slice/user@1000.service/app.slice",
        "/machine.slice/machine-box.scope/payload",
        "/lxc.payload.web/system.slice",
        // In a container.
        "/docker/{id}/init",
        "/kubepods/pod{uid}/{id}/x",
        "/machine.slice/libpod-{id}.scope/container",
        // No id.
        "/default/a b",
        "/default/.hidden",
        "/default/ä",
    ] {
        assert_eq!(finder.lookup(&fill(path)), Lookup::NotNeeded, "{path}");
    }
    assert_eq!(finder.counters(), Counters::default());
}

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

#[test]
fn cri_o() {
    let container = r#"{"io.container.manager":"cri-o","io.kubernetes.container.hash":"5","io.kubernetes.container.name":"app",
        "io.kubernetes.cri-o.ContainerID":"{id}","io.kubernetes.cri-o.ContainerType":"container",
        "io.kubernetes.cri-o.Image":"0f3c","io.kubernetes.cri-o.ImageName":"quay.io/shop/app:1",
        "io.kubernetes.cri-o.Labels":"{\"io.kubernetes.container.name\":\"app\"}",
        "io.kubernetes.pod.name":"app-x","io.kubernetes.pod.namespace":"shop","io.kubernetes.pod.uid":"{uid}"}"#;
    let sandbox = r#"{"io.container.manager":"cri-o","io.kubernetes.cri-o.ContainerType":"sandbox",
        "io.kubernetes.container.name":"POD","io.kubernetes.cri-o.Image":"registry.k8s.io/pause:3.9",
        "io.kubernetes.pod.name":"app-x","io.kubernetes.pod.namespace":"shop","io.kubernetes.pod.uid":"{uid}"}"#;
    let slice = "/kubepods.slice/kubepods-pod{u_id}.slice/crio-{id}.scope";
    for root in ["var/lib/containers/storage", "run/containers/storage"] {
        for (annotations, path, expected) in [
            (
                container,
                slice,
                "Crio id={id} name=app image=quay.io/shop/app:1 pod=shop/app-x/{uid}",
            ),
            (
                container,
                "/kubepods/pod{uid}/{id}",
                "Crio id={id} name=app image=quay.io/shop/app:1 pod=shop/app-x/{uid}",
            ),
            (sandbox, slice, "Crio id={id} pod=shop/app-x/{uid} sandbox"),
            (
                container,
                "/kubepods/pod00000000-7d3a-4f55-9a61-0b7f4c1de911/crio-{id}",
                "Unreadable(Mismatch)",
            ),
        ] {
            let file = format!("{root}/overlay-containers/{{id}}/userdata/config.json");
            let host = Host::new(&[(&file, &bundle(annotations, "/x"))]);
            assert_eq!(told(&host.lookup(path)), fill(expected), "{path}");
        }
    }
}

/// What dockerd keeps.
fn docker_config(labels: &str, state: &str) -> String {
    fill(&format!(
        r#"{{"StreamConfig":{{}},"State":{{{state},"Pid":1,"Error":"","StartedAt":"2026-11-21T08:04:20Z","Health":null}},
        "ID":"{{id}}","Created":"2026-11-21T08:04:20Z","Managed":false,"Path":"nginx","Args":["-g"],
        "Config":{{"Hostname":"39291bf5d1dd","Image":"nginx:1.27","Volumes":null,"Labels":{labels}}},
        "Image":"sha256:0f3c","NetworkSettings":{{"Networks":{{}}}},"Name":"/web","Driver":"overlay2"}}"#
    ))
}

const RUNNING: &str = r#""Running":true,"ExitCode":0,"FinishedAt":"0001-01-01T00:00:00Z""#;

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
    // A cgroup parent of somebody's choice: the bundle knows the cgroup, docker the names.
    host.write(
        &format!("{TASKS}/moby/{{id}}/config.json"),
        bundle("{}", "/mine/{id}"),
    );
    assert_eq!(told(&host.lookup("/mine/{id}")), found);
}

#[test]
fn the_kubelets_links() {
    let path = "/kubepods/burstable/pod{uid}/{id}";
    let pods = "/var/log/pods";
    for (name, target, expected) in [
        (
            "app-x_shop_app-{id}.log",
            format!("{pods}/shop_app-x_{{uid}}/app/0.log"),
            "? id={id} name=app pod=shop/app-x/{uid}",
        ),
        (
            "app-x_shop_app-{id}.log",
            "/var/lib/docker/containers/x.log".to_owned(),
            "? id={id} name=app pod=shop/app-x/-",
        ),
        (
            "app-x_shop_app-{id}.log",
            format!("{pods}/shop_other_{{uid}}/app/0.log"),
            "Unreadable(Mismatch)",
        ),
        (
            "app-x_shop_app-{id}.log",
            format!("{pods}/shop_app-x_1/app/0.log"),
            "Unreadable(Mismatch)",
        ),
        (
            "app-x_shop-{id}.log",
            format!("{pods}/shop_app-x_{{uid}}/app/0.log"),
            "Unreadable(Malformed)",
        ),
        (
            "app-x_shop_app-{other}.log",
            format!("{pods}/shop_app-x_{{uid}}/app/0.log"),
            "Absent",
        ),
    ] {
        let host = Host::new(&[("var/log/containers/readme", "")]);
        let link = host.root().join("var/log/containers").join(fill(name));
        symlink(fill(&target), link).unwrap();
        assert_eq!(told(&host.lookup(path)), fill(expected), "{name} {target}");
        // Of no pod.
        assert_eq!(host.lookup("/docker/{id}"), Lookup::Absent);
    }
}

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
