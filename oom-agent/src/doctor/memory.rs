//! What the flight recorder can read of cgroups.
//!
//! Reads one cgroup as it does. Refuses to guess from the kernel's configuration what can be read.

use rustix::io::Errno;

use super::{Check, State};
use crate::{
    hierarchy::{CgroupVersion, Hierarchy},
    source::memory::probe::{Probe, probe},
};

pub(super) fn checks(hierarchy: &Hierarchy) -> Vec<Check> {
    readable(hierarchy.version, probe(hierarchy).as_ref())
}

fn readable(version: CgroupVersion, probe: Option<&Probe>) -> Vec<Check> {
    let names = ["memory history", "memory pressure", "memory peak"];
    let Some(probe) = probe else {
        let unknown =
            |name| Check::new(name, State::Unknown, "no cgroup but the root to try it on");
        return names.map(unknown).into();
    };
    let [history, pressure, peak] = names;
    vec![
        self::history(history, version, probe),
        self::pressure(pressure, version, probe),
        self::peak(peak, version, probe),
    ]
}

fn history(name: &'static str, version: CgroupVersion, probe: &Probe) -> Check {
    let path = &probe.path;
    let number = version.number();
    let check = match probe.usage {
        Ok(()) => return Check::ok(name, format!("version {number}, readable in {path}")),
        Err(Errno::NOENT) => Check::new(
            name,
            State::Missing,
            format!("the memory controller is not enabled in {path}"),
        )
        .fix("write +memory to cgroup.subtree_control of the cgroup above"),
        Err(error) => Check::new(name, State::Missing, format!("{path}: {error}"))
            .fix("mount the host's cgroup file system, readable for the agent"),
    };
    check.cost("reports do not tell what memory did before the kill")
}

fn pressure(name: &'static str, version: CgroupVersion, probe: &Probe) -> Check {
    if probe.pressure {
        return Check::ok(
            name,
            format!("memory.pressure is readable in {}", probe.path),
        );
    }
    let check = match version {
        CgroupVersion::V1 => Check::new(
            name,
            State::Missing,
            "version 1 has no pressure of a cgroup",
        )
        .fix("boot with version 2: systemd.unified_cgroup_hierarchy=1"),
        CgroupVersion::V2 => {
            let found = format!("no memory.pressure in {}", probe.path);
            Check::new(name, State::Missing, found).fix(
                "a kernel with CONFIG_PSI=y; psi=1 on its command line where that is off by default",
            )
        }
    };
    check.cost("histories and reports do not tell how long tasks had to wait for memory")
}

fn peak(name: &'static str, version: CgroupVersion, probe: &Probe) -> Check {
    let file = match version {
        CgroupVersion::V1 => "memory.max_usage_in_bytes",
        CgroupVersion::V2 => "memory.peak",
    };
    if probe.peak {
        return Check::ok(name, format!("{file} is readable in {}", probe.path));
    }
    Check::new(name, State::Missing, format!("no {file} in {}", probe.path))
        .cost("reports do not tell the most that the cgroup ever held")
        .fix("kernel 5.19 or later in version 2")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn states(version: CgroupVersion, probe: Option<&Probe>) -> [State; 3] {
        let checks = readable(version, probe);
        let bad = checks.iter().filter(|check| check.state == State::Missing);
        for check in bad {
            assert!(check.cost.is_some() && check.fix.is_some(), "{check:?}");
        }
        [checks[0].state, checks[1].state, checks[2].state]
    }

    #[test]
    fn what_the_recorder_lacks_is_said_by_version() {
        use CgroupVersion::{V1, V2};
        use State::{Missing, Ok as Good, Unknown};
        let probe = |usage, pressure, peak| {
            Some(Probe {
                path: "/a".to_owned(),
                usage,
                pressure,
                peak,
            })
        };
        for (version, probe, wanted) in [
            (V1, probe(Ok(()), false, true), [Good, Missing, Good]),
            (V2, probe(Ok(()), true, true), [Good; 3]),
            (V2, probe(Ok(()), false, false), [Good, Missing, Missing]),
            (V2, probe(Err(Errno::NOENT), false, false), [Missing; 3]),
            (V1, probe(Err(Errno::ACCESS), false, false), [Missing; 3]),
            (V2, None, [Unknown; 3]),
        ] {
            assert_eq!(states(version, probe.as_ref()), wanted);
        }
    }
}
