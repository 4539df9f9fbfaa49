//! The last line: what was seen from start to stop, and what was lost.

use std::fmt;

use super::HelperCounts;
use crate::{detect::Tally, store};

/// What was counted by whom.
#[derive(Clone, Copy, Debug, Default)]
pub struct Summary {
    /// By detection.
    pub tally: Tally,
    /// By the threads that help it.
    pub helpers: HelperCounts,
    /// By the store; `None` without one.
    pub stored: Option<store::Counts>,
    /// Events that standard output did not take.
    pub unwritten: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { tally, helpers, .. } = self;
        let counts = &tally.counts;
        let [refused, not_a_file, too_large, malformed, mismatch] = tally.desk.unreadable_by_reason;
        write!(
            f,
            "summary: kills={} instances={} repeats={} unexplained=",
            counts.kills, counts.instances, counts.repeats
        )?;
        match tally.unexplained {
            Some(count) => write!(f, "{count}")?,
            None => f.write_str("unknown")?,
        }
        write!(
            f,
            " ring_dropped={} kmsg_lost={} forged={} malformed={}",
            counts.ring_dropped,
            counts.kmsg_lost,
            counts.forged,
            counts.malformed + tally.refused
        )?;
        if let Some(stored) = &self.stored {
            write!(f, " stored={}", stored.events)?;
        }
        let stored = self.stored.unwrap_or_default();
        for (name, value) in [
            ("bare_marks", counts.bare_marks),
            ("late_lines", counts.late_lines),
            ("suppressed_reports", counts.suppressed_reports),
            ("abandoned_reports", counts.abandoned_reports),
            ("possible_repeats", counts.possible_repeats),
            ("failed_reads", tally.kernel.read_failed),
            ("memory_missed", counts.memory_missed),
            ("unattributed", tally.desk.unattributed),
            ("names_late", tally.desk.names_late),
            ("unreadable_bundles", tally.desk.unreadable),
            ("bundles_refused", refused),
            ("bundles_not_a_file", not_a_file),
            ("bundles_too_large", too_large),
            ("bundles_malformed", malformed),
            ("bundles_of_another", mismatch),
            ("cgroup_events_lost", helpers.cgroups.lost),
            ("cgroup_overflows", helpers.cgroups.overflows),
            ("cgroups_unread", helpers.cgroups.unread),
            ("cgroups_untracked", tally.desk.untracked),
            ("asks_refused", helpers.cgroups.asks_refused),
            (
                "unrecorded",
                helpers.memory.no_room + helpers.memory.news_lost,
            ),
            ("unwritten", self.unwritten),
            ("undurable", stored.undurable),
            ("released_early", stored.released_early),
            ("failed_commits", stored.failed_commits),
            ("unstored", stored.unstored_kills),
            ("unstored_news", stored.unstored_news),
            ("stores_set_aside", stored.moved_aside),
        ] {
            if value > 0 {
                write!(f, " {name}={value}")?;
            }
        }
        Ok(())
    }
}
