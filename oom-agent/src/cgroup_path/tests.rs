//! Every layout that is in use, what only looks like one, and that no path gives what is not in it.

use std::fmt::Write as _;

use proptest::prelude::*;

use super::{Place, attribute, names};
use crate::event::{LimitLevel, OwnerKind};

const ID: &str = "4f1d0b7f4c1de9116b1f0c2e7d3a4f559a610b7f4c1de9114f1d0b7f4c1de911";
const OTHER: &str = "99aa0b7f4c1de9116b1f0c2e7d3a4f559a610b7f4c1de9114f1d0b7f4c1de911";
const UID: &str = "6b1f0c2e-7d3a-4f55-9a61-0b7f4c1de911";
const STATIC: &str = "0123456789abcdef0123456789abcdef";

/// With `{id}`, `{other}`, `{uid}`, `{u_id}` (with underscores) and `{static}` filled in.
fn fill(text: &str) -> String {
    text.replace("{id}", ID)
        .replace("{other}", OTHER)
        .replace("{uid}", UID)
        .replace("{u_id}", &UID.replace('-', "_"))
        .replace("{static}", STATIC)
}

/// What is known, in a line.
fn told(path: &str) -> String {
    let Place { owner, level } = attribute(path);
    let mut text = format!("{:?}", owner.kind);
    if let Some(runtime) = owner.runtime {
        write!(text, " by={runtime:?}").unwrap();
    }
    if let Some(pod) = &owner.pod {
        write!(text, " pod={}", pod.uid).unwrap();
        if let Some(qos) = pod.qos {
            write!(text, " {qos:?}").unwrap();
        }
    }
    for (what, value) in [
        ("id", owner.container_id),
        ("machine", owner.machine),
        ("unit", owner.unit),
        ("uid", owner.uid.map(|uid| uid.to_string())),
        ("job", owner.job.map(|job| job.to_string())),
    ] {
        if let Some(value) = value {
            write!(text, " {what}={value}").unwrap();
        }
    }
    write!(text, " @ {level:?}").unwrap();
    text
}

#[track_caller]
fn check(table: &[(&str, &str)]) {
    for (path, expected) in table {
        assert_eq!(told(&fill(path)), fill(expected), "{path}");
    }
}

#[test]
fn kubernetes_with_the_systemd_driver() {
    check(&[
        ("/kubepods.slice", "Unit unit=kubepods.slice @ Pods"),
        (
            "/kubepods.slice/kubepods-burstable.slice",
            "Unit unit=kubepods-burstable.slice @ Qos",
        ),
        (
            "/kubepods.slice/kubepods-pod{u_id}.slice",
            "Pod pod={uid} Guaranteed @ Pod",
        ),
        (
            "/kubepods.slice/kubepods-pod{u_id}.slice/cri-containerd-{id}.scope",
            "Container by=Containerd pod={uid} Guaranteed id={id} @ Container",
        ),
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{u_id}.slice/crio-{id}.scope",
            "Container by=Crio pod={uid} Burstable id={id} @ Container",
        ),
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{u_id}.slice/crio-{id}.scope/container",
            "Container by=Crio pod={uid} Burstable id={id} @ Nested",
        ),
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{u_id}.slice/crio-conmon-{id}.scope",
            "Pod pod={uid} Burstable @ Nested",
        ),
        (
            "/kubepods.slice/kubepods-besteffort.slice/kubepods-besteffort-pod{u_id}.slice/docker-{id}.scope",
            "Container by=Docker pod={uid} BestEffort id={id} @ Container",
        ),
        (
            "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod{static}.slice/cri-containerd-{id}.scope/a/b",
            "Container by=Containerd pod={static} Burstable id={id} @ Nested",
        ),
        // kind, seen from its node and from the machine that runs it; the kubelet below a root.
        (
            "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-besteffort.slice/kubelet-kubepods-besteffort-pod{u_id}.slice/cri-containerd-{id}.scope",
            "Container by=Containerd pod={uid} BestEffort id={id} @ Container",
        ),
        (
            "/system.slice/docker-{other}.scope/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod{u_id}.slice/cri-containerd-{id}.scope",
            "Container by=Containerd pod={uid} Guaranteed id={id} @ Container",
        ),
        (
            "/system.slice/docker-{other}.scope/kubelet.slice/kubelet-kubepods.slice",
            "Container by=Docker id={other} @ Pods",
        ),
        // A runtime of the other driver.
        (
            "/system.slice/containerd.service/kubepods-burstable-pod{u_id}.slice:cri-containerd:{id}",
            "Container by=Containerd pod={uid} Burstable id={id} @ Container",
        ),
        (
            "/kubepods-pod{u_id}.slice:cri-containerd:{id}",
            "Container by=Containerd pod={uid} Guaranteed id={id} @ Container",
        ),
    ]);
}

