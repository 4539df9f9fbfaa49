//! The flight recorder's turn: reads what is due, and keeps what is worth it.
//!
//! Reads the cgroup filesystem; emits nothing by itself: `answer` asks it. At most [`MAX_FILES`] usages are
//! kept open, the others are opened each time.

use std::sync::Arc;

use rustix::io::Errno;

use super::{
    files::{Buffer, Dir, again, is_gone, share_of_files},
    history::{Detail, Reading},
    roster::{KEEP_NS, Recorded, Roster},
    schedule::{self, Urgency, Want, most_urgent},
};
use crate::{clock::Now, hierarchy::Hierarchy};

/// Descriptors that the recorder keeps: `RLIMIT_NOFILE` may be 1024, and it takes no more than half.
const MAX_FILES: usize = 512;

/// What the recorder holds.
#[derive(Debug)]
pub(super) struct Recording {
    pub(super) hierarchy: Hierarchy,
    pub(super) roster: Roster,
    pub(super) buffer: Buffer,
    pub(super) max_files: usize,
    pub(super) counts: Counts,
    /// `CLOCK_MONOTONIC`.
    pub(super) clock: fn() -> u64,
}

/// What it has counted.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) samples: u64,
    pub(super) details: u64,
    pub(super) unread: u64,
}

/// A usage that was read, and what is to be read beside it.
type Hot = (Urgency, (Arc<str>, Reading));

impl Recording {
    pub(super) fn new(hierarchy: Hierarchy) -> Self {
        Self {
            hierarchy,
            roster: Roster::default(),
            buffer: Buffer::default(),
            max_files: share_of_files(MAX_FILES),
            counts: Counts::default(),
            clock: || Now::read().monotonic_ns,
        }
    }

    /// When there is something to do next, on `CLOCK_MONOTONIC`; `None`: not before something is recorded.
    pub(super) fn next_due(&self) -> Option<u64> {
        let live = self.roster.live.values().map(|recorded| {
            let pace = &recorded.pace;
            pace.due_ns.min(pace.limit_due_ns)
        });
        let gone = self.roster.gone.iter();
        let gone = gone.filter_map(|recorded| Some(recorded.gone_ns? + KEEP_NS));
        live.chain(gone).chain(self.roster.watched_due_ns).min()
    }

    /// Does what is due.
    pub(super) fn turn(&mut self, now_ns: u64) {
        self.roster.forget(now_ns);
        if self.roster.watched_due_ns.is_some_and(|due| due <= now_ns) {
            self.look(now_ns);
        }
        self.limits(now_ns);
        let hot = self.usages(now_ns);
        self.details(hot);
    }

    /// Looks at the limits that are due.
    fn limits(&mut self, now_ns: u64) {
        let live = self.roster.live.iter();
        let due = live.filter(|(_, recorded)| recorded.pace.limit_due_ns <= now_ns);
        // Parents come first: what a child is measured against has been read.
        let due: Vec<Arc<str>> = due.map(|(path, _)| path.clone()).collect();
        for path in due {
            let above = self.roster.limit_above(&path);
            let Some(recorded) = self.roster.live.get_mut(&path) else {
                continue;
            };
            let dir = Dir::open(&self.hierarchy, &path);
            match dir.and_then(|dir| dir.limit(&mut self.buffer)) {
                Ok(limit) => recorded.limit = limit,
                // The reading of its usage tells whether it is gone.
                Err(error) => self.counts.unread += u64::from(!is_gone(error)),
            }
            recorded.pace.measure = recorded.limit.or(above);
            recorded
                .pace
                .looked(now_ns, recorded.made_ns, recorded.stagger);
            if recorded.limit.is_none() && recorded.class.needs_limit() {
                let due_ns = recorded.pace.limit_due_ns;
                self.roster.unrecord(&path, due_ns, false);
            }
        }
    }

