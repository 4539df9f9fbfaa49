//! The container as the OCI runtime specification describes it (`config.json`), as far as it says who
//! it is.
//!
//! Reads annotations and `linux.cgroupsPath`; emits them, whether the path is that of a cgroup, and
//! names. Refuses names of pods from anybody but those who make pods.

use serde::Deserialize;

use super::text::{IMAGE, NAME, is_random, kept};
use crate::{
    event::Runtime,
    evidence::{Names, PodNames, Unreadable},
};

/// `config.json` of a bundle.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Spec {
    annotations: Option<Annotations>,
    linux: Option<Linux>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Linux {
    cgroups_path: Option<String>,
}

impl Spec {
    /// Annotations, and the path of the cgroup.
    pub(super) fn parts(self) -> (Annotations, Option<String>) {
        let path = self.linux.and_then(|linux| linux.cgroups_path);
        (self.annotations.unwrap_or_default(), path)
    }
}

/// Annotations of a container, and labels where a runtime has these instead. Keys: containerd
/// `pkg/cri/annotations`, CRI-O `pkg/annotations`, nerdctl `pkg/labels`, the kubelet's
/// `kuberuntime/labels.go`, cri-dockerd `core`.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Annotations {
    #[serde(rename = "io.kubernetes.cri.container-type")]
    cri_type: Option<String>,
    #[serde(rename = "io.kubernetes.cri.container-name")]
    cri_name: Option<String>,
    #[serde(rename = "io.kubernetes.cri.image-name")]
    cri_image: Option<String>,
    #[serde(rename = "io.kubernetes.cri.sandbox-namespace")]
    cri_pod_namespace: Option<String>,
    #[serde(rename = "io.kubernetes.cri.sandbox-name")]
    cri_pod_name: Option<String>,
    #[serde(rename = "io.kubernetes.cri.sandbox-uid")]
    cri_pod_uid: Option<String>,
    #[serde(rename = "io.kubernetes.cri.sandbox-log-directory")]
    cri_logs: Option<String>,

    #[serde(rename = "io.kubernetes.container.name")]
    kube_name: Option<String>,
    #[serde(rename = "io.kubernetes.pod.namespace")]
    kube_pod_namespace: Option<String>,
    #[serde(rename = "io.kubernetes.pod.name")]
    kube_pod_name: Option<String>,
    #[serde(rename = "io.kubernetes.pod.uid")]
    kube_pod_uid: Option<String>,
    #[serde(rename = "io.kubernetes.docker.type")]
    docker_type: Option<String>,

    #[serde(rename = "io.container.manager")]
    manager: Option<String>,
    #[serde(rename = "io.kubernetes.cri-o.ContainerType")]
    crio_type: Option<String>,
    #[serde(rename = "io.kubernetes.cri-o.ContainerName")]
    crio_name: Option<String>,
    #[serde(rename = "io.kubernetes.cri-o.ImageName")]
    crio_image: Option<String>,
    #[serde(rename = "io.kubernetes.cri-o.Image")]
    crio_asked_image: Option<String>,

    #[serde(rename = "nerdctl/name")]
    nerdctl_name: Option<String>,
}

impl Annotations {
    /// Who runs it, where they say so.
    pub(super) fn manager(&self) -> Option<Runtime> {
        match self.manager.as_deref()? {
            "libpod" => Some(Runtime::Podman),
            "cri-o" => Some(Runtime::Crio),
            _ => None,
        }
    }

    /// Of the CRI plugin of containerd; its namespace must be the plugin's.
    pub(super) fn of_cri(self) -> Result<Names, Unreadable> {
        let sandbox = self.cri_type.as_deref() == Some("sandbox");
        let logs = self.cri_logs.as_deref();
        let of_logs = logs.and_then(|dir| {
            uid_of_logs(
                dir,
                self.cri_pod_namespace.as_deref()?,
                self.cri_pod_name.as_deref()?,
            )
        });
        let uid = self.cri_pod_uid.or(of_logs);
        Ok(Names {
            runtime: Some(Runtime::Containerd),
            container_name: kept(self.cri_name, NAME)?.filter(|_| !sandbox),
            image: kept(self.cri_image, IMAGE)?,
            pod: pod(self.cri_pod_namespace, self.cri_pod_name, uid)?,
            sandbox,
            ..Names::default()
        })
    }

    /// Of containerd for anybody else: nerdctl, or whoever chose the id.
    pub(super) fn of_containerd(self, id: &str) -> Result<Names, Unreadable> {
        let name = kept(self.nerdctl_name, NAME)?;
        Ok(Names {
            runtime: Some(Runtime::Containerd),
            container_name: name.or_else(|| chosen(id)),
            ..Names::default()
        })
    }

    /// Of CRI-O.
    pub(super) fn of_crio(self) -> Result<Names, Unreadable> {
        let sandbox = self.crio_type.as_deref() == Some("sandbox");
        let name = self.kube_name.or(self.crio_name);
        let image = kept(self.crio_image, IMAGE)?;
        let asked = kept(self.crio_asked_image, IMAGE)?;
        Ok(Names {
            runtime: Some(Runtime::Crio),
            container_name: kept(name, NAME)?.filter(|_| !sandbox),
            image: image.or(asked).filter(|_| !sandbox),
            pod: pod(
                self.kube_pod_namespace,
                self.kube_pod_name,
                self.kube_pod_uid,
            )?,
            sandbox,
            ..Names::default()
        })
    }

