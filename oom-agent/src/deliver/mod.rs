//! Delivery that loses nothing: from the store to somebody who may be away.
//!
//! ```text
//!  store ─ after_seq(read) ─▶ Sink::deliver ─▶ the other end
//!    ▲                             │
//!    └──── cursor, state ◀── Outcome            (Health: status, metrics)
//! ```
//! Reads the store by cursor; hands events to one [`Sink`] in the order of storing, and keeps in the store how
//! far that has got. The store is the queue: an end that is away for an hour delays nothing else and costs no
//! memory. What a crash cuts off is handed over again, so a sink tells by the ids of events, and its end must
//! take the same id twice for one. Where that is requests and answers, [`Posts`] is the sink, and a [`Post`] all that is to be
//! written. Refuses history (`backfill`), and events of before its first start.

mod backoff;
mod health;
mod post;
mod retry_after;
mod thread;

use std::time::Duration;

pub use self::{
    health::{Health, SinkStatus},
    post::{Answer, Beside, Most, Post, Posts},
    retry_after::retry_after,
    thread::Delivery,
};
use crate::store::{DeadLetter, Filter, Stored};

/// Somebody to deliver to.
pub trait Sink: Send + 'static {
    /// Its name, which no other has: its cursor is kept under it, and its thread is named so.
    fn name(&self) -> &'static str;

    /// Which events it wants. History is left out whatever this says.
    fn filter(&self) -> Filter;

    /// How many events it takes at once.
    fn at_most(&self) -> usize {
        256
    }

    /// Goes on from the `state` of an earlier [`Outcome`]; empty: from nothing. Called before anything is
    /// delivered, and when another store has been begun.
    fn resume(&mut self, state: &str);

    /// Delivers, or holds back what had better go later; called again when more is stored, when
    /// [`Outcome::again`] is over, and after a pause if there was trouble. May be cut off at any `await`.
    fn deliver(&mut self, batch: Batch<'_>) -> impl Future<Output = Outcome> + Send;
}

/// What a sink is handed.
#[derive(Clone, Copy, Debug)]
pub struct Batch<'a> {
    /// The next events that it wants, in the order of storing; may be none.
    pub events: &'a [Stored],
    /// All that was stored up to this number has been looked at.
    pub through: i64,
    /// The agent is about to end: nothing is held back any more.
    pub last: bool,
}

/// What became of it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The sink has taken everything up to this number: what is behind it is handed over next.
    pub read: i64,
    /// Everything up to this number is delivered or refused, and need not be handed over again after a
    /// crash. Not above `read`.
    pub done: i64,
    /// What was delivered now, in the sink's own units.
    pub delivered: u64,
    /// What never will be: the other end does not take it, or it cannot be told. Kept in the store.
    pub refused: Vec<DeadLetter>,
    /// Why not everything that was due: all is left alone for a while.
    pub trouble: Option<Trouble>,
    /// Tries that failed for a part of it, and not with `trouble`.
    pub failed: u64,
    /// Why such a part was not taken, if the reason may be all's. It is tried again when `again` is over; the
    /// rest goes on.
    pub denied: Option<String>,
    /// Something is held back, or tried again, and due after this long.
    pub again: Option<Duration>,
    /// To be kept with `done`.
    pub state: String,
}

impl Outcome {
    /// All of it was taken, so many delivered.
    #[must_use]
    pub fn all(batch: &Batch<'_>, delivered: u64) -> Self {
        Self {
            read: batch.through,
            done: batch.through,
            delivered,
            ..Self::default()
        }
    }
}

/// Why the other end did not take something that it may take later.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Trouble {
    /// In words.
    pub why: String,
    /// It asked to be left alone for this long.
    pub retry_after: Option<Duration>,
}

#[cfg(test)]
mod tests;
