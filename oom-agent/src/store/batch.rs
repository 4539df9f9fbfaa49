//! What is written in one transaction.

use std::sync::Arc;

use super::{Delivered, Entry, RingPlace, Snapshot};
use crate::{clock::Now, event::Event, evidence::Evidence};

/// One step of it, in the order of detection.
#[derive(Debug)]
pub enum Step {
    /// What the correlator was told, and when.
    Evidence(Box<Evidence>, Now),
    /// What came of it.
    Event(Arc<Event>),
    /// Nothing was pending.
    Quiet(Box<Snapshot>),
}

/// What is written at once: entries, and how far they go.
#[derive(Debug, Default)]
pub struct Batch {
    /// In the order of detection.
    pub steps: Vec<Step>,
    /// The log is read through this record.
    pub log_read: Option<u64>,
    /// The last record of the ring.
    pub ring: Option<RingPlace>,
    /// What the log held before the first start has been told.
    pub backfilled: bool,
    /// How far sinks have delivered, each once.
    pub delivered: Vec<Delivered>,
    /// Something is missing between this batch and the next: a replay must not go across.
    pub hole: bool,
}

impl Batch {
    /// Takes one step more.
    pub fn push(&mut self, entry: Entry) {
        match entry {
            Entry::Evidence {
                evidence,
                now,
                ring,
            } => {
                self.ring = ring.or(self.ring);
                self.steps.push(Step::Evidence(evidence, now));
            }
            Entry::Event(event) => self.steps.push(Step::Event(event)),
            Entry::LogRead { through } => self.log_read = Some(through),
            Entry::Quiet(snapshot) => self.steps.push(Step::Quiet(snapshot)),
            Entry::Backfilled => self.backfilled = true,
            Entry::Delivered(delivered) => self.delivered.push(delivered),
        }
    }
}

impl Extend<Entry> for Batch {
    fn extend<T: IntoIterator<Item = Entry>>(&mut self, entries: T) {
        for entry in entries {
            self.push(entry);
        }
    }
}
