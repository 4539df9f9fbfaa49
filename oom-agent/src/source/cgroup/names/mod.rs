//! What runtimes leave on disk about a container.
//!
//! Reads bundles, states and configurations of containerd, docker, podman, CRI-O, runc and crun, and
//! the kubelet's links to logs; asks no daemon. Emits [`Names`]. One file per runtime; `wanted` says
//! what to look for, `files` how files are opened. Refuses a container for a cgroup unless the path
//! has its id, or its runtime names the cgroup: a wrong owner is worse than none.
//!
//! Not looked up are pods (their containers name them) and cgroups within a container (its id is in
//! their path).

mod containerd;
mod disk;
mod docker;
mod exits;
mod files;
mod kubelet;
mod mounts;
mod runc;
mod spec;
mod storage;
pub mod survey;
#[cfg(test)]
mod tests;
mod text;
mod user;
mod wanted;

use std::{path::Path, sync::Arc};

use super::Ended;
use crate::{
    event::Runtime,
    evidence::{Lookup, Names, Unreadable},
};
use containerd::Containerd;
use disk::{Disk, or};
use docker::Docker;
use files::{Miss, Root};
use storage::Storage;
use wanted::{Wanted, wanted};

/// How often there were no names, by reason.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// [`Lookup::Absent`], where the path says that it is a container.
    pub absent: u64,
    /// [`Unreadable::Refused`].
    pub refused: u64,
    /// [`Unreadable::NotAFile`].
    pub not_a_file: u64,
    /// [`Unreadable::TooLarge`].
    pub too_large: u64,
    /// [`Unreadable::Malformed`].
    pub malformed: u64,
    /// [`Unreadable::Mismatch`].
    pub mismatch: u64,
    /// Directories with more entries than were looked at.
    pub cut_listings: u64,
    /// Settings of runtimes that could not be used: their defaults were taken.
    pub settings: u64,
}

/// Looks for containers in the files of their runtimes.
#[derive(Debug)]
pub struct Finder {
    disk: Disk,
    containerd: Containerd,
    docker: Docker,
    storage: Storage,
    counters: Counters,
}

impl Finder {
    /// With the host's files below `host_root`: `/`, or where they are mounted. Settings of runtimes are
    /// read now, all else when it is asked for.
    #[must_use]
    pub fn new(host_root: &Path) -> Self {
        let mut disk = Disk::new(Root::open(host_root));
        Self {
            containerd: Containerd::new(&mut disk),
            docker: Docker::new(&mut disk),
            storage: Storage::new(&mut disk),
            counters: Counters::default(),
            disk,
        }
    }

    /// What is on disk about the container of a cgroup, given by its path from the root of the
    /// hierarchy. Without a system call where that cannot be a container.
    pub fn lookup(&mut self, path: &str) -> Lookup {
        let Some(container) = wanted(path) else {
            return Lookup::NotNeeded;
        };
        match self.find(&container) {
            Ok(names) => Lookup::Found(Arc::new(names)),
            Err(Miss::Absent) => {
                // A name that could be anything is none's, as a rule.
                self.counters.absent += u64::from(container.certain);
                Lookup::Absent
            }
            Err(Miss::Unusable(why)) => {
                self.count(why);
                Lookup::Unreadable(why)
            }
        }
    }

    /// How the container of a cgroup ended; `names` is what [`Self::lookup`] said of it.
    pub fn ended(&mut self, path: &str, names: Option<&Names>) -> Ended {
        let Some(container) = wanted(path) else {
            return Ended::Untold;
        };
        let (id, user) = (&container.id, container.user);
        let known = names.is_some_and(|names| names.container_id.as_ref() == Some(id));
        if !container.certain && !known {
            return Ended::Untold;
        }
        let said = names.and_then(|names| names.runtime);
        let runtime = said.or(container.runtime);
        match runtime {
            Some(Runtime::Docker) => self.docker.ended(&mut self.disk, id, user),
            Some(Runtime::Podman | Runtime::Crio) | None => {
                // Written as soon as the main process has ended: what is not there never comes, or is gone again.
                let code = exits::of_conmon(&mut self.disk, &self.storage, id, user);
                code.map_or(Ended::Untold, Ended::With)
            }
            _ => Ended::Untold,
        }
    }

    /// How often there were no names, since the start.
    #[must_use]
    pub fn counters(&self) -> Counters {
        Counters {
            cut_listings: self.disk.cut,
            settings: self.disk.settings,
            ..self.counters
        }
    }

    fn find(&mut self, wanted: &Wanted) -> Result<Names, Miss> {
        let mut names = self.ask(wanted)?;
        agree(&mut names, wanted)?;
        if names.runtime == Some(Runtime::Docker)
            && names.container_name.is_none()
            && !names.sandbox
        {
            // Found by its cgroup; its names are docker's to tell.
            match self.docker.ask(&mut self.disk, &wanted.id, None, false) {
                Ok(told) => names = told,
                Err(Miss::Absent) => {}
                Err(Miss::Unusable(why)) => self.count(why),
            }
        }
        names.container_id = Some(wanted.id.clone());
        Ok(names)
    }

    fn ask(&mut self, wanted: &Wanted) -> Result<Names, Miss> {
        let disk = &mut self.disk;
        let in_pod = wanted.pod_uid.is_some();
        let (id, user) = (&wanted.id, wanted.user);
        if wanted.user.is_some() {
            return match wanted.runtime {
                Some(Runtime::Docker) => self.docker.ask(disk, id, user, false),
                _ => self.storage.ask(disk, wanted),
            };
        }
        let random = text::is_random(id);
        let may_be = |runtime| {
            wanted
                .runtime
                .is_none_or(|said| said == runtime || said == Runtime::Kata)
        };
        let mut asked = Err(Miss::Absent);
        if may_be(Runtime::Containerd) {
            asked = or(asked, || self.containerd.ask(disk, wanted));
        }
        if random && (may_be(Runtime::Podman) || may_be(Runtime::Crio)) {
            asked = or(asked, || self.storage.ask(disk, wanted));
        }
        // Docker does not write down its cgroups.
        if wanted.certain && may_be(Runtime::Docker) {
            asked = or(asked, || self.docker.ask(disk, id, None, in_pod));
        }
        if may_be(Runtime::Containerd) {
            asked = or(asked, || runc::ask(disk, wanted));
        }
        if in_pod {
            asked = or(asked, || kubelet::ask(disk, id));
        }
        asked
    }

    fn count(&mut self, why: Unreadable) {
        let counter = match why {
            Unreadable::Refused => &mut self.counters.refused,
            Unreadable::NotAFile => &mut self.counters.not_a_file,
            Unreadable::TooLarge => &mut self.counters.too_large,
            Unreadable::Malformed => &mut self.counters.malformed,
            Unreadable::Mismatch => &mut self.counters.mismatch,
        };
        *counter += 1;
    }
}

/// The path and the runtime must mean the same pod.
fn agree(names: &mut Names, wanted: &Wanted) -> Result<(), Unreadable> {
    let said = names.pod.as_mut().map(|pod| &mut pod.uid);
    let (Some(by_path), Some(said)) = (&wanted.pod_uid, said) else {
        return Ok(());
    };
    if said.as_ref().is_none_or(|said| said == by_path) {
        return Ok(());
    }
    // A static pod has the hash of its configuration in the path; its mirror in the API another uid.
    if by_path.contains('-') {
        return Err(Unreadable::Mismatch);
    }
    *said = None;
    Ok(())
}