    /// Of the labels that cri-dockerd writes. Anybody can write them, so the path must have a pod.
    pub(super) fn of_docker(self) -> Result<Names, Unreadable> {
        let sandbox = self.docker_type.as_deref() == Some("podsandbox");
        Ok(Names {
            runtime: Some(Runtime::Docker),
            container_name: kept(self.kube_name, NAME)?.filter(|_| !sandbox),
            pod: pod(
                self.kube_pod_namespace,
                self.kube_pod_name,
                self.kube_pod_uid,
            )?,
            sandbox,
            ..Names::default()
        })
    }
}

/// The uid in the directory of a pod's logs, `<namespace>_<name>_<uid>` (the kubelet's `BuildPodLogsDirectory`): older
/// containerds tell it nowhere else of a sandbox.
fn uid_of_logs(dir: &str, namespace: &str, name: &str) -> Option<String> {
    let last = dir.trim_end_matches('/').rsplit('/').next()?;
    let rest = last.strip_prefix(namespace)?.strip_prefix('_')?;
    let uid = rest.strip_prefix(name)?.strip_prefix('_')?;
    Some(uid.to_owned())
}

/// An id that somebody chose is a name.
pub(super) fn chosen(id: &str) -> Option<String> {
    (!is_random(id)).then(|| id.to_owned())
}

/// A pod, if anything is said of one.
pub(super) fn pod(
    namespace: Option<String>,
    name: Option<String>,
    uid: Option<String>,
) -> Result<Option<PodNames>, Unreadable> {
    let pod = PodNames {
        namespace: kept(namespace, NAME)?,
        name: kept(name, NAME)?,
        uid: kept(uid, NAME)?,
    };
    Ok((pod != PodNames::default()).then_some(pod))
}

/// Whether `linux.cgroupsPath` means this cgroup.
///
/// Three colon-separated parts are a unit of systemd, `slice:prefix:name` (runc `docs/systemd.md`); a
/// runtime that does not drive systemd takes them for the name of one directory, in its own cgroup. Any
/// other absolute path is from the root of the hierarchy. A relative one is from the runtime's own cgroup, which
/// cannot be told from here, and matches nothing.
pub(super) fn is_cgroup(cgroups_path: &str, path: &str) -> bool {
    let mut parts = cgroups_path.split(':');
    let (Some(slice), Some(prefix), Some(name), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        let cgroup = cgroups_path.trim_end_matches('/');
        return cgroup.starts_with('/') && cgroup == path;
    };
    let is_slice = name.strip_suffix(".slice").is_some();
    let unit = if is_slice || prefix.is_empty() {
        name.to_owned()
    } else {
        format!("{prefix}-{name}.scope")
    };
    let Some((above, last)) = path.rsplit_once('/') else {
        return false;
    };
    let slice = if slice.is_empty() {
        "system.slice"
    } else {
        slice
    };
    let placed = last == unit && expand(slice).is_some_and(|slices| slices == above);
    let unplaced = matches!(above, "" | "/system.slice/containerd.service");
    placed || (unplaced && last == cgroups_path)
}

/// Where systemd puts a slice: `a-b.slice` is `/a.slice/a-b.slice`, `-.slice` the root.
fn expand(slice: &str) -> Option<String> {
    let stem = slice.strip_suffix(".slice")?;
    let mut path = String::new();
    if stem == "-" {
        return Some(path);
    }
    for (end, _) in stem.match_indices('-').chain([(stem.len(), "")]) {
        path.push('/');
        path.push_str(&stem[..end]);
        path.push_str(".slice");
    }
    Some(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cgroups_path_in_all_its_forms() {
        for (said, path, same) in [
            ("/default/demo", "/default/demo", true),
            ("/default/demo/", "/default/demo", true),
            ("/default/demo", "/other/default/demo", false),
            ("default/demo", "/default/demo", false),
            ("", "/", false),
            ("/", "/", false),
            (
                "system.slice:runc:web",
                "/system.slice/runc-web.scope",
                true,
            ),
            (":runc:web", "/system.slice/runc-web.scope", true),
            ("-.slice:runc:web", "/runc-web.scope", true),
            ("a-b.slice:cri:x", "/a.slice/a-b.slice/cri-x.scope", true),
            ("a-b.slice:cri:x", "/a-b.slice/cri-x.scope", false),
            ("a.slice::x", "/a.slice/x", true),
            ("a.slice:p:b.slice", "/a.slice/b.slice", true),
            ("a.slice:cri:x", "/a.slice:cri:x", true),
            (
                "a.slice:cri:x",
                "/system.slice/containerd.service/a.slice:cri:x",
                true,
            ),
            (
                "a.slice:cri:x",
                "/system.slice/x.service/a.slice:cri:x",
                false,
            ),
            ("a:cri:x", "/a/cri-x.scope", false),
            ("a.slice:cri:x:y", "/a.slice/cri-x.scope", false),
        ] {
            assert_eq!(is_cgroup(said, path), same, "{said} {path}");
        }
    }
}
