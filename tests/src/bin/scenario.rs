//! The actors of the scenarios, each a process of its own.
//!
//! Reads its part from the command line; says on stdout what the test waits for. Refuses to take
//! memory outside a limited scratch cgroup, as the hog does.

use std::{
    convert::Infallible,
    ffi::{CStr, OsString},
    fs::{self, File},
    hint,
    io::{self, Read as _, Write as _},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use clap::{Args, Parser};
use nix::{
    fcntl::OFlag,
    spawn::{PosixSpawnAttr, PosixSpawnFileActions, posix_spawn},
    sys::stat::Mode,
    unistd::Pid,
};
use oom_agent::{
    hierarchy::Hierarchy,
    trigger::hog::{self, HogArgs},
};
use oom_tests::machine;
use rustix::thread::{CapabilitySet, SecureComputingMode};

/// A part to play.
#[derive(Parser)]
enum Actor {
    /// Takes memory until killed.
    Hog(HogArgs),
    /// Says `ready`, and takes memory until killed once it has been written a line.
    Patient(HogArgs),
    /// Takes so much memory, says `held`, keeps it until stdin closes.
    Holder(Holder),
    /// Fills a file until killed, or until the memory is refused: then it says `refused`.
    Writer(Writer),
    /// Runs a program without the capabilities that BPF needs.
    WithoutBpf {
        /// The program and its arguments.
        #[arg(last = true, required = true)]
        command: Vec<OsString>,
    },
    /// Starts a child that shares its memory and waits at a FIFO, says `child N`, takes memory until
    /// killed.
    Sharer(Sharer),
    /// Takes memory until killed, in any cgroup with a limit: in a guest only.
    Anywhere(HogArgs),
    /// Takes memory at a steady rate until killed.
    Grower(Grower),
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

#[derive(Args)]
struct Grower {
    #[command(flatten)]
    place: HogArgs,
    /// How much in a second.
    #[arg(long)]
    bytes_per_s: usize,
}

#[derive(Args)]
struct Writer {
    #[command(flatten)]
    place: HogArgs,
    /// Which file.
    #[arg(long)]
    file: PathBuf,
    /// Stop where the limit is passed, too.
    #[arg(long)]
    until_limit: bool,
}

#[derive(Args)]
struct Sharer {
    #[command(flatten)]
    place: HogArgs,
    /// Nobody writes to it.
    #[arg(long)]
    fifo: PathBuf,
}

fn main() -> Result<()> {
    match Actor::parse() {
        Actor::Hog(args) => hog::run(&args).map(|never| match never {})?,
        Actor::Patient(args) => patient(&args).map(|never| match never {}),
        Actor::Holder(holder) => hold(&holder),
        Actor::Writer(args) => write(&args),
        Actor::WithoutBpf { command } => without_bpf(&command).map(|never| match never {}),
        Actor::Sharer(args) => share(&args).map(|never| match never {}),
        Actor::Anywhere(args) => anywhere(&args).map(|never| match never {}),
        Actor::Grower(grower) => grow(&grower).map(|never| match never {}),
        Actor::Leaderless(args) => leaderless(&args).map(|never| match never {}),
    }
}

fn patient(args: &HogArgs) -> Result<Infallible> {
    let limit = hog::enter(args)?;
    say("ready")?;
    ensure!(
        io::stdin().read_line(&mut String::new())? > 0,
        "told nothing"
    );
    Ok(hog::take(limit)?)
}

fn hold(holder: &Holder) -> Result<()> {
    hog::enter(&holder.place)?;
    let memory = hog::hold(holder.bytes)?;
    say("held")?;
    io::stdin().read_to_end(&mut Vec::new())?;
    hint::black_box(memory);
    Ok(())
}

fn grow(grower: &Grower) -> Result<Infallible> {
    const STEP: Duration = Duration::from_millis(10);
    let limit = hog::enter(&grower.place)?;
    let most = usize::try_from(limit)?.saturating_mul(2);
    let began = Instant::now();
    let mut memory: Vec<Vec<u8>> = Vec::new();
    let mut held = 0;
    loop {
        let due = usize::try_from(began.elapsed().as_millis())? * grower.bytes_per_s / 1000;
        ensure!(due < most, "took {held} bytes and was not killed");
        memory.push(hog::hold(due - held)?);
        held = due;
        hint::black_box(&memory);
        thread::sleep(STEP);
    }
}

/// Some kernels (5.10) charge a process that they may not kill above its limit, others refuse.
fn write(args: &Writer) -> Result<()> {
    let limit = hog::enter(&args.place)?;
    let mut file = File::create(&args.file).context("create")?;
    // A question about the cgroup takes memory too: who is to be killed does not ask.
    let fits = || !args.until_limit || usage(&args.place.cgroup).is_ok_and(|used| used <= limit);
    while fits() && file.write_all(&[1; 4096]).is_ok() {}
    file.set_len(0)?;
    say("refused")
}

/// What is charged to a cgroup of either version.
fn usage(cgroup: &Path) -> Result<u64> {
    let usage = fs::read_to_string(cgroup.join("memory.current"))
        .or_else(|_| fs::read_to_string(cgroup.join("memory.usage_in_bytes")))
        .context("usage")?;
    Ok(usage.trim().parse()?)
}

/// Root has every capability that its bounding set holds, once it runs another program.
fn without_bpf(command: &[OsString]) -> Result<Infallible> {
    for capability in [
        CapabilitySet::BPF,
        CapabilitySet::PERFMON,
        CapabilitySet::SYS_ADMIN,
    ] {
        rustix::thread::remove_capability_from_bounding_set(capability)
            .with_context(|| format!("drop {capability:?}"))?;
    }
    let (program, args) = command.split_first().context("no program")?;
    Err(Command::new(program).args(args).exec()).context("exec")
}

/// `posix_spawn` shares the memory with the child until that runs another program, and lets it open
/// files before: nobody ever opens the other end of a FIFO.
fn share(args: &Sharer) -> Result<Infallible> {
    let limit = hog::enter(&args.place)?;
    let fifo = args.fifo.clone();
    let spawn = thread::spawn(move || -> Result<Pid> {
        let mut actions = PosixSpawnFileActions::init()?;
        actions.add_open(0, &fifo, OFlag::O_RDONLY, Mode::empty())?;
        let none: [&CStr; 0] = [];
        let attributes = PosixSpawnAttr::init()?;
        Ok(posix_spawn(c"/", &actions, &attributes, &none, &none)?)
    });
    let me = std::process::id();
    let child = loop {
        let mut children = String::new();
        for task in fs::read_dir(format!("/proc/{me}/task"))? {
            children += &fs::read_to_string(task?.path().join("children"))?;
        }
        if let Some(child) = children.split_whitespace().next() {
            break child.to_owned();
        }
        ensure!(
            !spawn.is_finished(),
            "the child did not wait: {:?}",
            spawn.join()
        );
        thread::yield_now();
    };
    say(&format!("child {child}"))?;
    Ok(hog::take(limit)?)
}

fn anywhere(args: &HogArgs) -> Result<Infallible> {
    machine::only_in_a_guest()?;
    fs::write(
        args.cgroup.join("cgroup.procs"),
        std::process::id().to_string(),
    )?;
    hog::prepare(args)?;
    let limit = Hierarchy::find()?.effective_limit(&args.cgroup)?;
    Ok(hog::take(limit.context("no limit")?)?)
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
