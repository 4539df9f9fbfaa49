//! Everything that can be lost, or was not as it should be, in numbers: for the last line, the status and
//! the metrics alike.
//!
//! Reads what the parts have counted; emits a name, a sentence and a number for each, and what it means if that is
//! not 0. Refuses to call harm what cost nobody an event: whoever is called for nothing does not come again.

use super::Summary;
use Kind::{Detail, Evidence, Harm, MadeUp, Normal};

/// What a loss costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Events, or evidence of kills, are gone for good: somebody must look.
    Harm,
    /// What one source had to say of kills: harm, unless the audit proves that every kill was told all the same, by
    /// the other one.
    Evidence,
    /// An event was told all the same, without some detail; it says so where that would have stood.
    Detail,
    /// Lost here and had from elsewhere, or only at risk for a moment.
    MadeUp,
    /// What the kernel or others did; nobody has lost anything.
    Normal,
}

impl Kind {
    /// That of a loss by its name; harm where this version does not know it.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let known = Summary::default().losses().into_iter();
        let mut of = known.filter(|loss| loss.name == name).map(|loss| loss.kind);
        of.next().unwrap_or(Harm)
    }
}

/// One thing that can go wrong, and how often it has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Loss {
    /// Its name in the summary and the status; `oom_<name>_total` in the metrics.
    pub name: &'static str,
    /// What it costs.
    pub kind: Kind,
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
        let misses = helpers.cgroups.misses;
        let [refused, not_a_file, too_large, malformed, mismatch] = desk.unreadable_by_reason;
        [
            (
                "ring_dropped",
                Evidence,
                "Records of the kernel side that the ring had no room for",
                counts.ring_dropped,
            ),
            (
                "kmsg_lost",
                Evidence,
                "Records of the kernel log that were overwritten before they were read",
                counts.kmsg_lost,
            ),
            (
                "forged",
                Normal,
                "Log records that look like an OOM kill and that the kernel did not write",
                counts.forged,
            ),
            (
                "malformed",
                Evidence,
                "Records of the ring or the log that could not be understood",
                counts.malformed + tally.refused,
            ),
            (
                "bare_marks",
                Normal,
                "Processes that the kernel marked and did not have to kill: they were exiting",
                counts.bare_marks,
            ),
            (
                "late_lines",
                Detail,
                "Log lines that came after their report was closed",
                counts.late_lines,
            ),
            (
                "suppressed_reports",
                Normal,
                "Reports that the kernel itself kept out of its log",
                counts.suppressed_reports,
            ),
            (
                "abandoned_reports",
                // On old kernels also where the victim had gone; records that were lost count as such.
                Detail,
                "Reports in the log that ended without a kill line",
                counts.abandoned_reports,
            ),
            (
                "possible_repeats",
                Normal,
                "Group kills whose first victim the kernel may have counted twice, unseen",
                counts.possible_repeats,
            ),
            (
                "failed_reads",
                Detail,
                "Reads of kernel memory that failed",
                tally.kernel.read_failed,
            ),
            (
                "memory_missed",
                Detail,
                "Reports whose cgroup's memory was not read in time",
                counts.memory_missed,
            ),
            (
                "ends_missed",
                Detail,
                "Victims whose end nobody could wait for",
                counts.ends_missed,
            ),
            (
                "end_records_lost",
                MadeUp,
                "Records of how victims end that found no room, or could not be read",
                helpers.victims.dropped + helpers.victims.refused,
            ),
            (
                "unattributed",
                Detail,
                "Kills whose owner could not be told in full",
                desk.unattributed,
            ),
            (
                "names_late",
                MadeUp,
                "Alerts that were told without names, for they came too late",
                desk.names_late,
            ),
            (
                "unreadable_bundles",
                Detail,
                "Files of container runtimes that could not be used",
                desk.unreadable,
            ),
            (
                "bundles_refused",
                Detail,
                "Files of container runtimes that could not be opened",
                refused,
            ),
            (
                "bundles_not_a_file",
                Detail,
                "Files of container runtimes that are no plain files",
                not_a_file,
            ),
            (
                "bundles_too_large",
                Detail,
                "Files of container runtimes that are too large",
                too_large,
            ),
            (
                "bundles_malformed",
                Detail,
                "Files of container runtimes that are malformed",
                malformed,
            ),
            (
                "bundles_of_another",
                Detail,
                "Files of container runtimes that tell of another container",
                mismatch,
            ),
            (
                "names_absent",
                Normal,
                "Looks for the names of a container that found nothing on disk, or nothing yet",
                misses.absent,
            ),
            (
                "listings_cut",
                Detail,
                "Directories of container runtimes with more entries than are looked at",
                misses.cut_listings,
            ),
            (
                "settings_unusable",
                Detail,
                "Settings of container runtimes that could not be used: their defaults were taken",
                misses.settings,
            ),
            (
                "cgroup_events_lost",
                MadeUp,
                "Events of the cgroup watch that were lost; a scan made up for them",
                helpers.cgroups.lost,
            ),
            (
                "cgroup_overflows",
                MadeUp,
                "Times that the queue of the cgroup watch ran over; a scan made up for it",
                helpers.cgroups.overflows,
            ),
            (
                "cgroups_unread",
                Detail,
                "Directories of cgroups that could not be read",
                helpers.cgroups.unread,
            ),
            (
                "cgroups_untracked",
                Detail,
                "Cgroups of which there was no room to know",
                desk.untracked,
            ),
            (
                "asks_refused",
                Detail,
                "Questions for names that found no room",
                helpers.cgroups.asks_refused,
            ),
            (
                "unrecorded",
                Detail,
                "Cgroups that the flight recorder had no room for, or news that it lost",
                helpers.memory.no_room + helpers.memory.news_lost,
            ),
            (
                "names_no_room",
                Detail,
                "Cgroups that were not looked up again, or whose names or exit code were not waited for, for want of room",
                helpers.cgroups.no_room,
            ),
            (
                "memory_unread",
                Detail,
                "Readings of the memory of cgroups that are there which failed",
                helpers.memory.unread,
            ),
            (
                "unwritten",
                Harm,
                "Events that standard output did not take",
                self.unwritten,
            ),
            (
                "undurable",
                MadeUp,
                "Evidence that was not journaled: a crash at that moment would have lost it",
                stored.undurable,
            ),
            (
                "released_early",
                MadeUp,
                "Records that left the ring before they were stored",
                stored.released_early,
            ),
            (
                "failed_commits",
                MadeUp,
                "Transactions of the store that failed",
                stored.failed_commits,
            ),
            (
                "unstored",
                Harm,
                "Events of kills that were told and will never be stored",
                stored.unstored_kills,
            ),
            (
                "unstored_news",
                Harm,
                "Events of containers that were told and will never be stored",
                stored.unstored_news,
            ),
            (
                "lost_with_boot",
                Detail,
                "Of boots that ended meanwhile: ends of victims that nobody saw, and evidence that cannot be read",
                stored.lost_with_boot,
            ),
            (
                "stores_set_aside",
                Harm,
                "Databases that were damaged and have been moved aside",
                stored.moved_aside,
            ),
        ]
        .map(|(name, kind, help, count)| Loss {
            name,
            kind,
            help,
            count,
        })
        .into()
    }
}
