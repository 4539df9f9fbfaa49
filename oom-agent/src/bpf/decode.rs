//! One ring record → evidence.
//!
//! Reads the bytes of an [`oom_common::Record`] field by field; emits [`Mark`] and [`Decision`].
//! Refuses records of another wire version or of an impossible length, and decisions that the kernel
//! cannot have made. A cgroup path that could not
//! be copied whole is `None`, never a shortened path.

use std::{mem::offset_of, ops::RangeInclusive};

use oom_common::{
    Asker as WireAsker, Level as WireLevel, MAX_LEVELS, Oom, Record, STACK_DEPTH, Task, flags,
    kind, level_flags,
};
use thiserror::Error;

use super::wire::Wire;
use crate::{
    event::{Cgroup, Constraint, Memory, Victim},
    evidence::{Asker, Charge, Decision, Level, Mark},
    text::{Comm, printable},
};

/// Of allocations: -1 is sysrq, and no machine has 2^40 pages in one piece.
const ORDERS: RangeInclusive<i32> = -1..=40;

/// Why a record was refused. Counted by the caller.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DecodeError {
    /// Shorter than the fixed part, or its own lengths point outside it.
    #[error("record of {len} bytes is cut short")]
    Short {
        /// Length that arrived.
        len: usize,
    },
    /// Written by another version of the kernel side.
    #[error("record of wire version {found}, not {wanted}")]
    Version {
        /// Version in the record.
        found: u16,
        /// Version that was expected.
        wanted: u16,
    },
    /// A kind that this version does not know.
    #[error("record of unknown kind {0}")]
    Kind(u16),
    /// A decision that the kernel cannot have made: what was read was no `oom_control`.
    #[error("decision with {0}: the program did not see what it should")]
    Implausible(&'static str),
}

/// A decoded record.
#[derive(Debug)]
#[expect(
    clippy::large_enum_variant,
    reason = "moved once, and a box would allocate on the way of every kill"
)]
pub enum Decoded {
    /// A mark, without what the stack tells; the stack itself beside it.
    Mark(Box<Mark>, Stack),
    /// A decision.
    Decision(Box<Decision>),
    /// The agent seen by its own program, at start.
    SelfCheck(Box<Mark>),
}

/// Return addresses, innermost first.
#[derive(Clone, Copy, Debug)]
pub struct Stack {
    addresses: [u64; STACK_DEPTH],
    len: usize,
}

impl Stack {
    /// The addresses that the kernel gave.
    #[must_use]
    pub fn addresses(&self) -> &[u64] {
        &self.addresses[..self.len]
    }
}

/// The number of a record; 0 if it has none.
#[must_use]
pub fn number(record: &[u8]) -> u64 {
    Wire(record).u64(offset_of!(Record, seq))
}

/// Decodes one record of this wire version. `page_size` in bytes.
pub fn decode(record: &[u8], page_size: u64, wanted: u16) -> Result<Decoded, DecodeError> {
    let fields = Fields {
        wire: Wire(record),
        page_size,
    };
    if record.len() < Record::FIXED_LEN || record.len() < Record::FIXED_LEN + fields.names_len() {
        return Err(DecodeError::Short { len: record.len() });
    }
    fields.wire.is_of(offset_of!(Record, version), wanted)?;
    match fields.wire.u16(offset_of!(Record, kind)) {
        kind::MARK => Ok(Decoded::Mark(Box::new(fields.mark()), fields.stack())),
        kind::SELF_CHECK => Ok(Decoded::SelfCheck(Box::new(fields.mark()))),
        kind::DECISION => {
            let decision = Box::new(fields.decision());
            match implausible(&decision) {
                Some(why) => Err(DecodeError::Implausible(why)),
                None => Ok(Decoded::Decision(decision)),
            }
        }
        other => Err(DecodeError::Kind(other)),
    }
}

/// What in a decision contradicts `out_of_memory()`, which has made its choice and set the constraint
/// before it calls `oom_kill_process()`. The last safeguard of the kprobe, whose argument nothing types.
fn implausible(decision: &Decision) -> Option<&'static str> {
    let of_memcg = decision.constraint == Some(Constraint::Memcg);
    if decision.chosen.0 == 0 || decision.chosen.1 == 0 {
        Some("no chosen task")
    } else if decision.constraint.is_none() {
        Some("a constraint that there is not")
    } else if of_memcg && decision.limit.is_none() {
        Some("the constraint of a memory cgroup, but no cgroup")
    } else if !ORDERS.contains(&decision.order) {
        Some("an order that there is not")
    } else {
        None
    }
}

/// Field access into a record whose length has been checked.
struct Fields<'a> {
    wire: Wire<'a>,
    page_size: u64,
}

