//! A mark without a kill: the kernel chooses a process that is dying already.
//!
//! The dying one is held at the door (`PTRACE_EVENT_EXIT`), its memory still its own. Emits [`Marked`].
//! Refuses to go on if it did not stay.

use anyhow::{Context as _, Result, bail};
use nix::sys::{
    ptrace::{self, Event, Options},
    signal::{Signal, kill},
    wait::{WaitStatus, waitpid},
};
use oom_agent::hierarchy::Hierarchy;

use super::{Actor, MIB, Marked, scratch};
use crate::machine::vmstat_oom_kill;

/// A process that has been sent SIGKILL and still holds its memory is the kernel's choice.
pub fn already_exiting(hierarchy: &Hierarchy) -> Result<Marked> {
    const MEMORY: [&str; 2] = ["--bytes", "14680064"];
    let cgroup = scratch(hierarchy, "", Some(24 * MIB))?;
    let mut dying = Actor::start("holder", b"dying", 1000, &cgroup, &MEMORY)?;
    dying.must_say("held")?;
    let before = vmstat_oom_kill()?;
    let pid = dying.process.nix_pid()?;
    ptrace::seize(pid, Options::PTRACE_O_TRACEEXIT).context("ptrace")?;
    kill(pid, Signal::SIGKILL)?;
    match waitpid(pid, None)? {
        WaitStatus::PtraceEvent(_, _, event) if event == Event::PTRACE_EVENT_EXIT as i32 => {}
        other => bail!("the dying one is not at the door: {other:?}"),
    }
    let mut asker = Actor::start("holder", b"asker", 0, &cgroup, &MEMORY)?;
    let held = asker.must_say("held");
    ptrace::detach(pid, None).context("let it go")?;
    held?;
    dying.killed()?;
    Ok(Marked {
        process: dying.process.clone(),
        kills: vmstat_oom_kill()? - before,
    })
}
