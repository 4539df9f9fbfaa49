//! Every scenario under one kernel, in a test guest, told by agents of several tiers.
//!
//! Plays the scenarios of the catalogue. Sends one JSON line for each of them and each agent through the
//! outbox, and with `--capture` what the kernel log said meanwhile. Refuses to run anywhere else.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Write},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::Parser;
use oom_tests::{
    catalogue::{Expected, SCENARIOS, Scenario},
    klog::KernelLog,
    machine::{self, Machine},
    outbox::Outbox,
    relay::Relay,
    scene,
    watch::{Law, Watcher, Way},
};
use serde::Serialize;

/// The kernel prints at most 10 reports in this time (`oom_kill_process`): a capture is to hold them.
const RATE_LIMIT: Duration = Duration::from_secs(5);

/// A scenario that starts agents of its own.
const STARTED_IN_STORM: &str = "started-in-storm";

/// A scenario in which agents are killed, and others go on.
const CUT_OFF: &str = "cut-off";

/// Kills of the storm in which agents are started.
const STORM: u32 = 150;

/// Kills while no agent runs.
const UNWATCHED: u32 = 40;

/// Plays the scenarios of the matrix.
#[derive(Parser)]
struct Args {
    /// Only these.
    #[arg(long)]
    scenario: Vec<String>,
    /// How agents are started.
    #[arg(long = "tier")]
    ways: Vec<Way>,
    /// Send the records that the kernel logs during each scenario.
    #[arg(long)]
    capture: bool,
    /// Say which scenarios there are, and play none.
    #[arg(long)]
    list: bool,
}

/// What became of one scenario as one agent told it.
#[derive(Serialize)]
struct Line<'a> {
    scenario: &'a str,
    /// How the agent was started.
    way: Way,
    /// What it got.
    tier: &'a str,
    #[serde(flatten)]
    outcome: Outcome,
    /// How long the scenario took to play.
    ms: u64,
}

#[derive(Clone, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome", content = "detail")]
enum Outcome {
    /// The agent told the truth. The latencies of its kills in nanoseconds, sorted.
    Told(Vec<u64>),
    /// The law held.
    Law(Law),
    Skipped(String),
    Failed(String),
}

/// The agents at work, or why one is not.
type Watchers = BTreeMap<Way, Result<Watcher>>;

struct Matrix {
    outbox: Outbox,
    failed: bool,
}

fn main() -> Result<()> {
    let args = Args::parse();
    if args.list {
        return match list(&mut io::stdout().lock()) {
            // Who looks for one line closes the pipe behind it.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(()),
            listed => Ok(listed?),
        };
    }
    for name in &args.scenario {
        let known =
            Scenario::named(name).is_some() || [STARTED_IN_STORM, CUT_OFF].contains(&&**name);
        ensure!(known, "no scenario is called {name}");
    }
    machine::only_in_a_guest()?;
    // Whatever is started from here may not be killed for memory, unless it asks for it.
    fs::write("/proc/self/oom_score_adj", "-1000")?;
    // A hog may ask for more than there is.
    fs::write("/proc/sys/vm/overcommit_memory", "1")?;
    if args.capture {
        // The console is captured, too.
        fs::write("/sys/module/printk/parameters/ignore_loglevel", "Y")?;
    }
    let machine = Machine::alone()?.context("no machine")?;
    let mut matrix = Matrix {
        outbox: Outbox::open()?,
        failed: false,
    };
    let wanted = |name: &str| args.scenario.is_empty() || args.scenario.iter().any(|s| s == name);
    let watchers = start(&args.ways);
    for scenario in SCENARIOS.iter().filter(|scenario| wanted(scenario.name)) {
        if args.capture {
            thread::sleep(RATE_LIMIT);
        }
        let mut log = KernelLog::from_now()?;
        matrix.play(scenario, &machine, &watchers)?;
        if args.capture {
            let records = log.records()?.concat();
            matrix
                .outbox
                .put(&format!("{}.kmsg", scenario.name), &records)?;
        }
    }
    matrix.end("law", watchers)?;
    if wanted(STARTED_IN_STORM) {
        matrix.start_in_storm(&args.ways)?;
    }
    if wanted(CUT_OFF) {
        matrix.cut_off(&args.ways)?;
    }
    if matrix.failed {
        return Err(anyhow!("not everything was told as it was"));
    }
    Ok(())
}

