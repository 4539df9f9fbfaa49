//! Two processes, one memory: the kernel kills both and speaks of one.
//!
//! Emits [`Truth`] about the one that the kernel's log names. Refuses to go on if the other lived.

use std::collections::HashSet;

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::{
        signal::Signal,
        stat::Mode,
        wait::{WaitStatus, waitpid},
    },
    unistd::{Pid, mkfifo},
};
use oom_agent::hierarchy::Hierarchy;

use super::{Actor, Birth, Limit, MIB, Process, Truth, scratch};
use crate::klog::KernelLog;

/// A process and its child that share their memory (`CLONE_VM`) reach their limit.
pub fn shared_memory(hierarchy: &Hierarchy) -> Result<Truth> {
    let cgroup = scratch(hierarchy, "", Some(8 * MIB))?;
    let dir = tempfile::tempdir()?;
    let fifo = dir.path().join("fifo");
    mkfifo(&fifo, Mode::S_IRWXU)?;
    // The child becomes ours when its parent is gone.
    rustix::process::set_child_subreaper(Some(rustix::process::getpid()))?;
    let mut log = KernelLog::from_now()?;
    let born = Birth::now();
    let fifo = fifo.to_str().context("path")?;
    let mut parent = Actor::start("sharer", b"sharer", 1000, &cgroup, &["--fifo", fifo])?;
    let line = parent.says()?;
    let child = line.strip_prefix("child ").context("no child")?.parse()?;
    parent.killed()?;
    let end = waitpid(Pid::from_raw(child), None).context("wait for the child")?;
    ensure!(
        matches!(end, WaitStatus::Signaled(_, Signal::SIGKILL, _)),
        "the child, which shared its memory, was not killed: {end:?}"
    );
    let child = Process {
        pid: child.cast_unsigned(),
        parent: parent.process.pid,
        ..parent.process.clone()
    };
    let killed: HashSet<u32> = log.killed_tids()?.into_iter().collect();
    let mut named = [&parent.process, &child]
        .into_iter()
        .filter(|process| killed.contains(&process.pid));
    let victim = named.next().context("the log names neither")?.clone();
    ensure!(named.next().is_none(), "the log names both: {killed:?}");
    Ok(Truth {
        tid: victim.pid,
        victim,
        anon_bytes: MIB..=9 * MIB,
        ..Truth::own(&parent, Limit::of(&cgroup)?, &born)
    })
}
