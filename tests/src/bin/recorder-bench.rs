//! What the flight recorder costs: CPU time of its thread, with real cgroups, at rest and with some of
//! them moving near their limits.
//!
//! Needs root. Makes scratch cgroups and removes them. Emits one line of JSON on stdout. Refuses to
//! judge; a cgroup that was not recorded is an error, for then the figures are of something else.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use clap::Parser;
use oom_agent::{
    clock::Now,
    evidence::{CgroupEvidence, Evidence, Found, KnownCgroup, Lookup, Names},
    source::memory::{Counters, MemoryThread, Recorder},
    trigger::scratch::{PREFIX, ScratchCgroup, Settings},
};
use oom_tests::{machine::Machine, scene::actor::Actor};
use serde::Serialize;

const LIMIT: u64 = 8 << 20;
/// Less the memory that a process has anyway; above half of the limit all the time.
const HELD: u64 = 6 << 20;
const PATIENCE: Duration = Duration::from_secs(20);
/// Until the looks at limits that follow a creation are over.
const SETTLE: Duration = Duration::from_secs(3);

/// Measures the flight recorder.
#[derive(Parser)]
struct Args {
    /// Cgroups.
    #[arg(long, default_value_t = 250)]
    cgroups: usize,
    /// Of them moving.
    #[arg(long, default_value_t = 50)]
    hot: usize,
    /// Seconds for each of the two.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
}

/// What was measured.
#[derive(Serialize)]
struct Figures {
    cgroups: usize,
    hot: usize,
    /// Resident memory of this process before and after the recorder's, which it shares.
    rss_before_bytes: u64,
    rss_idle_bytes: u64,
    rss_hot_bytes: u64,
    idle: Cost,
    moving: Cost,
}

/// Of one span of time.
#[derive(Serialize)]
struct Cost {
    /// CPU time of the thread by wall time.
    cpu_ratio: f64,
    samples_per_s: f64,
    details_per_s: f64,
}

fn main() -> Result<()> {
    let args = Args::parse();
    let machine = Machine::alone()?.context("not on this machine")?;
    let rss_before_bytes = rss()?;
    let (thread, recorder) = MemoryThread::start(machine.hierarchy.clone(), drop)?;
    let made = (0..args.cgroups).map(|number| {
        let name = format!("{PREFIX}{}-bench{number}", std::process::id());
        let settings = Settings {
            limit_bytes: Some(LIMIT),
            ..Settings::default()
        };
        Ok(ScratchCgroup::create(&machine.hierarchy, &name, settings)?)
    });
    let cgroups: Vec<ScratchCgroup> = made.collect::<Result<_>>()?;
    let known: Vec<Evidence> = cgroups.iter().map(known).collect::<Result<_>>()?;
    recorder.follow(&known);
    wait(&recorder, |counters| {
        counters.recorded == args.cgroups as u64
    })?;
    thread::sleep(SETTLE);
    let idle = measure(&recorder, args.seconds);
    let rss_idle_bytes = rss()?;

    let held = format!("--bytes={HELD}");
    let hot = cgroups.iter().take(args.hot).map(|cgroup| {
        let mut actor = Actor::start("swinger", b"swinger", 1000, cgroup, &[&held])?;
        actor.must_say("swinging")?;
        Ok(actor)
    });
    let hot: Vec<Actor> = hot.collect::<Result<_>>()?;
    thread::sleep(SETTLE);
    let moving = measure(&recorder, args.seconds);
    let figures = Figures {
        cgroups: args.cgroups,
        hot: args.hot,
        rss_before_bytes,
        rss_idle_bytes,
        rss_hot_bytes: rss()?,
        idle,
        moving,
    };
    drop(hot);
    let counters = thread.stop();
    ensure!(
        counters.no_room == 0 && counters.details > 0,
        "{counters:?}"
    );
    println!("{}", serde_json::to_string(&figures)?);
    Ok(())
}

/// As the watch of cgroups tells of a container.
fn known(cgroup: &ScratchCgroup) -> Result<Evidence> {
    let path = cgroup.kernel_path().context("in a cgroup namespace")?;
    let names = Names {
        container_id: Some(path.clone()),
        ..Names::default()
    };
    Ok(Evidence::Cgroup(Box::new(CgroupEvidence::Known(
        KnownCgroup {
            path: path.into(),
            id: Some(cgroup.id()),
            version: cgroup.version().number(),
            monotonic_ns: Now::read().monotonic_ns,
            found: Found::Created,
            lookup: Lookup::Found(names.into()),
        },
    ))))
}

fn wait(recorder: &Recorder, done: impl Fn(&Counters) -> bool) -> Result<()> {
    let until = Instant::now() + PATIENCE;
    while !done(&recorder.counters()) {
        ensure!(Instant::now() < until, "{:?}", recorder.counters());
        thread::sleep(Duration::from_millis(10));
    }
    Ok(())
}

#[expect(clippy::cast_precision_loss, reason = "figures for people")]
fn measure(recorder: &Recorder, seconds: u64) -> Cost {
    let (began, before) = (Instant::now(), recorder.counters());
    thread::sleep(Duration::from_secs(seconds));
    let (wall, after) = (began.elapsed(), recorder.counters());
    let per_s = |before: u64, after: u64| (after - before) as f64 / wall.as_secs_f64();
    Cost {
        cpu_ratio: per_s(before.cpu_ns, after.cpu_ns) / 1e9,
        samples_per_s: per_s(before.samples, after.samples),
        details_per_s: per_s(before.details, after.details),
    }
}

/// `VmRSS` of this process.
fn rss() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kilobytes: u64 = line
        .and_then(|line| line.trim().strip_suffix(" kB"))
        .context("VmRSS")?
        .trim()
        .parse()?;
    Ok(kilobytes * 1024)
}
