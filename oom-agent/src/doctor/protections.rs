//! What the agent would give up here, and what would protect it: each protection tried by itself.
//!
//! Puts them on a thread that ends at once; what is of the whole process is put back. Emits a check for each,
//! and one for the capabilities that nothing needs.

use std::thread;

use rustix::thread::CapabilitySet;

use super::{Check, State};
use crate::confine::{
    self, Feature, Guard, Protection,
    capabilities::{NEEDS, Need},
};

/// What an agent with its defaults makes use of, and with a sink.
const WHOLE: [Feature; 6] = [
    Feature::Bpf,
    Feature::Log,
    Feature::Names,
    Feature::Store,
    Feature::Server,
    Feature::Client,
];

pub(super) fn checks(held: Option<CapabilitySet>) -> Vec<Check> {
    let tried = thread::Builder::new()
        .spawn(|| confine::attempt(&WHOLE))
        .map(thread::JoinHandle::join);
    let mut checks: Vec<_> = match tried {
        Ok(Ok(protections)) => protections.into_iter().map(check).collect(),
        Ok(Err(_)) => vec![unknown("the attempt panicked")],
        Err(error) => vec![unknown(&format!("no thread: {error}"))],
    };
    checks.extend(held.map(unneeded));
    checks
}

fn unknown(why: &str) -> Check {
    Check::new("protections", State::Unknown, why)
}

fn check(protection: Protection) -> Check {
    let (name, cost, fix) = words(protection.name);
    let (state, found) = match protection.state {
        confine::State::On | confine::State::Later => return Check::ok(name, "can be put on"),
        confine::State::Partly(why) => (State::Degraded, why),
        confine::State::Off(why) => (State::Missing, why),
    };
    Check::new(name, state, found).cost(cost).fix(fix)
}

/// Name, what is lost without it, and how to get it.
fn words(guard: Guard) -> (&'static str, &'static str, &'static str) {
    match guard {
        Guard::OomScore => (
            "oom-score",
            "where the machine runs out of memory the agent may be killed as any other process",
            "CAP_SYS_RESOURCE at the start, or systemd: OOMScoreAdjust=-900",
        ),
        Guard::MemoryLock => (
            "memory-lock",
            "the agent's own pages may be evicted when memory is short: its alerts come later",
            "CAP_IPC_LOCK, or systemd: LimitMEMLOCK=infinity",
        ),
        Guard::NoNewPrivs => ("no-new-privs", "neither Landlock nor seccomp", "Linux 3.5"),
        Guard::Capabilities => (
            "capabilities",
            "an agent that is taken over has what it was started with",
            "CAP_SETPCAP at the start, or systemd: CapabilityBoundingSet=",
        ),
        Guard::Landlock => (
            "landlock",
            "an agent that is taken over writes to what its user may write to",
            "Linux 5.13 (6.10 for all of it) with CONFIG_SECURITY_LANDLOCK, `landlock` in lsm=; in a \
             container a seccomp profile that lets it pass",
        ),
        Guard::Seccomp => (
            "seccomp",
            "an agent that is taken over makes any system call",
            "x86_64 or aarch64, a kernel with CONFIG_SECCOMP_FILTER",
        ),
    }
}

/// What is held and has no use: root has it all, and the agent gives it up.
fn unneeded(held: CapabilitySet) -> Check {
    let needed: CapabilitySet = NEEDS.iter().map(|need: &Need| need.bit).collect();
    let names: Vec<_> = (held - needed).iter_names().map(|(name, _)| name).collect();
    let found = if names.is_empty() {
        "no capability is held that is of no use".to_owned()
    } else {
        let names = names.join(", ");
        format!("of no use, and given up once the agent is armed: {names}")
    };
    Check::ok("unneeded", found)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::confine::GUARDS;

    #[test]
    fn what_cannot_be_put_on_costs_something() {
        for name in GUARDS {
            for (state, expected) in [
                (confine::State::On, State::Ok),
                (confine::State::Partly("why".to_owned()), State::Degraded),
                (confine::State::Off("why".to_owned()), State::Missing),
            ] {
                let check = check(Protection { name, state });
                assert_eq!(check.state, expected);
                assert_eq!(check.name, name.to_string());
                assert_eq!(check.cost.is_some(), expected != State::Ok);
            }
        }
    }

    #[test]
    fn what_is_held_for_nothing_is_named() {
        let found = |held| unneeded(held).found;
        assert!(found(CapabilitySet::CHOWN | CapabilitySet::BPF).ends_with(": CHOWN"));
        assert!(found(CapabilitySet::BPF).starts_with("no capability"));
    }
}
