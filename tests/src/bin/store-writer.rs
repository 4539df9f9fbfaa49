//! A process that writes a store, to be cut off or measured.
//!
//! Reads its part from the command line and waits for a line on stdin; says on stdout what is promised.
//! Refuses nothing.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use clap::Parser;
use oom_agent::{
    clock::Now,
    event::Kind,
    store::{Batch, Options, Retention, Store, StoreError, start},
};
use oom_tests::{
    power::Chance,
    told::{BOOT, Kills, host, quiet, run},
};

/// Nothing here takes longer.
const DEADLINE: Duration = Duration::from_mins(5);

/// A part to play.
#[derive(Parser)]
enum Part {
    /// Commits kills, and says after each commit `stored N`: so many are on the disk.
    Commits {
        /// Of the store.
        path: PathBuf,
    },
    /// Sends so many kills through the store thread, of which few are kept; says what memory it took.
    Soak {
        /// Of the store.
        path: PathBuf,
        /// How many.
        kills: u64,
    },
    /// Says how long commits take.
    Measure {
        /// Of the store.
        path: PathBuf,
    },
}

fn main() -> Result<()> {
    let part = Part::parse();
    io::stdin().read_line(&mut String::new())?;
    match part {
        Part::Commits { path } => commits(&path),
        Part::Soak { path, kills } => soak(path, kills),
        Part::Measure { path } => measure(&path),
    }
}

fn commits(path: &Path) -> Result<()> {
    const COMMITS: u64 = 150;
    let kills = Kills::new()?;
    let mut chance = Chance(1);
    let mut store = begun(path)?;
    let mut n = 0;
    for _ in 0..COMMITS {
        let mut batch = Batch::default();
        for _ in 0..=chance.below(8) {
            n += 1;
            batch.extend(kills.entries(n));
        }
        if chance.below(4) == 0 {
            batch.push(quiet(n));
        }
        if let Err(error) = store.commit(&batch, &Now::read()) {
            println!("failed {error:?}");
            drop(store);
            store = again(path)?;
            // It may be there whole, although its end failed.
            if !store.has_event(Kind::OomKill, &format!("kill-{n}"))? {
                store.commit(&batch, &Now::read())?;
            }
        }
        println!("stored {n}");
    }
    store.end_run(&Now::read())?;
    println!("stored {n}");
    Ok(())
}

fn begun(path: &Path) -> Result<Store, StoreError> {
    const KEEP: u64 = 200;
    let mut store = Store::open(path, BOOT, KEEP)?;
    store.begin_run(&run(), &host(), &Now::read())?;
    Ok(store)
}

/// The store once the disk takes it again.
fn again(path: &Path) -> Result<Store> {
    const TRIES: usize = 10;
    for _ in 0..TRIES {
        match begun(path) {
            Ok(store) => return Ok(store),
            Err(error) => println!("failed {error:?}"),
        }
    }
    bail!("it never does")
}

fn soak(path: PathBuf, count: u64) -> Result<()> {
    /// Kills that may be on their way at once.
    const AHEAD: u64 = 1000;
    let kills = Kills::new()?;
    let options = Options {
        path,
        host: host(),
        keep_ns: 1000,
        timing: oom_agent::correlate::Timing::default(),
        retention: Retention {
            events: 2000,
            ..Retention::default()
        },
        run: run(),
        ring_room: u64::MAX,
    };
    let (offer, storing) = start(None, options, Box::new(|_| ()))?;
    let deadline = Instant::now() + DEADLINE;
    let mut early = 0;
    for n in 1..=count {
        for entry in kills.entries(n) {
            offer.offer(entry);
        }
        if n % 64 == 0 {
            offer.offer(quiet(n));
        }
        offer.wake();
        while storing.counts().events + 2 * AHEAD < 2 * n {
            ensure!(Instant::now() < deadline, "{:?}", storing.counts());
            std::thread::sleep(Duration::from_millis(1));
        }
        if n == count / 10 {
            early = resident_peak()?;
        }
    }
    drop(offer);
    let counts = storing.finish(DEADLINE);
    let late = resident_peak()?;
    println!(
        "events={} removed={} unstored={} early_kib={early} late_kib={late}",
        counts.events,
        counts.removed,
        counts.unstored_kills + counts.undurable
    );
    Ok(())
}

/// Most memory that was ever resident, in KiB.
fn resident_peak() -> Result<u64> {
    let status = fs::read_to_string("/proc/self/status")?;
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let peak = peak.context("VmHWM")?.trim().trim_end_matches(" kB");
    Ok(peak.parse()?)
}

fn measure(path: &Path) -> Result<()> {
    let kills = Kills::new()?;
    let mut store = Store::open(path, BOOT, 1000)?;
    store.begin_run(&run(), &host(), &Now::read())?;
    let mut n = 0;
    for (size, rounds) in [(1, 500), (10, 100), (1000, 10)] {
        let mut times = Vec::new();
        for _ in 0..rounds {
            let mut batch = Batch::default();
            for _ in 0..size {
                n += 1;
                batch.extend(kills.entries(n));
            }
            let begun = Instant::now();
            store.commit(&batch, &Now::read())?;
            times.push(begun.elapsed());
        }
        times.sort_unstable();
        println!(
            "{size} kills (journal, alert, report each) in a commit: p50 {:?} p99 {:?}, {:?} a kill",
            times[times.len() / 2],
            times[times.len() * 99 / 100],
            times[times.len() / 2] / size
        );
    }
    store.end_run(&Now::read())?;
    Ok(())
}