#[test]
fn kubernetes_with_the_cgroupfs_driver() {
    check(&[
        ("/kubepods", "System @ Pods"),
        ("/kubepods/burstable", "System @ Qos"),
        (
            "/kubepods/burstable/pod{uid}",
            "Pod pod={uid} Burstable @ Pod",
        ),
        (
            "/kubepods/burstable/pod{uid}/{id}",
            "Container pod={uid} Burstable id={id} @ Container",
        ),
        (
            "/kubepods/besteffort/pod{static}/{id}/init.scope",
            "Container pod={static} BestEffort id={id} @ Nested",
        ),
        (
            "/kubepods/pod{uid}/crio-{id}",
            "Container by=Crio pod={uid} Guaranteed id={id} @ Container",
        ),
        (
            "/kubepods/pod{uid}/kata_{id}",
            "Container by=Kata pod={uid} Guaranteed id={id} @ Container",
        ),
        (
            "/kata_overhead/{id}",
            "Container by=Kata id={id} @ Container",
        ),
        (
            "/docker/{other}/kubelet/kubepods/burstable/pod{uid}/{id}",
            "Container pod={uid} Burstable id={id} @ Container",
        ),
        (
            "/docker/{other}/docker/{other}/kubepods/kubepods/pod{uid}/{id}",
            "Container pod={uid} Guaranteed id={id} @ Container",
        ),
    ]);
}

