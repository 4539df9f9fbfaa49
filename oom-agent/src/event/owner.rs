//! Whose a cgroup is, and which level of its owner: a part of the contract.
//!
//! Reads nothing.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Whose a cgroup is. What its path does not tell is null.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Owner {
    /// What kind of owner.
    pub kind: OwnerKind,
    /// What made the cgroup. Null where the path does not tell: a container of the kubelet's cgroupfs
    /// driver, for one.
    pub runtime: Option<Runtime>,
    /// 64 hexadecimal digits; where somebody gave it by hand (`ctr run`, `runc run`), any name.
    pub container_id: Option<String>,
    /// Name of the container.
    pub container_name: Option<String>,
    /// Its image.
    pub image: Option<String>,
    /// The pod, also that of a container.
    pub pod: Option<Pod>,
    /// systemd unit, as systemd writes it (`\x2d` for a dash within a name).
    pub unit: Option<String>,
    /// Name of the machine: LXC, systemd-nspawn, libvirt.
    pub machine: Option<String>,
    /// The user in whose slice it is, or whose job it is.
    pub uid: Option<u32>,
    /// Number of the job (Slurm).
    pub job: Option<u32>,
}

impl Owner {
    /// Of a kind, and no more known.
    #[must_use]
    pub const fn of(kind: OwnerKind) -> Self {
        Self {
            kind,
            runtime: None,
            container_id: None,
            container_name: None,
            image: None,
            pod: None,
            unit: None,
            machine: None,
            uid: None,
            job: None,
        }
    }

    /// The pod, if it is one of Kubernetes.
    #[must_use]
    pub fn kubernetes_pod(&self) -> Option<&Pod> {
        self.pod.as_ref().filter(|pod| !pod.is_of_podman())
    }
}

/// Kinds of owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OwnerKind {
    /// A container, in a pod or not.
    Container,
    /// A pod, but none of its containers.
    Pod,
    /// A systemd unit.
    Unit,
    /// A user: a session, or what the user's own manager runs outside of its units.
    User,
    /// A container with a system of its own (LXC, systemd-nspawn), or a virtual machine.
    Machine,
    /// A job of a workload manager (Slurm).
    Job,
    /// The system itself, or nobody who can be told by the path; that is in `cgroup.path`.
    System,
}

/// What makes cgroups for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Runtime {
    /// containerd: of Kubernetes, or of nerdctl.
    Containerd,
    /// CRI-O.
    Crio,
    /// Docker.
    Docker,
    /// Podman.
    Podman,
    /// runc, crun or another low-level runtime, and nothing that is known above it.
    Runc,
    /// Kata Containers; what is known to contain its virtual machine.
    Kata,
    /// LXC, Incus, LXD.
    Lxc,
    /// systemd-nspawn.
    Nspawn,
    /// libvirt.
    Libvirt,
    /// Slurm.
    Slurm,
}

/// A pod: of Kubernetes, or of podman.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Pod {
    /// Its namespace.
    pub namespace: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// Its uid; a static pod has the hash of its configuration, a pod of podman its id: 64 hexadecimal digits.
    pub uid: String,
    /// Its class of service.
    pub qos: Option<Qos>,
}

impl Pod {
    /// Whether it is podman's, which knows neither namespaces nor classes: no uid of Kubernetes is 64 digits long.
    #[must_use]
    pub fn is_of_podman(&self) -> bool {
        self.uid.len() == 64
    }
}

/// Classes of service of pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Qos {
    /// Limits equal to requests.
    Guaranteed,
    /// Some requests.
    Burstable,
    /// None.
    BestEffort,
}

/// What a cgroup is a level of, and so whose limit its limit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LimitLevel {
    /// The container's own.
    Container,
    /// The pod's.
    Pod,
    /// All pods of a class of service.
    Qos,
    /// All pods of the node: what it has to allocate.
    Pods,
    /// A service's, a scope's, a session's.
    Unit,
    /// A slice's: of all units in it.
    Slice,
    /// All that is a user's.
    User,
    /// The machine's: LXC, systemd-nspawn, libvirt.
    Machine,
    /// The job's.
    Job,
    /// A cgroup that an owner has made within its own.
    Nested,
    /// The whole node: the root of the hierarchy.
    Node,
    /// Any other cgroup.
    Cgroup,
}
