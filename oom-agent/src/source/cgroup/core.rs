//! What was seen → evidence: lookups at the right time, and what is remembered between two events.
//!
//! Remembers only what no event says again: a cgroup's last name (version 1, where it can be renamed
//! and the kernel tells but the new name) and the names of containers, for when they are removed. Both
//! are bounded, and what found no room is counted. The removal of a container whose runtime is about to
//! write down how it ended waits for that (`endings`), but never behind what follows at the same path.

use std::{collections::HashMap, fmt, sync::Arc};

use super::{
    Change,
    asks::Ask,
    endings::{Ending, Endings},
    pending::Pending,
    watch::Watched,
};
use crate::evidence::{CgroupEvidence, Evidence, Found, KnownCgroup, Lookup, Names};

/// Cgroups whose last name is kept. The kernel allows 65,535 memory cgroups (`MEM_CGROUP_ID_MAX`).
const LAST_NAMES: usize = 65_536;

/// Containers whose names are kept.
const CONTAINERS: usize = 4096;

/// What lived shorter than this was no container, ns: starting one takes longer.
const NO_CONTAINER_NS: u64 = 50_000_000;

/// Finds what runtimes leave on disk.
pub trait Lookups: Send {
    /// The names of a cgroup's owner. Quick where the path says all.
    fn lookup(&mut self, path: &str) -> Lookup;

    /// How the container ended that the removed cgroup was; `names` if they were found.
    fn ended(&mut self, path: &str, names: Option<&Names>) -> Ended;

    /// What it did not find, since the start.
    fn misses(&self) -> Misses {
        Misses::default()
    }
}

/// What lookups did not find; what they found and could not use is said with the cgroup.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Misses {
    /// Looks for names that found nothing.
    pub absent: u64,
    /// Directories with more entries than were looked at.
    pub cut_listings: u64,
    /// Settings of runtimes that could not be used: their defaults were taken.
    pub settings: u64,
}

/// How a container ended, as far as its runtime has written it down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// With this exit code.
    With(i32),
    /// It will be written down in a moment.
    NotYet,
    /// Nobody writes it down.
    Untold,
}

/// What the watch has seen, from its start to its end.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Cgroups whose creation was seen.
    pub made: u64,
    /// Removals seen.
    pub removed: u64,
    /// Renames seen.
    pub renamed: u64,
    /// Changes that were lost, as far as they can be counted.
    pub lost: u64,
    /// Losses of which nobody knows how many changes they were.
    pub overflows: u64,
    /// Events that could not be understood or read; in `lost` too.
    pub refused: u64,
    /// Complete scans.
    pub scans: u64,
    /// Directories that could not be read.
    pub unread: u64,
    /// Looked up.
    pub lookups: u64,
    /// Questions answered.
    pub asked: u64,
    /// Questions for which there was no room.
    pub asks_refused: u64,
    /// Cgroups that were not looked up again, whose names were not kept, or whose exit code was not waited
    /// for, for want of room.
    pub no_room: u64,
    /// How they are watched now.
    pub watched: Watched,
    /// What was not found on disk.
    pub misses: Misses,
}

pub(super) struct Core {
    lookups: Box<dyn Lookups>,
    version: u8,
    pending: Pending,
    endings: Endings,
    /// Last name by id, with the scan that saw it.
    last_names: HashMap<u64, (u64, Box<str>)>,
    containers: HashMap<u64, (u64, Arc<Names>)>,
    /// The running scan's number.
    scan: u64,
    pub(super) counts: Counts,
}

impl fmt::Debug for Core {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Core")
            .field("counts", &self.counts)
            .finish_non_exhaustive()
    }
}

/// A cgroup that is there.
#[derive(Debug)]
pub(super) struct Seen {
    pub(super) path: Arc<str>,
    pub(super) id: u64,
    pub(super) monotonic_ns: u64,
    pub(super) found: Found,
}

impl Core {
    pub(super) fn new(lookups: Box<dyn Lookups>, version: u8) -> Self {
        Self {
            lookups,
            version,
            pending: Pending::default(),
            endings: Endings::default(),
            last_names: HashMap::new(),
            containers: HashMap::new(),
            scan: 0,
            counts: Counts::default(),
        }
    }

    /// A cgroup was found, or made.
    pub(super) fn seen(&mut self, seen: Seen, now_ns: u64, out: &mut Vec<Evidence>) {
        let lookup = self.look(&seen.path);
        if matches!(lookup, Lookup::Absent | Lookup::Unreadable(_)) {
            let new = seen.found == Found::Created;
            self.look_again(&seen.path, Some(seen.id), new, now_ns);
        }
        self.known(seen, lookup, out);
    }

