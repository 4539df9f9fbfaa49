//! What detection hands to the store beside its events, and what it does not tell a second time.
//!
//! Reads the evidence that the correlator takes; emits [`Entry`]s. Refuses what a predecessor has told:
//! records of the log that are in its journal, marks that two generations of programs recorded both, and
//! events whose ids are stored. Once nothing of before can come any more, all that is forgotten.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    sync::Arc,
};

use crate::{
    clock::Now,
    correlate::{Correlator, log_record},
    event::{Event, Kind},
    evidence::{Evidence, RingPlace},
    store::{Entry, Offer, Snapshot, journal::encode_snapshot},
};

/// Between two snapshots.
const SNAPSHOT_NS: u64 = 1_000_000_000;

/// One hook in the kernel runs the programs of two generations within this time, however slow it is.
const DOUBLE_NS: u64 = 20_000_000;

/// A death that two sources tell of is one, if their times are not further apart: the log has a clock of its own.
const SAME_DEATH_NS: u64 = 2_000_000_000;

/// Marks and decisions that are remembered for their doubles.
const DOUBLES: usize = 4096;

/// What a predecessor has told already.
#[derive(Debug, Default)]
pub struct Told {
    /// Ids of stored events, with their kinds.
    pub events: HashSet<(Kind, Arc<str>)>,
    /// Records of the log that are in the journal.
    pub log_records: HashSet<u64>,
    /// Marks and decisions in the journal; the programs that made them may have been others.
    pub hooks: VecDeque<Hook>,
    /// Deaths by thread that were told while nobody read the ring that is read now, `CLOCK_MONOTONIC`.
    pub deaths: HashMap<u32, Vec<u64>>,
}

/// One run of a program: what it was attached to, on whom, by whom, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hook {
    /// Whose ring it was in ([`RingPlace::ring`]); `None` of one that a predecessor has read.
    ring: Option<u64>,
    decision: bool,
    tid: u32,
    asker: u32,
    monotonic_ns: u64,
}

impl Hook {
    /// Of a mark or a decision.
    #[must_use]
    pub fn of(evidence: &Evidence) -> Option<Self> {
        match evidence {
            Evidence::Mark(mark) => Some(Self {
                ring: None,
                decision: false,
                tid: mark.victim.tid,
                asker: mark.asker.tid,
                monotonic_ns: mark.monotonic_ns,
            }),
            Evidence::Decision(decision) => Some(Self {
                ring: None,
                decision: true,
                tid: decision.chosen.0,
                asker: decision.asker.tid,
                monotonic_ns: decision.monotonic_ns,
            }),
            _ => None,
        }
    }

    /// Whether both are one run of the hook. What one ring has twice happened twice.
    fn doubles(&self, other: &Self) -> bool {
        (self.decision, self.tid, self.asker) == (other.decision, other.tid, other.asker)
            && (self.ring.is_none() || self.ring != other.ring)
            && self.monotonic_ns.abs_diff(other.monotonic_ns) < DOUBLE_NS
    }
}

/// Detection's side of the store.
#[derive(Default)]
pub struct Journal {
    store: Option<Arc<Offer>>,
    told: Told,
    /// When what was told before need not be known any more, `CLOCK_MONOTONIC`.
    told_until_ns: Option<u64>,
    /// Two generations of programs may have recorded the same.
    overlap: bool,
    /// Something was journaled since the last snapshot, and when that was made.
    dirty: bool,
    snapshot_ns: u64,
}

impl std::fmt::Debug for Journal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Journal")
            .field("keeps", &self.store.is_some())
            .finish_non_exhaustive()
    }
}

impl Journal {
    /// A store that takes entries, and what it knows to have been told. `memory_ns`: how long evidence of
    /// before may still come. `overlap`: other programs than ours have recorded, too.
    #[must_use]
    pub fn new(store: Arc<Offer>, told: Told, memory_ns: u64, overlap: bool) -> Self {
        let until = Now::read().monotonic_ns + memory_ns;
        Self {
            store: Some(store),
            told,
            told_until_ns: Some(until),
            overlap,
            ..Self::default()
        }
    }

