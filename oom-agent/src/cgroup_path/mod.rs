//! Whose a cgroup is, and which level of its owner: from the path alone.
//!
//! Reads a path as the kernel prints it; emits an [`Owner`] and a [`LimitLevel`]. Pure. Walks from the
//! root, for a name means something only below certain others: a pod only below `kubepods`, a slice
//! only below the one that its name repeats. The first owner keeps all below it, since who was given a
//! cgroup can make any names in it; one exception: pods in a container that is no pod's (a cluster in
//! docker). Refuses what merely looks like an id: it is the system's, or the owner's above; and an id
//! where others than the host's runtimes can have made the cgroup, as in a unit: podman's with
//! `--cgroups=split` is its unit's, until podman's own file names the cgroup.

mod guests;
mod names;
mod pods;
#[cfg(test)]
mod tests;

use self::names::Scope;
use crate::event::{LimitLevel, Owner, OwnerKind, Pod, Qos, Runtime};

/// What a cgroup is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Whose it is.
    pub owner: Owner,
    /// Which level: what a limit of it is a limit of.
    pub level: LimitLevel,
}

/// By the path of a cgroup from the root of its hierarchy.
#[must_use]
pub fn attribute(path: &str) -> Place {
    // The kernel writes it behind the path of a cgroup that is gone (`/proc/<pid>/cgroup`).
    let path = path.strip_suffix(" (deleted)").unwrap_or(path);
    let mut walk = Walk::new();
    if path == "/" {
        return walk.place;
    }
    let Some(path) = path.strip_prefix('/') else {
        walk.unknown();
        return walk.place;
    };
    let names: Vec<&str> = path.split('/').collect();
    // `/..` is how the kernel prints what lies outside of the reader's cgroup namespace.
    if names.iter().any(|name| matches!(*name, "" | "." | "..")) {
        walk.unknown();
        return walk.place;
    }
    for (depth, name) in names.iter().enumerate() {
        walk.enter(name, &names[..depth]);
    }
    walk.place
}

/// Where the walk is, and so which names count.
#[derive(Clone, Copy)]
enum Area {
    /// The host's own; `slices`: nothing but slices so far.
    Host {
        slices: bool,
    },
    /// All pods, or those of a class.
    Pods(Option<Qos>),
    /// A pod.
    Pod,
    /// A pod of podman.
    PodmanPod,
    /// A container of no pod.
    Container,
    /// A machine with a manager of its own.
    Guest,
    /// The slice of a user, and the user's own manager.
    User(u32),
    Manager(u32),
    /// A service or scope, of the system or in a user's own manager.
    Unit,
    /// Slurm's tree in a hierarchy of version 1.
    Slurm,
    /// Nothing below can change the owner.
    Closed,
}

struct Walk {
    area: Area,
    place: Place,
}

impl Walk {
    fn new() -> Self {
        Self {
            area: Area::Host { slices: true },
            place: Place {
                owner: Owner::of(OwnerKind::System),
                level: LimitLevel::Node,
            },
        }
    }

    /// Goes down to the cgroup `name`, in those `above`.
    fn enter(&mut self, name: &str, above: &[&str]) {
        let parent = above.last().copied();
        match self.area {
            Area::Host { slices } => self.host(name, above, slices),
            Area::Pods(class) => self.pods(name, parent.unwrap_or_default(), class),
            Area::Pod => self.pod(name),
            Area::PodmanPod => self.podman_pod(name),
            Area::Container if pods::is_root(name, parent) => {
                self.area = Area::Pods(None);
                self.place.level = LimitLevel::Pods;
            }
            Area::Container => self.place.level = LimitLevel::Nested,
            Area::Guest => self.guest(name),
            Area::User(uid) => self.user(name, uid),
            Area::Manager(uid) => self.manager(name, parent, uid),
            Area::Unit => self.unit(name, parent.unwrap_or_default()),
            Area::Slurm => self.slurm(name, above),
            Area::Closed => self.nested(),
        }
    }