#[test]
fn containers_without_kubernetes() {
    check(&[
        ("/docker/{id}", "Container by=Docker id={id} @ Container"),
        (
            "/docker/{id}/docker/{other}",
            "Container by=Docker id={id} @ Nested",
        ),
        (
            "/docker/{id} (deleted)",
            "Container by=Docker id={id} @ Container",
        ),
        (
            "/system.slice/docker-{id}.scope",
            "Container by=Docker id={id} @ Container",
        ),
        (
            "/system.slice/docker-{id}.scope/init",
            "Container by=Docker id={id} @ Nested",
        ),
        (
            "/system.slice/nerdctl-{id}.scope",
            "Container by=Containerd id={id} @ Container",
        ),
        (
            "/machine.slice/libpod-{id}.scope",
            "Container by=Podman id={id} @ Container",
        ),
        (
            "/machine.slice/libpod-{id}.scope/container",
            "Container by=Podman id={id} @ Nested",
        ),
        (
            "/machine.slice/machine-libpod_pod_{other}.slice",
            "Pod by=Podman pod={other} @ Pod",
        ),
        (
            "/machine.slice/machine-libpod_pod_{other}.slice/libpod-conmon-{id}.scope",
            "Pod by=Podman pod={other} @ Nested",
        ),
        (
            "/foo.slice/foo-libpod_pod_{other}.slice/libpod-{id}.scope/x",
            "Container by=Podman pod={other} id={id} @ Nested",
        ),
        ("/libpod_parent/{other}", "Pod by=Podman pod={other} @ Pod"),
        (
            "/libpod_parent/{other}/conmon",
            "Pod by=Podman pod={other} @ Nested",
        ),
        (
            "/machine.slice/machine-libpod_pod_{other}.slice/libpod-{id}.scope",
            "Container by=Podman pod={other} id={id} @ Container",
        ),
        (
            "/machine.slice/libpod-conmon-{id}.scope",
            "Unit unit=libpod-conmon-{id}.scope @ Unit",
        ),
        (
            "/libpod_parent/libpod-{id}",
            "Container by=Podman id={id} @ Container",
        ),
        (
            "/libpod_parent/{other}/libpod-{id}",
            "Container by=Podman pod={other} id={id} @ Container",
        ),
        // With --cgroups=split: anybody who has the unit can make it.
        (
            "/system.slice/web.service/libpod-payload-{id}",
            "Unit unit=web.service @ Nested",
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{id}.scope/container",
            "Container by=Podman id={id} uid=1000 @ Nested",
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/user.slice/user-libpod_pod_{other}.slice",
            "Pod by=Podman pod={other} uid=1000 @ Pod",
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/user.slice/user-libpod_pod_{other}.slice/libpod-{id}.scope",
            "Container by=Podman pod={other} id={id} uid=1000 @ Container",
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice/web.service/libpod-payload-{id}",
            "Unit unit=web.service uid=1000 @ Nested",
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/user.slice/docker-{id}.scope",
            "Container by=Docker id={id} uid=1000 @ Container",
        ),
        // What is in a container of a pod of podman's is its own, a cluster excepted; in a pod nothing else counts.
        (
            "/libpod_parent/{other}/libpod-{id}/kubepods/pod{uid}/{other}",
            "Container pod={uid} Guaranteed id={other} @ Container",
        ),
        (
            "/libpod_parent/{other}/kubepods/pod{uid}/{id}",
            "Pod by=Podman pod={other} @ Nested",
        ),
        (
            "/libpod_parent/{other}/foo/libpod-{id}",
            "Pod by=Podman pod={other} @ Nested",
        ),
    ]);
}

#[test]
fn machines() {
    check(&[
        ("/lxc.payload.web", "Machine by=Lxc machine=web @ Machine"),
        (
            "/lxc.payload.web/system.slice/nginx.service",
            "Machine by=Lxc machine=web @ Nested",
        ),
        ("/lxc.payload/web/a", "Machine by=Lxc machine=web @ Nested"),
        ("/lxc/101", "Machine by=Lxc machine=101 @ Machine"),
        (
            "/lxc/101/ns/kubepods/pod{uid}/{id}",
            "Machine by=Lxc machine=101 @ Nested",
        ),
        ("/lxc.monitor.web", "System @ Cgroup"),
        (
            r"/machine.slice/machine-qemu\x2d1\x2dmy\x2dvm.scope",
            r"Machine by=Libvirt machine=my-vm unit=machine-qemu\x2d1\x2dmy\x2dvm.scope @ Machine",
        ),
        (
            r"/machine.slice/machine-qemu\x2d1\x2dvm.scope/libvirt/emulator",
            r"Machine by=Libvirt machine=vm unit=machine-qemu\x2d1\x2dvm.scope @ Nested",
        ),
        (
            "/machine/qemu-12-vm.libvirt-qemu/emulator",
            "Machine by=Libvirt machine=vm @ Nested",
        ),
        (
            r"/machine.slice/machine-my\x2dbox.scope/payload/system.slice/a.service",
            r"Machine by=Nspawn machine=my-box unit=machine-my\x2dbox.scope @ Nested",
        ),
        (
            "/machine.slice/machine-box.scope",
            "Machine machine=box unit=machine-box.scope @ Machine",
        ),
        (
            "/machine.slice/systemd-nspawn@box.service/payload",
            "Machine by=Nspawn machine=box unit=systemd-nspawn@box.service @ Nested",
        ),
    ]);
}

