//! How long the correlator waits for what.
//!
//! Reads nothing: numbers, which tests set otherwise.

/// How long to wait for what, in nanoseconds, and how much to keep.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// An instance is closed at the latest this long after its first evidence: a slow console can
    /// make the log late.
    pub window_ns: u64,
    /// A "Killed process" line waits this long for the mark that must have preceded it.
    pub grace_ns: u64,
    /// A decision waits this long for its mark or its kill.
    pub decision_ns: u64,
    /// A group kill is complete when nothing has followed for this long.
    pub settle_ns: u64,
    /// A report waits this long for the memory of its cgroup.
    pub memory_answer_ns: u64,
    /// Kills are remembered this long after their instance closed, to know late lines and repeats.
    pub memory_ns: u64,
    /// Closed kills that are remembered at most, whatever their age.
    pub memory_kills: usize,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            window_ns: 2_000_000_000,
            grace_ns: 250_000_000,
            decision_ns: 60_000_000_000,
            settle_ns: 250_000_000,
            memory_answer_ns: 1_000_000_000,
            memory_ns: 60_000_000_000,
            memory_kills: 65_536,
        }
    }
}
