//! What a process holds and does, from `/proc`.
//!
//! Reads `status` and `schedstat` of a process and its threads; emits bytes, wake-ups and CPU time.
//! Refuses to read a missing line as 0.

use std::{fs, path::Path, time::Duration};

use anyhow::{Context, Result};
use serde::Serialize;

/// Resident memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[expect(clippy::struct_field_names, reason = "every size names its unit")]
pub(super) struct Memory {
    /// `VmRSS`.
    pub rss_bytes: u64,
    /// `RssAnon`: the process's own.
    pub anon_bytes: u64,
    /// `RssFile`: its program and libraries.
    pub file_bytes: u64,
    /// `RssShmem`.
    pub shmem_bytes: u64,
}

impl Memory {
    pub(super) fn of(pid: u32) -> Result<Self> {
        let path = format!("/proc/{pid}/status");
        Self::parse(&fs::read_to_string(&path).with_context(|| path.clone())?).context(path)
    }

    fn parse(status: &str) -> Result<Self> {
        let bytes = |name| Ok::<_, anyhow::Error>(field(status, name)? * 1024);
        Ok(Self {
            rss_bytes: bytes("VmRSS")?,
            anon_bytes: bytes("RssAnon")?,
            file_bytes: bytes("RssFile")?,
            shmem_bytes: bytes("RssShmem")?,
        })
    }
}

/// What all threads of a process have done so far.
#[derive(Clone, Copy, Debug)]
pub(super) struct Activity {
    wakeups: u64,
    cpu_ns: Option<u64>,
}

/// What a process did while nothing happened.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Idle {
    /// For how long.
    pub seconds: u64,
    /// Voluntary context switches of all threads: each is one sleep, and so one wake-up.
    pub wakeups: u64,
    /// CPU time; null on a kernel without `schedstat`.
    pub cpu_ns: Option<u64>,
}

impl Activity {
    pub(super) fn of(pid: u32) -> Result<Self> {
        let dir = format!("/proc/{pid}/task");
        let mut sum = Self {
            wakeups: 0,
            cpu_ns: Some(0),
        };
        for task in fs::read_dir(&dir).context(dir)? {
            let task = task?.path();
            let status = fs::read_to_string(task.join("status"))
                .with_context(|| task.display().to_string())?;
            sum.wakeups += field(&status, "voluntary_ctxt_switches")?;
            sum.cpu_ns = sum.cpu_ns.zip(cpu_ns(&task)).map(|(sum, ns)| sum + ns);
        }
        Ok(sum)
    }

    pub(super) fn since(&self, before: &Self, time: Duration) -> Idle {
        Idle {
            seconds: time.as_secs(),
            wakeups: self.wakeups.saturating_sub(before.wakeups),
            cpu_ns: self
                .cpu_ns
                .zip(before.cpu_ns)
                .map(|(now, before)| now.saturating_sub(before)),
        }
    }
}

/// Time on a CPU: the first number of `schedstat` (Documentation/scheduler/sched-stats.rst).
pub(super) fn cpu_ns(task: &Path) -> Option<u64> {
    let text = fs::read_to_string(task.join("schedstat")).ok()?;
    text.split_whitespace().next()?.parse().ok()
}

/// The number after `name:`.
fn field(status: &str, name: &str) -> Result<u64> {
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = line.and_then(|rest| rest.split_whitespace().next()?.parse().ok());
    number.with_context(|| format!("no {name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_read_in_bytes_and_never_guessed() {
        let status = "Name:\tx\nVmRSS:\t    12 kB\nRssAnon:\t     4 kB\nRssFile:\t     8 kB\nRssShmem:\t     0 kB\n";
        let memory = Memory {
            rss_bytes: 12288,
            anon_bytes: 4096,
            file_bytes: 8192,
            shmem_bytes: 0,
        };
        assert_eq!(Memory::parse(status).expect("status"), memory);
        assert!(Memory::parse("VmRSS: 12 kB").is_err());
        // nonvoluntary_ctxt_switches must not be taken for the other.
        let status = "nonvoluntary_ctxt_switches:\t9\nvoluntary_ctxt_switches:\t3\n";
        assert_eq!(field(status, "voluntary_ctxt_switches").expect("field"), 3);
    }
}
