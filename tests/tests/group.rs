//! A group kill (`memory.oom.group`): every member is told once, with its role, in one report.

use anyhow::{Context as _, Result, ensure};
use oom_agent::trigger::hierarchy::CgroupVersion;
use oom_tests::{
    agent::Launch,
    machine::{self, Machine},
    scene,
};
use rustix::process::Signal;
use serde_json::Value;

fn one_report_for_all(args: &[&str]) -> Result<()> {
    let Some(machine) = Machine::alone()? else {
        return Ok(());
    };
    if machine.hierarchy.version == CgroupVersion::V1 {
        machine::say_skipped(
            "this kernel has its memory controller on cgroup v1: no memory.oom.group",
        );
        return Ok(());
    }
    let agent = Launch::run(args).start()?;
    let truth = scene::group(&machine.hierarchy, 2)?;
    let (_, instance) = agent.wait_for_death(truth.chosen.pid)?;
    let finished = agent.stop(Signal::TERM)?;

    ensure!(instance["group_kill"] == true, "{instance:#}");
    let kills = instance["kills"].as_array().context("kills")?;
    ensure!(kills.len() == 3, "{instance:#}");
    for (process, role) in truth
        .members
        .iter()
        .map(|member| (member, "group_member"))
        .chain([(&truth.chosen, "chosen")])
    {
        let is_it = |kill: &&Value| kill["victim"]["tid"] == process.pid;
        let in_report: Vec<_> = kills.iter().filter(is_it).collect();
        ensure!(
            in_report.len() == 1 && in_report[0]["role"] == role,
            "{instance:#}"
        );
        ensure!(
            finished.kills().filter(is_it).count() == 1,
            "{process:?}: {finished:?}"
        );
    }
    let path = &instance["limit"]["cgroup"]["path"];
    ensure!(path.is_null() || *path == truth.cgroup.path, "{instance:#}");
    // The kernel kills, counts and logs the chosen one twice: once more as a member of its group.
    let summary = finished.summary()?;
    ensure!(summary.get("repeats")? == 1, "{summary:?}");
    ensure!(summary.get("unexplained")? == 0, "{summary:?}");
    Ok(())
}

#[test]
fn with_bpf() -> Result<()> {
    one_report_for_all(&["--require-bpf"])
}

#[test]
fn with_the_log_alone() -> Result<()> {
    one_report_for_all(&["--source", "kmsg"])
}
