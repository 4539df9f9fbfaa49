//! The scenes themselves, without the agent: the kernel's own log and counter must tell the same
//! story as the truth that a scene returns.

use anyhow::{Context as _, Result, ensure};
use oom_tests::{
    klog::KernelLog,
    machine::{Machine, vmstat_oom_kill},
    scene::{self, Truth},
};

/// The kernel counted a kill and wrote its one line about it.
fn the_kernel_agrees(scene: impl FnOnce(&Machine) -> Result<Truth>) -> Result<()> {
    let Some(machine) = Machine::alone()? else {
        return Ok(());
    };
    let mut log = KernelLog::from_now()?;
    let before = vmstat_oom_kill()?;
    let truth = scene(&machine)?;
    ensure!(vmstat_oom_kill()? > before, "no kill was counted");
    let killed = log.killed_tids()?;
    ensure!(
        killed.iter().filter(|&&tid| tid == truth.tid).count() == 1,
        "thread {} is not once among the killed {killed:?}",
        truth.tid
    );
    Ok(())
}

#[test]
fn one_kill() -> Result<()> {
    the_kernel_agrees(|machine| scene::one_kill(&machine.hierarchy))
}

#[test]
fn ancestor_limit() -> Result<()> {
    the_kernel_agrees(|machine| scene::ancestor_limit(&machine.hierarchy))
}

#[test]
fn victim_is_not_the_trigger() -> Result<()> {
    the_kernel_agrees(|machine| {
        let truths = scene::victim_is_not_the_trigger(&machine.hierarchy)?;
        truths.into_iter().next().context("no truth")
    })
}

#[test]
fn main_thread_has_exited() -> Result<()> {
    the_kernel_agrees(|machine| scene::leaderless(&machine.hierarchy))
}

#[test]
fn hostile_names() -> Result<()> {
    the_kernel_agrees(|machine| scene::named(&machine.hierarchy, ", a=b c", b"x,pid=1,uid=0"))
}

#[test]
fn nothing_is_left_behind() -> Result<()> {
    let Some(machine) = Machine::alone()? else {
        return Ok(());
    };
    let truth = scene::ancestor_limit(&machine.hierarchy)?;
    let limit = truth.limit.context("limit")?;
    let top = limit.cgroup.path.rsplit('/').next().context("path")?;
    ensure!(
        !machine.hierarchy.mount.join(top).exists(),
        "{top} is still there"
    );
    Ok(())
}
