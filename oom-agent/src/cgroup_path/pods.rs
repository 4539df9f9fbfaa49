//! The tree that the kubelet keeps: all pods, a class of service, a pod, a container; and pods of podman.
//!
//! Reads a name and its parent's; emits which level it is. Both drivers: with systemd the name of each
//! slice repeats its parent's (`kubepods-burstable-pod<uid>.slice`) and the uid has `_` for `-`; with
//! cgroupfs the names stand alone. Podman (`libpod/runtime_pod_linux.go`) makes a slice
//! `machine-libpod_pod_<id>.slice`, or with cgroupfs `/libpod_parent/<id>`. Refuses a pod whose uid is none, and one
//! in another's slice.

use super::names::{Scope, is_hex, is_id, is_slice, scope};
use crate::event::{Qos, Runtime};

/// `kubepods`, `kubepods.slice`; with a `--cgroup-root`, `kubelet.slice/kubelet-kubepods.slice` (kind).
pub(super) fn is_root(name: &str, parent: Option<&str>) -> bool {
    let slice = name == "kubepods.slice" || name.ends_with("-kubepods.slice");
    name == "kubepods" || (slice && is_slice(name, parent))
}

/// A class other than guaranteed, whose pods have no cgroup of their own.
pub(super) fn class(name: &str, parent: &str) -> Option<Qos> {
    match child(name, parent)?.0 {
        "burstable" => Some(Qos::Burstable),
        "besteffort" => Some(Qos::BestEffort),
        _ => None,
    }
}

/// Uid of the pod as Kubernetes writes it.
pub(super) fn pod(name: &str, parent: &str) -> Option<String> {
    let (name, dash) = child(name, parent)?;
    let uid = name.strip_prefix("pod")?;
    is_uid(uid, dash).then(|| uid.replace(dash, "-"))
}

/// A container in the cgroup of a pod. That of cgroupfs does not tell whose it is.
pub(super) fn container(name: &str) -> Option<(Option<Runtime>, &str)> {
    if let Scope::Container(runtime, id) = scope(name) {
        return Some((Some(runtime), id));
    }
    let prefixed = |prefix, runtime| Some((Some(runtime), name.strip_prefix(prefix)?));
    let (runtime, id) = prefixed("crio-", Runtime::Crio)
        .or_else(|| prefixed("kata_", Runtime::Kata))
        .unwrap_or((None, name));
    is_id(id).then_some((runtime, id))
}

/// What a runtime of the cgroupfs driver makes of a path for the systemd driver: a single directory
/// `kubepods-burstable-pod<uid>.slice:cri-containerd:<id>`.
pub(super) fn in_one_name(name: &str) -> Option<(String, Qos, Runtime, &str)> {
    let mut parts = name.split(':');
    let (slice, prefix, id) = (parts.next()?, parts.next()?, parts.next()?);
    let runtime = match prefix {
        "cri-containerd" => Runtime::Containerd,
        "crio" => Runtime::Crio,
        "docker" => Runtime::Docker,
        _ => return None,
    };
    let (uid, qos) = [
        ("kubepods.slice", Qos::Guaranteed),
        ("kubepods-burstable.slice", Qos::Burstable),
        ("kubepods-besteffort.slice", Qos::BestEffort),
    ]
    .into_iter()
    .find_map(|(parent, qos)| Some((pod(slice, parent)?, qos)))?;
    (is_id(id) && parts.next().is_none()).then_some((uid, qos, runtime, id))
}

/// A pod of podman's, by its id.
pub(super) fn of_podman<'a>(name: &'a str, above: &[&str], slices: bool) -> Option<&'a str> {
    if above == ["libpod_parent"] {
        return is_id(name).then_some(name);
    }
    let slice = slice_of_podman(name, above.last().copied());
    slice.filter(|_| slices)
}

/// The same where systemd puts it, below whichever slice.
pub(super) fn slice_of_podman<'a>(name: &'a str, parent: Option<&str>) -> Option<&'a str> {
    let stem = name.strip_suffix(".slice")?;
    let (_, last) = stem.rsplit_once('-')?;
    let id = last.strip_prefix("libpod_pod_")?;
    (is_id(id) && is_slice(name, parent)).then_some(id)
}

/// A container in such a pod, of either driver.
pub(super) fn container_of_podman(name: &str) -> Option<&str> {
    match scope(name) {
        Scope::Container(Runtime::Podman, id) => Some(id),
        _ => name.strip_prefix("libpod-").filter(|id| is_id(id)),
    }
}

/// The last part of a name, and what stands for a dash in it.
fn child<'a>(name: &'a str, parent: &str) -> Option<(&'a str, char)> {
    let Some(stem) = parent.strip_suffix(".slice") else {
        return Some((name, '-'));
    };
    let name = name.strip_suffix(".slice")?.strip_prefix(stem)?;
    Some((name.strip_prefix('-')?, '_'))
}

/// A UUID, or the hash that a static pod has instead (32 digits).
fn is_uid(uid: &str, dash: char) -> bool {
    const GROUPS: [usize; 5] = [8, 4, 4, 4, 12];
    let groups = || uid.split(dash);
    let hash = uid.len() == 32 && is_hex(uid);
    hash || groups().map(str::len).eq(GROUPS) && groups().all(is_hex)
}
