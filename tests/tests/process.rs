//! The agent as a process: how it ends, what a bad reader of its stdout does to it, and its other
//! commands.

use std::{
    ffi::OsString,
    os::{
        linux::net::SocketAddrExt as _,
        unix::net::{SocketAddr, UnixDatagram},
    },
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use oom_agent::trigger;
use oom_tests::{
    agent::{Launch, Output, is_kill},
    machine::{self, Machine, vmstat_oom_kill},
    scene,
};
use rustix::process::Signal;
use serde_json::Value;

fn ends_well(signal: Signal) -> Result<()> {
    let Some(machine) = Machine::alone()? else {
        return Ok(());
    };
    let agent = Launch::run(&[]).start()?;
    let truth = scene::one_kill(&machine.hierarchy)?;
    // At once: the kill must be drained, not waited for.
    let finished = agent.stop(signal)?;
    let summary = finished.summary()?;
    ensure!(
        finished
            .kills()
            .any(|kill| kill["victim"]["pid"] == truth.victim.pid),
        "not drained: {finished:?}"
    );
    ensure!(
        finished
            .instances()
            .any(|instance| instance["kills"][0]["victim"]["pid"] == truth.victim.pid),
        "no report: {finished:?}"
    );
    ensure!(summary.get("unexplained")? == 0, "{summary:?}");
    Ok(())
}

#[test]
fn sigterm_drains() -> Result<()> {
    ends_well(Signal::TERM)
}

#[test]
fn sigint_drains() -> Result<()> {
    ends_well(Signal::INT)
}

#[test]
fn it_is_ready_on_an_abstract_socket_too() -> Result<()> {
    let Some(_machine) = Machine::alone()? else {
        return Ok(());
    };
    let name = format!("oom-tests-{}", std::process::id());
    let ready = UnixDatagram::bind_addr(&SocketAddr::from_abstract_name(&name)?)?;
    let socket = OsString::from(format!("@{name}"));
    let agent = Launch::run(&[]).start_with(&ready, &socket)?;
    agent.stop(Signal::TERM)?.summary().map(drop)
}

/// Whatever becomes of its stdout, the agent counts every kill, and every event that was not written,
/// and ends when told to.
fn detects_with(output: Output, kills: u32) -> Result<()> {
    let Some(_machine) = Machine::alone()? else {
        return Ok(());
    };
    let agent = Launch::run(&[]).output(output).start()?;
    let before = vmstat_oom_kill()?;
    trigger::storm(&scene::trigger_options(1 << 20)?, kills)?;
    let counted = vmstat_oom_kill()? - before;
    let summary = agent.stop(Signal::TERM)?.summary()?;
    ensure!(
        summary.get("kills")? + summary.get("repeats")? >= i64::try_from(counted)?,
        "{summary:?}, the kernel counted {counted}"
    );
    ensure!(summary.get("unexplained")? == 0, "{summary:?}");
    let events = summary.get("kills")? + summary.get("instances")?;
    let unwritten = summary.get("unwritten")?;
    match output {
        Output::Closed => ensure!(unwritten == events, "{summary:?}"),
        Output::Ignored => ensure!((1..events).contains(&unwritten), "{summary:?}"),
        Output::Read => ensure!(unwritten == 0, "{summary:?}"),
    }
    Ok(())
}

#[test]
fn a_closed_stdout_does_not_stop_detection() -> Result<()> {
    detects_with(Output::Closed, 3)
}

#[test]
fn a_full_stdout_does_not_stop_detection() -> Result<()> {
    // Two events a kill, more than 500 bytes each: well above the 64 KiB of a pipe.
    detects_with(Output::Ignored, 150)
}

#[test]
fn once_ends_after_the_first_report() -> Result<()> {
    let Some(machine) = Machine::alone()? else {
        return Ok(());
    };
    let agent = Launch::run(&["--once"]).start()?;
    let truth = scene::one_kill(&machine.hierarchy)?;
    agent.wait_for_death(truth.tid)?;
    let finished = agent.ended()?;
    ensure!(finished.summary()?.get("instances")? >= 1, "{finished:?}");
    Ok(())
}

#[test]
fn the_trigger_proves_the_whole_path() -> Result<()> {
    let Some(machine) = Machine::alone()? else {
        return Ok(());
    };
    let agent = Launch::run(&["--require-bpf"]).start()?;
    let output = Command::new(machine::agent_binary()?)
        .arg("trigger")
        .output()?;
    ensure!(output.status.success(), "{output:?}");
    let kill = agent.wait_for("the trigger's kill", |events| {
        let mut kills = events.iter().filter(|event| is_kill(event));
        kills
            .find(|kill| kill["victim"]["comm"] == "oom-trigger")
            .cloned()
    })?;
    let path = kill["cgroup"]["path"].as_str().context("no cgroup")?;
    let (_, name) = path.rsplit_once('/').context("path")?;
    ensure!(name.starts_with(trigger::scratch::PREFIX), "{kill}");
    ensure!(
        !machine.hierarchy.mount.join(name).exists(),
        "{name} is left behind"
    );
    let said = String::from_utf8_lossy(&output.stdout);
    let pid = kill["victim"]["pid"].to_string();
    ensure!(
        said.contains(&pid),
        "the trigger does not say pid {pid}: {output:?}"
    );
    Ok(())
}

#[test]
fn the_hog_refuses_to_run_without_a_limit() -> Result<()> {
    let Some(machine) = Machine::alone()? else {
        return Ok(());
    };
    let name = format!(
        "{}{}-unlimited",
        trigger::scratch::PREFIX,
        std::process::id()
    );
    let cgroup = trigger::scratch::ScratchCgroup::create(
        &machine.hierarchy,
        &name,
        trigger::scratch::Settings::default(),
    )?;
    for (dir, reason) in [
        (cgroup.dir(), "without a memory limit"),
        (machine.hierarchy.mount.as_path(), "not a scratch cgroup"),
    ] {
        let output = Command::new(machine::agent_binary()?)
            .args(["trigger-hog", "--cgroup"])
            .arg(dir)
            .output()?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(
            !output.status.success() && said.contains(reason),
            "{output:?}"
        );
    }
    Ok(())
}

#[test]
fn the_doctor_speaks_json() -> Result<()> {
    let Some(_machine) = Machine::alone()? else {
        return Ok(());
    };
    for args in [&["doctor"][..], &["doctor", "--json"]] {
        let output = Command::new(machine::agent_binary()?).args(args).output()?;
        ensure!(output.status.success(), "{output:?}");
        if args.len() > 1 {
            serde_json::from_slice::<Value>(&output.stdout)
                .with_context(|| format!("not JSON: {output:?}"))?;
        }
    }
    Ok(())
}
