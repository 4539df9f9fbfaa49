//! The ends of victims in the kernel: the programs, their ring, and one record → [`VictimEvidence`].
//!
//! Reads the bytes of an [`oom_common::EndRecord`] field by field. It loads the object for itself
//! ([`watch`](super::watch)), and nothing is pinned, for what ended while no agent ran is not known by it. Refuses records of another wire version, and kinds that it does not know; both are
//! counted.

use std::{
    mem::offset_of,
    os::fd::{AsFd, BorrowedFd},
};

use aya::{
    maps::{MapData, PerCpuArray, RingBuf},
    programs::tp_btf::BtfTracePointLink,
};
use oom_common::{EndRecord, Layout, WIRE_VERSION, end_kind, end_stat};
use thiserror::Error;

use super::{
    decode::DecodeError,
    layout::END_TYPEDEFS,
    object::SharedLoader,
    refusal::LoadError,
    watch::{Prepared, WatchError},
    wire::Wire,
};
use crate::{clock::Now, evidence::VictimEvidence};

/// Size of the ring, bytes: a thousand records, of which a victim has two.
const RING_BYTES: u32 = 64 << 10;

/// Programs, which are named like their tracepoints, in the order of [`END_TYPEDEFS`].
const PROGRAMS: [&str; 4] = [
    "sched_process_exit",
    "exit_mmap",
    "start_task_reaping",
    "finish_task_reaping",
];

/// What it takes to attach the programs, on any thread.
#[expect(missing_debug_implementations, reason = "aya's loader has none")]
pub struct EndPrograms(Option<Prepared<4>>);

