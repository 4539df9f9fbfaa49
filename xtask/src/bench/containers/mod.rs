//! What containers cost: the agent beside hundreds of cgroups that look like docker's.
//!
//! Watches one agent as a consumer would, while containers idle, move, come and go, and die. Emits
//! [`Containers`]: each figure with what it is compared with, from the same run. Refuses to judge.

mod place;
mod table;
mod tenant;

use std::{
    ffi::OsStr,
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::Result;
use serde::Serialize;

use super::{
    process::{Activity, Idle, Memory},
    step,
    summary::Summary,
    watched::{Kill, Watched},
};
use place::{Cgroup, Kind, Place};
use tenant::{LIMIT_TO_DIE, LIMIT_TO_MOVE, Tenant};
pub(super) use tenant::{Part, live};

/// Containers of an ordinary big node, those of them that move, and those of a huge one.
const MANY: u32 = 250;
const MOVING: u32 = 50;
const MOST: u32 = 1024;
/// Each kind of storm comes so many times, in turn: the machine's own moods hit both.
const ROUNDS: u32 = 4;
/// Cgroups made and removed each time, with and without an agent.
const COMINGS: u32 = 300;
/// After a start, and until new cgroups are told and looked at no more often than old ones.
const SETTLE: Duration = Duration::from_secs(5);
/// A storm is over when nothing has been told for this long.
const OVER: Duration = Duration::from_secs(1);
/// Kills at the same time.
const AT_ONCE: u32 = 2;

/// Figures of one agent, `--source auto`.
#[derive(Debug, Default, Serialize)]
pub(super) struct Containers {
    /// Without containers.
    pub alone: Option<Rest>,
    /// With [`MANY`], all idle.
    pub many: Option<Rest>,
    /// With [`MANY`], [`MOVING`] of them between a good 10 and 11 MiB of 16.
    pub moving: Option<Rest>,
    /// With [`MOST`], all idle.
    pub most: Option<Rest>,
    /// mkdir and rmdir of a cgroup without an agent.
    pub coming_without: Summary,
    /// The same with one.
    pub coming_with: Summary,
    /// Kills, each in a new cgroup that nobody has a name for.
    pub plain: Storm,
    /// The same in containers.
    pub named: Storm,
}

/// What the agent does and holds while nothing is killed.
#[derive(Clone, Copy, Debug, Serialize)]
pub(super) struct Rest {
    /// Meanwhile.
    pub did: Idle,
    /// Afterwards.
    pub memory: Memory,
}

/// How fast kills were seen, from the kernel's mark.
#[derive(Debug, Default, Serialize)]
pub(super) struct Storm {
    /// Kills made.
    pub kills: u32,
    /// Reported.
    pub reported: usize,
    /// Reported with the container's name.
    pub named: usize,
    /// From the kernel's mark until the event had been read from stdout.
    pub latency: Summary,
    /// The agent's own `detection_latency_ns`.
    pub own_latency: Summary,
}

pub(super) fn measure(binary: &Path, storm: u32, seconds: u64) -> Result<Containers> {
    let mut figures = Containers::default();
    let place = Place::new()?;
    step(&format!("{COMINGS} cgroups come and go"));
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for _ in 0..ROUNDS {
        without.extend(comings(&place)?);
        let agent = start(binary, &place)?;
        // The watch attaches a moment after the agent is armed.
        thread::sleep(super::SETTLE);
        with.extend(comings(&place)?);
        agent.stop()?;
    }
    figures.coming_without = Summary::of(without);
    figures.coming_with = Summary::of(with);

    let agent = start(binary, &place)?;
    let rest = |what: &str| {
        step(&format!("{seconds} s with {what}"));
        thread::sleep(SETTLE);
        rest(&agent, Duration::from_secs(seconds))
    };
    figures.alone = Some(rest("no containers")?);
    let mut cgroups = containers(&place, 0..MANY)?;
    figures.many = Some(rest(&format!("{MANY} containers"))?);
    let moving = cgroups.iter().take(MOVING as usize);
    let moving: Result<Vec<_>> = moving
        .map(|cgroup| Tenant::start(Part::Move, cgroup.dir()))
        .collect();
    figures.moving = Some(rest(&format!("{MOVING} of them moving"))?);
    drop(moving?);
    storms(&agent, &place, storm, &mut figures)?;
    cgroups.extend(containers(&place, MANY..MOST)?);
    figures.most = Some(rest(&format!("{MOST} containers"))?);
    drop(cgroups);
    agent.stop()?;
    Ok(figures)
}

fn start(binary: &Path, place: &Place) -> Result<Watched> {
    let root = [OsStr::new("--host-root"), place.host().as_os_str()];
    Watched::start(binary, "auto", &root)
}

fn rest(agent: &Watched, time: Duration) -> Result<Rest> {
    let before = Activity::of(agent.pid())?;
    thread::sleep(time);
    Ok(Rest {
        did: Activity::of(agent.pid())?.since(&before, time),
        memory: Memory::of(agent.pid())?,
    })
}

fn containers(place: &Place, numbers: std::ops::Range<u32>) -> Result<Vec<Cgroup>> {
    numbers
        .map(|number| place.cgroup(Kind::Container, number, LIMIT_TO_MOVE))
        .collect()
}

/// How long it takes to make and remove a cgroup.
fn comings(place: &Place) -> Result<Vec<u64>> {
    let dir = place.dir().join("comes");
    let mut times = Vec::new();
    for _ in 0..COMINGS {
        let began = Instant::now();
        fs::create_dir(&dir)?;
        fs::remove_dir(&dir)?;
        times.push(u64::try_from(began.elapsed().as_nanos())?);
    }
    Ok(times)
}

/// Both kinds in turn.
fn storms(agent: &Watched, place: &Place, kills: u32, figures: &mut Containers) -> Result<()> {
    let kills = kills / ROUNDS;
    let (mut plain, mut named) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        step(&format!("{kills} kills, and {kills} in containers"));
        for (kind, seen) in [(Kind::Plain, &mut plain), (Kind::Container, &mut named)] {
            // No number is used twice.
            let first = MOST + round * kills;
            deaths(place, kind, first..first + kills)?;
            // Others may be killed on this machine meanwhile.
            let all = agent.kills(usize::MAX, OVER).into_iter();
            seen.extend(all.filter(|kill| kill.path.as_ref().is_some_and(|it| place.has(it))));
        }
    }
    figures.plain = Storm::of(&plain, kills * ROUNDS);
    figures.named = Storm::of(&named, kills * ROUNDS);
    Ok(())
}

