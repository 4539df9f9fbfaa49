//! The power goes: whatever a disk had written by then, a store opens, and what was promised is in it.
//!
//! `OOM_POWER_SEED=N` repeats a run; `OOM_POWER_CUTS=N` takes other than 300 moments, `all` each of them.

use std::{
    env, fs,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result, ensure};
use oom_agent::{
    evidence::Evidence,
    store::{Store, journal::Decoder},
};
use oom_tests::{
    machine,
    power::{Act, Chance, Disk, Luck, record},
    told::BOOT,
};
use rusqlite::Connection;
use tempfile::TempDir;

const CUTS: usize = 300;

/// In memory: nobody cuts the power of the images themselves.
fn scratch() -> Result<TempDir> {
    Ok(TempDir::new_in("/dev/shm")?)
}

fn seed() -> Result<u64> {
    let seed = match env::var("OOM_POWER_SEED") {
        Ok(seed) => seed.parse().context("OOM_POWER_SEED is no number")?,
        Err(_) => SystemTime::now()
            .duration_since(UNIX_EPOCH)?
            .subsec_nanos()
            .into(),
    };
    println!("OOM_POWER_SEED={seed}");
    Ok(seed)
}

/// The moments at which the power goes: before the act with this number.
fn cuts(acts: usize, chance: &mut Chance) -> Result<Vec<usize>> {
    let wanted = match env::var("OOM_POWER_CUTS") {
        Ok(all) if all == "all" => return Ok((0..=acts).collect()),
        Ok(number) => number.parse().context("OOM_POWER_CUTS is no number")?,
        Err(_) => CUTS,
    };
    let mut cuts: Vec<usize> = (0..wanted)
        .map(|_| usize::try_from(chance.below(acts as u64 + 1)))
        .collect::<Result<_, _>>()?;
    cuts.push(acts);
    cuts.sort_unstable();
    Ok(cuts)
}

#[test]
fn what_was_committed_is_there_after_the_power_went() -> Result<()> {
    let mut chance = Chance(seed()?);
    let recorded = scratch()?;
    let program = machine::build_dir()?.join("store-writer");
    let store = recorded.path().join("events.db");
    let arguments = [Path::new("commits"), &store];
    let Some(acts) = record(&program, &arguments, recorded.path(), &(0..0))? else {
        return machine::skip("follows a process (needs ptrace)");
    };
    let writes = acts
        .iter()
        .filter(|act| matches!(act, Act::Write(..)))
        .count();
    let syncs = acts
        .iter()
        .filter(|act| matches!(act, Act::Sync(_)))
        .count();
    ensure!(
        syncs > 150 && writes > 3000,
        "{writes} writes, {syncs} syncs"
    );
    println!("{} acts, {writes} writes, {syncs} syncs", acts.len());
    let into_main = acts
        .iter()
        .filter(|act| matches!(act, Act::Write(path, ..) if *path == store));
    ensure!(into_main.count() > 500, "no checkpoint was cut");

    let mut disk = Disk::default();
    let (mut done, mut promised) = (0, 0);
    for cut in cuts(acts.len(), &mut chance)? {
        for act in &acts[done..cut] {
            disk.act(act);
            promised = promise(act)?.unwrap_or(promised);
        }
        done = cut;
        for luck in [Luck::All, Luck::Nothing, Luck::Some] {
            let image = scratch()?;
            disk.image(image.path(), luck, &mut chance)?;
            check(image.path(), promised).with_context(|| format!("cut {cut}, {luck:?}"))?;
        }
    }
    ensure!(promised > 500, "{promised} at the end");
    Ok(())
}

