//! How cgroups are watched, and so whether kills in containers have names and a history.
//!
//! Attaches the programs of the watch for a moment, counts the cgroups, and asks for an inotify instance.
//! Refuses to add up other programs' watches: nobody tells them.

use std::{fs, path::Path};

use rustix::fs::inotify::{self, CreateFlags};

use super::{Check, State, setting};
use crate::{
    bpf::cgroups::CgroupPrograms,
    hierarchy::Hierarchy,
    render::units::{count, grouped},
    source::cgroup,
};

const RING_BYTES: u32 = 4096;

const MAX_WATCHES: &str = "/proc/sys/fs/inotify/max_user_watches";
const MAX_INSTANCES: &str = "/proc/sys/fs/inotify/max_user_instances";

/// `loaded`: whether the programs of kills did.
pub(super) fn checks(
    programs: Option<CgroupPrograms>,
    loaded: bool,
    hierarchy: &Hierarchy,
) -> Vec<Check> {
    let attached = match programs {
        Some(programs) => cgroup::attach(programs, hierarchy.version, RING_BYTES)
            .map(|ring| ring.note().map(str::to_owned)),
        None if loaded => Err(
            "this kernel has no BTF tracepoints of cgroups, or allows no probe reads".to_owned(),
        ),
        None => Err("not tried: the other programs did not load".to_owned()),
    };
    let limits = Limits {
        cgroups: cgroups(&hierarchy.mount),
        watches: number(MAX_WATCHES),
        instances: number(MAX_INSTANCES),
        instance: inotify::init(CreateFlags::CLOEXEC)
            .map(drop)
            .map_err(|error| error.to_string()),
    };
    let by_bpf = attached.is_ok();
    vec![watch(attached), inotify(&limits, by_bpf)]
}

/// `Ok`: attached, and what is missing.
fn watch(attached: Result<Option<String>, String>) -> Check {
    let name = "cgroup watch";
    match attached {
        Ok(None) => Check::ok(name, "by BPF: the tracepoints of cgroups attach"),
        Ok(Some(note)) => {
            let found = format!("by BPF, but renames are not seen: {note}");
            Check::new(name, State::Degraded, found)
                .cost("a cgroup that was renamed is known by its former name until it is scanned")
                .fix("a kernel with the tracepoint cgroup_rename")
        }
        Err(reason) => Check::new(name, State::Degraded, format!("by inotify: {reason}"))
            .cost(
                "a container that is gone a moment after it came is not told of and may lack names; \
                 each cgroup takes a watch, which is kernel memory",
            )
            .fix(
                "a kernel with BTF (CONFIG_DEBUG_INFO_BTF=y) that is not locked down to \
                 confidentiality, and CAP_BPF and CAP_PERFMON",
            ),
    }
}

struct Limits {
    cgroups: u64,
    watches: Option<u64>,
    instances: Option<u64>,
    /// Why there is not one more instance.
    instance: Result<(), String>,
}

fn inotify(limits: &Limits, by_bpf: bool) -> Check {
    let name = "inotify";
    let said = |limit: Option<u64>| limit.map_or_else(|| "unknown".to_owned(), grouped);
    let found = format!(
        "{}; max_user_watches is {}, max_user_instances {}",
        count(limits.cgroups, "cgroup", "cgroups"),
        said(limits.watches),
        said(limits.instances)
    );
    let cost = if by_bpf {
        "nothing here: cgroups are watched by BPF"
    } else {
        "cgroups are scanned every 10 s instead: what comes and goes in between has no names"
    };
    if let Err(error) = &limits.instance {
        return Check::new(name, State::Missing, format!("{error}; {found}"))
            .cost(cost)
            .fix("sysctl fs.inotify.max_user_instances=1024");
    }
    match limits.watches {
        Some(watches) if watches <= limits.cgroups => Check::new(name, State::Degraded, found)
            .cost(cost)
            .fix(format!(
                "sysctl fs.inotify.max_user_watches={}",
                limits.cgroups.saturating_mul(2).next_power_of_two()
            )),
        Some(_) => Check::ok(name, found),
        None => Check::new(name, State::Unknown, found),
    }
}

fn number(path: &str) -> Option<u64> {
    setting(path)?.parse().ok()
}

/// Directories, the root among them: each would take a watch.
fn cgroups(mount: &Path) -> u64 {
    let mut dirs = vec![mount.to_owned()];
    let mut count = 0;
    while let Some(dir) = dirs.pop() {
        count += 1;
        for entry in fs::read_dir(&dir).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                dirs.push(entry.path());
            }
        }
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bpf_is_best_and_a_reason_is_given_where_it_is_not_to_be_had() {
        for (attached, state, words) in [
            (Ok(None), State::Ok, "by BPF"),
            (Ok(Some("EPERM".to_owned())), State::Degraded, "EPERM"),
            (
                Err("EPERM".to_owned()),
                State::Degraded,
                "by inotify: EPERM",
            ),
        ] {
            let check = watch(attached);
            assert_eq!(check.state, state);
            assert!(check.found.contains(words), "{check:?}");
            assert_eq!(check.cost.is_some(), state != State::Ok);
        }
    }

    #[test]
    fn limits_of_inotify_cost_nothing_where_bpf_watches() {
        let limits = |watches, instance: Result<(), &str>| Limits {
            cgroups: 3000,
            watches,
            instances: Some(128),
            instance: instance.map_err(str::to_owned),
        };
        for (limits, state, fix) in [
            (limits(Some(8192), Ok(())), State::Ok, None),
            (
                limits(Some(3000), Ok(())),
                State::Degraded,
                Some("sysctl fs.inotify.max_user_watches=8192"),
            ),
            (
                limits(Some(8192), Err("EMFILE")),
                State::Missing,
                Some("sysctl fs.inotify.max_user_instances=1024"),
            ),
            (limits(None, Ok(())), State::Unknown, None),
        ] {
            let check = inotify(&limits, false);
            assert_eq!((check.state, check.fix.as_deref()), (state, fix));
            assert!(check.found.contains("3,000 cgroups"), "{check:?}");
            let cost = inotify(&limits, true).cost;
            assert!(cost.is_none_or(|cost| cost.starts_with("nothing here")));
        }
    }

    #[test]
    fn every_directory_counts() {
        let temp = tempfile::tempdir().unwrap();
        fs::create_dir_all(temp.path().join("a/b")).unwrap();
        fs::create_dir(temp.path().join("c")).unwrap();
        fs::write(temp.path().join("c/file"), "").unwrap();
        assert_eq!(cgroups(temp.path()), 4);
    }
}
