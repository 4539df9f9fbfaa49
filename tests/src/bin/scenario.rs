//! The actors of the scenarios, each a process of its own.
//!
//! Reads its part from the command line; says on stdout what the test waits for. Refuses to take
//! memory outside a limited scratch cgroup, as the hog does.

use std::{
    convert::Infallible,
    fs, hint,
    io::{self, Read as _, Write as _},
    thread,
};

use anyhow::{Context as _, Result};
use clap::{Args, Parser};
use oom_agent::trigger::hog::{self, HogArgs};
use rustix::thread::SecureComputingMode;

/// A part to play.
#[derive(Parser)]
enum Actor {
    /// Takes memory until killed.
    Hog(HogArgs),
    /// Takes so much memory, says `held`, keeps it until stdin closes.
    Holder(Holder),
    /// Its main thread exits; another, whose id it says (`tid N`), takes memory until killed.
    Leaderless(HogArgs),
}

#[derive(Args)]
struct Holder {
    #[command(flatten)]
    place: HogArgs,
    /// How much.
    #[arg(long)]
    bytes: usize,
}

fn main() -> Result<()> {
    match Actor::parse() {
        Actor::Hog(args) => hog::run(&args).map(|never| match never {})?,
        Actor::Holder(holder) => hold(&holder),
        Actor::Leaderless(args) => leaderless(&args).map(|never| match never {}),
    }
}

fn hold(holder: &Holder) -> Result<()> {
    hog::enter(&holder.place)?;
    let memory = hog::hold(holder.bytes)?;
    say("held")?;
    io::stdin().read_to_end(&mut Vec::new())?;
    hint::black_box(memory);
    Ok(())
}

fn leaderless(args: &HogArgs) -> Result<Infallible> {
    let limit = hog::enter(args)?;
    thread::spawn(move || -> Result<Infallible> {
        while !leader_is_gone()? {
            thread::yield_now();
        }
        say(&format!(
            "tid {}",
            rustix::thread::gettid().as_raw_nonzero()
        ))?;
        Ok(hog::take(limit)?)
    });
    // Strict seccomp ends the one thread that makes any other system call than read, write and exit:
    // the only way without `unsafe` to end the main thread and leave the process.
    rustix::thread::set_secure_computing_mode(SecureComputingMode::Strict)?;
    loop {
        hint::black_box(rustix::process::getppid());
    }
}

/// Whether the main thread is a zombie: state `Z` after the name in parentheses (proc(5)).
fn leader_is_gone() -> Result<bool> {
    let pid = std::process::id();
    let stat = fs::read_to_string(format!("/proc/{pid}/task/{pid}/stat"))?;
    let (_, rest) = stat.rsplit_once(") ").context("stat")?;
    Ok(rest.starts_with('Z'))
}

fn say(line: &str) -> Result<()> {
    let mut out = io::stdout();
    writeln!(out, "{line}")?;
    Ok(out.flush()?)
}
