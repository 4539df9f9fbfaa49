//! What became of what the store was told, in numbers.
//!
//! Reads what the thread counts and what the queue had no room for; emits their sum.

use super::lanes::Lost;

/// What became of what was offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Events that are stored.
    pub events: u64,
    /// Events that were stored already.
    pub duplicates: u64,
    /// Evidence that was journaled.
    pub journaled: u64,
    /// Evidence that was not, for a disk that refused, or one that was too slow: had the agent been
    /// killed then, what came of it would have been told only if it had been told before.
    pub undurable: u64,
    /// Records that left the ring before they were durable: the disk was slower than the kernel.
    pub released_early: u64,
    /// Transactions that failed.
    pub failed_commits: u64,
    /// Events of kills that were told and will never be stored.
    pub unstored_kills: u64,
    /// News of containers likewise.
    pub unstored_news: u64,
    /// Of boots that ended while something was open: observations in the journal that cannot be read, and victims
    /// whose end nobody saw.
    pub lost_with_boot: u64,
    /// Events that retention has removed.
    pub removed: u64,
    /// Databases that were damaged and have been moved aside.
    pub moved_aside: u64,
    /// Events that wait for a disk that refuses.
    pub waiting: u64,
}

/// With what the queue had no room for.
pub(super) fn with_lost(counts: Counts, lost: Lost) -> Counts {
    Counts {
        undurable: counts.undurable + lost.evidence,
        released_early: counts.released_early + lost.early,
        unstored_kills: counts.unstored_kills + lost.kills,
        unstored_news: counts.unstored_news + lost.news,
        ..counts
    }
}
