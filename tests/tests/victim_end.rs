//! How victims end: known of every kill, right against what the test saw itself; and of one that does not end an
//! alert, and its end when it comes.

use std::{os::fd::OwnedFd, time::Duration};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::{
        ptrace,
        wait::{WaitStatus, waitpid},
    },
    unistd::Pid,
};
use oom_agent::clock::Now;
use oom_tests::{
    agent::{Agent, Launch},
    machine::Machine,
    scene::{self, actor::Actor},
};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid as RustixPid, PidfdFlags, Signal, pidfd_open},
};
use serde_json::Value;

const LIMIT: u64 = 8 << 20;
const KILLS: u32 = 1000;

/// The log and the monotonic clock differ by less.
const CLOCKS_NS: u64 = 20_000_000;

/// How long a victim is held.
const STUCK_AFTER: &str = "3";

fn open(pid: u32) -> Result<OwnedFd> {
    let pid = RustixPid::from_raw(pid.cast_signed()).context("pid")?;
    pidfd_open(pid, PidfdFlags::empty()).context("pidfd_open")
}

/// When this process was seen to be gone, `CLOCK_MONOTONIC`.
fn gone_at(fd: &OwnedFd) -> Result<u64> {
    let patience = Timespec {
        tv_sec: 60,
        tv_nsec: 0,
    };
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    ensure!(poll(&mut fds, Some(&patience))? == 1, "it does not end");
    Ok(Now::read().monotonic_ns)
}

fn number(value: &Value, name: &str) -> Result<u64> {
    value[name]
        .as_u64()
        .with_context(|| format!("{name} in {value:#}"))
}

/// A kill whose end the test sees, too.
fn ends(args: &[&str], by_log: bool) -> Result<()> {
    let Some(machine) = Machine::alone()? else {
        return Ok(());
    };
    let agent = Launch::run(args).start()?;
    let log_alone = agent.tier()?.log_alone;
    let home = machine.scratch("ends", LIMIT)?;
    let mut hog = Actor::start("patient", b"hog", 0, &home, &[])?;
    hog.must_say("ready")?;
    let watched = open(hog.process.pid)?;
    hog.go()?;
    let seen_ns = gone_at(&watched)?;
    hog.killed()?;
    let (alert, report) = agent.wait_for_death(hog.process.pid)?;
    ensure!(alert["end"].is_null(), "an alert does not wait: {alert:#}");
    let kill = &report["kills"][0];
    let end = &kill["end"];
    let marked_ns = number(kill, "monotonic_ns")?;
    let after_ns = number(end, "exit_after_ns")?;
    ensure!(end["still_alive"] == false, "{end:#}");
    if by_log || log_alone {
        ensure!(end["exit_source"] == "pidfd", "{end:#}");
    } else if end["exit_source"] == "bpf" {
        let exit_ns = marked_ns + after_ns;
        ensure!(exit_ns <= seen_ns, "{exit_ns} after {seen_ns}: {end:#}");
        ensure!(end["at_most"] == false, "{end:#}");
    }
    // As long as nobody has kept the agent or the test from running, which nobody promises, both are close.
    ensure!(
        (marked_ns + after_ns).abs_diff(seen_ns) < 5_000_000_000 + CLOCKS_NS,
        "seen {seen_ns}, marked {marked_ns}: {end:#}"
    );
    if let Some(freed) = end["freed_bytes"].as_u64() {
        let held = ["anon_bytes", "file_bytes", "shmem_bytes"];
        let held: u64 = held
            .iter()
            .filter_map(|it| kill["memory"][it].as_u64())
            .sum();
        ensure!(freed <= held && freed > 0, "{freed} of {held}");
        number(end, "freed_after_ns")?;
    }
    let summary = agent.stop(Signal::TERM)?.summary()?;
    assert_eq!(summary.get_or_zero("ends_missed")?, 0, "{summary:?}");
    assert_eq!(summary.get_or_zero("end_records_lost")?, 0, "{summary:?}");
    Ok(())
}

#[test]
fn the_end_of_a_kill_is_in_its_report() -> Result<()> {
    ends(&[], false)
}

#[test]
fn the_log_alone_knows_of_the_end_by_pidfd() -> Result<()> {
    ends(&["--source", "kmsg"], true)
}

