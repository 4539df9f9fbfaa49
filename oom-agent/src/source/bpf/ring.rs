//! The ring as a source: records → evidence, gaps in their numbers → losses.

use std::{
    os::fd::{AsFd, BorrowedFd},
    sync::{Arc, OnceLock},
};

use aya::{
    Ebpf,
    maps::{MapData, PerCpuArray},
};
use oom_common::stat;

use super::{
    complete::Completer,
    decode::{Decoded, decode},
    load::{Loaded, Tier},
    ring_map::{Release, RingMap},
    stack::Symbols,
};
use crate::{evidence::Evidence, store::RingPlace};

/// The attached programs and their ring.
#[expect(missing_debug_implementations, reason = "aya's maps have none")]
pub struct BpfSource {
    /// Dropping it detaches the programs.
    _ebpf: Ebpf,
    ring: RingMap,
    stats: PerCpuArray<MapData, u64>,
    symbols: Arc<OnceLock<Symbols>>,
    completer: Completer,
    /// Whether marks carry nothing but a thread id.
    pid_only: bool,
    page_size: u64,
    last_seq: u64,
    lost: u64,
    refused: u64,
}

/// Counters of the kernel side, summed over CPUs.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KernelStats {
    /// Program runs that had something to report.
    pub seen: u64,
    /// Records that the ring had no room for.
    pub dropped: u64,
    /// Reads of kernel memory that failed.
    pub read_failed: u64,
}

impl BpfSource {
    /// Takes over what was loaded. Waits for the symbols: from here on an alert waits for nothing.
    #[must_use]
    pub fn new(loaded: Loaded, symbols: Arc<OnceLock<Symbols>>) -> Self {
        if !symbols.wait().usable() {
            tracing::warn!(
                "kernel symbols are hidden (needs CAP_SYSLOG and kernel.kptr_restrict < 2): a mark \
                 is alerted only when the log or the counter says that it is a kill"
            );
        }
        Self {
            _ebpf: loaded.ebpf,
            ring: loaded.ring,
            stats: loaded.stats,
            symbols,
            completer: Completer::new(),
            pid_only: matches!(loaded.tier, Tier::Pid(_)),
            page_size: rustix::param::page_size() as u64,
            last_seq: loaded.last_seq,
            lost: 0,
            refused: 0,
        }
    }

    /// What there is to wait on.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.ring.as_fd()
    }

    /// The next observation, if the ring holds one.
    pub fn next(&mut self, out: &mut Vec<Evidence>) -> bool {
        let Some(record) = self.ring.take() else {
            return false;
        };
        match decode(record, self.page_size) {
            Ok(Decoded::Mark(mut mark, stack)) => {
                self.gap(mark.seq, out);
                self.symbols.wait().classify(stack.addresses(), &mut mark);
                self.completer.mark(&mut mark);
                out.push(Evidence::Mark(mark));
            }
            Ok(Decoded::Decision(mut decision)) => {
                self.gap(decision.seq, out);
                self.completer.decision(&mut decision, self.pid_only);
                out.push(Evidence::Decision(decision));
            }
            Ok(Decoded::SelfCheck(own)) => self.gap(own.seq, out),
            Err(error) => {
                // It has a number, which must not count as lost.
                self.last_seq += 1;
                self.refused += 1;
                tracing::error!("ring record refused: {error}");
            }
        }
        true
    }

    /// Where the last record was that [`Self::next`] took.
    #[must_use]
    pub fn place(&self) -> RingPlace {
        RingPlace {
            end: self.ring.end(),
            seq: self.last_seq,
        }
    }

    /// What lets go of records ([`RingPlace::end`]): until then they stay in the ring, and whoever opens it
    /// next takes them again.
    #[must_use]
    pub fn release(&self) -> Release {
        self.ring.release()
    }

    /// Which pinned programs it reads; `None` without pins.
    #[must_use]
    pub fn generation(&self) -> Option<&str> {
        None
    }

    /// Bytes of the ring that nobody has let go of.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.ring.used()
    }

    /// Bytes that the ring has room for.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.ring.capacity()
    }

    fn gap(&mut self, seq: u64, out: &mut Vec<Evidence>) {
        let lost = seq.saturating_sub(self.last_seq + 1);
        self.last_seq = self.last_seq.max(seq);
        if lost > 0 {
            self.lost += lost;
            out.push(Evidence::RingGap { lost });
        }
    }

    /// Losses at the end of the numbering, which no later record has shown yet.
    pub fn settle(&mut self, out: &mut Vec<Evidence>) {
        let lost = self.kernel_stats().dropped.saturating_sub(self.lost);
        if lost > 0 {
            self.lost += lost;
            self.last_seq += lost;
            out.push(Evidence::RingGap { lost });
        }
    }

    /// The kernel side's counters.
    #[must_use]
    pub fn kernel_stats(&self) -> KernelStats {
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

    /// Records that could not be decoded.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused
    }
}
