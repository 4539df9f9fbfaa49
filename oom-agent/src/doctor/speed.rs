//! What decides how soon an alert comes: real-time priority and a second CPU.

use std::thread;

use super::{Check, State};
use crate::realtime;

pub(super) fn checks() -> Vec<Check> {
    vec![priority(try_priority()), cpus(realtime::two_cpus().len())]
}

/// On a thread of its own, which ends at once: the doctor itself is in no hurry.
fn try_priority() -> Result<(), String> {
    thread::Builder::new()
        .spawn(realtime::raise_thread)
        .map_err(|error| format!("no thread: {error}"))?
        .join()
        .unwrap_or_else(|_| Err("the attempt panicked".to_owned()))
}

fn priority(outcome: Result<(), String>) -> Check {
    let name = "real-time priority";
    match outcome {
        Ok(()) => Check::ok(name, "allowed"),
        Err(error) => Check::new(name, State::Missing, error)
            .cost("alerts wait behind busy processes: milliseconds instead of microseconds")
            .fix("CAP_SYS_NICE, or systemd: LimitRTPRIO=40; on cgroup v1 also cpu.rt_runtime_us"),
    }
}

fn cpus(number: usize) -> Check {
    let name = "CPUs";
    if number >= 2 {
        return Check::ok(name, "at least two may be used");
    }
    Check::new(name, State::Degraded, "only one may be used")
        .cost("the killer keeps its CPU for a millisecond or two, and the agent waits for it")
        .fix("allow the agent a second CPU (cpuset, CPUAffinity)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_makes_alerts_late_is_said() {
        assert_eq!(priority(Ok(())).state, State::Ok);
        let refused = priority(Err("EPERM".to_owned()));
        assert_eq!(
            (refused.state, refused.found.as_str()),
            (State::Missing, "EPERM")
        );
        for (number, state) in [(0, State::Degraded), (1, State::Degraded), (2, State::Ok)] {
            assert_eq!(cpus(number).state, state);
        }
    }
}
