//! Whose a kill was, as labels: those of cAdvisor's `container_oom_events_total`.
//!
//! Reads where a victim was charged and who owns that; emits the labels of one series. Pure. There is one
//! series for each owner, however many cgroups it has made within its own: who was given a cgroup can make
//! any number. Refuses to guess: what is not known is an empty label, which to Prometheus is none.

use prometheus_client::encoding::EncodeLabelSet;

use crate::{
    cgroup_path::attribute,
    event::{Cgroup, Owner, OwnerKind, Runtime},
};

/// `id` of the kills whose cgroup nobody could tell. Paths begin with a slash.
pub const UNKNOWN: &str = "unknown";

/// `id` of the kills of series for which there was no room.
pub const OVERFLOW: &str = "overflow";

/// The labels of one series.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord, EncodeLabelSet)]
pub struct Labels {
    /// Name of the container within its pod; empty outside of pods.
    pub container: String,
    /// Path of the owner's cgroup.
    pub id: String,
    /// Image of the container.
    pub image: String,
    /// What its runtime calls the container: its id in a pod and in containerd, else its name.
    pub name: String,
    /// Namespace of the pod.
    pub namespace: String,
    /// Name of the pod.
    pub pod: String,
}

impl Labels {
    /// Those of a kill.
    #[must_use]
    pub fn of(cgroup: Option<&Cgroup>, owner: Option<&Owner>) -> Self {
        let Some(path) = cgroup.and_then(|cgroup| cgroup.path.as_deref()) else {
            return Self::alone(UNKNOWN);
        };
        let Some(owner) = owner else {
            return Self::alone(path);
        };
        let word = |word: &Option<String>| word.clone().unwrap_or_default();
        let pod = owner.kubernetes_pod();
        let in_pod = pod.is_some();
        let by_id = in_pod || owner.runtime == Some(Runtime::Containerd);
        let name = match &owner.container_name {
            Some(name) if !by_id => name.clone(),
            _ => word(&owner.container_id),
        };
        Self {
            container: word(&owner.container_name.clone().filter(|_| in_pod)),
            id: home(path, owner).to_owned(),
            image: word(&owner.image),
            name,
            namespace: pod.map(|pod| word(&pod.namespace)).unwrap_or_default(),
            pod: pod.map(|pod| word(&pod.name)).unwrap_or_default(),
        }
    }

    /// An `id` and nothing else.
    #[must_use]
    pub fn alone(id: &str) -> Self {
        Self {
            id: id.to_owned(),
            ..Self::default()
        }
    }

    /// Bytes of all its values.
    pub(super) fn bytes(&self) -> usize {
        let Self {
            container,
            id,
            image,
            name,
            namespace,
            pod,
        } = self;
        let all = [container, id, image, name, namespace, pod];
        all.iter().map(|value| value.len()).sum()
    }
}

/// The owner's own cgroup: `path`, or one above it. The path itself where the owner is told by it no further
/// than that it is nobody's.
fn home<'a>(path: &'a str, owner: &Owner) -> &'a str {
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    let levels = path.match_indices('/').map(|(at, _)| &path[..at]);
    let mut levels = levels.filter(|level| !level.is_empty());
    if owner.kind == OwnerKind::System {
        return path;
    }
    let id = owner.container_id.as_deref();
    let whole = attribute(path).owner;
    let home = if is_told(owner, &whole) {
        levels.find(|level| is_told(owner, &attribute(level).owner))
    } else {
        // Claimed by the runtime's own file, of a path that tells nobody.
        levels.find(|level| id.is_some_and(|id| is_named(level, id)))
    };
    home.unwrap_or(path)
}

/// Whether the last name of a path is an id, alone or as in `libpod-payload-<id>.scope`.
fn is_named(path: &str, id: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let name = name.strip_suffix(".scope").unwrap_or(name);
    let before = name.strip_suffix(id).filter(|_| !id.is_empty());
    before.is_some_and(|before| before.is_empty() || before.ends_with(['-', ':', '_']))
}