    /// Without a store, beside programs that have recorded the same as ours.
    #[must_use]
    pub fn without_store(memory_ns: u64) -> Self {
        Self {
            told_until_ns: Some(Now::read().monotonic_ns + memory_ns),
            overlap: true,
            ..Self::default()
        }
    }

    /// Without a store nothing is kept: whoever reads the ring may let go of it at once.
    #[must_use]
    pub fn keeps(&self) -> bool {
        self.store.is_some()
    }

    /// Whether a predecessor was told the same, or another ring than this has told it.
    pub fn is_known(&mut self, evidence: &Evidence, ring: Option<RingPlace>) -> bool {
        if self.told_until_ns.is_none() && !self.overlap {
            return false;
        }
        if log_record(evidence).is_some_and(|seq| self.told.log_records.contains(&seq)) {
            return true;
        }
        let Some(mut hook) = Hook::of(evidence) else {
            return false;
        };
        hook.ring = ring.map(|place| place.ring());
        let same = |at: &u64| at.abs_diff(hook.monotonic_ns) < SAME_DEATH_NS;
        let died = self.told.deaths.get(&hook.tid);
        if died.is_some_and(|times| times.iter().any(same)) {
            return true;
        }
        if !self.overlap {
            return false;
        }
        if self.told.hooks.iter().any(|other| other.doubles(&hook)) {
            return true;
        }
        if self.told.hooks.len() >= DOUBLES {
            self.told.hooks.pop_front();
        }
        self.told.hooks.push_back(hook);
        false
    }

    /// Whether an event has been told.
    #[must_use]
    pub fn is_told(&self, event: &Event) -> bool {
        !self.told.events.is_empty()
            && self
                .told
                .events
                .contains(&(event.kind(), event.id().clone()))
    }

    /// A copy for the journal, before the correlator takes the original. A reading of the counter says
    /// nothing that the next one does not, but where marks wait for it.
    #[must_use]
    pub fn copy(&self, evidence: &Evidence, pending: bool) -> Option<Box<Evidence>> {
        let worth = match evidence {
            Evidence::Cgroup(_) | Evidence::LogRead { .. } => false,
            Evidence::Counter { .. } => pending,
            _ => true,
        };
        (worth && self.keeps()).then(|| Box::new(evidence.clone()))
    }

    /// Hands an observation over, behind what came of it.
    pub fn evidence(&mut self, copy: Option<Box<Evidence>>, now: Now, ring: Option<RingPlace>) {
        if let Some(evidence) = copy {
            self.dirty = true;
            self.entry(Entry::Evidence {
                evidence,
                now,
                ring,
            });
        }
    }

    /// Hands over any other entry.
    pub fn entry(&self, entry: Entry) {
        if let Some(store) = &self.store {
            store.offer(entry);
        }
    }

    /// Lets the store begin, if it waits: all outputs have what there is.
    pub fn wake(&self) {
        if let Some(store) = &self.store {
            store.wake();
        }
    }

    /// Nothing is pending. `now`: at once, however short ago the last snapshot was.
    pub fn quiet(&mut self, correlator: &Correlator, monotonic_ns: u64, now: bool) {
        let all_old = self
            .told_until_ns
            .is_some_and(|until| until <= monotonic_ns);
        if all_old {
            (self.told, self.told_until_ns, self.overlap) = (Told::default(), None, false);
        }
        self.dirty |= self
            .store
            .as_ref()
            .is_some_and(|store| store.wants_snapshot());
        let lately = monotonic_ns < self.snapshot_ns + SNAPSHOT_NS;
        if !self.dirty || (lately && !now) || !self.keeps() {
            return;
        }
        match encode_snapshot(&correlator.snapshot()) {
            Ok(state) => {
                (self.dirty, self.snapshot_ns) = (false, monotonic_ns);
                self.entry(Entry::Quiet(Box::new(Snapshot {
                    monotonic_ns,
                    state,
                })));
            }
            Err(error) => tracing::error!("{}", crate::error::chain(&error)),
        }
    }
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
