//! Everything that can be lost, or was not as it should be, in numbers: for the last line, the status and
//! the metrics alike.
//!
//! Reads what the parts have counted; emits a name, a sentence and a number for each.

use super::Summary;

/// One thing that can go wrong, and how often it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Its name in the summary and the status; `oom_<name>_total` in the metrics.
    pub name: &'static str,
    /// What it means, in a sentence.
    pub help: &'static str,
    /// How often, since the audit began for what detection counts, else since the start.
    pub count: u64,
}

impl Summary {
    /// All of them, also those that are 0.
    #[must_use]
    #[expect(clippy::too_many_lines, reason = "a table")]
    pub fn losses(&self) -> Vec<Loss> {
        let Self { tally, helpers, .. } = self;
        let (counts, desk) = (&tally.counts, &tally.desk);
        let stored = self.stored.unwrap_or_default();
        let [refused, not_a_file, too_large, malformed, mismatch] = desk.unreadable_by_reason;
        [
            (
                "ring_dropped",
                "Records of the kernel side that the ring had no room for",
                counts.ring_dropped,
            ),
            (
                "kmsg_lost",
                "Records of the kernel log that were overwritten before they were read",
                counts.kmsg_lost,
            ),
            (
                "forged",
                "Log records that look like an OOM kill and that the kernel did not write",
                counts.forged,
            ),
            (
                "malformed",
                "Records of the ring or the log that could not be understood",
                counts.malformed + tally.refused,
            ),
            (
                "bare_marks",
                "Processes that the kernel marked and did not have to kill: they were exiting",
                counts.bare_marks,
            ),
            (
                "late_lines",
                "Log lines that came after their report was closed",
                counts.late_lines,
            ),
            (
                "suppressed_reports",
                "Reports that the kernel itself kept out of its log",
                counts.suppressed_reports,
            ),
            (
                "abandoned_reports",
                "Reports in the log that ended without a kill line",
                counts.abandoned_reports,
            ),
            (
                "possible_repeats",
                "Group kills whose first victim the kernel may have counted twice, unseen",
                counts.possible_repeats,
            ),
            (
                "failed_reads",
                "Reads of kernel memory that failed",
                tally.kernel.read_failed,
            ),
            (
                "memory_missed",
                "Reports whose cgroup's memory was not read in time",
                counts.memory_missed,
            ),
            (
                "ends_missed",
                "Victims whose end nobody could wait for",
                counts.ends_missed,
            ),
            (
                "end_records_lost",
                "Records of how victims end that found no room, or could not be read",
                helpers.victims.dropped + helpers.victims.refused,
            ),
            (
                "unattributed",
                "Kills whose owner could not be told in full",
                desk.unattributed,
            ),
            (
                "names_late",
                "Alerts that were told without names, for they came too late",
                desk.names_late,
            ),
            (
                "unreadable_bundles",
                "Files of container runtimes that could not be used",
                desk.unreadable,
            ),
            (
                "bundles_refused",
                "Files of container runtimes that could not be opened",
                refused,
            ),
            (
                "bundles_not_a_file",
                "Files of container runtimes that are no plain files",
                not_a_file,
            ),
            (
                "bundles_too_large",
                "Files of container runtimes that are too large",
                too_large,
            ),
            (
                "bundles_malformed",
                "Files of container runtimes that are malformed",
                malformed,
            ),
            (
                "bundles_of_another",
                "Files of container runtimes that tell of another container",
                mismatch,
            ),
            (
                "cgroup_events_lost",
                "Events of the cgroup watch that were lost; a scan made up for them",
                helpers.cgroups.lost,
            ),
            (
                "cgroup_overflows",
                "Times that the queue of the cgroup watch ran over; a scan made up for it",
                helpers.cgroups.overflows,
            ),
            (
                "cgroups_unread",
                "Directories of cgroups that could not be read",
                helpers.cgroups.unread,
            ),
            (
                "cgroups_untracked",
                "Cgroups of which there was no room to know",
                desk.untracked,
            ),
            (
                "asks_refused",
                "Questions for names that found no room",
                helpers.cgroups.asks_refused,
            ),
            (
                "unrecorded",
                "Cgroups that the flight recorder had no room for, or news that it lost",
                helpers.memory.no_room + helpers.memory.news_lost,
            ),
            (
                "unwritten",
                "Events that standard output did not take",
                self.unwritten,
            ),
            (
                "undurable",
                "Evidence that was not journaled: a crash at that moment would have lost it",
                stored.undurable,
            ),
            (
                "released_early",
                "Records that left the ring before they were stored",
                stored.released_early,
            ),
            (
                "failed_commits",
                "Transactions of the store that failed",
                stored.failed_commits,
            ),
            (
                "unstored",
                "Events of kills that were told and will never be stored",
                stored.unstored_kills,
            ),
            (
                "unstored_news",
                "Events of containers that were told and will never be stored",
                stored.unstored_news,
            ),
            (
                "stores_set_aside",
                "Databases that were damaged and have been moved aside",
                stored.moved_aside,
            ),
        ]
        .map(|(name, help, count)| Loss { name, help, count })
        .into()
    }
}
