//! An agent that the kernel kills for memory, and the next, which says so.

use std::fs;

use anyhow::{Result, ensure};
use oom_agent::trigger::scratch::{PREFIX, ScratchCgroup, Settings};
use oom_tests::{agent::Launch, kept::Kept, machine::Machine, scene::actor::Actor};
use rusqlite::Connection;
use rustix::process::Signal;

const LIMIT: u64 = 32 << 20;

#[test]
fn the_next_agent_tells_of_the_death_of_the_last() -> Result<()> {
    tells(&[], |_| Ok(()))
}

/// The log names threads, and no start.
#[test]
fn the_next_agent_tells_of_it_by_the_log_alone() -> Result<()> {
    tells(&["--source", "kmsg"], |_| Ok(()))
}

/// As if the wall clock had been set since: what the last agent noted down is of another time of day.
#[test]
fn the_next_agent_tells_of_it_after_the_clock_was_set() -> Result<()> {
    tells(&[], |kept| {
        let db = Connection::open(kept.store())?;
        let hour_ns = 3_600_000_000_000_i64;
        let changed = db.execute("UPDATE run SET started_ns = started_ns - ?", [hour_ns])?;
        ensure!(changed == 1);
        Ok(())
    })
}

fn tells(args: &[&str], meanwhile: impl FnOnce(&Kept) -> Result<()>) -> Result<()> {
    let Some(machine) = Machine::alone()? else {
        return Ok(());
    };
    let kept = Kept::with_pins()?;
    let kept_args = kept.args();
    let kept_args = kept_args.iter().map(String::as_str);
    let args: Vec<&str> = kept_args.chain(args.iter().copied()).collect();
    let launch = Launch::run(&args).keeping();
    let first = launch.start()?;
    let pid = first.pid();

    let name = format!("{PREFIX}{}-own", std::process::id());
    let settings = Settings {
        limit_bytes: Some(LIMIT),
        ..Settings::default()
    };
    let cgroup = ScratchCgroup::create(&machine.hierarchy, &name, settings)?;
    fs::write(cgroup.dir().join("cgroup.procs"), pid.to_string())?;
    // The hog fills the cgroup, and the agent looks worse.
    fs::write(format!("/proc/{pid}/oom_score_adj"), "1000")?;
    let mut hog = Actor::start("hog", b"hog", 0, &cgroup, &[])?;
    hog.killed()?;
    // By a signal of the kernel's: nobody here sent one.
    let first = first.ended()?;
    ensure!(!first.status.success(), "the first agent lives");

    meanwhile(&kept)?;
    let next = launch.start()?;
    kept.wait_for("its own death and the hog's", |content| {
        let told = |pid: u32| {
            content
                .instances
                .iter()
                .filter_map(|report| report["kills"].as_array())
                .flatten()
                .any(|kill| kill["victim"]["tid"] == pid)
        };
        told(pid) && told(hog.process.pid)
    })?;
    let next = next.stop(Signal::TERM)?;
    let said = format!("the kernel killed an oom-agent before this one (pid {pid}) for memory");
    ensure!(
        next.log.iter().any(|line| line.contains(&said)),
        "{}",
        next.log.join("\n")
    );
    ensure!(next.summary()?.get("unexplained")? == 0);
    Ok(())
}
