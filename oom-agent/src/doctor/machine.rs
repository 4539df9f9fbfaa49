//! The machine around: namespaces, cgroups, counters, lockdown, mounts.

use std::{fs, path::Path};

use super::{Check, State, setting};
use crate::{
    hierarchy::{Hierarchy, HierarchyError},
    host,
    source::audit::{OomKillCounter, VMSTAT},
};

/// `PROC_PID_INIT_INO` (`include/linux/proc_ns.h`): the inode of the initial pid namespace.
const INIT_PID_NAMESPACE: &str = "pid:[4026531836]";

const LOCKDOWN: &str = "/sys/kernel/security/lockdown";

pub(super) fn checks(hierarchy: Result<&Hierarchy, &HierarchyError>) -> Vec<Check> {
    let mountinfo = setting("/proc/self/mountinfo");
    let mountinfo = mountinfo.as_deref();
    vec![
        counter(),
        cgroups(hierarchy),
        lockdown(setting(LOCKDOWN).as_deref(), mountinfo),
        bpffs(mountinfo),
        panic_on_oom(setting("/proc/sys/vm/panic_on_oom").as_deref()),
    ]
}

pub(super) fn pid_namespace() -> Check {
    let link = fs::read_link("/proc/self/ns/pid");
    namespace(
        link.ok()
            .and_then(|link| link.into_os_string().into_string().ok())
            .as_deref(),
    )
}

fn namespace(link: Option<&str>) -> Check {
    let name = "pid namespace";
    match link {
        Some(INIT_PID_NAMESPACE) => Check::ok(name, "the host's"),
        Some(other) => Check::new(name, State::Missing, format!("not the host's ({other})"))
            .cost("the kernel speaks of host pids, which are other processes' pids in here")
            .fix("Kubernetes: hostPID: true; container: --pid=host"),
        None => Check::new(name, State::Unknown, "/proc/self/ns/pid is not readable")
            .fix("mount -t proc proc /proc"),
    }
}

pub(super) fn boot_id() -> Check {
    let name = "boot id";
    match host::read(None, None) {
        Ok(host) => Check::ok(name, host.boot_id.as_deref().unwrap_or_default()),
        Err(error) => Check::new(name, State::Missing, error.to_string())
            .cost("no kill can be given its identity: the agent does not start")
            .fix("mount -t proc proc /proc"),
    }
}

fn counter() -> Check {
    let name = "oom_kill counter";
    match OomKillCounter::open(Path::new(VMSTAT)).and_then(|mut counter| counter.value()) {
        Ok(kills) => {
            let kills = crate::render::units::count(kills, "kill", "kills");
            Check::ok(name, format!("{VMSTAT}: {kills} since boot"))
        }
        Err(error) => Check::new(name, State::Missing, format!("{VMSTAT}: {error}"))
            .cost("no audit: a kill that no source saw stays unnoticed")
            .fix("kernel 4.13 or later, and /proc mounted"),
    }
}

fn cgroups(hierarchy: Result<&Hierarchy, &HierarchyError>) -> Check {
    let name = "memory cgroups";
    match hierarchy {
        Ok(found) => {
            let version = found.version.number();
            let text = format!("version {version} at {}", found.mount.display());
            if found.initial_namespace {
                return Check::ok(name, text);
            }
            Check::new(
                name,
                State::Degraded,
                format!("{text}, in a cgroup namespace"),
            )
            .cost("events name cgroups from the host's root, /proc in here does not")
            .fix("container: --cgroupns=host")
        }
        Err(error) => Check::new(name, State::Missing, error.to_string())
            .cost(
                "kills in containers have no names, reports no memory history, and \
                 `oom-agent trigger` has no place for its kill",
            )
            .fix("mount -t cgroup2 cgroup2 /sys/fs/cgroup; boot without cgroup_disable=memory"),
    }
}

