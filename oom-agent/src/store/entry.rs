//! What detection hands to the store, in its order.
//!
//! The law of this order: an observation stands right behind the events that came of it, for nobody waits for the
//! journal, and [`Entry::Quiet`] behind all that came of what was before. Whatever a crash cuts off is then in the
//! journal, or still in the ring or the log, which is let go of with the observation: the correlator makes the same
//! events of it once more, with the same ids.

use std::sync::Arc;

use super::DeadLetter;
use crate::{
    clock::Now,
    event::Event,
    evidence::{Evidence, RingPlace},
};

/// One step of detection.
#[derive(Debug)]
pub enum Entry {
    /// What the correlator was told, and when.
    Evidence {
        /// What.
        evidence: Box<Evidence>,
        /// When.
        now: Now,
        /// Where it was in the ring.
        ring: Option<RingPlace>,
    },
    /// An event on its way out.
    Event(Arc<Event>),
    /// All records of the log up to this number have become evidence, or were nobody's.
    LogRead {
        /// The number.
        through: u64,
    },
    /// What the log holds of before the agent's first start of this boot has been told.
    Backfilled,
    /// Nothing is pending: what was journaled before need not be told to a correlator any more once
    /// its memory of closed kills ([`crate::correlate::Timing::memory_ns`]) is over.
    Quiet(Box<Snapshot>),
    /// What a sink has delivered. It stands in no order with the others: what it is about is stored.
    Delivered(Delivered),
}

/// How far a sink has delivered, and what it needs to go on from there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// Its name, which no other has.
    pub sink: Box<str>,
    /// Of which database: see [`super::Deliveries::commits`].
    pub database: u64,
    /// Everything up to this number is delivered, or never will be.
    pub through: i64,
    /// The sink's own words on what it has told behind that.
    pub state: String,
    /// What it never will deliver, since the last word.
    pub dead: Vec<DeadLetter>,
}

impl Delivered {
    /// Takes over the dead letters of the word before this, as far as they are not too many.
    pub(super) fn follow(&mut self, before: Self) {
        if before.database == self.database {
            self.dead.splice(0..0, before.dead);
            let over = self.dead.len().saturating_sub(DeadLetter::KEPT);
            self.dead.drain(..over);
        }
    }
}

/// What a correlator needs to go on from a quiet moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// `CLOCK_MONOTONIC`.
    pub monotonic_ns: u64,
    /// The correlator's own words ([`crate::correlate::Correlator::snapshot`]).
    pub state: Vec<u8>,
}
