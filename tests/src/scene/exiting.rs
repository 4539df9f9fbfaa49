//! A mark without a kill: the kernel chooses a process that is dying already.
//!
//! The dying one is held in a frozen cgroup (v1 freezer), where SIGKILL waits; being marked thaws it.
//! Emits [`Marked`]. Refuses to go on if the victim did not stay.

use std::{fs, path::PathBuf, thread, time::Instant};

use anyhow::{Context as _, Result, ensure};
use oom_agent::trigger::hierarchy::Hierarchy;
use rustix::process::{Pid, Signal, kill_process};

use super::{Actor, MIB, Marked, files::Mounted, scratch};
use crate::{agent::DEADLINE, machine::vmstat_oom_kill};

/// A process that has been sent SIGKILL and cannot die yet is the kernel's choice.
pub fn already_exiting(hierarchy: &Hierarchy) -> Result<Marked> {
    let cgroup = scratch(hierarchy, "", Some(24 * MIB))?;
    let mut dying = Actor::start("holder", b"dying", 1000, &cgroup, &["--bytes", "14680064"])?;
    ensure!(dying.says()? == "held", "the dying one did not get its memory");
    let before = vmstat_oom_kill()?;
    let freezer = Freezer::new()?;
    freezer.freeze(dying.process.pid)?;
    let pid = Pid::from_raw(dying.process.pid.cast_signed()).context("pid")?;
    kill_process(pid, Signal::KILL)?;
    let mut asker = Actor::start("holder", b"asker", 0, &cgroup, &["--bytes", "14680064"])?;
    let said = asker.says()?;
    ensure!(said == "held", "the asker said {said:?}");
    dying.killed()?;
    Ok(Marked {
        process: dying.process.clone(),
        kills: vmstat_oom_kill()? - before,
    })
}

/// A cgroup whose processes stand still; removed when dropped.
struct Freezer {
    dir: PathBuf,
    _hierarchy: Mounted,
}

impl Freezer {
    fn new() -> Result<Self> {
        let hierarchy = Mounted::new("cgroup", Some(c"freezer"))?;
        let dir = hierarchy
            .path()
            .join(format!("oom-tests-{}", std::process::id()));
        fs::create_dir(&dir).context("a freezer cgroup")?;
        Ok(Self {
            dir,
            _hierarchy: hierarchy,
        })
    }

    fn freeze(&self, pid: u32) -> Result<()> {
        fs::write(self.dir.join("cgroup.procs"), pid.to_string()).context("freezer")?;
        let state = self.dir.join("freezer.state");
        fs::write(&state, "FROZEN").context("freeze")?;
        let end = Instant::now() + DEADLINE;
        while fs::read_to_string(&state)?.trim() != "FROZEN" {
            ensure!(Instant::now() < end, "process {pid} does not freeze");
            thread::yield_now();
        }
        Ok(())
    }
}

impl Drop for Freezer {
    fn drop(&mut self) {
        // Nothing can be done about a failure; the kernel forgets the hierarchy with the guest.
        let _ = fs::write(self.dir.join("freezer.state"), "THAWED");
        let end = Instant::now() + DEADLINE;
        while fs::remove_dir(&self.dir).is_err() && Instant::now() < end {
            thread::yield_now();
        }
    }
}