    fn host(&mut self, name: &str, above: &[&str], slices: bool) {
        let parent = above.last().copied();
        let system = || Owner::of(OwnerKind::System);
        if let Some((runtime, id)) = container(name, above, slices) {
            let owner = Owner::container(Some(runtime), id);
            self.now(Area::Container, owner, LimitLevel::Container);
        } else if let Some(id) = pods::of_podman(name, above, slices) {
            let owner = Owner::podman_pod(id);
            self.now(Area::PodmanPod, owner, LimitLevel::Pod);
        } else if let Some(owner) = guests::guest(name, above, slices) {
            self.now(Area::Guest, owner, LimitLevel::Machine);
        } else if pods::is_root(name, parent) {
            let slice = slices && names::is_slice(name, parent);
            let owner = if slice { Owner::unit(name) } else { system() };
            self.now(Area::Pods(None), owner, LimitLevel::Pods);
        } else if let Some(uid) = user_slice(name, parent, slices) {
            let owner = Owner {
                kind: OwnerKind::User,
                ..Owner::unit(name).with_uid(uid)
            };
            self.now(Area::User(uid), owner, LimitLevel::User);
        } else if slices && names::is_slice(name, parent) {
            let area = Area::Host { slices };
            self.now(area, Owner::unit(name), LimitLevel::Slice);
        } else if slices && is_placed_unit(name, parent) && names::scope(name) == Scope::Other {
            self.now(Area::Unit, Owner::unit(name), LimitLevel::Unit);
        } else if parent.is_none() && (name == "slurm" || name.starts_with("slurm_")) {
            self.now(Area::Slurm, system(), LimitLevel::Cgroup);
        } else if parent.is_some() || !self.pod_in_one_name(name) {
            let area = Area::Host { slices: false };
            self.now(area, system(), LimitLevel::Cgroup);
        }
    }

    fn pods(&mut self, name: &str, parent: &str, class: Option<Qos>) {
        if let Some(uid) = pods::pod(name, parent) {
            let owner = Owner::pod(uid, class.unwrap_or(Qos::Guaranteed));
            self.now(Area::Pod, owner, LimitLevel::Pod);
        } else if let Some(found) = pods::class(name, parent).filter(|_| class.is_none()) {
            self.area = Area::Pods(Some(found));
            self.place.level = LimitLevel::Qos;
            if self.place.owner.kind == OwnerKind::Unit {
                self.place.owner = Owner::unit(name);
            }
        } else if (class, name, parent) == (None, "kubepods", "kubepods") {
            // Some clusters in docker have it twice.
        } else {
            self.unknown();
        }
    }

    fn pod(&mut self, name: &str) {
        self.nested();
        if let Some((runtime, id)) = pods::container(name) {
            let owner = &mut self.place.owner;
            owner.kind = OwnerKind::Container;
            owner.runtime = runtime;
            owner.container_id = Some(id.to_owned());
            self.place.level = LimitLevel::Container;
        }
    }

    /// Its containers have the same names as those in no pod.
    fn podman_pod(&mut self, name: &str) {
        self.nested();
        if let Some(id) = pods::container_of_podman(name) {
            let owner = &mut self.place.owner;
            owner.kind = OwnerKind::Container;
            owner.container_id = Some(id.to_owned());
            self.place.level = LimitLevel::Container;
            // Users' own containers have no cluster that the host should see.
            if owner.uid.is_none() {
                self.area = Area::Container;
            }
        }
    }

    /// systemd-nspawn divides its scope; others that register a machine do not.
    fn guest(&mut self, name: &str) {
        let runtime = &mut self.place.owner.runtime;
        if runtime.is_none() && matches!(name, "payload" | "supervisor") {
            *runtime = Some(Runtime::Nspawn);
        }
        self.nested();
    }

    fn user(&mut self, name: &str, uid: u32) {
        let unit = Owner::unit(name).with_uid(uid);
        let owner = Owner {
            kind: OwnerKind::User,
            ..unit.clone()
        };
        if names::number(name, "user@", ".service") == Some(uid) {
            self.now(Area::Manager(uid), owner, LimitLevel::User);
        } else if names::is_session(name) {
            self.now(Area::Closed, owner, LimitLevel::Unit);
        } else if names::is_unit(name) && names::scope(name) == Scope::Other {
            self.now(Area::Closed, unit, LimitLevel::Unit);
        } else {
            self.nested();
        }
    }

    fn manager(&mut self, name: &str, parent: Option<&str>, uid: u32) {
        let unit = Owner::unit(name).with_uid(uid);
        if let Scope::Container(runtime, id) = names::scope(name) {
            let owner = Owner::container(Some(runtime), id).with_uid(uid);
            self.now(Area::Closed, owner, LimitLevel::Container);
        } else if let Some(id) = pods::slice_of_podman(name, parent) {
            let owner = Owner::podman_pod(id).with_uid(uid);
            self.now(Area::PodmanPod, owner, LimitLevel::Pod);
        } else if names::is_slice(name, parent) {
            let owner = Owner {
                kind: OwnerKind::User,
                ..unit
            };
            self.now(Area::Manager(uid), owner, LimitLevel::Slice);
        } else if names::is_unit(name) && names::scope(name) == Scope::Other {
            self.now(Area::Unit, unit, LimitLevel::Unit);
        } else {
            self.nested();
        }
    }

