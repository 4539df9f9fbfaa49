//! Bundles as containerd 1.6 and 2 write them, for Kubernetes and for others, as recorded.

use super::*;

/// Where bundles are.
pub(super) const TASKS: &str = "run/containerd/io.containerd.runtime.v2.task";

const CRI: &str = r#"{"io.kubernetes.cri.container-name":"app","io.kubernetes.cri.container-type":"container",
    "io.kubernetes.cri.image-name":"registry.example/shop/app:1.2","io.kubernetes.cri.sandbox-id":"{other}",
    "io.kubernetes.cri.sandbox-name":"app-7d9-x2x","io.kubernetes.cri.sandbox-namespace":"shop",
    "io.kubernetes.cri.sandbox-uid":"{uid}"}"#;
const CRI_SANDBOX: &str = r#"{"io.kubernetes.cri.container-type":"sandbox","io.kubernetes.cri.sandbox-cpu-shares":"2",
    "io.kubernetes.cri.sandbox-id":"{id}","io.kubernetes.cri.sandbox-log-directory":"/var/log/pods/x",
    "io.kubernetes.cri.sandbox-name":"app-7d9-x2x","io.kubernetes.cri.sandbox-namespace":"shop"}"#;

/// What Kata needs beside a machine is in a cgroup of the sandbox, below no pod.
#[test]
fn what_kata_needs_beside_a_machine() {
    let newer = CRI_SANDBOX.replace(
        "{\"io.kubernetes.cri.container-type\"",
        "{\"io.kubernetes.cri.sandbox-uid\":\"{uid}\",\"io.kubernetes.cri.container-type\"",
    );
    let logs = |dir: &str| CRI_SANDBOX.replace("/var/log/pods/x", dir);
    let told_by = |uid: &str| format!("Containerd id={{id}} pod=shop/app-7d9-x2x/{uid} sandbox");
    for (annotations, namespace, expected) in [
        (newer.clone(), "k8s.io", told_by("{uid}")),
        (
            logs("/var/log/pods/shop_app-7d9-x2x_{uid}"),
            "k8s.io",
            told_by("{uid}"),
        ),
        (logs("/var/log/pods/shop_app_{uid}"), "k8s.io", told_by("-")),
        (CRI_SANDBOX.to_owned(), "k8s.io", told_by("-")),
        // Of nobody who makes pods.
        (newer, "default", "Containerd id={id}".to_owned()),
    ] {
        let file = format!("{TASKS}/{namespace}/{{id}}/config.json");
        let host = Host::new(&[(&file, &bundle(&annotations, "/kata_overhead/{id}"))]);
        let found = told(&host.lookup("/kata_overhead/{id}"));
        assert_eq!(found, fill(&expected), "{annotations}");
    }
}

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
