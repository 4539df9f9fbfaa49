//! The watch of cgroups in the kernel: its programs, its ring, and one event → [`Change`].
//!
//! Reads the bytes of an [`oom_common::CgroupEvent`] field by field. It loads the object for itself
//! ([`watch`](super::watch)). Refuses events of
//! another wire version, and paths that the kernel has cut: both count as lost, which makes the watch
//! look at the whole tree again.

use std::{
    io,
    mem::offset_of,
    os::fd::{AsFd, BorrowedFd},
};

use aya::{
    maps::{Array, MapData, RingBuf},
    programs::tp_btf::BtfTracePointLink,
};
use oom_common::{CGROUP_PATH_LEN, CgroupEvent, Layout, WIRE_VERSION, cgroup_kind, cgroup_stat};
use thiserror::Error;

use super::{
    decode::DecodeError,
    layout::CGROUP_TYPEDEFS,
    object::SharedLoader,
    watch::{Prepared, WatchError},
    wire::Wire,
};
use crate::{evidence::Change, text::printable};

/// Size of the ring where nobody says another, bytes: a good 1,000 events. It counts twice as resident, for
/// it is mapped twice in a row.
pub const RING_BYTES: u32 = 128 << 10;

/// Programs, which are named like their tracepoints. Renames there are in version 1 only.
const PROGRAMS: [&str; 3] = ["cgroup_mkdir", "cgroup_rmdir", "cgroup_rename"];
const RENAME: &str = PROGRAMS[2];

/// What it takes to attach the programs, on any thread.
#[expect(missing_debug_implementations, reason = "aya's loader has none")]
pub struct CgroupPrograms(Option<Prepared<3>>);

/// Why the kernel does not tell which cgroups come and go.
#[derive(Debug, Error)]
pub enum CgroupsError {
    /// The object or a program of it did not load.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// The kernel lacks what is needed.
    #[error("this kernel has no tracepoints for it")]
    Missing,
}

impl CgroupPrograms {
    /// `tracepoints`: those that this kernel has. `None` where it lacks what is needed.
    pub(super) fn new(
        loader: SharedLoader,
        layout: Layout,
        tracepoints: [Option<u32>; 3],
    ) -> Option<Self> {
        let prepared = Prepared {
            loader,
            layout,
            tracepoints,
        };
        is_usable(&prepared).then_some(Self(Some(prepared)))
    }

    /// What this kernel has is found out when they are attached.
    pub(super) fn later() -> Self {
        Self(None)
    }

    /// Attaches them for one hierarchy (`cgroup_root.hierarchy_id`, 0 is version 2). `ring_size`, bytes, is
    /// rounded up to a power of two of at least a page.
    pub fn attach(self, hierarchy_id: u32, ring_size: u32) -> Result<CgroupRing, CgroupsError> {
        let mut prepared = Prepared::or_alone(self.0, |kernel| kernel.cgroup_tracepoints)?;
        if !is_usable(&prepared) {
            return Err(CgroupsError::Missing);
        }
        prepared.layout.watched_hierarchy = hierarchy_id;
        let mut loaded = prepared.load("the watch", CGROUP_TYPEDEFS, ("CGROUPS", ring_size))?;
        let (mut links, mut note) = (Vec::new(), None);
        for name in PROGRAMS {
            if name == RENAME && hierarchy_id == 0 {
                continue;
            }
            match loaded.attach(name) {
                Err(error) if name == RENAME => note = Some(error.to_string()),
                attached => links.push(attached.map_err(WatchError::from)?),
            }
        }
        Ok(CgroupRing {
            _links: links,
            ring: loaded.map("CGROUPS")?,
            stats: loaded.map("CGROUP_STATS")?,
            note,
            last_seq: 0,
            lost: 0,
            refused: 0,
            held: None,
        })
    }
}

/// Whether what comes and goes can be told, and in which hierarchy.
fn is_usable(prepared: &Prepared<3>) -> bool {
    let layout = &prepared.layout;
    let [made, removed, _] = prepared.tracepoints.map(|id| id.is_some());
    made && removed && prepared.reads(&[layout.cgroup_root, layout.cgroup_root_hierarchy])
}

/// The attached programs and their ring.
#[expect(missing_debug_implementations, reason = "aya's maps have none")]
pub struct CgroupRing {
    /// Dropping them detaches the programs.
    _links: Vec<BtfTracePointLink>,
    ring: RingBuf<MapData>,
    stats: Array<MapData, u64>,
    note: Option<String>,
    last_seq: u64,
    /// Losses that have been told.
    lost: u64,
    refused: u64,
    /// An event that a loss came before.
    held: Option<Change>,
}

