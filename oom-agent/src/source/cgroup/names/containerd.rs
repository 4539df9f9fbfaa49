//! containerd: the bundle of each task, for Kubernetes, `ctr`, nerdctl and docker.
//!
//! Reads `<state>/io.containerd.runtime.v2.task/<namespace>/<id>/config.json` (containerd
//! `docs/ops.md`), written before the cgroup is made. Emits names. Refuses a bundle that names another
//! cgroup where the path alone does not tell the id, and a pod's names outside of the namespace of the
//! CRI plugin.

use serde::Deserialize;

use super::{
    disk::{Disk, MOST_BYTES, first},
    files::{Dir, Miss},
    spec::{Spec, is_cgroup},
    survey::{Family, Shape},
    wanted::Wanted,
};
use crate::{event::Runtime, evidence::Names};

/// State directories: its own; that of k3s and RKE2; docker's, where it starts it itself; that of k0s;
/// that of `MicroK8s`.
const STATES: [&str; 5] = [
    "run/containerd",
    "run/k3s/containerd",
    "run/docker/containerd/daemon",
    "run/k0s/containerd",
    "var/snap/microk8s/common/run/containerd",
];
/// Where each namespace has its bundles.
const TASKS: &str = "io.containerd.runtime.v2.task";
/// Namespace of the CRI plugin.
const KUBERNETES: &str = "k8s.io";

/// Where this machine's containerd keeps its state.
#[derive(Debug)]
pub(super) struct Containerd {
    /// From its configuration, if that says so.
    configured: Option<String>,
}

/// `/etc/containerd/config.toml`.
#[derive(Deserialize)]
struct Config {
    state: Option<String>,
}

impl Containerd {
    pub(super) fn new(disk: &mut Disk) -> Self {
        let configured = disk
            .settings("etc/containerd", "config.toml", |text| {
                toml::from_str::<Config>(text).ok()
            })
            .and_then(|config| config.state)
            .filter(|state| !STATES.contains(&state.trim_matches('/')));
        Self { configured }
    }

    /// The container, by its bundle.
    pub(super) fn ask(&self, disk: &mut Disk, wanted: &Wanted) -> Result<Names, Miss> {
        first(self.states().map(|state| {
            let dir = disk.root.dir(state)?;
            in_state(disk, &dir, wanted)
        }))
    }

    /// Where bundles are.
    pub(super) fn shapes(&self) -> Vec<Shape> {
        let shape = |state: &str| Shape {
            family: Family::Containerd,
            dir: state.to_owned(),
            below: TASKS.to_owned(),
            namespaced: true,
            file: Some("config.json"),
        };
        self.states().map(shape).collect()
    }

    fn states(&self) -> impl Iterator<Item = &str> {
        self.configured.as_deref().into_iter().chain(STATES)
    }
}

fn in_state(disk: &mut Disk, dir: &Dir, wanted: &Wanted) -> Result<Names, Miss> {
    if wanted.pod_uid.is_some() {
        return in_namespace(disk, dir, KUBERNETES, wanted);
    }
    let namespaces = disk.namespaces(dir, TASKS)?;
    let ask = |namespace: &String| in_namespace(disk, dir, namespace, wanted);
    first(namespaces.iter().map(ask))
}

fn in_namespace(
    disk: &mut Disk,
    dir: &Dir,
    namespace: &str,
    wanted: &Wanted,
) -> Result<Names, Miss> {
    let id = &wanted.id;
    let path = format!("{TASKS}/{namespace}/{id}/config.json");
    let spec: Spec = disk.json(dir, &path, MOST_BYTES)?;
    let (annotations, cgroup) = spec.parts();
    if !wanted.certain && !cgroup.is_some_and(|cgroup| is_cgroup(&cgroup, &wanted.path)) {
        return Err(Miss::Absent);
    }
    let names = match namespace {
        KUBERNETES => annotations.of_cri()?,
        "moby" => Names {
            runtime: Some(Runtime::Docker),
            ..Names::default()
        },
        _ => annotations.of_containerd(id)?,
    };
    Ok(names)
}