/// A sync of the log fails, and so do those that come right behind it: the transaction is shown whole to whoever opens the
/// store then, and the disk never gets it. What is promised from then on must not rest on that.
#[test]
fn what_a_failed_sync_left_is_not_relied_on() -> Result<()> {
    let mut chance = Chance(seed()?);
    let program = machine::build_dir()?.join("store-writer");
    for failing in [30..31, 30..32, 30..33, 31..34, 32..36] {
        let recorded = scratch()?;
        let store = recorded.path().join("events.db");
        let arguments = [Path::new("commits"), &store];
        let Some(acts) = record(&program, &arguments, recorded.path(), &failing)? else {
            return machine::skip("follows a process (needs ptrace)");
        };
        let failed = |act: &Act| matches!(act, Act::Failed(_));
        let count = acts.iter().filter(|act| failed(act)).count();
        ensure!(count == failing.len(), "{count} syncs failed");
        let last = acts.iter().rposition(failed).context("none failed")?;
        let (mut disk, mut promised, mut checked) = (Disk::default(), 0, 0);
        for (at, act) in acts.iter().enumerate() {
            disk.act(act);
            let Some(now) = promise(act)? else { continue };
            promised = now;
            // The next checkpoint makes all of it new: what comes before that is what matters.
            if at < last || checked == 20 {
                continue;
            }
            checked += 1;
            for luck in [Luck::All, Luck::Nothing, Luck::Some] {
                let image = scratch()?;
                disk.image(image.path(), luck, &mut chance)?;
                let cut = || format!("{failing:?}: cut {at}, {luck:?}");
                check(image.path(), promised).with_context(cut)?;
            }
        }
        ensure!(checked == 20, "{checked} cuts, {promised} at the end");
    }
    Ok(())
}

/// How many kills are on the disk, if it says that.
fn promise(act: &Act) -> Result<Option<u64>> {
    match act {
        Act::Said(text) if text.starts_with("stored ") => number(text).map(Some),
        _ => Ok(None),
    }
}

fn number(text: &str) -> Result<u64> {
    let last = text.trim().rsplit(' ').next().context("no number")?;
    Ok(last.parse()?)
}

/// Opens what is left, and compares.
fn check(image: &Path, promised: u64) -> Result<()> {
    let path = image.join("events.db");
    let store = Store::open(&path, BOOT, 200)?;
    ensure!(store.set_aside().is_none(), "moved aside");
    let recovery = store.recovery()?;
    drop(store);
    let db = Connection::open(&path)?;
    let verdict: String = db.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
    ensure!(verdict == "ok", "{verdict}");

    let mut statement = db.prepare("SELECT id FROM event ORDER BY seq")?;
    let stored: Vec<String> = statement
        .query_map([], |row| row.get(0))?
        .collect::<Result<_, _>>()?;
    let kills = stored.len() as u64 / 2;
    ensure!(
        kills >= promised,
        "{promised} were promised, {kills} are there"
    );
    for (at, pair) in (1_u64..).zip(stored.chunks(2)) {
        ensure!(
            pair == [format!("kill-{at}"), format!("oom-{at}")],
            "{at}: {pair:?}"
        );
    }
    // The journal says the same: all that was told since the quiet moment that it begins with.
    let begin = recovery
        .snapshot
        .map_or(0, |snapshot| snapshot.monotonic_ns);
    let mut decoder = Decoder::default();
    let mut expected = begin;
    for (now, row) in recovery.evidence {
        expected += 1;
        let Evidence::RingGap { lost } = decoder.decode(&row)? else {
            anyhow::bail!("another evidence");
        };
        ensure!(
            (lost, now.monotonic_ns) == (expected, expected),
            "{lost}, not {expected}"
        );
    }
    ensure!(
        expected == kills,
        "journal to {expected}, events to {kills}"
    );
    ensure!(
        recovery.ring_seq.unwrap_or(0) == kills,
        "{:?}",
        recovery.ring_seq
    );
    for file in fs::read_dir(image)? {
        let name = file?.file_name();
        ensure!(
            !name.to_string_lossy().contains("corrupt"),
            "{}",
            name.display()
        );
    }
    Ok(())
}
