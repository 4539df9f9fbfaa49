//! The kernel's kill of an earlier agent, which that could not tell.
//!
//! Reads the kills that are told, and the starts of this boot that did not end by themselves; emits a line of the
//! log. Refuses a process that only has the number of an agent.

use std::sync::Arc;

use crate::{
    clock::TICK_NS,
    event::{Event, OomKill},
    hub::Output,
    store::Run,
};

/// The log's clock may be so far off the kernel's: it stamps with one that nobody steers.
const LOG_CLOCK_NS: u64 = 2_000_000_000;

/// Looks for the kills of those.
#[derive(Debug)]
pub(super) struct OwnDeath {
    /// The newest first.
    runs: Vec<Run>,
    /// When this start was, `CLOCK_MONOTONIC`: all others had died by then.
    since_ns: u64,
}

impl OwnDeath {
    /// `None` if all have ended by themselves. An older one may have died unseen as well: whoever came after it
    /// was perhaps cut off before it had read of that.
    pub(super) fn watch(runs: Vec<Run>, since_ns: u64) -> Option<Self> {
        (!runs.is_empty()).then_some(Self { runs, since_ns })
    }

    /// A number is another's by and by. Where both are known, the kernel's times of their starts decide, for a
    /// wall clock may be set; the store has it in the ticks of `/proc`.
    fn is_kill_of(&self, run: &Run, kill: &OomKill) -> bool {
        // The log and old tracepoints name a thread, and that of a process is its first one.
        kill.victim.pid.unwrap_or(kill.victim.tid) == run.pid
            && match (run.pid_start_ns, kill.start_boottime_ns()) {
                (Some(run), Some(kill)) => run.abs_diff(kill) < TICK_NS,
                _ => (kill.monotonic_ns).is_some_and(|at| at <= self.since_ns + LOG_CLOCK_NS),
            }
    }
}

impl Output for OwnDeath {
    fn offer(&mut self, event: &Arc<Event>) -> bool {
        let Event::OomKill(kill) = &**event else {
            return true;
        };
        let is_it = |run: &Run| self.is_kill_of(run, kill);
        let Some(at) = self.runs.iter().position(is_it) else {
            return true;
        };
        let run = self.runs.remove(at);
        let time = kill
            .time
            .map_or_else(String::new, |time| format!(" at {time}"));
        tracing::error!(
            "the kernel killed an oom-agent before this one (pid {}) for memory{time}: event {}",
            run.pid,
            kill.id
        );
        !self.runs.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Timestamp;

    const START_NS: u64 = 7_000_000_000;
    const SINCE_NS: u64 = 90_000_000_000;

    fn run(pid: u32, pid_start_ns: Option<u64>) -> Run {
        Run {
            pid,
            pid_start_ns,
            started: Timestamp::from_unix_ns(5),
            version: "1".into(),
            ring_generation: None,
            first_log: None,
        }
    }

    fn kill(pid: Option<u32>, tid: u32, id: &str, at_ns: u64) -> OomKill {
        let mut kill = OomKill::for_tests();
        (kill.id, kill.monotonic_ns) = (id.into(), Some(at_ns));
        (kill.victim.pid, kill.victim.tid) = (pid, tid);
        // Of no use: the clock was set meanwhile.
        kill.victim.start_time = Some(Timestamp::from_unix_ns(1));
        kill
    }

    #[test]
    fn the_kill_of_an_agent_is_known_by_its_number_and_its_start() {
        let before = SINCE_NS - 1_000_000_000;
        let later = SINCE_NS + 30_000_000_000;
        for (start, kill, expected) in [
            (true, kill(Some(41), 43, "b-41-7004711000", before), true),
            (true, kill(Some(41), 41, "b-41-7004711000", later), true),
            (true, kill(Some(41), 41, "b-41-7010000000", before), false),
            (true, kill(Some(42), 41, "b-42-7004711000", before), false),
            // By the log alone, or by a mark that carries only the thread.
            (true, kill(None, 41, "b-kmsg77", before), true),
            (true, kill(None, 41, "b-41-mark89", before), true),
            (true, kill(None, 41, "b-kmsg77", later), false),
            // Noted down by a build that did not know its start.
            (false, kill(Some(41), 41, "b-41-7004711000", before), true),
            (false, kill(Some(41), 41, "b-41-7004711000", later), false),
        ] {
            let runs = vec![run(41, start.then_some(START_NS))];
            let watch = OwnDeath::watch(runs, SINCE_NS).unwrap();
            assert_eq!(
                watch.is_kill_of(&watch.runs[0], &kill),
                expected,
                "{kill:?}"
            );
        }
    }

    #[test]
    fn each_that_was_cut_off_is_told_of_once() {
        assert!(OwnDeath::watch(Vec::new(), SINCE_NS).is_none());
        let runs = vec![run(42, Some(START_NS)), run(41, Some(START_NS))];
        let mut watch = OwnDeath::watch(runs, SINCE_NS).unwrap();
        let mut offer = |pid: u32| {
            let kill = kill(Some(pid), pid, &format!("b-{pid}-{START_NS}"), SINCE_NS);
            watch.offer(&Arc::new(Event::OomKill(Box::new(kill))))
        };
        assert!(offer(41) && offer(41) && offer(40));
        assert!(!offer(42), "nobody is left");
    }
}
