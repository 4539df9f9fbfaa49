//! A real kill, asked for in every way that the command line has: of a running agent, and of its store.

use std::{
    collections::BTreeSet,
    io::{BufRead as _, BufReader},
    path::Path,
    process::{Child, Command, Output, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use oom_tests::{
    agent::{DEADLINE, Launch},
    kept::Kept,
    machine::{self, Machine},
};
use rustix::process::Signal;
use serde_json::Value;

fn ask(args: &[&str]) -> Result<Output> {
    let mut command = Command::new(machine::agent_binary()?);
    let output = command.args(args).stdin(Stdio::null()).output()?;
    Ok(output)
}

/// What it prints; it must end well.
fn told(args: &[&str]) -> Result<String> {
    let output = ask(args)?;
    let err = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{args:?}: {}: {err}",
        output.status
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// `events -f` beside the test; killed and reaped when dropped.
struct Following {
    child: Child,
    lines: Receiver<String>,
    told: BTreeSet<String>,
}

impl Following {
    fn start(socket: &str) -> Result<Self> {
        let mut command = Command::new(machine::agent_binary()?);
        let args = ["events", "-f", "--limit", "0", "-o", "json", "--socket"];
        let mut child = command
            .args(args)
            .arg(socket)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()?;
        let stdout = BufReader::new(child.stdout.take().context("stdout")?);
        let (tell, lines) = channel();
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                if tell.send(line).is_err() {
                    return;
                }
            }
        });
        Ok(Self {
            child,
            lines,
            told: BTreeSet::new(),
        })
    }

    /// Reads on up to this report. None may come twice; others may be of somebody else's kills.
    fn tells(&mut self, report: &Value) -> Result<()> {
        let end = Instant::now() + DEADLINE;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = self.lines.recv_timeout(left);
            let line = line.with_context(|| format!("{} is not told", report["id"]))?;
            let told: Value = serde_json::from_str(&line)?;
            ensure!(self.told.insert(told["id"].to_string()), "twice: {line}");
            if told["id"] == report["id"] {
                ensure!(told == *report, "{line}");
                return Ok(());
            }
        }
    }
}

impl Drop for Following {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            let _ = self.child.wait();
        }
    }
}

/// One real kill: the id of the process.
fn kill() -> Result<u32> {
    let done = told(&["trigger", "--json"])?;
    let done: Value = serde_json::from_str(&done)?;
    let pid = done["pid"].as_u64().context("pid")?;
    Ok(u32::try_from(pid)?)
}

fn text(path: &Path) -> Result<&str> {
    path.to_str().context("a path")
}

#[test]
fn a_kill_is_told_whoever_is_asked() -> Result<()> {
    let Some(_machine) = Machine::alone()? else {
        return Ok(());
    };
    let kept = Kept::without_pins()?;
    let dir = tempfile::tempdir()?;
    let socket = dir.path().join("api.sock");
    let socket = text(&socket)?;
    let mut args = kept.args();
    args.extend([
        "--socket".into(),
        socket.into(),
        "--backfill".into(),
        "none".into(),
    ]);
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let agent = Launch::run(&args).keeping().start()?;

    let first = kill()?;
    let (event, report) = agent.wait_for_death(first)?;
    kept.wait_for("report", |content| content.instances.contains(&report))?;
    let mut following = Following::start(socket)?;
    // What there was comes first, then what comes.
    following.tells(&report)?;

    let second = kill()?;
    let (_, next) = agent.wait_for_death(second)?;
    following.tells(&next)?;
    kept.wait_for("report", |content| content.instances.contains(&next))?;

    let status = told(&["status", "--socket", socket])?;
    ensure!(status.contains("every kill is told"), "{status}");
    let store = kept.store();
    asked(&["--socket", socket], &event, &report)?;
    asked(&["--store", text(&store)?], &event, &report)?;

    // The follower waits for the next agent, and neither loses nor repeats anything.
    agent.stop(Signal::INT)?.summary()?;
    let gone = ask(&["status", "--socket", socket])?;
    ensure!(gone.status.code() == Some(1), "{gone:?}");
    let agent = Launch::run(&args).keeping().start()?;
    let third = kill()?;
    let (_, last) = agent.wait_for_death(third)?;
    following.tells(&last)?;
    agent.stop(Signal::INT)?.summary()?;
    asked(&["--store", text(&store)?], &event, &report)
}

/// Everything that can be asked of the first kill.
fn asked(whom: &[&str], kill: &Value, report: &Value) -> Result<()> {
    let of = |args: &[&str]| told(&[args, whom].concat());
    let pid = kill["victim"]["pid"].to_string();
    let events = of(&["events", "--pid", &pid])?;
    ensure!(
        serde_json::from_str::<Value>(&events)? == *report,
        "{events}"
    );
    let alerts = of(&["events", "--pid", &pid, "--kind", "OomKill"])?;
    ensure!(serde_json::from_str::<Value>(&alerts)? == *kill, "{alerts}");

    let table = of(&["events", "--pid", &pid, "-o", "table"])?;
    let row = table.lines().nth(1).context("no row")?;
    ensure!(row.contains(&format!("oom-trigger[{pid}]")), "{row}");
    let short = row.split_whitespace().last().context("no id")?;
    let id = kill["id"].as_str().context("id")?;
    for id in [short, id, report["id"].as_str().context("id")?] {
        let story = of(&["show", id])?;
        ensure!(
            story.contains(&format!("oom-trigger (pid {pid})")),
            "{id}: {story}"
        );
    }
    let top = of(&["top", "--by", "comm"])?;
    let top: Value = serde_json::from_str(&top)?;
    ensure!(top["rows"][0]["key"] == "oom-trigger", "{top}");
    Ok(())
}