fn list(out: &mut impl Write) -> io::Result<()> {
    for Scenario { name, about, .. } in SCENARIOS {
        writeln!(out, "  {name:22} {about}")?;
    }
    writeln!(
        out,
        "  {STARTED_IN_STORM:22} agents are started while the kernel kills"
    )?;
    writeln!(
        out,
        "  {CUT_OFF:22} agents are killed, the kernel kills, and others go on"
    )
}

/// All at once.
fn start(ways: &[Way]) -> Watchers {
    thread::scope(|scope| {
        let starts: Vec<_> = ways
            .iter()
            .map(|way| (*way, scope.spawn(|| Watcher::start(*way))))
            .collect();
        let started = starts.into_iter().map(|(way, start)| {
            let watcher = start.join().unwrap_or_else(|_| Err(anyhow!("panicked")));
            (way, watcher)
        });
        started.collect()
    })
}

impl Matrix {
    /// Plays one scenario and asks every agent what it saw.
    fn play(&mut self, scenario: &Scenario, machine: &Machine, watchers: &Watchers) -> Result<()> {
        let start = Instant::now();
        let played = match scenario.lacking(machine) {
            Some(reason) => Err(Outcome::Skipped(reason.to_owned())),
            None => (scenario.play)(machine)
                .map_err(|error| Outcome::Failed(format!("the scene itself: {error:#}"))),
        };
        let took = start.elapsed();
        for (way, watcher) in watchers {
            let tier = watcher.as_ref().map_or("none", Watcher::tier);
            let outcome = match (&played, watcher) {
                (Ok(expected), Ok(watcher)) => told(watcher, expected),
                (Err(outcome), _) => outcome.clone(),
                (_, Err(error)) => Outcome::Failed(format!("{error:#}")),
            };
            self.say(scenario.name, *way, tier, outcome, took)?;
        }
        Ok(())
    }

    /// Ends the agents; the law must hold for each.
    fn end(&mut self, name: &str, watchers: Watchers) -> Result<()> {
        for (way, watcher) in watchers {
            let start = Instant::now();
            let tier = watcher.as_ref().map_or("none", Watcher::tier).to_owned();
            let outcome = match watcher.and_then(Watcher::law) {
                Ok(law) => Outcome::Law(law),
                Err(error) => Outcome::Failed(format!("{error:#}")),
            };
            self.say(name, way, &tier, outcome, start.elapsed())?;
        }
        Ok(())
    }

    /// Agents that are started while the kernel kills: what they saw must add up too.
    fn start_in_storm(&mut self, ways: &[Way]) -> Result<()> {
        let watchers = thread::scope(|scope| {
            let storm = scope.spawn(|| scene::storm(STORM));
            let watchers = start(ways);
            storm.join().map_err(|_| anyhow!("panicked"))??;
            anyhow::Ok(watchers)
        })?;
        self.end(STARTED_IN_STORM, watchers)
    }

    /// What happens between the death of one agent and the start of the next is told by that one, once.
    fn cut_off(&mut self, ways: &[Way]) -> Result<()> {
        let started = Instant::now();
        let mut relays = BTreeMap::new();
        for way in ways {
            relays.insert(*way, Relay::start(*way));
        }
        let storm = scene::storm(UNWATCHED)?;
        for (way, relay) in relays {
            let (tier, outcome) = match relay.and_then(|relay| relay.go_on(&storm)) {
                Ok((tier, law)) => (tier, Outcome::Law(law)),
                Err(error) => ("none".to_owned(), Outcome::Failed(format!("{error:#}"))),
            };
            self.say(CUT_OFF, way, &tier, outcome, started.elapsed())?;
        }
        Ok(())
    }

    fn say(
        &mut self,
        scenario: &str,
        way: Way,
        tier: &str,
        outcome: Outcome,
        took: Duration,
    ) -> Result<()> {
        self.failed |= matches!(outcome, Outcome::Failed(_));
        let line = Line {
            scenario,
            way,
            tier,
            outcome,
            ms: u64::try_from(took.as_millis())?,
        };
        self.outbox.put("line", &serde_json::to_vec(&line)?)
    }
}

fn told(watcher: &Watcher, expected: &Expected) -> Outcome {
    match watcher.tells(expected) {
        Ok(mut latencies) => {
            latencies.sort_unstable();
            Outcome::Told(latencies)
        }
        Err(error) => Outcome::Failed(format!("{error:#}")),
    }
}
