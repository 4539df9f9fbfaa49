//! What was seen from the start to now, and what was lost; as a line, the agent's last.

use std::fmt;

use crate::{
    detect::Tally,
    source::{cgroup, memory, victim},
    store,
};

/// These losses are told also where there were none.
const ALWAYS: [&str; 4] = ["ring_dropped", "kmsg_lost", "forged", "malformed"];

/// What the threads that help detection have counted.
#[derive(Clone, Copy, Debug, Default)]
pub struct HelperCounts {
    /// By the watch.
    pub cgroups: cgroup::Counts,
    /// By the recorder.
    pub memory: memory::Counters,
    /// By the watch of victims.
    pub victims: victim::Counters,
}

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
        let counts = &self.tally.counts;
        write!(
            f,
            "summary: kills={} instances={} repeats={} unexplained=",
            counts.kills, counts.instances, counts.repeats
        )?;
        match self.tally.unexplained {
            Some(count) => write!(f, "{count}")?,
            None => f.write_str("unknown")?,
        }
        let losses = self.losses();
        let (always, others): (Vec<_>, Vec<_>) =
            (losses.into_iter()).partition(|loss| ALWAYS.contains(&loss.name));
        for loss in always {
            write!(f, " {}={}", loss.name, loss.count)?;
        }
        if let Some(stored) = &self.stored {
            write!(f, " stored={}", stored.events)?;
        }
        for loss in others.iter().filter(|loss| loss.count > 0) {
            write!(f, " {}={}", loss.name, loss.count)?;
        }
        Ok(())
    }
}