/// Kills as fast as the machine makes them, each in a cgroup of its own.
fn deaths(place: &Place, kind: Kind, numbers: std::ops::Range<u32>) -> Result<()> {
    let die = |number| {
        let cgroup = place.cgroup(kind, number, LIMIT_TO_DIE)?;
        Tenant::start(Part::Die, cgroup.dir())?.must_die()
    };
    thread::scope(|scope| {
        let workers: Vec<_> = (0..AT_ONCE)
            .map(|worker| {
                let own = numbers.clone().skip(worker as usize);
                let mut own = own.step_by(AT_ONCE as usize);
                scope.spawn(move || own.try_for_each(die))
            })
            .collect();
        workers.into_iter().try_for_each(|worker| {
            let died = worker.join();
            died.unwrap_or_else(|_| Err(anyhow::anyhow!("a thread panicked")))
        })
    })
}

impl Storm {
    fn of(kills: &[Kill], made: u32) -> Self {
        let latency = kills
            .iter()
            .map(|kill| kill.seen_ns.saturating_sub(kill.monotonic_ns));
        Self {
            kills: made,
            reported: kills.len(),
            named: kills.iter().filter(|kill| kill.named).count(),
            latency: Summary::of(latency),
            own_latency: Summary::of(kills.iter().filter_map(|kill| kill.detection_latency_ns)),
        }
    }
}
