//! `cargo xtask bench`: what the agent costs and how fast it is, on this machine, in one run.
//!
//! Two agents watch the same real kills, one through BPF, one through the kernel log; this reads
//! their stdout as a consumer would. A third stands beside containers (`containers/`). Then logs are
//! read (`parse.rs`). Store, API and fleet have benches of their own (`store.rs`, `asked/`, `fleet.rs`). Emits a table of each
//! and `target/bench.json`, `target/bench-parse.json`, `target/bench-api.json`. Refuses to judge: no figure
//! makes it fail, and a figure that could not be taken is null.

mod asked;
mod bpf_stats;
mod containers;
mod fleet;
mod parse;
mod process;
mod reader;
mod report;
mod store;
mod summary;
mod watched;

use std::{
    collections::HashMap,
    ffi::OsStr,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Signal, geteuid};

use crate::{
    agent::{self, ReadySocket, Start},
    project,
};
use process::{Activity, Memory};
use report::{Figures, Phase, Report};
use summary::Summary;
use watched::{Kill, Watched};

/// Far more than any start takes.
const PATIENCE: Duration = Duration::from_secs(20);
/// Kernel log lines may trail the kills by this much.
const QUIET: Duration = Duration::from_secs(3);
/// From the start of an agent until its memory is read.
const SETTLE: Duration = Duration::from_secs(2);
/// Between single kills: each meets an idle agent.
const PAUSE: Duration = Duration::from_millis(50);

/// Measures detection latency, start-up, memory, idle cost and BPF run time.
#[derive(clap::Args)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "each is a switch on the command line"
)]
pub(crate) struct Args {
    /// Kills with a pause between them.
    #[arg(long, default_value_t = 50)]
    kills: u32,
    /// Kills as fast as the machine makes them.
    #[arg(long, default_value_t = 1000)]
    storm: u32,
    /// Starts of each agent.
    #[arg(long, default_value_t = 20)]
    starts: u32,
    /// Seconds for which nothing happens.
    #[arg(long, default_value_t = 10)]
    idle: u64,
    /// Only measure what containers cost.
    #[arg(long, conflicts_with = "parse")]
    containers: bool,
    /// Only measure how fast `oom-agent parse` reads; needs no root.
    #[arg(long)]
    parse: bool,
    /// Size of each log that is read for it, in MiB.
    #[arg(long, default_value_t = 256)]
    log_size: u64,
    /// Only measure what storing, asking and watching cost; needs no root.
    #[arg(long, conflicts_with_all = ["containers", "parse"])]
    store: bool,
    /// Events in the store that is asked.
    #[arg(long, default_value_t = 1_000_000)]
    stored: u64,
    /// Only measure what those who watch over the API cost.
    #[arg(long, conflicts_with_all = ["containers", "parse", "store"])]
    api: bool,
    /// Only measure a fleet's stream: agents as tasks, and real servers; needs no root.
    #[arg(long, conflicts_with_all = ["containers", "parse", "store", "api"])]
    fleet: bool,
    /// How many agents.
    #[arg(long, default_value_t = 1000)]
    agents: usize,
    /// Be a process of a container, and nothing else.
    #[arg(long, hide = true, requires = "tenant_of")]
    tenant: Option<containers::Part>,
    /// Of the one with this cgroup.
    #[arg(long, hide = true)]
    tenant_of: Option<PathBuf>,
}

/// The two paths that are compared.
const SOURCES: [&str; 2] = ["bpf", "kmsg"];