impl CgroupRing {
    /// What there is to wait on.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }

    /// What is missing, if anything.
    #[must_use]
    pub fn note(&self) -> Option<&str> {
        self.note.as_deref()
    }

    /// Losses by the kernel side's own count: right also where no later event shows a gap.
    fn loss(&mut self) -> Option<Change> {
        let dropped = self.stat(cgroup_stat::DROPPED);
        let events = dropped.saturating_sub(self.lost);
        self.lost += events;
        (events > 0).then_some(Change::Lost {
            events: Some(events),
        })
    }

    /// Events that the ring had no room for.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.stat(cgroup_stat::DROPPED)
    }

    /// Events that were not understood, or whose path the kernel side could not read.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused + self.stat(cgroup_stat::READ_FAILED)
    }

    fn stat(&self, which: u32) -> u64 {
        self.stats.get(&which, 0).unwrap_or_default()
    }
}

/// What happened, in the order of the kernel; `None` when that is all for now.
impl Iterator for CgroupRing {
    type Item = Change;

    fn next(&mut self) -> Option<Change> {
        if let Some(held) = self.held.take() {
            return Some(held);
        }
        let Some(item) = self.ring.next() else {
            return self.loss();
        };
        let decoded = decode(&item);
        drop(item);
        let (seq, change) = match decoded {
            Ok(decoded) => decoded,
            Err(error) => {
                self.refused += 1;
                tracing::error!("event of a cgroup refused: {error}");
                (self.last_seq + 1, None)
            }
        };
        let gap = seq.saturating_sub(self.last_seq + 1);
        self.last_seq = self.last_seq.max(seq);
        let change = change.unwrap_or(Change::Lost { events: Some(1) });
        if gap > 0
            && let Some(loss) = self.loss()
        {
            self.held = Some(change);
            return Some(loss);
        }
        Some(change)
    }
}

/// Number and content of one event; no content where the path is missing or cut.
fn decode(event: &[u8]) -> Result<(u64, Option<Change>), DecodeError> {
    let short = DecodeError::Short { len: event.len() };
    let wire = Wire(event);
    if event.len() < CgroupEvent::FIXED_LEN {
        return Err(short);
    }
    wire.is_of(offset_of!(CgroupEvent, version), WIRE_VERSION)?;
    let len = wire.u32(offset_of!(CgroupEvent, path_len)) as usize;
    let path = wire.at(CgroupEvent::FIXED_LEN).get(..len).ok_or(short)?;
    let seq = wire.u64(offset_of!(CgroupEvent, seq));
    let kind = wire.u16(offset_of!(CgroupEvent, kind));
    let id = wire.u64(offset_of!(CgroupEvent, id));
    let monotonic_ns = wire.u64(offset_of!(CgroupEvent, time_ns));
    // One that fills the buffer may have been longer.
    let whole = path
        .strip_suffix(b"\0")
        .filter(|path| path.starts_with(b"/") && len < CGROUP_PATH_LEN);
    let path = whole.map(|path| printable(path).into());
    let change = |path| {
        Some(match kind {
            cgroup_kind::MADE => Change::Made {
                path,
                id,
                monotonic_ns,
            },
            cgroup_kind::REMOVED => Change::Removed {
                path,
                id,
                monotonic_ns,
            },
            cgroup_kind::RENAMED => Change::Renamed {
                from: None,
                path,
                id,
                monotonic_ns,
            },
            _ => return None,
        })
    };
    match path {
        None => Ok((seq, None)),
        Some(path) => match change(path) {
            None => Err(DecodeError::Kind(kind)),
            some => Ok((seq, some)),
        },
    }
}

/// `cgroup_root.hierarchy_id` of the memory controller on version 1, from the text of `/proc/cgroups`
/// (cgroups(7)): name, hierarchy, number, enabled. On version 2 it is 0, and newer kernels do not list
/// its controllers there.
pub fn memory_hierarchy(proc_cgroups: &str) -> io::Result<u32> {
    proc_cgroups
        .lines()
        .filter_map(|line| line.strip_prefix("memory"))
        .find_map(|rest| rest.split_whitespace().next()?.parse().ok())
        .ok_or_else(|| io::Error::other("/proc/cgroups does not list the memory controller"))
}

#[cfg(test)]
#[path = "cgroups_tests.rs"]
mod tests;