#[test]
fn systemd_and_its_users() {
    check(&[
        ("/", "System @ Node"),
        ("/init.scope", "Unit unit=init.scope @ Unit"),
        ("/system.slice", "Unit unit=system.slice @ Slice"),
        (
            "/system.slice/build.service",
            "Unit unit=build.service @ Unit",
        ),
        (
            "/system.slice/build.service/worker/1",
            "Unit unit=build.service @ Nested",
        ),
        (
            "/system.slice/system-getty.slice/getty@tty1.service",
            "Unit unit=getty@tty1.service @ Unit",
        ),
        (
            r"/system.slice/system-serial\x2dgetty.slice/serial-getty@ttyS0.service",
            "Unit unit=serial-getty@ttyS0.service @ Unit",
        ),
        (
            "/system.slice/run-r0a1b.scope",
            "Unit unit=run-r0a1b.scope @ Unit",
        ),
        ("/system.slice/tmp.mount", "Unit unit=tmp.mount @ Unit"),
        ("/user.slice", "Unit unit=user.slice @ Slice"),
        (
            "/user.slice/user-1000.slice",
            "User unit=user-1000.slice uid=1000 @ User",
        ),
        (
            "/user.slice/user-1000.slice/session-3.scope",
            "User unit=session-3.scope uid=1000 @ Unit",
        ),
        (
            "/user.slice/user-1000.slice/user-runtime-dir@1000.service",
            "Unit unit=user-runtime-dir@1000.service uid=1000 @ Unit",
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service",
            "User unit=user@1000.service uid=1000 @ User",
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/app.slice",
            "User unit=app.slice uid=1000 @ Slice",
        ),
        (
            r"/user.slice/user-1000.slice/user@1000.service/app.slice/app-gnome\x2dshell.scope/x",
            r"Unit unit=app-gnome\x2dshell.scope uid=1000 @ Nested",
        ),
        (
            "/user.slice/user-1000.slice/user@1000.service/init.scope",
            "Unit unit=init.scope uid=1000 @ Unit",
        ),
        ("/oom-agent-trigger-1-0", "System @ Cgroup"),
        ("/a/b/c", "System @ Cgroup"),
    ]);
}

#[test]
fn slurm() {
    check(&[
        ("/slurm", "System @ Cgroup"),
        ("/slurm/uid_1000", "User by=Slurm uid=1000 @ User"),
        (
            "/slurm/uid_1000/job_42",
            "Job by=Slurm uid=1000 job=42 @ Job",
        ),
        (
            "/slurm_node7/uid_1000/job_42/step_batch/task_0",
            "Job by=Slurm uid=1000 job=42 @ Nested",
        ),
        (
            "/system.slice/slurmstepd.scope/job_42/step_0/user/task_0",
            "Job by=Slurm unit=slurmstepd.scope job=42 @ Nested",
        ),
        (
            "/system.slice/node7_slurmstepd.scope/job_42",
            "Job by=Slurm unit=node7_slurmstepd.scope job=42 @ Job",
        ),
        (
            "/system.slice/slurmstepd.scope/system",
            "Unit unit=slurmstepd.scope @ Nested",
        ),
        ("/slurm/job_42", "System @ Cgroup"),
        ("/slurm/uid_01/job_42", "System @ Cgroup"),
        ("/slurm/uid_1/job_4x", "User by=Slurm uid=1 @ Nested"),
    ]);
}

