//! The package under a real systemd, in a test guest with a disk: `cargo xtask vm --deb`.
//!
//! Runs once in each boot, as a unit. Installs the old package, makes kills, upgrades while kills go on, and
//! reboots; then makes kills again, and removes and purges the package. Each step is a line on the console;
//! the last one is what the first process of other guests says. Refuses to run anywhere else.

use std::{
    collections::BTreeSet,
    fs,
    path::Path,
    process::{Command, ExitCode},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use oom_tests::machine;
use serde_json::Value;

/// Where `cargo xtask vm` has put the packages.
const OLD: &str = "/opt/oom-test/old.deb";
const NEW: &str = "/opt/oom-test/new.deb";

/// Pids that died in the first boot, one a line: there from the end of the first boot on.
const DEAD: &str = "/opt/oom-test/dead";

/// For whatever takes its time in an emulated machine.
const DEADLINE: Duration = Duration::from_mins(1);

/// Between two looks.
const LOOK: Duration = Duration::from_millis(200);

fn main() -> ExitCode {
    say("up");
    let first = !Path::new(DEAD).exists();
    let outcome =
        machine::only_in_a_guest().and_then(|()| if first { first_boot() } else { second_boot() });
    if let Err(error) = &outcome {
        say(&format!("failed: {error:#}"));
        let log = log();
        say(&log.unwrap_or_else(|error| error.to_string()));
    }
    if first && outcome.is_ok() {
        return end("reboot");
    }
    say(&format!("exit {}", i32::from(outcome.is_err())));
    end("poweroff")
}

/// In the words of `vm-init`.
fn say(what: &str) {
    println!("\nvm-init: {what}");
}

fn end(how: &str) -> ExitCode {
    match run("systemctl", &["--no-block", how]) {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            say(&format!("{error:#}"));
            ExitCode::FAILURE
        }
    }
}

/// What it printed; an error if it failed.
fn run(program: &str, args: &[&str]) -> Result<String> {
    let output = Command::new(program)
        .args(args)
        .output()
        .with_context(|| program.to_owned())?;
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text).into_owned();
    ensure!(
        output.status.success(),
        "{program} {}: {}: {text}",
        args.join(" "),
        output.status
    );
    Ok(text)
}

/// What the agent has said in this boot.
fn log() -> Result<String> {
    let unit = "--unit=oom-agent.service";
    run(
        "journalctl",
        &["--boot", "--no-pager", "--output=cat", unit],
    )
}

fn first_boot() -> Result<()> {
    let installed = run("dpkg", &["--install", OLD])?;
    let old = is_at_work().with_context(|| installed)?;
    say(&format!("installed, at work as pid {}", old.pid));
    println!(
        "{}",
        run(
            "systemctl",
            &["status", "--no-pager", "--lines=20", "oom-agent"]
        )?
    );
    let mut dead = kills(3)?;
    all_are_told(&dead)?;
    println!("{}", run("oom-agent", &["events", "-o", "table"])?);

    let upgraded = AtomicBool::new(false);
    let (during, new) = thread::scope(|scope| {
        let killing = scope.spawn(|| -> Result<Vec<u64>> {
            let mut dead = Vec::new();
            while !upgraded.load(Ordering::Relaxed) {
                dead.extend(kills(1)?);
            }
            Ok(dead)
        });
        let new = run("dpkg", &["--install", NEW]).and_then(|_| is_at_work());
        upgraded.store(true, Ordering::Relaxed);
        let dead = killing.join().unwrap_or_else(|_| bail!("the kills"));
        anyhow::Ok((dead?, new?))
    })?;
    ensure!(new.pid != old.pid, "the old agent is at work still");
    ensure!(during.len() > 1, "no kills during the upgrade");
    dead.extend(&during);
    dead.extend(kills(2)?);
    all_are_told(&dead)?;
    nothing_is_unexplained()?;
    say(&format!(
        "upgraded, {} kills meanwhile, none lost",
        during.len()
    ));
    let lines: Vec<_> = dead.iter().map(u64::to_string).collect();
    fs::write(DEAD, lines.join("\n"))?;
    Ok(())
}

