//! What waits to be written: evidence, events of kills, news of containers, and positions.
//!
//! Takes each with its place in the order of detection; emits [`Batch`]es in that order. Refuses nothing:
//! what has to go for want of room is given back as a number.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    RingPlace,
    batch::{Batch, Step},
    entry::{Delivered, Snapshot},
    lane::{Lane, Most, of_event, of_evidence, of_snapshot},
};
use crate::{clock::Now, event::Event, evidence::Evidence};

/// Evidence that waits. The ring is full long before.
pub(super) const EVIDENCE: Most = Most {
    items: 32 * 1024,
    bytes: 16 << 20,
};

/// Events of kills that wait: also those that a disk that is full will not take.
const KILLS: Most = Most {
    items: 16 * 1024,
    bytes: 32 << 20,
};

/// News of containers that wait.
pub(super) const NEWS: Most = Most {
    items: 4 * 1024,
    bytes: 8 << 20,
};

/// Steps of one transaction at most: the next kill waits for no longer than such a one.
pub(super) const BATCH: usize = 1024;

/// What there was no room for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    /// Events of kills.
    pub kills: u64,
    /// News of containers.
    pub news: u64,
    /// Evidence: not in the journal.
    pub evidence: u64,
    /// Records that left the ring before they were durable, for the ring was filling up.
    pub early: u64,
}

/// What waits.
#[derive(Debug)]
pub(super) struct Lanes {
    pub(super) evidence: Lane<Observed>,
    kills: Lane<Arc<Event>>,
    news: Lane<Arc<Event>>,
    pub(super) log_read: Option<u64>,
    pub(super) backfilled: bool,
    /// By sink: the last word of each.
    pub(super) delivered: BTreeMap<Box<str>, Delivered>,
    /// Evidence is missing behind all that is here.
    pub(super) hole: bool,
    /// The last record of the ring, also if there was no room for it.
    pub(super) ring: Option<RingPlace>,
    /// The place of the last event that was put back.
    put_back: u64,
}

#[derive(Debug)]
pub(super) enum Observed {
    Evidence(Box<Evidence>, Now, Option<RingPlace>),
    Quiet(Box<Snapshot>),
}

impl Default for Lanes {
    fn default() -> Self {
        Self {
            evidence: Lane::new(EVIDENCE),
            kills: Lane::new(KILLS),
            news: Lane::new(NEWS),
            log_read: None,
            backfilled: false,
            delivered: BTreeMap::new(),
            hole: false,
            ring: None,
            put_back: 0,
        }
    }
}

impl Lanes {
    pub(super) fn is_empty(&self) -> bool {
        self.evidence.len() + self.kills.len() + self.news.len() == 0
            && self.log_read.is_none()
            && !self.backfilled
            && self.delivered.is_empty()
            && !self.hole
    }

    /// Events of kills and news of containers that wait.
    pub(super) fn events(&self) -> (u64, u64) {
        (self.kills.len() as u64, self.news.len() as u64)
    }

    /// Evidence that waits.
    pub(super) fn observations(&self) -> u64 {
        let is_evidence = |observed: &&Observed| matches!(observed, Observed::Evidence(..));
        self.evidence.iter().filter(is_evidence).count() as u64
    }

    /// The next batch, of at most [`BATCH`] steps; positions go with the last.
    pub(super) fn batch(&mut self) -> Batch {
        let mut batch = Batch {
            hole: self.hole,
            ..Batch::default()
        };
        while batch.steps.len() < BATCH {
            let orders = [
                self.evidence.next_order(),
                self.kills.next_order(),
                self.news.next_order(),
            ];
            let Some(next) = orders.into_iter().flatten().min() else {
                break;
            };
            let step = if orders[0] == Some(next) {
                self.evidence.pop().map(|observed| match observed {
                    Observed::Evidence(evidence, now, ring) => {
                        batch.ring = ring.or(batch.ring);
                        Step::Evidence(evidence, now)
                    }
                    Observed::Quiet(snapshot) => Step::Quiet(snapshot),
                })
            } else if orders[1] == Some(next) {
                self.kills.pop().map(Step::Event)
            } else {
                self.news.pop().map(Step::Event)
            };
            batch.steps.extend(step);
        }
        if self.evidence.len() + self.kills.len() + self.news.len() == 0 {
            batch.log_read = self.log_read.take();
            batch.backfilled = std::mem::take(&mut self.backfilled);
            batch.delivered = std::mem::take(&mut self.delivered).into_values().collect();
            batch.ring = self.ring.take().or(batch.ring);
            self.hole = false;
            self.evidence.shrink();
            self.kills.shrink();
            self.news.shrink();
        }
        batch
    }

    /// Keeps a batch that could not be written, as far as there is room, and how far it went.
    pub(super) fn put_back(&mut self, batch: Batch) -> Lost {
        let mut lost = Lost::default();
        for step in batch.steps {
            self.put_back += 1;
            match step {
                Step::Evidence(evidence, now) => {
                    let bytes = of_evidence(&evidence);
                    let observed = Observed::Evidence(evidence, now, None);
                    lost.evidence += u64::from(!self.push_observed(self.put_back, bytes, observed));
                }
                Step::Quiet(snapshot) => {
                    let bytes = of_snapshot(&snapshot);
                    self.push_observed(self.put_back, bytes, Observed::Quiet(snapshot));
                }
                Step::Event(event) => {
                    let (kills, news) = self.push_event(self.put_back, event);
                    lost.kills += kills;
                    lost.news += news;
                }
            }
        }
        self.log_read = batch.log_read.or(self.log_read);
        self.backfilled |= batch.backfilled;
        for before in batch.delivered {
            match self.delivered.get_mut(&before.sink) {
                Some(delivered) => delivered.follow(before),
                None => self.put_delivered(before),
            }
        }
        self.ring = batch.ring.or(self.ring);
        self.hole |= batch.hole;
        lost
    }

    /// Takes an observation, or says false. Once something is missing, what comes behind it is not kept until
    /// all of this is written: then the hole is at the end of one batch, and a quiet moment after it ends it.
    pub(super) fn push_observed(&mut self, order: u64, bytes: usize, observed: Observed) -> bool {
        // Nothing was told in between: the later one says all.
        if let (Observed::Quiet(_), false, Some(before @ Observed::Quiet(_))) =
            (&observed, self.hole, self.evidence.last_mut())
        {
            *before = observed;
            return true;
        }
        self.hole = self.hole || self.evidence.push(order, bytes, observed).is_err();
        !self.hole
    }

    /// Forgets the first observations: they are in the journal, although the disk did not say so.
    pub(super) fn forget(&mut self, mut observations: i64) {
        while observations > 0 {
            match self.evidence.pop() {
                Some(Observed::Evidence(..)) => observations -= 1,
                Some(Observed::Quiet(_)) => {}
                None => break,
            }
        }
    }

    /// Takes the last word of a sink.
    pub(super) fn put_delivered(&mut self, mut delivered: Delivered) {
        if let Some(before) = self.delivered.remove(&delivered.sink) {
            delivered.follow(before);
        }
        self.delivered.insert(delivered.sink.clone(), delivered);
    }

    /// Takes an event; gives the kills and the news that had to go for it.
    pub(super) fn push_event(&mut self, order: u64, event: Arc<Event>) -> (u64, u64) {
        let bytes = of_event(&event);
        if event.is_of_kill() {
            (self.kills.push_over(order, bytes, event), 0)
        } else {
            (0, self.news.push_over(order, bytes, event))
        }
    }
}
