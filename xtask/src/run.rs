//! `cargo xtask run`: the whole alert path on this machine, with one real OOM kill to look at.
//!
//! Reads nothing but its arguments; emits what the agent emits: text for a person, or with `--json`
//! nothing but events on stdout. Refuses to trigger a kill before the agent is armed.

use std::{
    ffi::OsString,
    io::{self, IsTerminal},
    os::fd::AsFd,
    path::Path,
    process::{Child, ExitCode, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use signal_hook::{
    consts::{SIGINT, SIGTERM},
    iterator::Signals,
};

use crate::agent::{self, ReadySocket, Start};

/// Far more than any start takes; past it, something is wrong.
const PATIENCE: Duration = Duration::from_secs(20);

/// Builds and starts the agent as root, makes one real OOM kill, and watches until Ctrl-C.
#[derive(clap::Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch on the command line"
)]
pub(crate) struct Args {
    /// Events as JSON, one per line, alone on stdout.
    #[arg(long)]
    json: bool,
    /// Ends after the first `OomInstance`.
    #[arg(long)]
    once: bool,
    /// Makes no OOM kill.
    #[arg(long)]
    no_trigger: bool,
    /// Optimised build (the default).
    #[arg(long, conflicts_with = "debug")]
    release: bool,
    /// Unoptimised build.
    #[arg(long)]
    debug: bool,
    /// Arguments for `oom-agent run`.
    #[arg(last = true)]
    agent: Vec<OsString>,
}

pub(crate) fn main(args: &Args) -> Result<ExitCode> {
    // Before the long part: who has no way to root need not wait for it.
    agent::authenticate()?;
    let binary = agent::build(args.debug)?;
    let ready = ReadySocket::bind()?;
    let mut command = agent::as_root(&binary, &[("NOTIFY_SOCKET", ready.path())])?;
    command.args(["run", "--output", if args.json { "json" } else { "text" }]);
    if args.once {
        command.arg("--once");
    }
    let own = |name| {
        let is_it = move |option: &OsString| option.to_string_lossy().starts_with(name);
        args.agent.iter().any(is_it)
    };
    if !own("--store") {
        command.args(agent::keeping("run")?);
    }
    if !own("--socket") {
        command.args(agent::serving(&binary, "run")?);
    }
    let signals = Signals::new([SIGINT, SIGTERM])?;
    let mut child = command
        .args(&args.agent)
        .spawn()
        .context("cannot start the agent")?;
    pass_on(signals, child.id());

    let outcome = prove(&ready, &binary, args, &mut child);
    if outcome.is_err() {
        end(child.id(), Signal::TERM);
    }
    let status = child.wait()?;
    outcome.map(|()| agent::exit_code(status))
}

/// Waits for the agent and makes the kill.
fn prove(ready: &ReadySocket, binary: &Path, args: &Args, child: &mut Child) -> Result<()> {
    match ready.wait(child, PATIENCE)? {
        // The agent has said why; its exit code is passed on.
        Start::Exited => return Ok(()),
        Start::Ready if args.no_trigger => return Ok(()),
        Start::Ready => {}
    }
    let mut trigger = agent::as_root(binary, &[])?;
    let status = trigger.arg("trigger").stdout(to_stderr()?).status()?;
    if !status.success() {
        if args.once {
            bail!("no kill to wait for: `oom-agent trigger` failed: {status}");
        }
        eprintln!("xtask: `oom-agent trigger` failed: {status}; the agent watches on");
    }
    Ok(())
}

/// The trigger's words must not mix with events.
fn to_stderr() -> Result<Stdio> {
    Ok(io::stderr().as_fd().try_clone_to_owned()?.into())
}

/// Ctrl-C reaches the agent from the terminal; every other signal is handed on. Either way this
/// process stays until the agent has drained.
fn pass_on(mut signals: Signals, child: u32) {
    let from_terminal = io::stdin().is_terminal();
    thread::spawn(move || {
        for signal in &mut signals {
            if signal == SIGINT && from_terminal {
                continue;
            }
            let signal = if signal == SIGINT {
                Signal::INT
            } else {
                Signal::TERM
            };
            end(child, signal);
        }
    });
}

/// Asks the agent to drain and end; it may have done so already.
fn end(child: u32, signal: Signal) {
    if let Err(error) = agent::signal(child, signal) {
        eprintln!("xtask: {error:#}");
    }
}