    /// Something happened. True if the tree has to be scanned for it.
    pub(super) fn change(
        &mut self,
        change: Change,
        now_ns: u64,
        gone: &ShortLived,
        out: &mut Vec<Evidence>,
    ) -> bool {
        match change {
            Change::Made {
                path,
                id,
                monotonic_ns,
            } => {
                let seen = Seen {
                    path,
                    id,
                    monotonic_ns,
                    found: Found::Created,
                };
                if gone.has(id, monotonic_ns) {
                    self.known(seen, Lookup::Absent, out);
                } else {
                    self.seen(seen, now_ns, out);
                }
            }
            Change::Removed {
                path,
                id,
                monotonic_ns,
            } => {
                self.counts.removed += 1;
                self.pending.cancel(&path, Some(id));
                self.last_names.remove(&id);
                let names = self.containers.remove(&id).map(|(_, names)| names);
                let ending = Ending {
                    path,
                    id,
                    monotonic_ns,
                    names,
                };
                if gone.was(id) {
                    out.push(removed(ending, None));
                } else {
                    self.ended(ending, now_ns, out);
                }
            }
            Change::Renamed {
                from,
                path,
                id,
                monotonic_ns,
            } => {
                self.counts.renamed += 1;
                self.end_now(|_| true, out);
                let Some(from) = from.or_else(|| self.before(id, &path)) else {
                    // Its making was lost: a scan tells what is there.
                    let found = Found::Late;
                    let seen = Seen {
                        path,
                        id,
                        monotonic_ns,
                        found,
                    };
                    self.seen(seen, now_ns, out);
                    return true;
                };
                self.remember(id, &path);
                self.pending.rename(&from, &path);
                out.push(evidence(CgroupEvidence::Renamed {
                    from,
                    path,
                    id: Some(id),
                    monotonic_ns,
                }));
            }
            Change::Lost { events } => {
                self.lost(events, out);
                return true;
            }
        }
        false
    }

    /// Changes were lost.
    pub(super) fn lost(&mut self, events: Option<u64>, out: &mut Vec<Evidence>) {
        match events {
            Some(events) => self.counts.lost += events,
            None => self.counts.overflows += 1,
        }
        out.push(evidence(CgroupEvidence::Lost { events }));
    }

    /// A scan begins.
    pub(super) fn scan_begins(&mut self) {
        self.scan += 1;
    }

    /// A scan is complete: what it has not seen is gone.
    pub(super) fn scanned(&mut self, began_ns: u64, out: &mut Vec<Evidence>) {
        let scan = self.scan;
        self.counts.scans += 1;
        self.end_now(|_| true, out);
        self.last_names.retain(|_, (seen, _)| *seen >= scan);
        self.containers.retain(|_, (seen, _)| *seen >= scan);
        out.push(evidence(CgroupEvidence::Scanned { began_ns }));
    }

    /// Answers a question.
    pub(super) fn answer(&mut self, ask: Ask, now_ns: u64, out: &mut Vec<Evidence>) {
        self.counts.asked += 1;
        self.end_before(&ask.path, ask.id, out);
        let lookup = self.look(&ask.path);
        match &lookup {
            Lookup::Found(names) => self.found(&ask.path, ask.id, names),
            Lookup::Absent | Lookup::Unreadable(_) => {
                self.look_again(&ask.path, ask.id, true, now_ns);
            }
            Lookup::NotNeeded => {}
        }
        out.push(evidence(CgroupEvidence::Known(KnownCgroup {
            path: ask.path,
            id: ask.id,
            version: self.version,
            monotonic_ns: now_ns,
            found: Found::LookedUp,
            lookup,
        })));
    }

    /// Looks again for one that is due, gone or there; false if none is.
    pub(super) fn look_at_one_due(&mut self, now_ns: u64, out: &mut Vec<Evidence>) -> bool {
        if let Some((ending, last)) = self.endings.due(now_ns) {
            match self.how_ended(&ending) {
                Ended::NotYet if !last => {}
                ended => {
                    self.endings.told(&ending);
                    out.push(removed(ending, ended.code()));
                }
            }
            return true;
        }
        let Some((again, last)) = self.pending.due(now_ns) else {
            return false;
        };
        let lookup = self.look(&again.path);
        match &lookup {
            Lookup::Found(names) => self.found(&again.path, again.id, names),
            // Half written, perhaps, until the end.
            Lookup::Unreadable(_) if last => {}
            _ => return true,
        }
        out.push(evidence(CgroupEvidence::Known(KnownCgroup {
            path: again.path,
            id: again.id,
            version: self.version,
            monotonic_ns: now_ns,
            found: Found::LookedUp,
            lookup,
        })));
        true
    }

    /// What has been seen so far.
    pub(super) fn counts(&self) -> Counts {
        Counts {
            misses: self.lookups.misses(),
            ..self.counts
        }
    }

    /// When one is due.
    pub(super) fn next_ns(&self) -> Option<u64> {
        let next = [self.pending.next_ns(), self.endings.next_ns()];
        next.into_iter().flatten().min()
    }

    /// Tells what still waits, with a last look.
    pub(super) fn finish(&mut self, out: &mut Vec<Evidence>) {
        self.end_now(|_| true, out);
    }

