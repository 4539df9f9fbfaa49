//! The kernel's own counter against what was seen.
//!
//! The law: distinct victims + counted repeats = growth of `/proc/vmstat oom_kill`.

use serde::{Deserialize, Serialize};

/// What has been counted since the agent was armed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Counts {
    /// `OomKill` events.
    pub kills: u64,
    /// `OomInstance` events.
    pub instances: u64,
    /// The kernel killed a process that it had already killed (group kills do).
    pub repeats: u64,
    /// Records that the ring had no room for.
    pub ring_dropped: u64,
    /// Log records overwritten before they were read.
    pub kmsg_lost: u64,
    /// OOM-looking log records that the kernel did not write.
    pub forged: u64,
    /// Log records that could not be understood.
    pub malformed: u64,
    /// Reports that the kernel itself kept out of the log, as it says.
    pub suppressed_reports: u64,
    /// Reports in the log that ended without a kill line: the rest of them was lost.
    pub abandoned_reports: u64,
    /// Log lines that came after their instance was closed.
    pub late_lines: u64,
    /// Group kills for which no source could have shown the repeat.
    pub possible_repeats: u64,
    /// Marks that were no kills.
    pub bare_marks: u64,
    /// Reports whose cgroup's memory could not be told in time.
    pub memory_missed: u64,
    /// Victims whose end nobody could wait for, or nobody waited for long enough; and what was told of ends
    /// before their kill was known, and found no room.
    pub ends_missed: u64,
}

/// The counter at the start and now.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Audit {
    /// What was counted.
    pub counts: Counts,
    base: Option<u64>,
    /// When that was read, `CLOCK_MONOTONIC`. What was killed before is in it.
    base_ns: u64,
    /// Kills of before that, which a ring or the log still told.
    before_base: u64,
    latest: Option<u64>,
    /// What stays unexplained for good, and what was left over at the last quiet reading.
    settled: i64,
    left_over: i64,
}

impl Audit {
    /// A reading of the counter; the first is the base.
    pub(super) fn counter(&mut self, oom_kill: u64, read_ns: u64) {
        if self.base.is_none() {
            (self.base, self.base_ns) = (Some(oom_kill), read_ns);
        }
        self.latest = Some(oom_kill);
    }

    /// A kill was told, which was marked at that moment.
    pub(super) fn kill(&mut self, marked_ns: Option<u64>) {
        self.counts.kills += 1;
        self.before_base += u64::from(marked_ns.is_some_and(|at_ns| at_ns < self.base_ns));
    }

    /// The counter was read when nothing was pending. What is left over then will not be explained any
    /// more, if it was left over the last time too: the kernel counts before it marks, so one reading
    /// may be ahead of a mark. It is never behind: what is missing from it was counted before the base.
    pub(super) fn settle(&mut self) {
        let Some(left_over) = self.unexplained() else {
            return;
        };
        let before = std::mem::replace(&mut self.left_over, left_over);
        self.settled = self.settled.max(left_over.min(before)).min(left_over);
    }

    /// Kills that are unexplained since then: those of marks that are not judged yet.
    pub(super) fn unsettled(&self) -> Option<i64> {
        Some(self.unexplained()? - self.settled)
    }

    /// Kills that the kernel counted since the base. `None` where it has no such counter (< 4.13).
    #[must_use]
    pub fn kernel_kills(&self) -> Option<u64> {
        Some(self.latest?.saturating_sub(self.base?))
    }

    /// Kernel's count − kills − repeats: above 0, kills that no source showed; below 0, kills that
    /// the counter had counted before the base was read.
    #[must_use]
    pub fn unexplained(&self) -> Option<i64> {
        let seen = self.counts.kills - self.before_base + self.counts.repeats;
        Some(i64::try_from(self.kernel_kills()?).ok()? - i64::try_from(seen).ok()?)
    }
}