pub(crate) fn main(args: &Args) -> Result<ExitCode> {
    if let (Some(part), Some(cgroup)) = (args.tenant, &args.tenant_of) {
        match containers::live(part, cgroup)? {}
    }
    if args.parse {
        parse::measure(&agent::build(false)?, args.log_size)?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.store {
        store::measure(args.stored)?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.fleet {
        fleet::measure(args.agents)?;
        return Ok(ExitCode::SUCCESS);
    }
    if !geteuid().is_root() {
        bail!("bench reads the agents' memory and the kernel's BPF statistics: run it as root");
    }
    let binary = agent::build(false)?;
    let mut report = Report::new();
    if args.containers {
        let figures = containers::measure(&binary, args.storm, args.idle)?;
        print!("\n{figures}");
        return Ok(ExitCode::SUCCESS);
    }
    if args.api {
        let figures = asked::measure(&binary, args.storm)?;
        let path = project::target().join("bench-api.json");
        fs::write(&path, serde_json::to_string_pretty(&figures)? + "\n")?;
        print!("\n{figures}");
        return Ok(ExitCode::SUCCESS);
    }
    for source in SOURCES {
        step(&format!("{} starts, --source {source}", args.starts));
        report.of(source).start = starts(&binary, source, args.starts)?;
    }
    let agents = [
        Watched::start(&binary, SOURCES[0], &[])?,
        Watched::start(&binary, SOURCES[1], &[])?,
    ];
    thread::sleep(SETTLE);
    for agent in &agents {
        report.of(agent.source).memory_idle = Some(Memory::of(agent.pid())?);
    }
    idle(&agents, Duration::from_secs(args.idle), &mut report)?;

    step(&format!("{} single kills", args.kills));
    phase(
        &agents,
        args.kills,
        &mut report,
        |figures| &mut figures.single,
        || {
            for _ in 0..args.kills {
                trigger(&binary, 1)?;
                thread::sleep(PAUSE);
            }
            Ok(())
        },
    )?;
    step(&format!("a storm of {} kills", args.storm));
    phase(
        &agents,
        args.storm,
        &mut report,
        |figures| &mut figures.storm,
        || trigger(&binary, args.storm),
    )?;
    for agent in &agents {
        report.of(agent.source).memory_storm = Some(Memory::of(agent.pid())?);
    }
    step(&format!("{} kills with BPF statistics", args.kills));
    report.bpf.programs = bpf_stats::measure(agents[0].pid(), || trigger(&binary, args.kills))?;
    for agent in agents {
        agent.stop()?;
    }
    report.containers = Some(containers::measure(&binary, args.storm, args.idle)?);

    let path = project::target().join("bench.json");
    fs::write(&path, serde_json::to_string_pretty(&report)? + "\n")?;
    print!("\n{report}");
    println!("as JSON: {}", path.display());
    parse::measure(&binary, args.log_size)?;
    Ok(ExitCode::SUCCESS)
}

fn step(what: &str) {
    eprintln!("bench: {what}");
}

/// From exec to `READY=1`, several times.
fn starts(binary: &Path, source: &str, count: u32) -> Result<Summary> {
    let mut times = Vec::new();
    for _ in 0..count {
        let ready = ReadySocket::bind()?;
        let mut command = agent_command(binary, source, &ready, &[])?;
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let started = Instant::now();
        let mut child = command.spawn().context("cannot start the agent")?;
        let start = ready.wait(&mut child, PATIENCE);
        let took = started.elapsed();
        if matches!(start, Ok(Start::Ready)) {
            agent::signal(child.id(), Signal::TERM)?;
        } else {
            child.kill()?;
        }
        let status = child.wait()?;
        if let Start::Exited = start? {
            bail!("`oom-agent run --source {source}` ended before it was ready: {status}");
        }
        times.push(u64::try_from(took.as_nanos())?);
    }
    Ok(Summary::of(times))
}

fn agent_command(
    binary: &Path,
    source: &str,
    ready: &ReadySocket,
    args: &[&OsStr],
) -> Result<Command> {
    let mut command = agent::as_root(binary, &[("NOTIFY_SOCKET", ready.path())])?;
    command.args(["run", "--output", "json", "--source", source]);
    command.args(agent::keeping(&format!("bench-{source}"))?);
    if !args.contains(&OsStr::new("--socket")) {
        command.args(["--socket", "none"]);
    }
    command.args(args);
    Ok(command)
}

/// What the agents do while nothing happens.
fn idle(agents: &[Watched], time: Duration, report: &mut Report) -> Result<()> {
    step(&format!("{} s of nothing", time.as_secs()));
    let before: Vec<_> = agents
        .iter()
        .map(|agent| Activity::of(agent.pid()))
        .collect::<Result<_>>()?;
    thread::sleep(time);
    for (agent, before) in agents.iter().zip(before) {
        report.of(agent.source).idle = Some(Activity::of(agent.pid())?.since(&before, time));
    }
    Ok(())
}

/// Makes kills, waits until both agents have spoken of them, and notes how fast each was.
fn phase(
    agents: &[Watched],
    expected: u32,
    report: &mut Report,
    slot: impl Fn(&mut Figures) -> &mut Option<Phase>,
    kills: impl FnOnce() -> Result<()>,
) -> Result<()> {
    kills()?;
    let all: Vec<Vec<Kill>> = agents
        .iter()
        .map(|agent| agent.kills(expected as usize, QUIET))
        .collect();
    // Both are measured from the kernel's mark, which only BPF sees; the log's own time is later.
    let marks: HashMap<u32, u64> = all[0]
        .iter()
        .map(|kill| (kill.tid, kill.monotonic_ns))
        .collect();
    for (agent, kills) in agents.iter().zip(&all) {
        *slot(report.of(agent.source)) = Some(Phase::of(kills, &marks, expected));
    }
    Ok(())
}

/// Real kills, made by the agent's own trigger.
fn trigger(binary: &PathBuf, count: u32) -> Result<()> {
    let mut command = Command::new(binary);
    command
        .args(["trigger", "--count", &count.to_string()])
        .stdout(Stdio::null());
    crate::tool::run(&mut command)
}
