//! What the agent does with less than all privileges: a lower tier and why, or a clear error.
//!
//! Runs a copy of the agent that everybody may execute, as a user without a name, with exactly the
//! capabilities of the test (`setpriv` of util-linux).

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt as _,
    process::{Command, Output},
};

use anyhow::{Context as _, Result, ensure};
use oom_tests::{
    agent::{Finished, Launch},
    check::{self, Known},
    machine::{self, Machine},
    scene,
};
use rustix::process::Signal;
use tempfile::TempDir;

/// The agent where uid 65534 can reach it.
struct Reachable {
    dir: TempDir,
}

impl Reachable {
    fn new() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755))?;
        let copy = dir.path().join("oom-agent");
        fs::copy(machine::agent_binary()?, &copy).context("copy the agent")?;
        fs::set_permissions(&copy, Permissions::from_mode(0o755))?;
        Ok(Self { dir })
    }

    /// `setpriv` and its arguments, then the agent, which has these capabilities and no others.
    fn with_only(&self, capabilities: &[&str]) -> Result<Vec<String>> {
        let agent = self.dir.path().join("oom-agent");
        let mut caps = "-all".to_owned();
        for name in capabilities {
            caps.push_str(",+");
            caps.push_str(name);
        }
        Ok(vec![
            "setpriv".into(),
            "--reuid=65534".into(),
            "--regid=65534".into(),
            "--clear-groups".into(),
            format!("--inh-caps={caps}"),
            format!("--ambient-caps={caps}"),
            format!("--bounding-set={caps}"),
            "--".into(),
            agent.to_str().context("path")?.into(),
        ])
    }

    fn launch(&self, capabilities: &[&str], args: &[&str]) -> Result<Launch> {
        Ok(Launch::run(args).program(&self.with_only(capabilities)?))
    }

    fn doctor(&self, capabilities: &[&str]) -> Result<Output> {
        let words = self.with_only(capabilities)?;
        Command::new(&words[0])
            .args(&words[1..])
            .args(["doctor", "--json"])
            .output()
            .context("doctor")
    }
}

/// The machine, if `setpriv` is there and the log is closed to ordinary users.
fn restricted() -> Result<Option<Machine>> {
    let Some(machine) = Machine::alone()? else {
        return Ok(None);
    };
    if Command::new("setpriv").arg("--version").output().is_err() {
        return machine::skip("needs setpriv (util-linux)").map(|()| None);
    }
    let restrict = fs::read_to_string("/proc/sys/kernel/dmesg_restrict").unwrap_or_default();
    if restrict.trim() != "1" {
        machine::say_skipped("this kernel lets everybody read the log (kernel.dmesg_restrict=0)");
        return Ok(None);
    }
    Ok(Some(machine))
}

/// It ended by itself, with an error that holds these words.
fn failed(finished: &Finished, words: &[&str]) -> Result<()> {
    ensure!(
        finished.status.code().is_some_and(|code| code != 0),
        "{finished:?}"
    );
    ensure!(finished.events.is_empty(), "{finished:?}");
    finished.says(words)
}

#[test]
fn cap_syslog_alone_gives_the_log_and_says_why_not_more() -> Result<()> {
    let Some(machine) = restricted()? else {
        return Ok(());
    };
    let reachable = Reachable::new()?;
    let agent = reachable.launch(&["syslog"], &[])?.start()?;
    let truth = scene::one_kill(&machine.hierarchy)?;
    let (kill, instance) = agent.wait_for_death(truth.tid)?;
    check::death(&kill, &instance, &truth, Known::WhatTheLogHolds)?;
    let finished = agent.stop(Signal::TERM)?;
    finished.says(&["kmsg", "CAP_BPF"])?;
    ensure!(finished.summary()?.get("unexplained")? == 0);
    Ok(())
}

/// What an ordinary user needs for everything that a kill tells, and what makes it faster and adds names.
const ENOUGH: [&str; 3] = ["bpf", "perfmon", "syslog"];
const BETTER: [&str; 6] = [
    "bpf",
    "perfmon",
    "syslog",
    "dac_read_search",
    "sys_nice",
    "ipc_lock",
];

#[test]
fn three_capabilities_are_enough_for_everything_but_names() -> Result<()> {
    as_nobody(&ENOUGH)
}

#[test]
fn six_capabilities_are_as_good_as_root() -> Result<()> {
    as_nobody(&BETTER)
}

/// With each way to watch cgroups a kill is told in full, with what its memory did, and every thread has
/// what it was given at most.
fn as_nobody(capabilities: &[&str]) -> Result<()> {
    let Some(machine) = restricted()? else {
        return Ok(());
    };
    let reachable = Reachable::new()?;
    for watch in ["auto", "inotify"] {
        let args = ["--require-bpf", "--cgroup-watch", watch];
        let agent = reachable.launch(capabilities, &args)?.start()?;
        agent.watches_cgroups()?;
        let tier = agent.tier()?;
        let leaked = scene::leak(&machine.hierarchy)?;
        let (kill, instance) = agent.wait_for_death(leaked.death.tid)?;
        check::death(&kill, &instance, &leaked.death, tier.known)?;
        check::limit_source(&instance, &tier)?;
        check::history(&instance, &leaked)?;
        let finished = agent.stop(Signal::TERM)?;
        ensure!(finished.summary()?.get("unexplained")? == 0, "{finished:?}");
        finished.says(&["confined by", "capabilities"])?;
    }
    Ok(())
}

#[test]
fn no_capability_is_a_clear_error() -> Result<()> {
    let Some(_machine) = restricted()? else {
        return Ok(());
    };
    let finished = Reachable::new()?.launch(&[], &[])?.finish()?;
    failed(&finished, &["CAP_SYSLOG"])
}

#[test]
fn require_bpf_fails_without_cap_bpf() -> Result<()> {
    let Some(_machine) = restricted()? else {
        return Ok(());
    };
    let finished = Reachable::new()?
        .launch(&["syslog"], &["--require-bpf"])?
        .finish()?;
    failed(&finished, &["CAP_BPF"])
}

#[test]
fn the_doctor_says_whether_it_is_usable() -> Result<()> {
    let Some(_machine) = restricted()? else {
        return Ok(());
    };
    let reachable = Reachable::new()?;
    for (capabilities, usable) in [(&["syslog"][..], true), (&[], false)] {
        let output = reachable.doctor(capabilities)?;
        ensure!(
            output.status.success() == usable,
            "{capabilities:?}: {output:?}"
        );
        serde_json::from_slice::<serde_json::Value>(&output.stdout)
            .with_context(|| format!("not JSON: {output:?}"))?;
    }
    Ok(())
}
