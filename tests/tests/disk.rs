//! The whole agent, confined, with real kills, on a disk that is full and on a store that is damaged.
//!
//! `cargo test -p oom-tests --test disk`, as root. By itself: a process that is just being started has the locks of all
//! stores that are open beside it.

use std::{
    fs::{self, File},
    io::{self, Write as _},
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use oom_tests::{
    agent::{Agent, DEADLINE, Launch},
    kept::{Content, Kept},
    machine::{self, Machine},
    scene,
    small_disk::SmallDisk,
};
use rustix::{mount::MountFlags, process::Signal};
use serde_json::Value;

/// An agent of its own, confined as ever, that can be asked.
fn confined(kept: &Kept, socket: &Path) -> Result<Agent> {
    let args = kept.args();
    let socket = socket.to_str().context("socket")?;
    let mut args: Vec<&str> = args.iter().map(String::as_str).collect();
    args.extend(["--socket", socket, "--backfill", "none"]);
    Launch::run(&args).keeping().start()
}

/// Waits until the agent says that commits failed.
fn says_that_commits_fail(socket: &Path) -> Result<()> {
    let end = Instant::now() + DEADLINE;
    loop {
        let status = Command::new(machine::agent_binary()?)
            .args(["status", "--output", "json", "--socket"])
            .arg(socket)
            .output()?;
        let told: Value =
            serde_json::from_slice(&status.stdout).with_context(|| format!("{status:?}"))?;
        if told["losses"]["failed_commits"].as_u64() > Some(0) {
            return Ok(());
        }
        ensure!(Instant::now() < end, "no commit failed: {told}");
        thread::sleep(Duration::from_millis(20));
    }
}

/// Writes to a file until the disk is full.
fn fill(file: &Path) -> Result<()> {
    let mut file = File::create(file)?;
    for size in [4096, 1] {
        let part = vec![0; size];
        let refused = loop {
            if let Err(error) = file.write_all(&part) {
                break error;
            }
        };
        ensure!(refused.kind() == io::ErrorKind::StorageFull, "{refused}");
    }
    Ok(())
}

/// Whether all of these died, as alerts and as reports.
fn tells(content: &Content, dead: &[u32]) -> bool {
    let is = |victim: &Value, tid: u32| victim["victim"]["tid"] == tid;
    dead.iter().all(|&tid| {
        let reported = |report: &Value| {
            let kills = report["kills"].as_array();
            kills.is_some_and(|kills| kills.iter().any(|kill| is(kill, tid)))
        };
        content.kills.iter().any(|kill| is(kill, tid)) && content.instances.iter().any(reported)
    })
}

#[test]
fn a_confined_agent_on_a_full_disk_loses_no_kill() -> Result<()> {
    const SIZE: u64 = 4 << 20;
    const KILLS: u32 = 20;
    let Some(machine) = Machine::alone()? else {
        return Ok(());
    };
    let kept = Kept::with_pins()?;
    let database = kept.store();
    let dir = database.parent().context("no directory")?;
    let Some(disk) = SmallDisk::over(dir, SIZE, MountFlags::empty())? else {
        return Ok(());
    };
    let run = tempfile::tempdir()?;
    let socket = run.path().join("api.sock");
    let agent = confined(&kept, &socket)?;
    let mut dead = vec![scene::one_kill(&machine.hierarchy)?.tid];
    kept.wait_for("the first", |content| tells(content, &dead))?;

    let ballast = disk.path().join("ballast");
    fill(&ballast)?;
    let storm = scene::storm(KILLS)?;
    for tid in storm.tids() {
        agent.wait_for_death(tid)?;
        dead.push(tid);
    }
    says_that_commits_fail(&socket)?;
    ensure!(!tells(&kept.content()?, &dead), "the disk was not full");
    agent.signal(Signal::KILL)?;
    agent.ended()?;

    fs::remove_file(&ballast)?;
    let next = confined(&kept, &socket)?;
    dead.push(scene::one_kill(&machine.hierarchy)?.tid);
    let content = kept.wait_for("all of them", |content| tells(content, &dead))?;
    let finished = next.stop(Signal::TERM)?;
    ensure!(finished.summary()?.get("unexplained")? == 0);
    let (kills, reports) = (content.kills.len(), content.instances.len());
    ensure!(
        (kills, reports) == (dead.len(), dead.len()),
        "{kills} kills and {reports} reports of {}",
        dead.len()
    );
    Ok(())
}

#[test]
fn a_confined_agent_moves_a_damaged_store_aside() -> Result<()> {
    let Some(machine) = Machine::alone()? else {
        return Ok(());
    };
    let kept = Kept::without_pins()?;
    let store = kept.store();
    let noise = vec![0x5a; 1 << 20];
    fs::write(&store, &noise)?;
    let run = tempfile::tempdir()?;
    let agent = confined(&kept, &run.path().join("api.sock"))?;
    let tid = scene::one_kill(&machine.hierarchy)?.tid;
    agent.wait_for_death(tid)?;
    kept.wait_for("the kill in a new store", |content| tells(content, &[tid]))?;
    let finished = agent.stop(Signal::TERM)?;
    finished.says(&["is damaged", "a new one is begun"])?;
    let mut aside = None;
    for file in fs::read_dir(store.parent().context("no directory")?)? {
        let file = file?;
        if file
            .file_name()
            .to_string_lossy()
            .starts_with("events.db.corrupt-")
        {
            aside = Some(fs::read(file.path())?);
        }
    }
    ensure!(aside == Some(noise), "what was there is not beside it");
    Ok(())
}