    /// Reads the usages that are due; gives those that want detail.
    fn usages(&mut self, now_ns: u64) -> Vec<Hot> {
        let (mut hot, mut gone) = (Vec::new(), Vec::new());
        let open = self.roster.live.values().filter(|r| r.usage.is_some());
        let mut spare = self.max_files.saturating_sub(open.count());
        let live = self.roster.live.values_mut();
        for recorded in live.filter(|recorded| recorded.pace.due_ns <= now_ns) {
            recorded.pace.read(now_ns, recorded.stagger);
            match usage(&self.hierarchy, recorded, &mut spare, &mut self.buffer) {
                Ok(Some(usage_bytes)) => {
                    let reading = Reading {
                        // After the reading: what is said to be before a kill must have been.
                        monotonic_ns: (self.clock)(),
                        usage_bytes,
                        detail: None,
                    };
                    match recorded.pace.judge(reading.monotonic_ns, usage_bytes) {
                        Want::Nothing => recorded.unkept = Some(reading),
                        Want::Sample => {
                            recorded.unkept = None;
                            self.counts.samples += keep(recorded, reading);
                        }
                        Want::Moved => self.counts.samples += keep(recorded, reading),
                        Want::Detail => {
                            let urgency = recorded.pace.urgency(reading.monotonic_ns, usage_bytes);
                            hot.push((urgency, (recorded.path.clone(), reading)));
                        }
                    }
                }
                Err(error) if is_gone(error) => gone.push(recorded.path.clone()),
                Ok(None) | Err(_) => self.counts.unread += 1,
            }
        }
        for path in gone {
            self.lost(&path, now_ns);
        }
        hot
    }

    /// A cgroup is gone. One that has never been read may not have the memory controller yet: it is looked
    /// at again.
    fn lost(&mut self, path: &Arc<str>, now_ns: u64) {
        let live = self.roster.live.get(path);
        let unread = live.filter(|live| live.history.is_empty() && live.unkept.is_none());
        match unread {
            Some(live) => {
                let due_ns = schedule::next_look(now_ns, live.made_ns, live.stagger);
                self.roster.unrecord(path, due_ns, false);
            }
            None => self.roster.retire(path, now_ns),
        }
    }

    /// Reads the rest of the most urgent; of the others the usage is kept.
    fn details(&mut self, mut hot: Vec<Hot>) {
        let others = most_urgent(&mut hot);
        for (_, (path, reading)) in hot {
            let Some(recorded) = self.roster.live.get_mut(&path) else {
                continue;
            };
            let dir = Dir::open(&self.hierarchy, &path);
            let detail: Option<Detail> = dir.ok().map(|dir| dir.detail(&mut self.buffer));
            if let Some(detail) = &detail {
                recorded.limit = detail.limit_bytes;
                self.counts.details += 1;
            }
            self.counts.samples += keep(recorded, Reading { detail, ..reading });
        }
        for (_, (path, reading)) in others {
            if let Some(recorded) = self.roster.live.get_mut(&path) {
                self.counts.samples += keep(recorded, reading);
            }
        }
    }

    /// Looks for limits, and for room.
    fn look(&mut self, now_ns: u64) {
        let watched = &mut self.roster.watched;
        let due = watched.extract_if(.., |_, watched| watched.due_ns <= now_ns);
        let due: Vec<_> = due.collect();
        let rest = self.roster.watched.values();
        self.roster.watched_due_ns = rest.map(|watched| watched.due_ns).min();
        for (path, mut watched) in due {
            let dir = Dir::open(&self.hierarchy, &path);
            let limit = match dir.map(|dir| dir.limit(&mut self.buffer)) {
                Err(error) if is_gone(error) => continue,
                Ok(Ok(limit)) => limit,
                // On version 2 a cgroup without the controller has no such file.
                Ok(Err(Errno::NOENT)) => None,
                Ok(Err(_)) | Err(_) => {
                    self.counts.unread += 1;
                    None
                }
            };
            watched.due_ns = schedule::next_look(now_ns, watched.made_ns, watched.stagger);
            if limit.is_some() || !watched.class.needs_limit() {
                self.roster.record(&path, watched);
            } else {
                self.roster.watch(&path, watched);
            }
        }
    }
}

/// Keeps a reading, and the one before it if that was not; says how many.
fn keep(recorded: &mut Recorded, reading: Reading) -> u64 {
    let before = recorded.unkept.take();
    let mut kept = 0;
    for reading in before.into_iter().chain([reading]) {
        kept += u64::from(recorded.history.push(&reading));
    }
    let with_detail = reading.detail.is_some();
    recorded
        .pace
        .kept(reading.monotonic_ns, reading.usage_bytes, with_detail);
    kept
}

/// Reads a usage, through the descriptor that is kept if there is one, or one to spare.
fn usage(
    hierarchy: &Hierarchy,
    recorded: &mut Recorded,
    spare: &mut usize,
    buffer: &mut Buffer,
) -> Result<Option<u64>, Errno> {
    if let Some(file) = &recorded.usage {
        return again(file, buffer);
    }
    let dir = Dir::open(hierarchy, &recorded.path)?;
    if recorded.id.is_some() && dir.id() != recorded.id {
        // Another has its path.
        return Err(Errno::NODEV);
    }
    let file = dir.usage()?;
    let usage = again(&file, buffer)?;
    if *spare > 0 {
        *spare -= 1;
        recorded.usage = Some(file);
    }
    Ok(usage)
}
