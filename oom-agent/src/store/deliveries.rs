//! What the store has for those who deliver what is stored: that there is more, and a place for how far
//! they have got.
//!
//! Takes [`Delivered`]; hands it to the store thread, which alone writes. Refuses to wait for the disk: what
//! a crash takes of it is delivered again, and must be known there by its ids.

use std::sync::Arc;

use tokio::sync::watch;

use super::{
    entry::{Delivered, Entry},
    queue::Shared,
};

/// A handle. Its clones are the same.
#[derive(Clone, Debug)]
pub struct Deliveries {
    shared: Arc<Shared>,
    commits: watch::Receiver<u64>,
}

impl Deliveries {
    pub(super) const fn new(shared: Arc<Shared>, commits: watch::Receiver<u64>) -> Self {
        Self { shared, commits }
    }

    /// The same with commits that a test makes up.
    #[cfg(test)]
    pub(crate) fn told_by(&self, commits: watch::Receiver<u64>) -> Self {
        Self::new(self.shared.clone(), commits)
    }

    /// Changes with each commit of events. The value is the number of the database: it grows when one was
    /// damaged and another begun, in which all numbers begin anew.
    #[must_use]
    pub fn commits(&self) -> watch::Receiver<u64> {
        self.commits.clone()
    }

    /// Has the store keep this, a moment later; never waits.
    pub fn keep(&self, delivered: Delivered) {
        self.shared.offer(Entry::Delivered(delivered));
        self.shared.wake();
    }
}
