//! Effective capabilities (capabilities(7)) by name.
//!
//! Reads capget(2); emits a check for each that the agent has a use for.

use rustix::{
    process::{Resource, getrlimit},
    thread::{CapabilitySet, capabilities},
};

use super::{Check, State};
use crate::{confine::capabilities::NEEDS, render::units::bytes};

/// What this process may do.
pub(super) struct Held {
    /// `None` if the kernel did not tell.
    pub(super) effective: Option<CapabilitySet>,
    /// `RLIMIT_MEMLOCK`; `None` is unlimited.
    pub(super) memlock: Option<u64>,
}

impl Held {
    pub(super) fn read() -> Self {
        Self {
            effective: capabilities(None).ok().map(|sets| sets.effective),
            memlock: getrlimit(Resource::Memlock).current,
        }
    }
}

/// Room that the agent needs locked where it lacks `CAP_IPC_LOCK`: itself, its ring and its stacks.
const MEMLOCK_ENOUGH: u64 = 64 << 20;

struct Use {
    name: &'static str,
    bit: CapabilitySet,
    /// Whether `CAP_SYS_ADMIN` stands in for it.
    by_admin: bool,
    /// What it is for, if the programs did not load.
    without: &'static str,
    /// The same once they did: then the kernel does without it.
    loaded: Option<&'static str>,
}

const USES: [Use; 8] = [
    Use {
        name: "CAP_BPF",
        bit: CapabilitySet::BPF,
        by_admin: true,
        without: "no BPF: kills come from the kernel log alone",
        loaded: Some("nothing here: the programs loaded without it"),
    },
    Use {
        name: "CAP_PERFMON",
        bit: CapabilitySet::PERFMON,
        by_admin: true,
        without: "no BPF: kills come from the kernel log alone",
        loaded: Some("nothing here: the programs loaded without it"),
    },
    Use {
        name: "CAP_SYSLOG",
        bit: CapabilitySet::SYSLOG,
        by_admin: false,
        without: "no kernel log where dmesg_restrict is set, and no kernel symbols",
        loaded: None,
    },
    Use {
        name: "CAP_DAC_READ_SEARCH",
        bit: CapabilitySet::DAC_READ_SEARCH,
        by_admin: false,
        without: "names of containers only where their runtime's files are open to the agent's user",
        loaded: None,
    },
    Use {
        name: "CAP_SYS_ADMIN",
        bit: CapabilitySet::SYS_ADMIN,
        by_admin: false,
        without: "before 5.8 no BPF; no classic tracepoint where perf_event_paranoid is above 2",
        loaded: Some("nothing here: the programs loaded without it"),
    },
    Use {
        name: "CAP_SYS_RESOURCE",
        bit: CapabilitySet::SYS_RESOURCE,
        by_admin: false,
        without: "before 5.11 BPF memory counts against RLIMIT_MEMLOCK, which cannot be raised",
        loaded: Some("nothing here: the programs loaded without it"),
    },
    Use {
        name: "CAP_IPC_LOCK",
        bit: CapabilitySet::IPC_LOCK,
        by_admin: false,
        without: "the agent's own pages may be evicted when memory is short: its alerts come later",
        loaded: None,
    },
    Use {
        name: "CAP_SYS_NICE",
        bit: CapabilitySet::SYS_NICE,
        by_admin: false,
        without: "real-time priority only as far as RLIMIT_RTPRIO allows: see below",
        loaded: None,
    },
];

pub(super) fn checks(held: &Held, loaded: bool) -> Vec<Check> {
    USES.iter()
        .map(|capability| check(capability, held, loaded))
        .collect()
}

fn check(wanted: &Use, held: &Held, loaded: bool) -> Check {
    let Some(effective) = held.effective else {
        return Check::new(wanted.name, State::Unknown, "capget(2) failed");
    };
    if effective.contains(wanted.bit) {
        let need = NEEDS.iter().find(|need| need.name == wanted.name);
        let kept = need.is_some_and(|need| need.kept_for.is_some());
        let found = if kept {
            "effective"
        } else {
            "effective; given up once the agent is armed"
        };
        return Check::ok(wanted.name, found);
    }
    if wanted.by_admin && effective.contains(CapabilitySet::SYS_ADMIN) {
        return Check::ok(wanted.name, "covered by CAP_SYS_ADMIN");
    }
    if wanted.bit == CapabilitySet::IPC_LOCK {
        match held.memlock {
            None => {
                return Check::ok(
                    wanted.name,
                    "not effective, but RLIMIT_MEMLOCK is unlimited",
                );
            }
            Some(limit) if limit >= MEMLOCK_ENOUGH => {
                let found = format!("not effective, but RLIMIT_MEMLOCK is {}", bytes(limit));
                return Check::ok(wanted.name, found);
            }
            Some(_) => {}
        }
    }
    let cost = wanted.loaded.filter(|_| loaded).unwrap_or(wanted.without);
    let unit = format!(
        "systemd: AmbientCapabilities={0}; container: --cap-add {1}",
        wanted.name,
        &wanted.name[4..]
    );
    Check::new(wanted.name, State::Missing, "not effective")
        .cost(cost)
        .fix(unit)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(effective: CapabilitySet, memlock: Option<u64>) -> Vec<(&'static str, State)> {
        let held = Held {
            effective: Some(effective),
            memlock,
        };
        checks(&held, false)
            .into_iter()
            .map(|check| (check.name, check.state))
            .collect()
    }

    #[test]
    fn root_has_them_all() {
        let all = states(CapabilitySet::all(), Some(0));
        assert!(all.iter().all(|(_, state)| *state == State::Ok), "{all:?}");
    }

    #[test]
    fn sys_admin_stands_in_for_bpf_but_not_for_syslog() {
        let found = states(CapabilitySet::SYS_ADMIN, Some(0));
        let ok: Vec<_> = found
            .iter()
            .filter(|it| it.1 == State::Ok)
            .map(|it| it.0)
            .collect();
        assert_eq!(ok, ["CAP_BPF", "CAP_PERFMON", "CAP_SYS_ADMIN"]);
    }

    #[test]
    fn a_limit_can_stand_in_for_ipc_lock() {
        let ipc_lock = |memlock| states(CapabilitySet::empty(), memlock)[6];
        assert_eq!(ipc_lock(Some(8 << 20)), ("CAP_IPC_LOCK", State::Missing));
        assert_eq!(ipc_lock(Some(64 << 20)), ("CAP_IPC_LOCK", State::Ok));
        assert_eq!(ipc_lock(None), ("CAP_IPC_LOCK", State::Ok));
    }

    #[test]
    fn what_is_missing_costs_less_once_the_programs_loaded() {
        let held = Held {
            effective: Some(CapabilitySet::empty()),
            memlock: Some(0),
        };
        for (loaded, cost) in [(false, "no BPF"), (true, "nothing here")] {
            let found = checks(&held, loaded).remove(0);
            assert!(found.cost.unwrap().starts_with(cost));
            assert!(found.fix.unwrap().contains("--cap-add BPF"));
        }
        assert!(
            checks(&held, true)
                .iter()
                .all(|check| check.cost.is_some() && check.fix.is_some())
        );
    }

    #[test]
    fn not_told_is_unknown() {
        let held = Held {
            effective: None,
            memlock: None,
        };
        assert!(
            checks(&held, true)
                .iter()
                .all(|check| check.state == State::Unknown)
        );
    }
}
