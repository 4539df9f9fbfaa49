//! Whose a cgroup is, in one word of a table.
//!
//! Reads an [`Owner`] and the path; emits the most that people call it by. Refuses nothing: who is not
//! named is the path.

use crate::{
    event::{Cgroup, Owner},
    render::escape::name,
};

/// Digits of ids that command-line tools take.
const SHORT: usize = 12;

/// `shop/cart-0/app`, `nginx.service`, `/a/b`.
pub(super) fn owner(owner: Option<&Owner>, cgroup: Option<&Cgroup>) -> Option<String> {
    let named = owner.and_then(named);
    let path = || cgroup.and_then(|cgroup| cgroup.path.clone());
    let text = named.or_else(path)?;
    Some(name(&text).into_owned())
}

fn named(owner: &Owner) -> Option<String> {
    let container = container(owner);
    if let Some(pod) = pod(owner) {
        return Some(match container {
            Some(container) => format!("{pod}/{container}"),
            None => pod,
        });
    }
    container
        .or_else(|| owner.machine.clone())
        .or_else(|| owner.job.map(|job| format!("job-{job}")))
        .or_else(|| owner.unit.clone())
        .or_else(|| owner.uid.map(|uid| format!("uid-{uid}")))
}

/// `shop/cart-0`; without names the uid.
pub(super) fn pod(owner: &Owner) -> Option<String> {
    let pod = owner.pod.as_ref()?;
    Some(match (&pod.namespace, &pod.name) {
        (Some(namespace), Some(name)) => format!("{namespace}/{name}"),
        _ if pod.is_of_podman() => pod.uid.get(..SHORT).unwrap_or(&pod.uid).to_owned(),
        _ => pod.uid.clone(),
    })
}

/// Its name, else its id.
pub(super) fn container(owner: &Owner) -> Option<String> {
    let id = owner.container_id.as_deref();
    let id = id.map(|id| id.get(..SHORT).unwrap_or(id));
    owner.container_name.as_deref().or(id).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{OwnerKind, Pod};

    #[test]
    fn the_most_that_people_call_it_by() {
        let id = "4f1d0b7f4c1d".repeat(5) + "abcd";
        let names = Pod {
            namespace: Some("shop".into()),
            name: Some("cart-0".into()),
            uid: "6b1f".into(),
            qos: None,
        };
        let container = Owner {
            container_id: Some(id),
            ..Owner::of(OwnerKind::Container)
        };
        let app = Owner {
            container_name: Some("app".into()),
            ..container.clone()
        };
        let with = |pod: &Pod, of: &Owner| Owner {
            pod: Some(pod.clone()),
            ..of.clone()
        };
        let nameless = Pod {
            name: None,
            ..names.clone()
        };
        let cgroup = Cgroup {
            path: Some("/a b".into()),
            id: None,
            version: None,
        };
        let unit = Owner {
            unit: Some("nginx.service".into()),
            ..Owner::of(OwnerKind::Unit)
        };
        for (of, expected) in [
            (container.clone(), "4f1d0b7f4c1d"),
            (app.clone(), "app"),
            (with(&names, &app), "shop/cart-0/app"),
            (with(&nameless, &container), "6b1f/4f1d0b7f4c1d"),
            (with(&names, &Owner::of(OwnerKind::Pod)), "shop/cart-0"),
            (unit, "nginx.service"),
            (Owner::of(OwnerKind::System), "\"/a b\""),
        ] {
            assert_eq!(owner(Some(&of), Some(&cgroup)).as_deref(), Some(expected));
        }
        assert_eq!(owner(None, None), None);
    }
}