#[test]
fn what_only_looks_like_an_owner() {
    let system = "System @ Cgroup";
    let upper = ID.to_uppercase();
    for path in [
        "",
        "kubepods/pod{uid}/{id}",
        "//kubepods/pod{uid}/{id}",
        "/../kubepods/pod{uid}/{id}",
        "/docker/./{id}",
        // A pod anywhere but below kubepods, or in another's slice.
        "/pod{uid}/{id}",
        "/user.slice/pod1234",
        "/user.slice/pod{uid}/{id}",
        "/foo/kubepods-pod{u_id}.slice/cri-containerd-short.scope",
        "/foo/kubepods-pod{u_id}.slice",
        "/kubepods-pod{u_id}.slice",
        "/mykubepods/pod{uid}/{id}",
        "/foo/kubelet-kubepods.slice/kubelet-kubepods-pod{u_id}.slice",
        "/user.slice/kubepods.slice/kubepods-pod{u_id}.slice",
        "/kubepods.slice/kubepods-burstable.slice/kubepods-pod{u_id}.slice",
        "/kubepods.slice/kubepods-burstable.slice/kubepods-besteffort-pod{u_id}.slice",
        "/kubepods.slice/kubepods-burstable-pod{u_id}.slice",
        "/kubepods.slice/pod{uid}",
        "/kubepods/kubepods-pod{u_id}.slice",
        // Uids of another shape.
        "/kubepods/burstable/pod0a1b/{id}",
        "/kubepods/burstable/pod{uid}0",
        "/kubepods/pod12345678-1234-1234-1234-12345678",
        "/kubepods/pod--------------------------------",
        "/kubepods/pod{u_id}",
        "/kubepods.slice/kubepods-pod{uid}.slice",
        "/kubepods/pod6B1F0C2E-7D3A-4F55-9A61-0B7F4C1DE911",
        "/kubepods/pod6b1f0c2e-7d3a-4f55-9a61-0b7f4c1de91g",
        "/kubepods/burstable/besteffort/pod{uid}",
        "/kubepods/{id}",
        // Ids of another shape, and in another place.
        "/docker/{id}0",
        &format!("/docker/{}", &ID[..63]),
        &format!("/docker/{upper}"),
        &format!("/system.slice/docker-{}.scope", &ID[..63]),
        &format!("/system.slice/crio-{upper}.scope"),
        "/system.slice/libpod-web.scope",
        "/foo/{id}",
        "/foo/docker/{id}",
        "/foo/docker-{id}.scope",
        "/docker-{id}.scope",
        "/{id}",
        "/docker/buildkit/{id}",
        "/libpod_parent/foo/libpod-{id}",
        "/machine.slice/libpod_pod_{other}.slice",
        "/machine-libpod_pod_{other}.slice",
        "/foo/machine.slice/machine-libpod_pod_{other}.slice",
        "/libpod_parent/x/{other}",
        "/kubepods-pod{u_id}.slice:cri-containerd:{id}:x",
        // Units and machines where systemd puts none.
        "/build.service",
        "/foo/build.service",
        "/foo/machine-box.scope",
        "/user.slice/system-getty.slice",
        "/user.slice/user-01.slice/",
        "/user-1000.slice/session-1.scope",
        "/lxc.payload.",
        "/foo/lxc.payload.web",
        "/machine/vm.qemu",
        "/a\u{202e}b/\x1b[31m\\x",
    ] {
        let path = fill(path);
        assert_eq!(told(&path), system, "{path}");
    }
}

#[test]
fn who_has_a_cgroup_cannot_make_another_owner_in_it() {
    let pods = fill("/kubepods/pod{uid}/{other}");
    for above in [
        "/kubepods/burstable/pod{uid}/{id}",
        "/kubepods/burstable/pod{uid}",
        "/system.slice/build.service",
        "/machine.slice/machine-box.scope",
        "/lxc.payload.web",
        "/user.slice/user-1000.slice",
        "/user.slice/user-1000.slice/user@1000.service",
        "/user.slice/user-1000.slice/user@1000.service/app.slice",
        "/user.slice/user-1000.slice/user@1000.service/user.slice/libpod-{id}.scope",
        "/user.slice/user-1000.slice/user@1000.service/app.slice/containerd.service",
        "/user.slice/user-1000.slice/user@1000.service/app.slice/slurmstepd.scope",
        "/slurm/uid_1/job_2",
    ] {
        let above = fill(above);
        let owner = attribute(&above).owner;
        for below in [
            &pods,
            "/docker/x",
            &format!("/libpod-{OTHER}.scope/x/y"),
            &format!("/libpod-payload-{OTHER}"),
            &fill("/kubepods-pod{u_id}.slice:cri-containerd:{other}"),
            "/job_7",
        ] {
            let found = attribute(&format!("{above}{below}")).owner;
            let in_pod = owner.kind == OwnerKind::Pod;
            let by_manager = above.contains("user@1000") && below.starts_with("/libpod");
            if !in_pod && !by_manager {
                assert_eq!(found, owner, "{above}{below}");
            }
            assert_eq!(found.pod, owner.pod, "{above}{below}");
        }
    }
    let path = fill("/docker/{id}/kubepods/podx/{other}");
    assert_eq!(told(&path), fill("Container by=Docker id={id} @ Nested"));
}

