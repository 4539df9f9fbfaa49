//! What a cgroup is, as far as its path tells: a pod's, a container's, a unit's, or just a cgroup.
//!
//! Reads a path; emits a [`Place`]. Refuses to see a pod anywhere but below `kubepods`.

/// A level of the tree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Place {
    /// The root.
    Root,
    /// All pods, or all of one class of service.
    AllPods,
    Pod,
    ContainerOfPod,
    Slice,
    Unit,
    Cgroup,
}

impl Place {
    /// By the path of a cgroup.
    pub(super) fn of(path: Option<&str>) -> Self {
        let Some(path) = path else {
            return Self::Cgroup;
        };
        let names = path.split('/').filter(|name| !name.is_empty());
        names.fold(Self::Root, Self::below)
    }

    /// What a cgroup of this name is, in a cgroup that is `self`.
    fn below(self, name: &str) -> Self {
        let suffix = name.rsplit_once('.').map(|(_, suffix)| suffix);
        match self {
            Self::Pod | Self::ContainerOfPod => Self::ContainerOfPod,
            Self::AllPods if is_pod(name) => Self::Pod,
            Self::AllPods => Self::AllPods,
            _ if is_kubepods(name) => Self::AllPods,
            _ if suffix == Some("slice") => Self::Slice,
            _ if matches!(suffix, Some("service" | "scope")) => Self::Unit,
            _ => Self::Cgroup,
        }
    }

    pub(super) fn with_article(self) -> &'static str {
        match self {
            Self::Root => "the root",
            Self::AllPods => "all pods (of this class)",
            Self::Pod => "the pod",
            Self::ContainerOfPod => "the container",
            Self::Slice => "the slice",
            Self::Unit => "the unit",
            Self::Cgroup => "the cgroup",
        }
    }
}

/// `kubepods`, `kubepods.slice`, `kubelet-kubepods.slice` (kind).
fn is_kubepods(name: &str) -> bool {
    let name = name.strip_prefix("kubelet-").unwrap_or(name);
    matches!(name, "kubepods" | "kubepods.slice")
}

/// `pod<uid>` (cgroupfs), `kubepods-burstable-pod<uid>.slice` (systemd).
fn is_pod(name: &str) -> bool {
    match name.strip_suffix(".slice") {
        Some(slice) => slice.contains("-pod"),
        None => name.starts_with("pod"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pod_is_one_only_below_kubepods() {
        for (path, place) in [
            ("/", Place::Root),
            ("/kubepods", Place::AllPods),
            ("/kubepods.slice/kubepods-burstable.slice", Place::AllPods),
            ("/kubepods/burstable/pod0a1b", Place::Pod),
            ("/kubepods/burstable/pod0a1b/4f1d", Place::ContainerOfPod),
            (
                "/kubepods/burstable/pod0a1b/4f1d/inner.slice",
                Place::ContainerOfPod,
            ),
            (
                "/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod0a1b.slice",
                Place::Pod,
            ),
            (
                "/kubelet.slice/kubelet-kubepods.slice/kubelet-kubepods-pod0a.slice/cri-containerd-9.scope",
                Place::ContainerOfPod,
            ),
            ("/system.slice", Place::Slice),
            ("/system.slice/app.service", Place::Unit),
            ("/user.slice/pod1", Place::Cgroup),
            ("/pod1/kubepods-pod2.slice", Place::Slice),
            ("/scratch", Place::Cgroup),
        ] {
            assert_eq!(Place::of(Some(path)), place, "{path}");
        }
        assert_eq!(Place::of(None), Place::Cgroup);
    }
}
