//! Whose a cgroup is, in words: in full for the report, briefly for the alert.
//!
//! Reads an [`Owner`]; emits words. Refuses to cut anything in the report; the alert, which has the
//! path beside it, shortens the id of a container to what command-line tools take.

use super::flow::{Line, Tone};
use crate::event::{LimitLevel, Owner, OwnerKind, Qos, Runtime};

/// Digits of a container's id that docker, crictl and podman show.
const SHORT: usize = 12;

/// All that is known.
pub(crate) fn full(line: &mut Line, owner: &Owner) {
    parts(line, owner, usize::MAX);
}

/// Whether the alert names it: where the path does not show it at a glance.
pub(crate) fn is_shown(owner: &Owner) -> bool {
    matches!(
        owner.kind,
        OwnerKind::Container | OwnerKind::Pod | OwnerKind::Machine | OwnerKind::Job
    )
}

/// `pod 6b1f0c2e-7d3a-4f55-9a61-0b7f4c1de911 (burstable), container 4f1d0b7f4c1d (containerd)`.
pub(crate) fn brief(line: &mut Line, owner: &Owner) {
    parts(line, owner, SHORT);
}

/// So many digits of a container's id.
fn parts(line: &mut Line, owner: &Owner, digits: usize) {
    let mut told = Told { line, any: false };
    if let Some(pod) = &owner.pod {
        match (&pod.namespace, &pod.name) {
            (Some(namespace), Some(name)) => told.name("pod", &format!("{namespace}/{name}")),
            _ if pod.is_of_podman() => told.name("pod", pod.uid.get(..digits).unwrap_or(&pod.uid)),
            _ => told.name("pod", &pod.uid),
        }
        if let Some(qos) = pod.qos {
            told.line.say(&format!("({})", class(qos)));
        }
    }
    let id = owner.container_id.as_deref();
    let id = id.map(|id| id.get(..digits).unwrap_or(id));
    if let Some(container) = owner.container_name.as_deref().or(id) {
        told.name("container", container);
    }
    if let Some(machine) = &owner.machine {
        told.name("machine", machine);
    }
    if let Some(job) = owner.job {
        told.name("job", &job.to_string());
    }
    if let Some(runtime) = owner.runtime.filter(|_| told.any) {
        told.line.say(&format!("({})", program(runtime)));
    }
    if let Some(image) = &owner.image {
        told.name("image", image);
    }
    if let Some(unit) = &owner.unit {
        told.name("systemd unit", unit);
    }
    if let Some(uid) = owner.uid {
        told.name("uid", &uid.to_string());
    }
    if !told.any {
        line.say("the system: the path names nobody else");
    }
}

struct Told<'a> {
    line: &'a mut Line,
    any: bool,
}

impl Told<'_> {
    fn name(&mut self, what: &str, name: &str) {
        if self.any {
            self.line.glue(",");
        }
        self.any = true;
        self.line.say(what).name(Tone::Strong, name);
    }
}

/// What a cgroup of this level is called. Nothing for one of which no more is known.
pub(crate) fn level(level: LimitLevel) -> Option<&'static str> {
    Some(match level {
        LimitLevel::Container => "the container",
        LimitLevel::Pod => "the pod",
        LimitLevel::Qos => "all pods of this class",
        LimitLevel::Pods => "all pods",
        LimitLevel::Unit => "the unit",
        LimitLevel::Slice => "the slice",
        LimitLevel::User => "the user",
        LimitLevel::Machine => "the machine",
        LimitLevel::Job => "the job",
        LimitLevel::Node => "the root",
        LimitLevel::Nested => "the inner cgroup",
        LimitLevel::Cgroup => return None,
    })
}

fn class(qos: Qos) -> &'static str {
    match qos {
        Qos::Guaranteed => "guaranteed",
        Qos::Burstable => "burstable",
        Qos::BestEffort => "best effort",
    }
}

fn program(runtime: Runtime) -> &'static str {
    match runtime {
        Runtime::Containerd => "containerd",
        Runtime::Crio => "CRI-O",
        Runtime::Docker => "docker",
        Runtime::Podman => "podman",
        Runtime::Runc => "runc",
        Runtime::Kata => "Kata",
        Runtime::Lxc => "LXC",
        Runtime::Nspawn => "systemd-nspawn",
        Runtime::Libvirt => "libvirt",
        Runtime::Slurm => "Slurm",
    }
}