/// Parts of real paths, and of no path.
fn part() -> impl Strategy<Value = String> {
    let known = prop::sample::select(vec![
        "kubepods",
        "kubepods.slice",
        "kubepods-burstable.slice",
        "burstable",
        "pod{uid}",
        "kubepods-pod{u_id}.slice",
        "kubepods-burstable-pod{u_id}.slice",
        "kubepods-pod{u_id}.slice:crio:{id}",
        "cri-containerd-{id}.scope",
        "docker",
        "{id}",
        "crio-{id}",
        "libpod-{id}.scope",
        "libpod-payload-{id}",
        "libpod-{id}",
        "libpod_parent",
        "machine-libpod_pod_{other}.slice",
        "lxc",
        "lxc.payload.a",
        "system.slice",
        "machine.slice",
        r"machine-a\x2db.scope",
        r"machine-a\xff\x.scope",
        "containerd.service",
        "user.slice",
        "user-1.slice",
        "user@1.service",
        "slurm",
        "uid_1",
        "job_1",
        "slurmstepd.scope",
    ]);
    prop_oneof![8 => known.prop_map(fill), 1 => any::<String>(), 1 => r"[a-z0-9\\x.@-]{0,70}"]
}

proptest! {
    #[test]
    fn an_owner_has_nothing_that_is_not_in_the_path(
        parts in prop::collection::vec(part(), 0..8),
        absolute in prop::bool::weighted(0.9),
    ) {
        let path = format!("{}{}", if absolute { "/" } else { "" }, parts.join("/"));
        let Place { owner, level } = attribute(&path);
        let plain = names::unescape(&path).into_owned();
        let machine = owner.machine.as_deref();
        let known = machine.is_none_or(|name| {
            path.contains(name) || plain.contains(name)
                || path.split('/').any(|part| names::unescape(part).contains(name))
        });
        prop_assert!(known, "{path}: {owner:?}");
        for said in [&owner.container_id, &owner.unit].into_iter().flatten() {
            prop_assert!(path.contains(said.as_str()), "{path}: {owner:?}");
        }
        for said in [owner.uid, owner.job].into_iter().flatten() {
            prop_assert!(path.contains(&said.to_string()), "{path}: {owner:?}");
        }
        if let Some(pod) = &owner.pod {
            let slice = pod.uid.replace('-', "_");
            prop_assert!(path.contains(&pod.uid) || path.contains(&slice), "{path}: {owner:?}");
            let podman = path.contains("libpod_p") && pod.is_of_podman();
            prop_assert!(podman || path.contains("kubepods"), "{path}: {owner:?}");
        }
        prop_assert_eq!(owner.container_id.is_some(), owner.kind == OwnerKind::Container);
        prop_assert_eq!(owner.job.is_some(), owner.kind == OwnerKind::Job);
        prop_assert_eq!(owner.machine.is_some(), owner.kind == OwnerKind::Machine);
        prop_assert!(owner.container_name.is_none() && owner.image.is_none());
        prop_assert_eq!(level == LimitLevel::Node, path == "/");
    }
}
