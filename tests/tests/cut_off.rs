//! Agents that are cut off while they take over from one another, by other programs or by another source: what
//! is stored in the end is what happened, once, and the audit agrees.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use oom_agent::trigger;
use oom_tests::{
    agent::{Launch, Summary, is_kill},
    kept::{Content, Kept},
    machine::Machine,
    scene,
};
use rustix::process::Signal;
use serde_json::Value;

const LIMIT: u64 = 1 << 20;

/// How long upgrades are tried.
const UPGRADES: Duration = Duration::from_secs(15);

fn launch(kept: &Kept, more: &[&str]) -> Launch {
    let args = kept.args();
    let args = args.iter().map(String::as_str).chain(more.iter().copied());
    let args: Vec<&str> = args.collect();
    Launch::run(&args).keeping()
}

fn kills(number: u32) -> Result<BTreeSet<u32>> {
    let report = trigger::storm(&scene::trigger_options(LIMIT)?, number)?;
    Ok(report.kills.iter().map(|kill| kill.pid).collect())
}

fn tid(kill: &Value) -> Option<u32> {
    kill["victim"]["tid"].as_u64()?.try_into().ok()
}

/// Waits until reports hold all of these kills.
fn reported(kept: &Kept, expected: &BTreeSet<u32>) -> Result<()> {
    kept.wait_for("all reports", |content| {
        let reports = content.instances.iter();
        let kills = reports.filter_map(|report| report["kills"].as_array());
        let reported: BTreeSet<u32> = kills.flatten().filter_map(tid).collect();
        expected.is_subset(&reported)
    })?;
    Ok(())
}

/// Each of these kills is there once, and the kernel has counted no other.
fn told_once(content: &Content, expected: &BTreeSet<u32>, summary: &Summary) -> Result<()> {
    let mut told: BTreeMap<u32, u32> = BTreeMap::new();
    for kill in &content.kills {
        *told.entry(tid(kill).context("no tid")?).or_default() += 1;
    }
    for tid in expected {
        ensure!(
            told.get(tid) == Some(&1),
            "{tid} is not told once: {told:?}"
        );
    }
    for name in ["repeats", "unexplained", "ring_dropped"] {
        ensure!(summary.get(name)? == 0, "{name}: {summary:?}");
    }
    Ok(())
}

/// Between the commit of what an older ring holds and the moment when that is let go of there is but little time,
/// so it is tried with each of the first transactions behind the first alert.
#[test]
fn an_upgrade_that_is_cut_off_counts_no_kill_again() -> Result<()> {
    let Some(_machine) = Machine::alone()? else {
        return Ok(());
    };
    let end = Instant::now() + UPGRADES;
    let mut tries = 0;
    while tries == 0 || Instant::now() < end {
        upgrade(1 + tries % 3).with_context(|| format!("try {tries}"))?;
        tries += 1;
    }
    println!("{tries} upgrades");
    Ok(())
}

fn upgrade(transactions: u32) -> Result<()> {
    const OTHER: [&str; 4] = ["--ring-bytes", "2097152", "--backfill", "none"];
    let kept = Kept::with_pins()?;
    let old = launch(&kept, &["--require-bpf", "--backfill", "none"]).start()?;
    old.stop(Signal::KILL)?;
    let missed = kills(3)?;
    let new = launch(&kept, &OTHER).start_blind()?;
    new.wait_for("a kill", |events| events.iter().any(is_kill).then_some(()))?;
    written(&kept, transactions);
    new.stop(Signal::KILL)?;
    let last = launch(&kept, &OTHER).start()?;
    reported(&kept, &missed)?;
    let summary = last.stop(Signal::TERM)?.summary()?;
    told_once(&kept.content()?, &missed, &summary)
}

/// Waits until so many transactions are in the write-ahead log. It grows, then the disk has to take it, then the
/// ring is let go of: whoever comes back at once is in the middle. There may be fewer.
fn written(kept: &Kept, transactions: u32) {
    const LOOK: Duration = Duration::from_micros(100);
    let end = Instant::now() + Duration::from_millis(200);
    let log = kept.store().with_extension("db-wal");
    let size = || fs::metadata(&log).map_or(0, |log| log.len());
    let (mut before, mut grown) = (size(), 0);
    while grown < transactions && Instant::now() < end {
        thread::sleep(LOOK);
        let mut now = size();
        if now == before {
            continue;
        }
        // All of its pages.
        while now != before {
            before = now;
            thread::sleep(LOOK * 3);
            now = size();
        }
        grown += 1;
    }
}

/// The ring holds what an agent that reads the log alone has told meanwhile.
#[test]
fn what_the_log_told_between_two_rings_is_told_once() -> Result<()> {
    let Some(_machine) = Machine::alone()? else {
        return Ok(());
    };
    let kept = Kept::with_pins()?;
    let by_bpf = launch(&kept, &["--require-bpf"]);
    let first = by_bpf.start()?;
    let mut all = kills(1)?;
    reported(&kept, &all)?;
    first.stop(Signal::KILL)?;
    all.extend(kills(2)?);
    let by_log = launch(&kept, &["--source", "kmsg"]).start()?;
    all.extend(kills(3)?);
    reported(&kept, &all)?;
    by_log.stop(Signal::KILL)?;
    let last = by_bpf.start()?;
    all.extend(kills(1)?);
    reported(&kept, &all)?;
    let summary = last.stop(Signal::TERM)?.summary()?;
    told_once(&kept.content()?, &all, &summary)
}
