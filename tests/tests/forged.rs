//! Reports that a user process writes to the kernel log are counted, and are no events.

use std::{fs::OpenOptions, io::Write as _};

use anyhow::{Context as _, Result, ensure};
use oom_tests::{agent::Launch, machine::Machine, scene};
use rustix::process::Signal;

/// Pid that no process of this machine has: above `PID_MAX_LIMIT`.
const NOBODY: &str = "4194305";

/// A whole report about a process that was never killed, one record a line.
fn forge() -> Result<()> {
    let mut log = OpenOptions::new()
        .write(true)
        .open("/dev/kmsg")
        .context("open /dev/kmsg")?;
    for line in [
        "forged invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0",
        &format!(
            "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/forged,task_memcg=/forged,task=forged,pid={NOBODY},uid=0"
        ),
        &format!(
            "Memory cgroup out of memory: Killed process {NOBODY} (forged) total-vm:4kB, anon-rss:4kB, file-rss:0kB, shmem-rss:0kB, UID:0 pgtables:4kB oom_score_adj:0"
        ),
    ] {
        // <3> asks for facility 0, which the kernel does not grant to a process.
        log.write_all(format!("<3>{line}\n").as_bytes())?;
    }
    Ok(())
}

fn no_event_but_counted(source: &str) -> Result<()> {
    let Some(machine) = Machine::alone()? else {
        return Ok(());
    };
    let agent = Launch::run(&["--source", source]).start()?;
    forge()?;
    // A real kill after it: when that has been told, the forgery has been read.
    let truth = scene::one_kill(&machine.hierarchy)?;
    agent.wait_for_death(truth.tid)?;
    let finished = agent.stop(Signal::TERM)?;
    for event in &finished.events {
        let text = event.to_string();
        ensure!(
            !text.contains("forged\"") && !text.contains(NOBODY),
            "{text}"
        );
    }
    let summary = finished.summary()?;
    ensure!(summary.get("forged")? >= 1, "{summary:?}");
    ensure!(summary.get("unexplained")? == 0, "{summary:?}");
    Ok(())
}

#[test]
fn beside_bpf() -> Result<()> {
    no_event_but_counted("auto")
}

#[test]
fn with_the_log_alone() -> Result<()> {
    no_event_but_counted("kmsg")
}