    fn unit(&mut self, name: &str, parent: &str) {
        // Users give the units of their own managers any names.
        let system = self.place.owner.uid.is_none();
        let stepd = parent == "slurmstepd.scope" || parent.ends_with("_slurmstepd.scope");
        let job = names::number(name, "job_", "").filter(|_| stepd && system);
        if parent == "containerd.service" && system && self.pod_in_one_name(name) {
            return;
        }
        self.nested();
        if let Some(job) = job {
            self.place.owner.run_as_job(job);
            self.place.level = LimitLevel::Job;
        }
    }

    fn slurm(&mut self, name: &str, above: &[&str]) {
        let user = names::number(name, "uid_", "").filter(|_| above.len() == 1);
        let job = names::number(name, "job_", "").filter(|_| above.len() == 2);
        if let Some(uid) = user {
            let owner = Owner {
                runtime: Some(Runtime::Slurm),
                ..Owner::of(OwnerKind::User).with_uid(uid)
            };
            self.now(Area::Slurm, owner, LimitLevel::User);
        } else if let Some(job) = job {
            self.nested();
            self.place.owner.run_as_job(job);
            self.place.level = LimitLevel::Job;
        } else {
            self.nested();
        }
    }

    fn pod_in_one_name(&mut self, name: &str) -> bool {
        let Some((uid, qos, runtime, id)) = pods::in_one_name(name) else {
            return false;
        };
        let owner = Owner {
            pod: Owner::pod(uid, qos).pod,
            ..Owner::container(Some(runtime), id)
        };
        self.now(Area::Closed, owner, LimitLevel::Container);
        true
    }

    fn now(&mut self, area: Area, owner: Owner, level: LimitLevel) {
        self.area = area;
        self.place = Place { owner, level };
    }

    /// Somewhere within what was found.
    fn nested(&mut self) {
        self.area = Area::Closed;
        let system = self.place.owner.kind == OwnerKind::System;
        self.place.level = if system {
            LimitLevel::Cgroup
        } else {
            LimitLevel::Nested
        };
    }

    /// Nothing known: of the container that it is in, else of the system.
    fn unknown(&mut self) {
        if self.place.owner.kind != OwnerKind::Container {
            self.place.owner = Owner::of(OwnerKind::System);
        }
        self.nested();
    }
}

/// A container that is not in a pod.
fn container<'a>(name: &'a str, above: &[&str], slices: bool) -> Option<(Runtime, &'a str)> {
    if let Scope::Container(runtime, id) = names::scope(name) {
        return (slices && !above.is_empty()).then_some((runtime, id));
    }
    let (runtime, id) = match above {
        ["docker"] => (Runtime::Docker, name),
        ["kata_overhead"] => (Runtime::Kata, name),
        ["libpod_parent"] => (Runtime::Podman, name.strip_prefix("libpod-")?),
        _ => return None,
    };
    names::is_id(id).then_some((runtime, id))
}

fn user_slice(name: &str, parent: Option<&str>, slices: bool) -> Option<u32> {
    let uid = names::number(name, "user-", ".slice")?;
    (slices && parent == Some("user.slice")).then_some(uid)
}

/// Units are in slices; `init.scope` alone is in none.
fn is_placed_unit(name: &str, parent: Option<&str>) -> bool {
    name == "init.scope" || (parent.is_some() && names::is_unit(name))
}

impl Owner {
    fn container(runtime: Option<Runtime>, id: &str) -> Self {
        Self {
            runtime,
            container_id: Some(id.to_owned()),
            ..Self::of(OwnerKind::Container)
        }
    }

    fn pod(uid: String, qos: Qos) -> Self {
        let pod = Pod {
            namespace: None,
            name: None,
            uid,
            qos: Some(qos),
        };
        Self {
            pod: Some(pod),
            ..Self::of(OwnerKind::Pod)
        }
    }

    /// Podman leaves no name of a pod where it can be read.
    fn podman_pod(id: &str) -> Self {
        let pod = Pod {
            namespace: None,
            name: None,
            uid: id.to_owned(),
            qos: None,
        };
        Self {
            runtime: Some(Runtime::Podman),
            pod: Some(pod),
            ..Self::of(OwnerKind::Pod)
        }
    }

    fn unit(name: &str) -> Self {
        Self {
            unit: Some(name.to_owned()),
            ..Self::of(OwnerKind::Unit)
        }
    }

    fn with_uid(self, uid: u32) -> Self {
        Self {
            uid: Some(uid),
            ..self
        }
    }

    fn run_as_job(&mut self, job: u32) {
        self.kind = OwnerKind::Job;
        self.runtime = Some(Runtime::Slurm);
        self.job = Some(job);
    }
}