/// Whether a path tells this very owner. Of what the names add, and of the runtime, which may show only
/// further down, nothing is asked.
fn is_told(owner: &Owner, by_path: &Owner) -> bool {
    let uid = |owner: &Owner| owner.pod.as_ref().map(|pod| pod.uid.clone());
    owner.kind == by_path.kind
        && owner.container_id == by_path.container_id
        && (by_path.pod.is_none() || uid(owner) == uid(by_path))
        && owner.unit == by_path.unit
        && owner.machine == by_path.machine
        && owner.uid == by_path.uid
        && owner.job == by_path.job
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Pod;

    const ID: &str = "4f1d0b7f4c1de9116b1f0c2e7d3a4f559a610b7f4c1de9114f1d0b7f4c1de911";
    const UID: &str = "6b1f0c2e-7d3a-4f55-9a61-0b7f4c1de911";

    fn filled(text: &str) -> String {
        text.replace("{id}", ID).replace("{uid}", UID)
    }

    fn cgroup(path: &str) -> Cgroup {
        Cgroup {
            path: Some(path.to_owned()),
            id: None,
            version: None,
        }
    }

    /// As the path tells it, and with what a runtime's files would add.
    fn labels(path: &str, container: Option<&str>, pod: Option<(&str, &str)>) -> Labels {
        let path = filled(path);
        let mut owner = attribute(&path).owner;
        owner.container_name = container.map(str::to_owned);
        owner.image = container.map(|_| "shop/app:1".to_owned());
        if let (Some(of), Some((namespace, name))) = (&mut owner.pod, pod) {
            of.namespace = Some(namespace.to_owned());
            of.name = Some(name.to_owned());
        }
        Labels::of(Some(&cgroup(&path)), Some(&owner))
    }

    fn expected(id: &str, words: [&str; 5]) -> Labels {
        let [container, image, name, namespace, pod] = words.map(filled);
        Labels {
            container,
            id: filled(id),
            image,
            name,
            namespace,
            pod,
        }
    }

    #[test]
    fn a_container_is_called_what_cadvisor_calls_it() {
        let image = "shop/app:1";
        for (path, container, pod, words) in [
            (
                "/kubepods/burstable/pod{uid}/{id}",
                Some("app"),
                Some(("shop", "cart-0")),
                ["app", image, "{id}", "shop", "cart-0"],
            ),
            // A pod's own, for which no file has spoken.
            (
                "/kubepods/burstable/pod{uid}",
                None,
                Some(("shop", "cart-0")),
                ["", "", "", "shop", "cart-0"],
            ),
            (
                "/docker/{id}",
                Some("cart"),
                None,
                ["", image, "cart", "", ""],
            ),
            ("/docker/{id}", None, None, ["", "", "{id}", "", ""]),
            (
                "/system.slice/nginx.service",
                None,
                None,
                ["", "", "", "", ""],
            ),
            ("/scratch/by hand", None, None, ["", "", "", "", ""]),
        ] {
            assert_eq!(labels(path, container, pod), expected(path, words));
        }
    }

    #[test]
    fn what_an_owner_makes_within_its_own_is_the_owners() {
        for (path, home) in [
            (
                "/kubepods/burstable/pod{uid}/{id}/init/a",
                "/kubepods/burstable/pod{uid}/{id}",
            ),
            (
                "/machine.slice/libpod-{id}.scope/container",
                "/machine.slice/libpod-{id}.scope",
            ),
            (
                "/system.slice/nginx.service/worker/1",
                "/system.slice/nginx.service",
            ),
            (
                "/machine.slice/systemd-nspawn@web.service/payload/system.slice/a.service",
                "/machine.slice/systemd-nspawn@web.service",
            ),
            ("/docker/{id} (deleted)", "/docker/{id}"),
            ("/scratch/a/b", "/scratch/a/b"),
            ("/", "/"),
        ] {
            assert_eq!(labels(path, None, None).id, filled(home), "{path}");
        }
    }

    #[test]
    fn one_that_only_a_file_names_is_where_its_id_is() {
        let owner = Owner {
            runtime: Some(Runtime::Containerd),
            container_id: Some("demo".into()),
            container_name: Some("Demo".into()),
            ..Owner::of(OwnerKind::Container)
        };
        for (path, id) in [
            ("/default/demo", "/default/demo"),
            ("/default/demo/inner/x", "/default/demo"),
            ("/old_demo/x-demo.scope/inner", "/old_demo"),
            ("/mydemo/demos/x", "/mydemo/demos/x"),
            ("/elsewhere/x", "/elsewhere/x"),
        ] {
            let labels = Labels::of(Some(&cgroup(path)), Some(&owner));
            assert_eq!((labels.id.as_str(), labels.name.as_str()), (id, "demo"));
        }
    }

    #[test]
    fn a_pod_that_a_file_alone_names_does_not_hide_the_container() {
        let path = filled("/kata_overhead/{id}/inner");
        let mut owner = attribute(&path).owner;
        owner.pod = Some(Pod {
            namespace: Some("shop".into()),
            name: Some("cart-0".into()),
            uid: UID.into(),
            qos: None,
        });
        let labels = Labels::of(Some(&cgroup(&path)), Some(&owner));
        assert_eq!(labels.id, filled("/kata_overhead/{id}"));
        assert_eq!((&*labels.namespace, &*labels.pod), ("shop", "cart-0"));
    }

    #[test]
    fn what_is_not_known_is_said_so() {
        let owner = Owner {
            pod: Some(Pod {
                namespace: None,
                name: None,
                uid: UID.into(),
                qos: None,
            }),
            ..Owner::of(OwnerKind::Pod)
        };
        assert_eq!(Labels::of(None, Some(&owner)), Labels::alone(UNKNOWN));
        assert_eq!(Labels::of(None, None), Labels::alone("unknown"));
        assert_eq!(Labels::of(Some(&cgroup("/a")), None), Labels::alone("/a"));
    }
}