/// `[none] integrity confidentiality`: the one in brackets holds.
fn lockdown(text: Option<&str>, mountinfo: Option<&str>) -> Check {
    let name = "lockdown";
    let Some(text) = text else {
        return match mounted(mountinfo, "securityfs") {
            Some(_) => Check::ok(name, "not built into this kernel"),
            None => Check::new(name, State::Unknown, "securityfs is not mounted")
                .cost("nothing: that the programs load or not says it")
                .fix("mount -t securityfs securityfs /sys/kernel/security"),
        };
    };
    let mode = text
        .split_once('[')
        .and_then(|(_, rest)| rest.split_once(']'))
        .map(|it| it.0);
    match mode {
        Some(mode @ ("none" | "integrity")) => Check::ok(name, mode),
        Some("confidentiality") => Check::new(name, State::Degraded, "confidentiality")
            .cost("BPF may read only what is typed: cgroups by their id, no counters of the levels")
            .fix("boot with lockdown=integrity"),
        _ => Check::new(name, State::Unknown, format!("{LOCKDOWN} says {text:?}")),
    }
}

fn bpffs(mountinfo: Option<&str>) -> Check {
    let name = "bpffs";
    match mounted(mountinfo, "bpf") {
        Some(path) => Check::ok(name, format!("mounted at {path}")),
        None => Check::new(name, State::Missing, "not mounted")
            .cost("nothing in this version, which pins nothing")
            .fix("mount -t bpf bpf /sys/fs/bpf"),
    }
}

fn panic_on_oom(value: Option<&str>) -> Check {
    let name = "panic_on_oom";
    match value {
        Some("0") => Check::ok(name, "0: the kernel kills"),
        Some(value @ ("1" | "2")) => Check::new(
            name,
            State::Degraded,
            format!("{value}: the kernel panics instead of killing"),
        )
        .cost("an OOM of the whole machine ends it, and no event leaves it")
        .fix("sysctl vm.panic_on_oom=0"),
        _ => Check::new(name, State::Unknown, "vm.panic_on_oom is not readable"),
    }
}

/// Where a filesystem of this type is mounted first; mountinfo's own escapes stay.
fn mounted<'a>(mountinfo: Option<&'a str>, fstype: &str) -> Option<&'a str> {
    mountinfo?.lines().find_map(|line| {
        let (left, right) = line.split_once(" - ")?;
        (right.split(' ').next()? == fstype)
            .then(|| left.split(' ').nth(4))
            .flatten()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "\
24 27 0:6 / /dev rw,relatime - devtmpfs devtmpfs rw
35 31 0:32 / /sys/fs/bpf rw,relatime shared:9 - bpf bpf rw
36 31 0:33 / /sys/kernel/security rw - securityfs securityfs rw
";

    #[test]
    fn lockdown_is_the_word_in_brackets() {
        for (text, mounts, state) in [
            (Some("[none] integrity confidentiality"), None, State::Ok),
            (Some("none [integrity] confidentiality"), None, State::Ok),
            (
                Some("none integrity [confidentiality]"),
                None,
                State::Degraded,
            ),
            (Some("none"), None, State::Unknown),
            (Some("[other]"), None, State::Unknown),
            (None, Some(MOUNTS), State::Ok),
            (None, Some(""), State::Unknown),
            (None, None, State::Unknown),
        ] {
            assert_eq!(lockdown(text, mounts).state, state, "{text:?}");
        }
    }

    #[test]
    fn a_mount_is_found_by_its_type() {
        assert_eq!(mounted(Some(MOUNTS), "bpf"), Some("/sys/fs/bpf"));
        assert_eq!(mounted(Some(MOUNTS), "tracefs"), None);
        assert_eq!(mounted(Some("1 2 - bpf"), "bpf"), None);
        assert_eq!(bpffs(None).state, State::Missing);
    }

    #[test]
    fn only_the_initial_pid_namespace_has_the_host_s_pids() {
        for (link, state) in [
            (Some("pid:[4026531836]"), State::Ok),
            (Some("pid:[4026532201]"), State::Missing),
            (None, State::Unknown),
        ] {
            assert_eq!(namespace(link).state, state);
        }
    }

    #[test]
    fn a_kernel_that_panics_is_said() {
        for (value, state) in [
            (Some("0"), State::Ok),
            (Some("1"), State::Degraded),
            (Some("2"), State::Degraded),
            (Some("x"), State::Unknown),
            (None, State::Unknown),
        ] {
            assert_eq!(panic_on_oom(value).state, state);
        }
    }
}
