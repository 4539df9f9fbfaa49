//! One generation of programs, as its maps tell it: records in their order, and what is missing of them.
//!
//! Reads the ring, the numbering and the counters, of programs that this process has loaded or of a
//! predecessor's. Emits decoded records, and losses as gaps in the numbers. Passes over records that are
//! known to be durable. Refuses records of another wire version than its programs'.

use std::{
    hash::{DefaultHasher, Hash as _, Hasher as _},
    io,
    os::fd::AsFd as _,
};

use aya::maps::{Array, Map, MapData, MapError, PerCpuArray};
use oom_common::stat;
use thiserror::Error;

use super::{
    decode::{Decoded, decode, number},
    load::Options,
    object::OBJECT,
    ring_map::RingMap,
};

/// The last record of a generation that is durable elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resume {
    /// The generation ([`identity`]).
    pub generation: String,
    /// The record's number.
    pub seq: u64,
}

/// Counters of the kernel side, summed over CPUs, since this process has been reading them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelStats {
    /// Program runs that had something to report.
    pub seen: u64,
    /// Records that the ring had no room for.
    pub dropped: u64,
    /// Reads of kernel memory that failed.
    pub read_failed: u64,
}

/// Why the maps of a generation cannot be used.
#[derive(Debug, Error)]
pub enum GenerationError {
    /// One of them is not there or not what it should be.
    #[error("map {0} is unusable")]
    Map(&'static str, #[source] Option<Box<MapError>>),
    /// The ring cannot be mapped.
    #[error("cannot map the ring buffer")]
    Ring(#[source] io::Error),
}

/// The maps of one generation, and how far they have been read.
#[expect(missing_debug_implementations, reason = "aya's maps have none")]
pub struct Generation {
    /// Its ring.
    pub(crate) ring: RingMap,
    stats: PerCpuArray<MapData, u64>,
    seq: Array<MapData, u64>,
    wire_version: u16,
    /// Records up to this number are durable.
    durable: u64,
    last_seq: u64,
    lost: u64,
    refused: u64,
    base: KernelStats,
}

/// One record, and how many before it are missing.
#[derive(Debug)]
pub(crate) struct Next {
    pub(crate) lost: u64,
    /// `None` where it was refused.
    pub(crate) record: Option<Decoded>,
}

/// The ring behind a map, which stays whose it is: programs that are loaded later know it by its descriptor.
pub(super) fn ring(map: Option<&Map>) -> Result<RingMap, GenerationError> {
    let Some(Map::RingBuf(map)) = map else {
        return Err(GenerationError::Map("RING", None));
    };
    let unusable = |error| GenerationError::Map("RING", Some(Box::new(error)));
    let capacity = map.info().map_err(unusable)?.max_entries();
    let fd = map.fd().as_fd().try_clone_to_owned();
    fd.and_then(|fd| RingMap::new(fd, capacity))
        .map_err(GenerationError::Ring)
}

impl Generation {
    /// Of programs whose first record is still to come, or that have made none but those up to `last_seq`.
    pub(super) fn new(
        ring: RingMap,
        stats: Map,
        seq: Map,
        wire_version: u16,
        last_seq: u64,
    ) -> Result<Self, GenerationError> {
        let unusable = |name| move |error| GenerationError::Map(name, Some(Box::new(error)));
        Ok(Self {
            ring,
            stats: stats.try_into().map_err(unusable("STATS"))?,
            seq: seq.try_into().map_err(unusable("SEQ"))?,
            wire_version,
            durable: 0,
            last_seq,
            lost: 0,
            refused: 0,
            base: KernelStats::default(),
        })
    }

    /// Of programs that a predecessor has loaded. `durable`: the last record that is; without it nobody
    /// knows what was before the first record in the ring.
    pub(super) fn taken_over(
        [ring_map, stats, seq]: [Map; 3],
        wire_version: u16,
        durable: Option<u64>,
    ) -> Result<Self, GenerationError> {
        let ring = ring(Some(&ring_map))?;
        let mut this = Self::new(ring, stats, seq, wire_version, 0)?;
        this.base = this.counters();
        this.durable = durable.unwrap_or(0);
        // Before the ring is looked into: one that comes in between is no gap.
        let newest = this.kernel_seq();
        let first = this.ring.peek().map(number);
        let before = first.map_or(newest, |first| first.saturating_sub(1));
        this.last_seq = durable.unwrap_or(before);
        Ok(this)
    }

    /// The next record, if the ring holds one that is not durable.
    pub(crate) fn next(&mut self, page_size: u64) -> Option<Next> {
        loop {
            let record = self.ring.take()?;
            let seq = number(record);
            if seq != 0 && seq <= self.durable {
                continue;
            }
            let record = decode(record, page_size, self.wire_version);
            return Some(match record {
                Ok(record) => Next {
                    lost: self.gap(seq),
                    record: Some(record),
                },
                Err(error) => {
                    // It has a number, which must not count as lost.
                    self.last_seq += 1;
                    self.refused += 1;
                    tracing::error!("ring record refused: {error}");
                    Next {
                        lost: 0,
                        record: None,
                    }
                }
            });
        }
    }

    fn gap(&mut self, seq: u64) -> u64 {
        let lost = seq.saturating_sub(self.last_seq + 1);
        self.last_seq = self.last_seq.max(seq);
        self.lost += lost;
        lost
    }

    /// Losses at the end of the numbering, which no later record has shown yet. A record that has a number
    /// and is not in the ring yet is none: no more are lost than the kernel side has counted.
    pub(crate) fn settle(&mut self) -> u64 {
        let missing = self.kernel_seq().saturating_sub(self.last_seq);
        let lost = missing.min(self.counters().dropped.saturating_sub(self.lost));
        self.lost += lost;
        self.last_seq += lost;
        lost
    }

    /// The wire version of its records.
    pub(super) fn wire_version(&self) -> u16 {
        self.wire_version
    }

    /// Whether nothing is in its ring.
    pub(super) fn is_empty(&self) -> bool {
        self.ring.used() == 0
    }

    /// Takes and counts what is in its ring, whatever that says.
    pub(super) fn count(&mut self) -> u64 {
        let mut count = 0;
        while self.ring.take().is_some() {
            count += 1;
        }
        count
    }

    /// Number of the last record that has been taken or is known to be lost.
    pub(crate) fn last_seq(&self) -> u64 {
        self.last_seq
    }

    /// Records that could not be decoded.
    pub(crate) fn refused(&self) -> u64 {
        self.refused
    }

    /// The kernel side's counters, without what was before this process.
    pub(crate) fn kernel_stats(&self) -> KernelStats {
        let now = self.counters();
        KernelStats {
            seen: now.seen.saturating_sub(self.base.seen),
            dropped: now.dropped.saturating_sub(self.base.dropped),
            read_failed: now.read_failed.saturating_sub(self.base.read_failed),
        }
    }

    fn counters(&self) -> KernelStats {
        let sum = |which| {
            self.stats
                .get(&which, 0)
                .map_or(0, |values| values.iter().copied().sum::<u64>())
        };
        KernelStats {
            seen: sum(stat::SEEN),
            dropped: sum(stat::DROPPED),
            read_failed: sum(stat::READ_FAILED),
        }
    }

    fn kernel_seq(&self) -> u64 {
        self.seq.get(&0, 0).unwrap_or(0)
    }
}

/// Name of the generation that these options make: wire version, and a hash of all that shapes the programs.
/// Another build of the agent may give another name to the same: then it loads anew.
pub(super) fn name(options: &Options) -> String {
    let mut hash = DefaultHasher::new();
    OBJECT.hash(&mut hash);
    options.ring_bytes.hash(&mut hash);
    (options.debug_log, options.by_format).hash(&mut hash);
    format!("{:?}", options.hook).hash(&mut hash);
    format!("w{}-{:016x}", options.wire_version, hash.finish())
}

/// What no other generation has been called since the machine started: the name, and the kernel's id of the
/// ring. Numbers of records mean something only together with it.
pub(super) fn identity(name: &str, ring: Option<&Map>) -> Result<String, GenerationError> {
    let Some(Map::RingBuf(ring)) = ring else {
        return Err(GenerationError::Map("RING", None));
    };
    let unusable = |error| GenerationError::Map("RING", Some(Box::new(error)));
    let id = ring.info().map_err(unusable)?.id();
    Ok(if is_identity(name) {
        name.to_owned()
    } else {
        format!("{name}-{id}")
    })
}

/// The wire version in a name or an identity; `None` where it is neither.
pub(super) fn wire_version(name: &str) -> Option<u16> {
    let mut parts = name.strip_prefix('w')?.split('-');
    let (version, hash, id) = (parts.next()?, parts.next()?, parts.next());
    let is_hash = hash.len() == 16 && hash.bytes().all(|byte| byte.is_ascii_hexdigit());
    let is_id = id.is_none_or(|id| id.parse::<u32>().is_ok());
    (is_hash && is_id && parts.next().is_none()).then(|| version.parse().ok())?
}

/// Whether programs of this name are detached for good: only these have the identity for a name.
pub(super) fn is_identity(name: &str) -> bool {
    wire_version(name).is_some() && name.split('-').count() == 3
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_identities_tell_the_wire_version() {
        for (name, version, identity) in [
            ("w1-0123456789abcdef", Some(1), false),
            ("w12-0123456789abcdef-345", Some(12), true),
            ("w1-0123456789abcdef-", None, false),
            ("w1-0123456789abcdef-3-4", None, false),
            ("w1-0123456789abcde", None, false),
            ("wx-0123456789abcdef", None, false),
            ("new-1", None, false),
            ("", None, false),
        ] {
            assert_eq!(wire_version(name), version, "{name}");
            assert_eq!(is_identity(name), identity, "{name}");
        }
    }
}
