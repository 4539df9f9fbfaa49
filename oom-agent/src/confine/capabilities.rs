//! Which capabilities the agent has a use for, and when; all others are given up.
//!
//! Reads the sets of the calling thread and changes them (capabilities(7), capget(2), prctl(2)). The table
//! here is what code, `doctor` and documents go by.

use rustix::{
    io::Errno,
    thread::{
        CapabilitySet, CapabilitySets, capabilities, capability_is_in_bounding_set,
        clear_ambient_capability_set, remove_capability_from_bounding_set, set_capabilities,
    },
};

use super::{Feature, State};

/// A capability, and what it is for.
#[derive(Clone, Copy, Debug)]
pub struct Need {
    /// Its name.
    pub name: &'static str,
    /// Its bit.
    pub bit: CapabilitySet,
    /// What keeps it while the agent runs; `None` if it is of use at the start alone.
    pub kept_for: Option<Feature>,
    /// What for.
    pub why: &'static str,
}

/// Every capability that the agent can use.
pub const NEEDS: [Need; 9] = [
    Need {
        name: "CAP_BPF",
        bit: CapabilitySet::BPF,
        kept_for: Some(Feature::Bpf),
        why: "bpf(2): the watch of cgroups is loaded when kills are seen already, and before 5.19 counters are read by it",
    },
    Need {
        name: "CAP_PERFMON",
        bit: CapabilitySet::PERFMON,
        kept_for: Some(Feature::Bpf),
        why: "programs that read kernel memory, those of the watch of cgroups included",
    },
    Need {
        name: "CAP_SYSLOG",
        bit: CapabilitySet::SYSLOG,
        kept_for: Some(Feature::Log),
        why: "the kernel log, also when it has to be opened again, and kernel symbols",
    },
    Need {
        name: "CAP_DAC_READ_SEARCH",
        bit: CapabilitySet::DAC_READ_SEARCH,
        kept_for: Some(Feature::Names),
        why: "names: what runtimes leave on disk belongs to root, or to the user of a rootless container",
    },
    Need {
        name: "CAP_SYS_NICE",
        bit: CapabilitySet::SYS_NICE,
        kept_for: Some(Feature::Priority),
        why: "real-time priority, where RLIMIT_RTPRIO and RLIMIT_NICE are too low",
    },
    Need {
        name: "CAP_IPC_LOCK",
        bit: CapabilitySet::IPC_LOCK,
        kept_for: Some(Feature::LockedMemory),
        why: "memory that is locked, where RLIMIT_MEMLOCK is limited: without it later memory would be refused",
    },
    Need {
        name: "CAP_SYS_ADMIN",
        bit: CapabilitySet::SYS_ADMIN,
        kept_for: None,
        why: "at the start, for perf_event_open(2) where perf_event_paranoid is above 2; kept only where it stands in for CAP_BPF and CAP_PERFMON",
    },
    Need {
        name: "CAP_SYS_RESOURCE",
        bit: CapabilitySet::SYS_RESOURCE,
        kept_for: None,
        why: "at the start, to raise limits and to lower oom_score_adj",
    },
    Need {
        name: "CAP_SETPCAP",
        bit: CapabilitySet::SETPCAP,
        kept_for: None,
        why: "at the start, to empty the bounding set",
    },
];

/// The capabilities to keep for these features, of a thread that holds `held`.
#[must_use]
pub fn needed(features: &[Feature], held: CapabilitySet) -> CapabilitySet {
    let kept = |need: &&Need| need.kept_for.is_some_and(|it| features.contains(&it));
    let mut needed: CapabilitySet = NEEDS.iter().filter(kept).map(|need| need.bit).collect();
    let bpf = CapabilitySet::BPF | CapabilitySet::PERFMON;
    if needed.contains(bpf) && !held.contains(bpf) {
        needed |= CapabilitySet::SYS_ADMIN;
    }
    needed
}

/// Gives up, for the calling thread, what these features do not need.
pub(super) fn keep_for(features: &[Feature]) -> State {
    let held = match capabilities(None) {
        Ok(sets) => sets.permitted,
        Err(error) => return State::Off(format!("capget: {error}")),
    };
    let kept = held & needed(features, held);
    // While CAP_SETPCAP is still there.
    let bounding = bound(kept);
    // Before 4.3 there is no ambient set.
    let ambient = match clear_ambient_capability_set() {
        Err(Errno::INVAL) | Ok(()) => Ok(()),
        Err(error) => Err(error),
    };
    let sets = CapabilitySets {
        effective: kept,
        permitted: kept,
        inheritable: CapabilitySet::empty(),
    };
    if let Err(error) = set_capabilities(None, sets) {
        return State::Off(format!("capset: {error}"));
    }
    match (bounding, ambient) {
        (Ok(()), Ok(())) => State::On,
        (Err(error), _) => State::Partly(format!(
            "the bounding set stays as it is: {error} (needs CAP_SETPCAP)"
        )),
        (_, Err(error)) => State::Partly(format!("the ambient set stays as it is: {error}")),
    }
}

/// Takes all but these from the bounding set.
fn bound(kept: CapabilitySet) -> Result<(), Errno> {
    for bit in 0..u64::BITS {
        let capability = CapabilitySet::from_bits_retain(1 << bit);
        match capability_is_in_bounding_set(capability) {
            Ok(true) if !kept.contains(capability) => {
                remove_capability_from_bounding_set(capability)?;
            }
            Ok(_) => {}
            // The kernel knows no more.
            Err(Errno::INVAL) => break,
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_kept_for_nothing() {
        assert!(needed(&[], CapabilitySet::all()).is_empty());
    }

    #[test]
    fn each_feature_keeps_its_own() {
        let all = CapabilitySet::all();
        for (feature, kept) in [
            (Feature::Bpf, CapabilitySet::BPF | CapabilitySet::PERFMON),
            (Feature::Log, CapabilitySet::SYSLOG),
            (Feature::Names, CapabilitySet::DAC_READ_SEARCH),
            (Feature::Priority, CapabilitySet::SYS_NICE),
            (Feature::LockedMemory, CapabilitySet::IPC_LOCK),
            (Feature::Store, CapabilitySet::empty()),
            (Feature::Server, CapabilitySet::empty()),
            (Feature::Client, CapabilitySet::empty()),
        ] {
            assert_eq!(needed(&[feature], all), kept, "{feature:?}");
        }
    }

    #[test]
    fn sys_admin_is_kept_only_where_it_stands_in_for_bpf() {
        let admin = CapabilitySet::SYS_ADMIN;
        assert!(needed(&[Feature::Bpf], admin).contains(admin));
        assert!(!needed(&[Feature::Log], admin).contains(admin));
        assert!(!needed(&[Feature::Bpf], CapabilitySet::all()).contains(admin));
    }

    #[test]
    fn a_name_is_there_once() {
        let names: std::collections::HashSet<_> = NEEDS.iter().map(|need| need.name).collect();
        assert_eq!(names.len(), NEEDS.len());
    }
}
