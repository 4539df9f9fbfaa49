//! The one program in the test containers: their main process, and the children of it.
//!
//! Reads its part from the command line; takes its name when it is ready, which is how the test knows,
//! and begins on SIGUSR1. Refuses to take more than 256 MiB, in case there is no limit.

use std::{
    convert::Infallible,
    env,
    ffi::CString,
    process::{Command, Stdio},
    thread,
    time::Duration,
};

use anyhow::{Context as _, Result, bail};
use nix::sys::signal::{SigSet, Signal};
use oom_agent::trigger::hog;

/// More than any test container may have.
const MOST: usize = 256 << 20;

/// A step of the one that grows slowly: 32 MiB take a second.
const STEP: usize = 1 << 20;
const STEP_TIME: Duration = Duration::from_millis(30);

fn main() -> Result<()> {
    let args: Vec<String> = env::args().skip(1).collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        ["hog", name] => begin(name).and_then(|()| take(MOST)).map(drop),
        ["slow", name] => begin(name).and_then(|()| grow()).map(drop),
        ["parent", name, child] => parent(name, child),
        ["pause"] => wait_for(Signal::SIGTERM),
        _ => bail!("no such part: {words:?}"),
    }
}

/// Ready, and then told to begin.
///
/// A signal that nobody handles does not reach the first process of a pid namespace, unless it is blocked.
fn begin(name: &str) -> Result<()> {
    SigSet::from(Signal::SIGUSR1).thread_block()?;
    take_name(name)?;
    wait_for(Signal::SIGUSR1)
}

/// Starts a child that takes memory until it is killed; goes on without it until SIGTERM.
fn parent(name: &str, child: &str) -> Result<()> {
    SigSet::from(Signal::SIGTERM).thread_block()?;
    take_name(name)?;
    let mut child = Command::new("/proc/self/exe")
        .args(["hog", child])
        .stdin(Stdio::null())
        .spawn()
        .context("start a child")?;
    child.wait()?;
    wait_for(Signal::SIGTERM)
}

fn take_name(name: &str) -> Result<()> {
    Ok(rustix::thread::set_name(&CString::new(name)?)?)
}

fn wait_for(signal: Signal) -> Result<()> {
    let signals = SigSet::from(signal);
    signals.thread_block()?;
    signals.wait()?;
    Ok(())
}

fn take(bytes: usize) -> Result<Infallible> {
    let memory = hog::hold(bytes)?;
    bail!("took {} bytes and was not killed", memory.len())
}

fn grow() -> Result<Infallible> {
    let mut held = Vec::new();
    while held.len() * STEP < MOST {
        held.push(hog::hold(STEP)?);
        thread::sleep(STEP_TIME);
    }
    bail!("took {} bytes and was not killed", held.len() * STEP)
}
