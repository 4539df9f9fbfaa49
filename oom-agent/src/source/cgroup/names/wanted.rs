//! Which container a cgroup may be, and how sure that is.
//!
//! Reads a path; emits the id to look for. Refuses, without asking anybody, paths of what cannot be a
//! container, and cgroups within one: those have its id in their path. Also pods in a container. Where
//! others than the host's runtimes can have made the cgroup, its name is a claim: what is found must
//! name the cgroup; and a user's claim is asked of that user's files alone.

use super::text::{is_name, is_random};
use crate::{
    cgroup_path::attribute,
    event::{LimitLevel, OwnerKind, Runtime},
};

/// A container to look for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    /// The cgroup.
    pub(super) path: String,
    /// Its id: a name that can be a part of a path.
    pub(super) id: String,
    /// The path alone says that it is this container. If not, what is found must name the cgroup.
    pub(super) certain: bool,
    /// Runtime, as far as the path tells.
    pub(super) runtime: Option<Runtime>,
    /// Uid of the pod of Kubernetes that it is in by its path.
    pub(super) pod_uid: Option<String>,
    /// The user whose own container it is.
    pub(super) user: Option<u32>,
}

/// The container that a cgroup may be.
pub(super) fn wanted(path: &str) -> Option<Wanted> {
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    let place = attribute(path);
    let owner = place.owner;
    let last = path.rsplit('/').next()?;
    let pod_uid = owner.kubernetes_pod().map(|pod| pod.uid.clone());
    let (id, certain) = match (owner.kind, place.level) {
        (OwnerKind::Container, LimitLevel::Container) => (owner.container_id?, true),
        (OwnerKind::System, LimitLevel::Cgroup)
        | (OwnerKind::Unit | OwnerKind::User, LimitLevel::Nested) => {
            (id_in(last).to_owned(), false)
        }
        (OwnerKind::Unit, LimitLevel::Unit) => (id_of_scope(last)?.to_owned(), false),
        _ => return None,
    };
    let mut above = path.rsplit('/').skip(1);
    if above.clone().any(|name| split(name).is_some()) {
        return None;
    }
    // A cluster in a container: who has that container can make any names in it, and the files of
    // its runtime are not the host's.
    if pod_uid.is_some() && above.any(|name| is_random(id_in(name))) {
        return None;
    }
    let certain = certain && (pod_uid.is_none() || is_of_kubelet(path));
    let of_user = certain || (owner.kind == OwnerKind::Unit && split(last).is_some());
    is_name(&id).then(|| Wanted {
        path: path.to_owned(),
        id,
        certain,
        runtime: owner.runtime.filter(|_| certain),
        pod_uid: pod_uid.filter(|_| certain),
        user: owner.uid.filter(|_| of_user),
    })
}

/// The id in the name that podman gives a container with `--cgroups=split`, as quadlets have it: in the
/// unit that started it, whose owner may make such names too.
fn split(name: &str) -> Option<&str> {
    let id = name.strip_prefix("libpod-payload-")?;
    is_random(id).then_some(id)
}

/// Whether only the host's kubelet and its runtime can have made the tree of pods that a cgroup is in.
/// With another `--cgroup-root`, what is above it may as well be a container of `ctr` or runc.
fn is_of_kubelet(path: &str) -> bool {
    let names = path.split('/').skip(1);
    let mut above = names.take_while(|name| !name.contains("kubepods"));
    above.all(|name| {
        let slice = name.strip_suffix(".slice").is_some();
        slice || matches!(name, "kubelet" | "containerd.service")
    })
}

/// The id in a name that a runtime may have made of it.
fn id_in(name: &str) -> &str {
    if let Some(id) = id_of_scope(name) {
        return id;
    }
    if let Some((_, id)) = name.rsplit_once(':') {
        return id;
    }
    match name.rsplit_once('-') {
        Some((_, id)) if is_random(id) => id,
        _ => name,
    }
}

/// The name in `prefix-name.scope`, as runtimes write scopes for systemd.
fn id_of_scope(name: &str) -> Option<&str> {
    let stem = name.strip_suffix(".scope")?;
    match stem.rsplit_once('-') {
        Some((_, id)) if is_random(id) => Some(id),
        _ => stem.split_once('-').map(|(_, id)| id),
    }
}
