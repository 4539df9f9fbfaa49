//! The rows of the matrix: which kernels, set up how, and what agents must get there.
//!
//! Reads nothing; emits [`BOOTS`], and the tier for each way to start an agent. Refuses nothing.

use std::path::Path;

/// What every guest is booted with: processes move between cgroups at once, the console belongs to the
/// scenarios, and the log has room for a storm.
const APPEND: &str = "rcupdate.rcu_expedited=1 loglevel=1 log_buf_len=4M";

/// One row of the matrix.
#[derive(Clone, Debug)]
pub(super) struct Boot {
    pub(super) kernel: String,
    pub(super) setting: Setting,
    /// The tier that an agent must get which takes the best; `None` for a kernel that nobody knows.
    pub(super) best: Option<&'static str>,
    /// What is played there; nothing for everything.
    pub(super) scenarios: &'static [&'static str],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setting {
    CgroupV2,
    CgroupV1,
    Lockdown,
}

const FULL: &str = "bpf, full";
/// What is best where the kernel has no trampolines.
const KPROBED: &str = "bpf, full, kprobe";
const BY_PID: &str = "bpf by pid";

pub(super) const EVERYTHING: &[&str] = &[];
/// What looks at each tier's way into the kernel, at sizes, and at whose a cgroup is.
const SOME: &[&str] = &[
    "single",
    "victim-is-not-trigger",
    "group",
    "tmpfs",
    "page-cache",
    "system",
    "owners",
];

pub(super) const BOOTS: &[(&str, Setting, &str, &[&str])] = &[
    // The oldest with BTF: `mark_victim` carries only a pid.
    ("5.10.223", Setting::CgroupV2, BY_PID, EVERYTHING),
    ("5.10.223", Setting::CgroupV1, BY_PID, EVERYTHING),
    ("5.10", Setting::CgroupV2, FULL, EVERYTHING),
    ("6.1", Setting::CgroupV2, FULL, EVERYTHING),
    // Later kernels of Debian have no memory controller for v1.
    ("6.1", Setting::CgroupV1, FULL, EVERYTHING),
    ("6.12", Setting::CgroupV2, FULL, EVERYTHING),
    ("6.12", Setting::Lockdown, FULL, EVERYTHING),
    ("6.16", Setting::CgroupV2, FULL, EVERYTHING),
    ("6.17", Setting::CgroupV2, FULL, EVERYTHING),
    ("6.18", Setting::CgroupV2, FULL, EVERYTHING),
    ("6.19", Setting::CgroupV2, FULL, EVERYTHING),
    ("7", Setting::CgroupV2, FULL, EVERYTHING),
    // Trampolines came to arm64 with 6.4.
    ("6.1-arm64", Setting::CgroupV2, KPROBED, SOME),
    ("6.12-arm64", Setting::CgroupV2, FULL, EVERYTHING),
    // Pages of 16 KiB.
    ("6.12-arm64-16k", Setting::CgroupV2, FULL, SOME),
];

pub(super) const WAYS: [&str; 5] = ["best", "kprobe", "no-hook", "by-format", "log-alone"];

impl Boot {
    pub(super) fn name(&self) -> String {
        let kernel = Path::new(&self.kernel).file_name().unwrap_or_default();
        let kernel = kernel.to_string_lossy();
        match self.setting {
            Setting::CgroupV2 => kernel.into_owned(),
            Setting::CgroupV1 => format!("{kernel}-v1"),
            Setting::Lockdown => format!("{kernel}-lockdown"),
        }
    }

    /// What is not in the kernel's version: memory controller, lockdown, the size of pages.
    pub(super) fn words(&self) -> String {
        let pages = if self.kernel.ends_with("-16k") {
            ", pages of 16 KiB"
        } else {
            ""
        };
        format!("{}{pages}", self.setting.words())
    }

    pub(super) fn append(&self) -> String {
        let more = match self.setting {
            Setting::CgroupV2 => "",
            Setting::CgroupV1 => "OOM_VM_MEMORY=v1",
            Setting::Lockdown => "lockdown=confidentiality",
        };
        format!("{APPEND} {more}")
    }

    /// Why no agent can be started like this.
    pub(super) fn lacks(&self, way: &str) -> Option<&'static str> {
        let locked_down = self.setting == Setting::Lockdown;
        match way {
            "by-format" if locked_down => Some("this kernel is locked down: no tracefs"),
            "kprobe" if locked_down => Some("this kernel is locked down: no kprobe may read it"),
            _ => None,
        }
    }

    /// What an agent must get that is started like this.
    pub(super) fn tier(&self, way: &str) -> Option<&'static str> {
        match way {
            "kprobe" if self.best == Some(FULL) => Some(KPROBED),
            "kprobe" if self.best == Some(BY_PID) => Some("bpf by pid, kprobe"),
            "no-hook" if [Some(FULL), Some(KPROBED)].contains(&self.best) => Some("bpf + stack"),
            "best" | "kprobe" | "no-hook" => self.best,
            "by-format" => Some("bpf by format"),
            _ => Some("kmsg"),
        }
    }
}

impl Setting {
    pub(super) fn words(self) -> &'static str {
        match self {
            Self::CgroupV2 => "cgroup v2",
            Self::CgroupV1 => "cgroup v1",
            Self::Lockdown => "cgroup v2, lockdown=confidentiality",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_has_its_tier() {
        let tiers = |best| {
            let boot = Boot {
                kernel: "x".to_owned(),
                setting: Setting::CgroupV2,
                best,
                scenarios: EVERYTHING,
            };
            WAYS.map(|way| boot.tier(way))
        };
        let (format, log) = (Some("bpf by format"), Some("kmsg"));
        assert_eq!(
            tiers(Some(FULL)),
            [Some(FULL), Some(KPROBED), Some("bpf + stack"), format, log]
        );
        assert_eq!(
            tiers(Some(BY_PID)),
            [
                Some(BY_PID),
                Some("bpf by pid, kprobe"),
                Some(BY_PID),
                format,
                log
            ]
        );
        assert_eq!(
            tiers(Some(KPROBED)),
            [
                Some(KPROBED),
                Some(KPROBED),
                Some("bpf + stack"),
                format,
                log
            ]
        );
        assert_eq!(tiers(None), [None, None, None, format, log]);
    }
}