/// A tracer holds the victim just before it ends (`PTRACE_EVENT_EXIT`, ptrace(2)): it has got its SIGKILL, and still
/// has all its memory. It ends when the test lets it.
#[test]
fn a_victim_that_does_not_end_is_an_alert_and_its_end_an_event() -> Result<()> {
    let Some(machine) = Machine::alone()? else {
        return Ok(());
    };
    let agent = Launch::run(&["--stuck-after", STUCK_AFTER]).start()?;
    let home = machine.scratch("stuck", LIMIT)?;
    let mut hog = Actor::start("patient", b"held", 0, &home, &[])?;
    hog.must_say("ready")?;
    let pid = Pid::from_raw(hog.process.pid.try_into()?);
    ptrace::seize(pid, ptrace::Options::PTRACE_O_TRACEEXIT).context("seize")?;
    hog.go()?;
    loop {
        match waitpid(pid, None)? {
            WaitStatus::PtraceEvent(_, _, event) if event == EXIT => break,
            WaitStatus::Stopped(_, signal) => ptrace::cont(pid, signal)?,
            WaitStatus::PtraceEvent(..) => ptrace::cont(pid, None)?,
            other => anyhow::bail!("it is not held: {other:?}"),
        }
    }
    let told = compare_stuck(&agent, hog.process.pid);
    ptrace::detach(pid, None)?;
    let (kill_id, stuck_ns) = told?;
    let end = agent.wait_for("end of the victim", |events| {
        let ended = |event: &&Value| event["kind"] == "VictimEnd";
        events.iter().find(ended).cloned()
    })?;
    ensure!(end["id"] == format!("{kill_id}-end"), "{end:#}");
    let after_ns = number(&end["kill"]["end"], "exit_after_ns")?;
    ensure!(after_ns > stuck_ns, "{after_ns}, stuck {stuck_ns}");
    ensure!(end["kill"]["end"]["at_most"] == false, "{end:#}");
    let finished = agent.stop(Signal::TERM)?;
    let kinds = |kind: &str| {
        let of = |event: &&Value| event["kind"] == kind;
        finished.events.iter().filter(of).count()
    };
    assert_eq!((kinds("OomStuck"), kinds("VictimEnd")), (1, 1));
    assert_eq!(finished.summary()?.get("unexplained")?, 0);
    Ok(())
}

/// `PTRACE_EVENT_EXIT` (linux/ptrace.h).
const EXIT: i32 = 6;

fn compare_stuck(agent: &Agent, pid: u32) -> Result<(String, u64)> {
    let (alert, report) = agent.wait_for_death(pid)?;
    let end = &report["kills"][0]["end"];
    ensure!(
        end["still_alive"] == true && end["exit_after_ns"].is_null(),
        "{end:#}"
    );
    let stuck = agent.wait_for("alert of the stuck victim", |events| {
        let is_it = |event: &&Value| event["kind"] == "OomStuck";
        events.iter().find(is_it).cloned()
    })?;
    let id = alert["id"].as_str().context("id")?;
    ensure!(stuck["id"] == format!("{id}-stuck"), "{stuck:#}");
    ensure!(stuck["kill"]["victim"]["pid"] == pid, "{stuck:#}");
    ensure!(stuck["kill"]["cgroup"] == alert["cgroup"], "{stuck:#}");
    let stuck_ns = number(&stuck, "stuck_for_ns")?;
    let wanted = Duration::from_secs(STUCK_AFTER.parse()?).as_nanos();
    ensure!(u128::from(stuck_ns) >= wanted, "{stuck:#}");
    ensure!(stuck["thread"]["state"] == "t", "{stuck:#}");
    ensure!(
        stuck["threads"] == 1 && stuck["uninterruptible"] == 0,
        "{stuck:#}"
    );
    Ok((id.to_owned(), stuck_ns))
}

/// Of a thousand kills at once, the end of each that BPF could see.
#[test]
fn the_ends_of_a_storm() -> Result<()> {
    let Some(_machine) = Machine::alone()? else {
        return Ok(());
    };
    let agent = Launch::run(&["--ring-bytes", "8388608"]).start()?;
    let log_alone = agent.tier()?.log_alone;
    let storm = scene::storm(KILLS)?;
    let tids: std::collections::HashSet<u64> = storm.tids().map(u64::from).collect();
    agent.wait_for("all reports", |events| {
        let mut told = reports(events).filter(|kill| is_of(kill, &tids));
        (told.by_ref().count() >= tids.len()).then_some(())
    })?;
    let events = agent.events()?;
    let kills: Vec<&Value> = reports(&events).filter(|kill| is_of(kill, &tids)).collect();
    let known = |kill: &&&Value| kill["end"]["exit_after_ns"].is_u64();
    let count = kills.iter().filter(known).count();
    let by_bpf = kills
        .iter()
        .filter(|kill| kill["end"]["exit_source"] == "bpf")
        .count();
    let bounds = kills
        .iter()
        .filter(|kill| kill["end"]["at_most"] == true)
        .count();
    println!(
        "{count} of {} ends, {by_bpf} by bpf, {bounds} bounds",
        kills.len()
    );
    let lost = agent.stop(Signal::TERM)?.summary()?;
    let lost = lost.get_or_zero("ends_missed")? + lost.get_or_zero("end_records_lost")?;
    ensure!(lost == 0 || log_alone, "{lost} lost");
    ensure!(
        count == kills.len() || log_alone,
        "{count} of {}",
        kills.len()
    );
    Ok(())
}

fn reports(events: &[Value]) -> impl Iterator<Item = &Value> {
    let of_reports = events.iter().filter(|event| event["kind"] == "OomInstance");
    of_reports.flat_map(|report| report["kills"].as_array().into_iter().flatten())
}

fn is_of(kill: &Value, tids: &std::collections::HashSet<u64>) -> bool {
    kill["victim"]["tid"]
        .as_u64()
        .is_some_and(|tid| tids.contains(&tid))
}