/// Why the kernel does not tell when victims end.
#[derive(Debug, Error)]
pub enum EndsError {
    /// The object or a program of it did not load.
    #[error(transparent)]
    Watch(#[from] WatchError),
    /// The kernel lacks what is needed.
    #[error("this kernel has no tracepoint for it, or keeps no account of victims")]
    Missing,
}

impl EndPrograms {
    /// `tracepoints`: those that this kernel has. `None` where it lacks what is needed.
    pub(super) fn new(
        loader: SharedLoader,
        layout: Layout,
        tracepoints: [Option<u32>; 4],
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

    /// Attaches those that this kernel has. Without the exits all is refused; of the others each may be
    /// missing.
    pub fn attach(self) -> Result<EndRing, EndsError> {
        let prepared = Prepared::or_alone(self.0, |kernel| kernel.end_tracepoints)?;
        if !is_usable(&prepared) {
            return Err(EndsError::Missing);
        }
        let mut loaded =
            prepared.load("the ends of victims", END_TYPEDEFS, ("ENDS", RING_BYTES))?;
        let present = prepared.tracepoints.map(|id| id.is_some());
        let attached = attach_each(present, |name| loaded.attach(name));
        let attached = attached.map_err(WatchError::from)?;
        let [.., begun, done] = attached.which;
        Ok(EndRing {
            _links: attached.links,
            ring: loaded.map("ENDS")?,
            stats: loaded.map("END_STATS")?,
            notes: attached.notes,
            reaper_since_ns: (begun && done).then(|| Now::read().monotonic_ns),
            page_size: rustix::param::page_size() as u64,
            refused: 0,
        })
    }
}

/// Whether the exits can be told, and whose they are.
fn is_usable(prepared: &Prepared<4>) -> bool {
    let layout = &prepared.layout;
    let offsets = [layout.signal_oom_mm, layout.signal_live, layout.task_signal];
    prepared.tracepoints[0].is_some() && prepared.reads(&offsets)
}

/// What came of attaching [`PROGRAMS`].
struct Attached<Link> {
    links: Vec<Link>,
    /// Why others are not.
    notes: Vec<String>,
    which: [bool; 4],
}

/// Attaches those whose tracepoint is `present`; the first must be.
fn attach_each<Link>(
    present: [bool; 4],
    mut attach: impl FnMut(&'static str) -> Result<Link, LoadError>,
) -> Result<Attached<Link>, LoadError> {
    let (mut links, mut notes, mut which) = (Vec::new(), Vec::new(), [false; 4]);
    for (at, name) in PROGRAMS.into_iter().enumerate() {
        if !present[at] {
            continue;
        }
        match attach(name) {
            Ok(link) => {
                links.push(link);
                which[at] = true;
            }
            Err(error) if at > 0 => notes.push(error.to_string()),
            Err(error) => return Err(error),
        }
    }
    Ok(Attached {
        links,
        notes,
        which,
    })
}

/// Whether who was marked then, and was not reaped by what was told since, did not need it.
fn covers(since_ns: Option<u64>, dropped: u64, marked_ns: u64) -> bool {
    dropped == 0 && since_ns.is_some_and(|since| since <= marked_ns)
}

/// The attached programs and their ring.
#[expect(missing_debug_implementations, reason = "aya's maps have none")]
pub struct EndRing {
    /// Dropping them detaches the programs.
    _links: Vec<BtfTracePointLink>,
    ring: RingBuf<MapData>,
    stats: PerCpuArray<MapData, u64>,
    notes: Vec<String>,
    /// From when on the reaper's work is told, `CLOCK_MONOTONIC`; `None`: not.
    reaper_since_ns: Option<u64>,
    page_size: u64,
    refused: u64,
}

impl EndRing {
    /// What there is to wait on.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }

    /// What could not be attached, if anything.
    #[must_use]
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Whether all that the reaper did to a victim that was marked then (`CLOCK_MONOTONIC`) has been told: if
    /// that is nothing, it did not need it.
    #[must_use]
    pub fn tells_reaper(&self, marked_ns: u64) -> bool {
        covers(self.reaper_since_ns, self.dropped(), marked_ns)
    }

    /// Records that the ring had no room for.
    #[must_use]
    pub fn dropped(&self) -> u64 {
        self.stat(end_stat::DROPPED)
    }

    /// Records that were not understood, and reads that failed in the kernel.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused + self.stat(end_stat::READ_FAILED)
    }

    fn stat(&self, which: u32) -> u64 {
        let values = self.stats.get(&which, 0);
        values.map_or(0, |values| values.iter().sum())
    }
}

/// What happened, about in the order of the kernel; `None` when that is all for now.
impl Iterator for EndRing {
    type Item = VictimEvidence;