fn second_boot() -> Result<()> {
    is_at_work()?;
    let dead: Result<Vec<u64>, _> = fs::read_to_string(DEAD)?.lines().map(str::parse).collect();
    let before = dead?;
    all_are_told(&before)?;
    let now = kills(2)?;
    let told = all_are_told(&[before.clone(), now].concat())?;
    let boots: BTreeSet<_> = told
        .iter()
        .filter_map(|it| it["boot_id"].as_str())
        .collect();
    ensure!(boots.len() == 2, "kills of boots {boots:?}");
    nothing_is_unexplained()?;
    say(&format!(
        "rebooted: {} kills of two boots are in the store",
        told.len()
    ));
    println!("{}", run("oom-agent", &["status"])?);
    let security = run(
        "systemd-analyze",
        &["security", "--no-pager", "oom-agent.service"],
    )?;
    println!("{}", security.lines().last().unwrap_or_default());
    let log = log()?;
    let by = log.lines().find(|line| line.contains("confined by"));
    let by = by.context("the agent does not say how it is confined")?;
    println!("{by}");
    for guard in ["landlock", "seccomp", "capabilities"] {
        ensure!(by.contains(guard), "not confined by {guard}: {by}");
    }

    run("dpkg", &["--remove", "oom-agent"])?;
    ensure!(!active()?, "removed, and at work");
    for gone in [
        "/sys/fs/bpf/oom-agent",
        "/usr/bin/oom-agent",
        "/run/oom-agent",
    ] {
        ensure!(!Path::new(gone).exists(), "removed, and there is {gone}");
    }
    for kept in ["/var/lib/oom-agent/events.db", "/etc/default/oom-agent"] {
        ensure!(Path::new(kept).exists(), "removed, and {kept} is gone");
    }
    say("removed");
    run("dpkg", &["--purge", "oom-agent"])?;
    let left = run(
        "find",
        &[
            "/etc",
            "/usr",
            "/var",
            "/sys/fs/bpf",
            "-name",
            "*oom-agent*",
        ],
    )?;
    ensure!(left.is_empty(), "purged, and there is {left}");
    let unit = run(
        "systemctl",
        &["show", "--value", "--property=LoadState", "oom-agent"],
    )?;
    ensure!(unit.trim() == "not-found", "purged, and the unit is {unit}");
    say("purged: nothing is left");
    Ok(())
}

/// An agent that systemd has been told is ready.
struct AtWork {
    pid: u64,
}

fn is_at_work() -> Result<AtWork> {
    wait_for("the unit to be active", || Ok(active()?.then_some(())))?;
    let pid = run(
        "systemctl",
        &["show", "--value", "--property=MainPID", "oom-agent"],
    )?;
    run("systemctl", &["is-enabled", "oom-agent"])?;
    let pid = pid.trim().parse()?;
    let adj = fs::read_to_string(format!("/proc/{pid}/oom_score_adj"))?;
    ensure!(adj.trim() == "-900", "the agent's oom_score_adj is {adj}");
    Ok(AtWork { pid })
}

fn active() -> Result<bool> {
    let state = run(
        "systemctl",
        &["show", "--value", "--property=ActiveState", "oom-agent"],
    )?;
    let state = state.trim();
    ensure!(state != "failed", "the unit failed");
    Ok(state == "active")
}

/// Makes so many kills; who died.
fn kills(count: u32) -> Result<Vec<u64>> {
    let count = count.to_string();
    let output = run("oom-agent", &["trigger", "--json", "--count", &count])?;
    let lines = output.lines().filter(|line| line.starts_with('{'));
    lines
        .map(|line| {
            let kill: Value = serde_json::from_str(line)?;
            kill["pid"].as_u64().context("pid")
        })
        .collect()
}

/// Waits until the agent tells all of them, each once; every kill that it tells.
fn all_are_told(dead: &[u64]) -> Result<Vec<Value>> {
    wait_for("the kills to be told", || {
        let events = run(
            "oom-agent",
            &["events", "--kind=OomKill", "--limit=0", "--output=json"],
        )?;
        let lines = events.lines().filter(|line| line.starts_with('{'));
        let told: Vec<Value> = lines.map(serde_json::from_str).collect::<Result<_, _>>()?;
        let times = |pid: &u64| told.iter().filter(|it| it["victim"]["pid"] == *pid).count();
        if let Some(twice) = dead.iter().find(|pid| times(pid) > 1) {
            bail!("told more than once: {twice}");
        }
        Ok(dead.iter().all(|pid| times(pid) == 1).then_some(told))
    })
}

fn nothing_is_unexplained() -> Result<()> {
    wait_for("nothing to be unexplained", || {
        let status = run("oom-agent", &["status", "--output=json"])?;
        let status: Value = serde_json::from_str(&status)?;
        Ok((status["audit"]["unexplained"] == 0).then_some(()))
    })
}

fn wait_for<T>(what: &str, mut look: impl FnMut() -> Result<Option<T>>) -> Result<T> {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let seen = look();
        if let Ok(Some(seen)) = seen {
            return Ok(seen);
        }
        if Instant::now() > deadline {
            seen?;
            bail!("waited too long for {what}");
        }
        thread::sleep(LOOK);
    }
}