    /// A container is gone: tells it, or lets it wait for its exit code.
    fn ended(&mut self, ending: Ending, now_ns: u64, out: &mut Vec<Evidence>) {
        let ended = self.how_ended(&ending);
        if ended != Ended::NotYet {
            out.push(removed(ending, ended.code()));
        } else if let Err(ending) = self.endings.add(ending, now_ns) {
            self.counts.no_room += 1;
            out.push(removed(ending, None));
        }
    }

    fn how_ended(&mut self, ending: &Ending) -> Ended {
        self.lookups.ended(&ending.path, ending.names.as_deref())
    }

    /// Another cgroup has this path: the end of the one before it comes first.
    fn end_before(&mut self, path: &str, id: Option<u64>, out: &mut Vec<Evidence>) {
        self.end_now(|it| *it.path == *path && Some(it.id) != id, out);
    }

    fn end_now(&mut self, must: impl Fn(&Ending) -> bool, out: &mut Vec<Evidence>) {
        for ending in self.endings.take(must) {
            let ended = self.how_ended(&ending);
            out.push(removed(ending, ended.code()));
        }
    }

    fn known(&mut self, seen: Seen, lookup: Lookup, out: &mut Vec<Evidence>) {
        let Seen {
            path,
            id,
            monotonic_ns,
            found,
        } = seen;
        if found == Found::Created {
            self.counts.made += 1;
        }
        self.end_before(&path, Some(id), out);
        self.remember(id, &path);
        if let Some((seen, _)) = self.containers.get_mut(&id) {
            *seen = self.scan;
        }
        if let Lookup::Found(names) = &lookup {
            self.found(&path, Some(id), names);
        }
        out.push(evidence(CgroupEvidence::Known(KnownCgroup {
            path,
            id: Some(id),
            version: self.version,
            monotonic_ns,
            found,
            lookup,
        })));
    }

    fn look(&mut self, path: &str) -> Lookup {
        self.counts.lookups += 1;
        self.lookups.lookup(path)
    }

    fn look_again(&mut self, path: &Arc<str>, id: Option<u64>, new: bool, now_ns: u64) {
        if !self.pending.add(path, id, new, now_ns) {
            self.counts.no_room += 1;
        }
    }

    /// Its names are known: no need to look again.
    fn found(&mut self, path: &str, id: Option<u64>, names: &Arc<Names>) {
        self.pending.cancel(path, id);
        let Some(id) = id else { return };
        if self.containers.len() < CONTAINERS || self.containers.contains_key(&id) {
            self.containers.insert(id, (self.scan, names.clone()));
        } else {
            self.counts.no_room += 1;
        }
    }

    fn remember(&mut self, id: u64, path: &str) {
        if self.version != 1 {
            return;
        }
        if self.last_names.len() >= LAST_NAMES && !self.last_names.contains_key(&id) {
            self.counts.no_room += 1;
            return;
        }
        self.last_names.insert(id, (self.scan, last(path).into()));
    }

    /// The path before a rename, which never leaves the parent (`cgroup1_rename`).
    fn before(&self, id: u64, path: &str) -> Option<Arc<str>> {
        let (_, name) = self.last_names.get(&id)?;
        let parent = path.strip_suffix(last(path))?;
        Some(format!("{parent}{name}").into())
    }
}

/// Cgroups that were made and removed between two looks at the watch: nobody need look them up.
#[derive(Debug, Default)]
pub(super) struct ShortLived {
    removed_ns: HashMap<u64, u64>,
    made: HashMap<u64, u64>,
}

impl ShortLived {
    pub(super) fn of(changes: &[Change]) -> Self {
        let mut short = Self::default();
        for change in changes {
            match change {
                Change::Made {
                    id, monotonic_ns, ..
                } => short.made.insert(*id, *monotonic_ns),
                Change::Removed {
                    id, monotonic_ns, ..
                } => short.removed_ns.insert(*id, *monotonic_ns),
                _ => None,
            };
        }
        short
    }

    fn has(&self, id: u64, made_ns: u64) -> bool {
        self.removed_ns
            .get(&id)
            .is_some_and(|removed| removed.saturating_sub(made_ns) < NO_CONTAINER_NS)
    }

    fn was(&self, id: u64) -> bool {
        self.made.get(&id).is_some_and(|&made| self.has(id, made))
    }
}

impl Ended {
    fn code(self) -> Option<i32> {
        match self {
            Self::With(code) => Some(code),
            Self::NotYet | Self::Untold => None,
        }
    }
}

fn removed(ending: Ending, exit_code: Option<i32>) -> Evidence {
    evidence(CgroupEvidence::Removed {
        path: ending.path,
        id: Some(ending.id),
        monotonic_ns: ending.monotonic_ns,
        exit_code,
    })
}

fn last(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or(path)
}

fn evidence(evidence: CgroupEvidence) -> Evidence {
    Evidence::Cgroup(Box::new(evidence))
}

#[cfg(test)]
#[path = "core_tests.rs"]
mod tests;