    fn next(&mut self) -> Option<VictimEvidence> {
        loop {
            let item = self.ring.next()?;
            let decoded = decode(&item, self.page_size);
            drop(item);
            match decoded {
                Ok(evidence) => return Some(evidence),
                Err(error) => {
                    self.refused += 1;
                    tracing::error!("record of a victim's end refused: {error}");
                }
            }
        }
    }
}

fn decode(record: &[u8], page_size: u64) -> Result<VictimEvidence, DecodeError> {
    let wire = Wire(record);
    if record.len() < size_of::<EndRecord>() {
        return Err(DecodeError::Short { len: record.len() });
    }
    wire.is_of(offset_of!(EndRecord, version), WIRE_VERSION)?;
    // Counters of each CPU are added up now and then: the sum may be below 0 for a moment.
    let pages =
        |index: usize| u64::try_from(wire.i64(offset_of!(EndRecord, rss) + 8 * index)).unwrap_or(0);
    // FILE, ANON and SHMEM; 2 is swap.
    let resident = [0, 1, 3]
        .into_iter()
        .map(pages)
        .fold(0, u64::saturating_add);
    let resident = resident.saturating_mul(page_size);
    let tid = wire.u32(offset_of!(EndRecord, tid));
    let pid = wire.u32(offset_of!(EndRecord, tgid));
    let start_boottime_ns = wire.u64(offset_of!(EndRecord, start_boottime_ns));
    let monotonic_ns = wire.u64(offset_of!(EndRecord, time_ns));
    Ok(match wire.u16(offset_of!(EndRecord, kind)) {
        end_kind::EXITED => VictimEvidence::Exited {
            pid,
            start_boottime_ns,
            monotonic_ns,
            left_bytes: (wire.u32(offset_of!(EndRecord, mm_gone)) == 1).then_some(resident),
        },
        end_kind::FREED => VictimEvidence::Freed {
            pid,
            start_boottime_ns,
            monotonic_ns,
        },
        end_kind::REAPING => VictimEvidence::Reaping { tid, monotonic_ns },
        end_kind::REAPED => VictimEvidence::Reaped { tid, monotonic_ns },
        other => return Err(DecodeError::Kind(other)),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes as the kernel side writes them.
    fn record(kind: u16, mm_gone: u32, rss: [i64; 4]) -> Vec<u8> {
        let mut bytes = Vec::new();
        bytes.extend_from_slice(&WIRE_VERSION.to_ne_bytes());
        bytes.extend_from_slice(&kind.to_ne_bytes());
        for word in [8_u32, 7, mm_gone] {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        for word in [100_u64, 50] {
            bytes.extend_from_slice(&word.to_ne_bytes());
        }
        for pages in rss {
            bytes.extend_from_slice(&pages.to_ne_bytes());
        }
        bytes
    }

    #[test]
    fn a_record_says_who_when_and_what_is_left() {
        let exited = |mm_gone, rss| decode(&record(end_kind::EXITED, mm_gone, rss), 4096).unwrap();
        let with = |left_bytes| VictimEvidence::Exited {
            pid: 7,
            start_boottime_ns: 50,
            monotonic_ns: 100,
            left_bytes,
        };
        assert_eq!(exited(1, [1, 2, 100, -5]), with(Some(3 * 4096)));
        // It has still to let go: what is left then is not known.
        assert_eq!(exited(0, [1, 2, 100, 3]), with(None));
        let reaping = decode(&record(end_kind::REAPING, 0, [0; 4]), 4096).unwrap();
        assert_eq!(
            reaping,
            VictimEvidence::Reaping {
                tid: 8,
                monotonic_ns: 100
            }
        );
    }

    #[test]
    fn only_what_is_attached_tells() {
        let refused = |refused: &'static [&str]| {
            attach_each([true, false, true, true], move |name| {
                let fails = refused.contains(&name);
                if fails {
                    Err(LoadError::Lacks(name))
                } else {
                    Ok(name)
                }
            })
        };
        for (fails, which) in [
            (&[][..], [true, false, true, true]),
            (&["finish_task_reaping"], [true, false, true, false]),
            (
                &["start_task_reaping", "finish_task_reaping"],
                [true, false, false, false],
            ),
        ] {
            let attached = refused(fails).unwrap();
            assert_eq!(attached.which, which, "{fails:?}");
            assert_eq!(attached.notes.len(), fails.len());
            assert_eq!(attached.links.len(), 3 - fails.len());
        }
        assert!(refused(&["sched_process_exit"]).is_err());
    }

    #[test]
    fn of_a_mark_before_the_programs_the_reaper_may_have_been_missed() {
        for (since, dropped, marked, tells) in [
            (Some(100), 0, 100, true),
            (Some(100), 0, 99, false),
            (Some(100), 1, 100, false),
            (None, 0, 100, false),
        ] {
            assert_eq!(covers(since, dropped, marked), tells, "{since:?} {marked}");
        }
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let good = record(end_kind::FREED, 0, [0; 4]);
        assert!(decode(&good, 4096).is_ok());
        assert!(decode(&good[..63], 4096).is_err());
        assert!(decode(&record(9, 0, [0; 4]), 4096).is_err());
        let mut other = good;
        other[0] ^= 0xff;
        assert!(decode(&other, 4096).is_err());
    }
}