impl Fields<'_> {
    fn comm(&self, offset: usize) -> Comm {
        let bytes = self.wire.at(offset);
        Comm::new(&bytes[..bytes.len().min(oom_common::COMM_LEN)])
    }

    fn has(&self, flag: u32) -> bool {
        self.wire.u32(offset_of!(Record, flags)) & flag != 0
    }

    fn names_len(&self) -> usize {
        self.wire.u32(offset_of!(Record, names_len)) as usize
    }

    fn pages(&self, offset: usize) -> u64 {
        self.wire.u64(offset).saturating_mul(self.page_size)
    }

    fn mark(&self) -> Mark {
        let task = offset_of!(Record, task);
        let known = self.has(flags::TASK);
        let classic = self.has(flags::CLASSIC);
        let start = known.then(|| self.wire.u64(task + offset_of!(Task, start_boottime_ns)));
        let u32_if = |known: bool, field: usize| known.then(|| self.wire.u32(task + field));
        Mark {
            seq: self.wire.u64(offset_of!(Record, seq)),
            monotonic_ns: self.wire.u64(offset_of!(Record, time_ns)),
            victim: Victim {
                pid: u32_if(known, offset_of!(Task, tgid)),
                tid: self.wire.u32(task + offset_of!(Task, tid)),
                ns_pid: u32_if(self.has(flags::NS_PID), offset_of!(Task, ns_pid)),
                ppid: u32_if(known, offset_of!(Task, ppid)),
                comm: self.comm(task + offset_of!(Task, comm)),
                parent_comm: known.then(|| self.comm(task + offset_of!(Task, parent_comm))),
                uid: u32_if(known || classic, offset_of!(Task, uid)),
                start_time: None,
                threads: u32_if(known, offset_of!(Task, threads)),
                oom_score_adj: (known || classic)
                    .then(|| small(self.wire.i32(task + offset_of!(Task, oom_score_adj)))),
                exe: None,
                cmdline: None,
            },
            start_boottime_ns: start,
            memory: self.memory(),
            levels: self.levels(),
            levels_cut: self.has(flags::LEVELS_CUT),
            cgroup_version: known.then(|| if self.has(flags::CGROUP_V2) { 2 } else { 1 }),
            asker: self.asker(),
            ..Mark::default()
        }
    }

    fn memory(&self) -> Memory {
        let task = offset_of!(Record, task);
        let rss = task + offset_of!(Task, rss);
        // A per-CPU counter read without its deltas may be a little below zero.
        let count = |index: usize| u64::try_from(self.wire.i64(rss + 8 * index)).unwrap_or(0);
        if self.has(flags::CLASSIC) {
            return Memory {
                total_vm_bytes: Some(
                    self.wire
                        .u64(task + offset_of!(Task, total_vm))
                        .saturating_mul(1024),
                ),
                anon_bytes: Some(count(1).saturating_mul(1024)),
                file_bytes: Some(count(0).saturating_mul(1024)),
                shmem_bytes: Some(count(3).saturating_mul(1024)),
                pgtables_bytes: Some(
                    self.wire
                        .u64(task + offset_of!(Task, pgtables_bytes))
                        .saturating_mul(1024),
                ),
                ..Memory::default()
            };
        }
        if !self.has(flags::MM) {
            return Memory::default();
        }
        let pages = |count: u64| Some(count.saturating_mul(self.page_size));
        Memory {
            total_vm_bytes: Some(self.pages(task + offset_of!(Task, total_vm))),
            file_bytes: pages(count(0)),
            anon_bytes: pages(count(1)),
            swap_bytes: pages(count(2)),
            shmem_bytes: pages(count(3)),
            pgtables_bytes: Some(self.wire.u64(task + offset_of!(Task, pgtables_bytes))),
            peak_rss_bytes: Some(
                self.peak(count(0).saturating_add(count(1)).saturating_add(count(3))),
            ),
        }
    }

    /// The kernel records the high-water mark only when memory is given back: until then it stands
    /// below what is resident, and what is resident is the peak.
    fn peak(&self, resident_pages: u64) -> u64 {
        let recorded = self
            .wire
            .u64(offset_of!(Record, task) + offset_of!(Task, hiwater_rss));
        recorded.max(resident_pages).saturating_mul(self.page_size)
    }

    fn charge(&self, usage: usize, max: usize, failcnt: usize) -> Charge {
        Charge {
            usage_bytes: self.pages(usage),
            limit_bytes: self.limit(self.wire.u64(max)),
            failcnt: self.wire.u64(failcnt),
            oom_group: None,
        }
    }

    /// `PAGE_COUNTER_MAX` is `LONG_MAX / PAGE_SIZE`: no limit (`include/linux/page_counter.h`).
    fn limit(&self, pages: u64) -> Option<u64> {
        let none = i64::MAX.unsigned_abs() / self.page_size.max(1);
        (pages < none).then(|| pages * self.page_size)
    }

    fn levels(&self) -> Vec<Level> {
        let count = (self.wire.u32(offset_of!(Record, level_count)) as usize).min(MAX_LEVELS);
        let whole = !self.has(flags::LEVELS_CUT) && !self.has(flags::NAMES_CUT);
        let names: Vec<&[u8]> = self.names().take(count).collect();
        let paths = (whole && names.len() == count).then(|| paths(&names));
        (0..count)
            .map(|index| {
                let at = offset_of!(Record, levels) + index * size_of::<WireLevel>();
                let bits = self.wire.u64(at + offset_of!(WireLevel, flags));
                let known = bits & level_flags::OOM_GROUP_KNOWN != 0;
                let mut charge = self.charge(
                    at + offset_of!(WireLevel, usage),
                    at + offset_of!(WireLevel, max),
                    at + offset_of!(WireLevel, failcnt),
                );
                charge.oom_group = known.then_some(bits & level_flags::OOM_GROUP != 0);
                Level {
                    id: self.wire.u64(at + offset_of!(WireLevel, id)),
                    path: paths.as_ref().and_then(|paths| paths.get(index).cloned()),
                    memcg: bits & level_flags::MEMCG != 0,
                    charge: (bits & (level_flags::MEMCG | level_flags::COUNTERS_UNKNOWN)
                        == level_flags::MEMCG)
                        .then_some(charge),
                }
            })
            .collect()
    }

    fn names(&self) -> impl Iterator<Item = &[u8]> {
        let area = self.wire.at(Record::FIXED_LEN);
        let area = &area[..self.names_len().min(area.len())];
        // Every name ends with its NUL: the piece after the last one is not a name.
        area.strip_suffix(b"\0")
            .into_iter()
            .flat_map(|names| names.split(|&byte| byte == 0))
    }

    fn asker(&self) -> Asker {
        let at = offset_of!(Record, asker);
        let known = self.has(flags::ASKER_TASK);
        let levels = self.wire.u32(offset_of!(Record, level_count)) as usize;
        let own = self.wire.u32(offset_of!(Record, asker_level_count)) as usize;
        let cgroup = if !known || self.has(flags::ASKER_NAMES_CUT) {
            None
        } else {
            let names: Vec<&[u8]> = self.names().skip(levels).take(own).collect();
            (own > 0 && names.len() == own)
                .then(|| paths(&names).into_iter().next())
                .flatten()
        };
        Asker {
            pid: self.wire.u32(at + offset_of!(WireAsker, tgid)),
            tid: self.wire.u32(at + offset_of!(WireAsker, tid)),
            comm: self.comm(at + offset_of!(WireAsker, comm)),
            oom_score_adj: known
                .then(|| small(self.wire.i32(at + offset_of!(WireAsker, oom_score_adj)))),
            cgroup,
        }
    }

    fn stack(&self) -> Stack {
        let bytes = self.wire.u32(offset_of!(Record, stack_len)) as usize;
        let len = (bytes / 8).min(STACK_DEPTH);
        let mut addresses = [0; STACK_DEPTH];
        for (index, address) in addresses.iter_mut().enumerate().take(len) {
            *address = self.wire.u64(offset_of!(Record, stack) + 8 * index);
        }
        Stack { addresses, len }
    }

    fn decision(&self) -> Decision {
        let at = offset_of!(Record, oom);
        let task = offset_of!(Record, task);
        let chosen = self.mark();
        let limit = self.has(flags::OOM_MEMCG).then(|| {
            let id = self.wire.u64(at + offset_of!(Oom, memcg_id));
            let level = chosen.levels.iter().find(|level| level.id == id);
            let cgroup = Cgroup {
                path: level.and_then(|level| level.path.clone()),
                id: Some(id),
                version: chosen.cgroup_version,
            };
            let mut charge = self.charge(
                at + offset_of!(Oom, usage),
                at + offset_of!(Oom, max),
                at + offset_of!(Oom, failcnt),
            );
            charge.oom_group = level.and_then(|level| level.charge?.oom_group);
            (cgroup, charge)
        });
        Decision {
            seq: chosen.seq,
            monotonic_ns: chosen.monotonic_ns,
            asker: chosen.asker.clone(),
            constraint: match self.wire.u32(at + offset_of!(Oom, constraint)) {
                0 => Some(Constraint::None),
                1 => Some(Constraint::Cpuset),
                2 => Some(Constraint::MemoryPolicy),
                3 => Some(Constraint::Memcg),
                _ => None,
            },
            gfp_mask: self.wire.u32(at + offset_of!(Oom, gfp_mask)),
            order: self.wire.i32(at + offset_of!(Oom, order)),
            total_bytes: self.pages(at + offset_of!(Oom, totalpages)),
            points: self.wire.i64(at + offset_of!(Oom, points)),
            limit,
            chosen: (
                self.wire.u32(task + offset_of!(Task, tid)),
                self.wire.u32(task + offset_of!(Task, tgid)),
            ),
            chosen_task: self.has(flags::TASK).then(|| Box::new(chosen)),
        }
    }
}

/// Names from a cgroup up to the root → the path of each of those levels.
fn paths(names: &[&[u8]]) -> Vec<String> {
    let mut paths = Vec::with_capacity(names.len());
    let mut path = String::new();
    for (depth, name) in names.iter().rev().enumerate() {
        if depth == 0 {
            paths.push("/".to_owned());
        } else {
            path.push('/');
            path.push_str(&printable(name));
            paths.push(path.clone());
        }
    }
    paths.reverse();
    paths
}

fn small(value: i32) -> i16 {
    i16::try_from(value).unwrap_or_default()
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
