//! What a path says, and what a runtime's own file adds to it or claims beyond it.
//!
//! Pure. Refuses names of another container than the path tells, and from a user's own files a pod.

use super::{attribute, desk::ContainerEvents, roster::container_path};
use crate::{
    event::{LimitLevel, Owner, OwnerKind, Pod},
    evidence::{Names, PodNames},
};

/// What the path says, with the names that a runtime's own file adds to it.
pub(super) fn owner_of(path: &str, names: Option<&Names>) -> Owner {
    let mut owner = attribute(path).owner;
    let Some(names) = names else {
        return owner;
    };
    match (&owner.container_id, &names.container_id) {
        (Some(told), Some(found)) if told != found => return owner,
        (None, Some(found)) if may_be_claimed(&owner) => {
            owner.kind = OwnerKind::Container;
            owner.container_id = Some(found.clone());
        }
        (None, _) => return owner,
        (Some(_), _) => {}
    }
    owner.runtime = owner.runtime.or(names.runtime);
    owner.container_name.clone_from(&names.container_name);
    owner.image.clone_from(&names.image);
    match (&mut owner.pod, &names.pod) {
        (Some(pod), Some(known)) => {
            pod.namespace.clone_from(&known.namespace);
            pod.name.clone_from(&known.name);
        }
        (pod @ None, Some(known)) if owner.uid.is_none() => *pod = pod_of(known),
        _ => {}
    }
    owner
}

/// A pod that the path does not tell: what Kata needs beside its machines is in `/kata_overhead`. Its class cannot be
/// told from there.
fn pod_of(known: &PodNames) -> Option<Pod> {
    Some(Pod {
        namespace: known.namespace.clone(),
        name: known.name.clone(),
        uid: known.uid.clone()?,
        qos: None,
    })
}

/// Whether a runtime may say that a cgroup is a container's where the path does not: `ctr` and `runc`
/// give them any names, and a scope of runc's looks like any other.
pub(super) fn may_be_claimed(owner: &Owner) -> bool {
    matches!(owner.kind, OwnerKind::System | OwnerKind::Unit)
}

/// Whether events tell of it.
pub(super) fn is_told(which: ContainerEvents, path: &str, names: Option<&Names>) -> bool {
    match which {
        ContainerEvents::None => false,
        ContainerEvents::All => true,
        ContainerEvents::Containers => {
            let place = attribute(path);
            let by_path = place.level == LimitLevel::Container;
            let by_claim = may_be_claimed(&place.owner)
                && names.is_some_and(|names| names.container_id.is_some());
            by_path || by_claim
        }
    }
}

/// What is asked for where the names of a cgroup are not known: what its container has left on disk.
pub(super) fn asked_of(path: &str) -> &str {
    container_path(path).unwrap_or(path)
}
