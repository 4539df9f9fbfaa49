//! An agent that the kernel kills for memory, and the next, which says so.

use std::fs;

use anyhow::{Result, ensure};
use oom_agent::trigger::scratch::{PREFIX, ScratchCgroup, Settings};
use oom_tests::{agent::Launch, kept::Kept, machine::Machine, scene::actor::Actor};
use rustix::process::Signal;

const LIMIT: u64 = 32 << 20;

#[test]
fn the_next_agent_tells_of_the_death_of_the_last() -> Result<()> {
    let Some(machine) = Machine::alone()? else {
        return Ok(());
    };
    let kept = Kept::with_pins()?;
    let args = kept.args();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
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

    let next = launch.start()?;
    kept.wait_for("its own death and the hog's", |content| {
        let told = |pid: u32| {
            content
                .instances
                .iter()
                .filter_map(|report| report["kills"].as_array())
                .flatten()
                .any(|kill| kill["victim"]["pid"] == pid)
        };
        told(pid) && told(hog.process.pid)
    })?;
    let next = next.stop(Signal::TERM)?;
    let said = format!("the kernel killed the last oom-agent (pid {pid}) for memory");
    ensure!(
        next.log.iter().any(|line| line.contains(&said)),
        "{}",
        next.log.join("\n")
    );
    ensure!(next.summary()?.get("unexplained")? == 0);
    Ok(())
}
