//! The tools that people read the kernel log with, after a real kill: `oom-agent parse` must find it in
//! what each of them prints.
//!
//! Reads the output of the dmesg and journalctl of this machine. A tool, or an option of it, that is not
//! here is skipped by name.

use std::{
    io::Write as _,
    process::{Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use oom_tests::{
    machine::{self, Machine},
    scene::{self, Truth},
};
use serde_json::Value;

/// What a tool's output tells of the time.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Clock {
    Monotonic,
    Wall,
    Both,
    None,
}

const TOOLS: &[(&str, &[&str], Clock)] = &[
    ("dmesg", &[], Clock::Monotonic),
    ("dmesg", &["-T"], Clock::Wall),
    ("dmesg", &["-x"], Clock::Monotonic),
    ("dmesg", &["-r"], Clock::Monotonic),
    ("dmesg", &["-d"], Clock::Monotonic),
    ("dmesg", &["-e"], Clock::None),
    ("dmesg", &["-t"], Clock::None),
    ("dmesg", &["--json"], Clock::Monotonic),
    ("dmesg", &["--syslog"], Clock::Monotonic),
    ("dmesg", &["--time-format", "iso"], Clock::Wall),
    ("dmesg", &["-x", "-T"], Clock::Wall),
    ("journalctl", &["-k", "-o", "short"], Clock::Wall),
    ("journalctl", &["-k", "-o", "short-precise"], Clock::Wall),
    ("journalctl", &["-k", "-o", "short-iso"], Clock::Wall),
    (
        "journalctl",
        &["-k", "-o", "short-iso-precise"],
        Clock::Wall,
    ),
    ("journalctl", &["-k", "-o", "short-full"], Clock::Wall),
    ("journalctl", &["-k", "-o", "short-unix"], Clock::Wall),
    (
        "journalctl",
        &["-k", "-o", "short-monotonic"],
        Clock::Monotonic,
    ),
    ("journalctl", &["-k", "-o", "json"], Clock::Both),
    ("journalctl", &["-k", "-o", "json-pretty"], Clock::Both),
];

#[test]
fn a_real_kill_is_found_in_the_output_of_every_tool() -> Result<()> {
    let Some(machine) = Machine::alone()? else {
        return Ok(());
    };
    let truth = scene::one_kill(&machine.hierarchy)?;
    let killed = format!("Killed process {} ", truth.tid);
    // The journal reads the log on its own time.
    let deadline = Instant::now() + Duration::from_secs(5);
    let mut read = 0;
    for (tool, args, clock) in TOOLS {
        match log(tool, args, &killed, deadline)? {
            Some(log) => {
                found(&log, *clock, &truth).with_context(|| format!("{tool} {args:?}"))?;
                read += 1;
            }
            None => machine::say_skipped(&format!(
                "`{tool} {}` is not here, or does not show the kill",
                args.join(" ")
            )),
        }
    }
    ensure!(read > 0, "no tool printed the kill");
    Ok(())
}

/// What the tool prints; `None` if it is not here, refuses, or does not show the kill in time.
fn log(tool: &str, args: &[&str], killed: &str, deadline: Instant) -> Result<Option<Vec<u8>>> {
    loop {
        let Ok(Output { status, stdout, .. }) = Command::new(tool).args(args).output() else {
            return Ok(None);
        };
        if !status.success() || stdout.is_empty() {
            return Ok(None);
        }
        if stdout
            .windows(killed.len())
            .any(|window| window == killed.as_bytes())
        {
            return Ok(Some(stdout));
        }
        if tool == "dmesg" || Instant::now() > deadline {
            return Ok(None);
        }
        thread::yield_now();
    }
}

fn found(log: &[u8], clock: Clock, truth: &Truth) -> Result<()> {
    let mut parse = Command::new(machine::agent_binary()?)
        .args(["parse", "--output", "json", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut stdin = parse.stdin.take().context("stdin")?;
    let input = log.to_vec();
    let writer = thread::spawn(move || stdin.write_all(&input));
    let output = parse.wait_with_output()?;
    writer.join().ok().context("the writer panicked")??;
    ensure!(output.status.success(), "{output:?}");
    let kill = output
        .stdout
        .split(|&b| b == b'\n')
        .filter_map(|line| serde_json::from_slice::<Value>(line).ok())
        .rfind(|event| {
            event["kind"] == "OomInstance" && event["kills"][0]["victim"]["tid"] == truth.tid
        })
        .context("no report of the kill")?;
    // Somebody else's kills may have used up what the kernel allows itself to print.
    if kill["crosscheck"]["kmsg_report"] == "full" {
        ensure!(
            kill["limit"]["limit_bytes"].as_u64() == truth.limit.as_ref().map(|limit| limit.bytes),
            "{kill:#}"
        );
        ensure!(kill["trigger"]["comm"].is_string(), "{kill:#}");
    }
    let known = (kill["monotonic_ns"].is_u64(), kill["time"].is_string());
    let expected = match clock {
        Clock::Monotonic => (true, false),
        Clock::Wall => (false, true),
        Clock::Both => (true, true),
        Clock::None => (false, false),
    };
    ensure!(known == expected, "{kill:#}");
    Ok(())
}
