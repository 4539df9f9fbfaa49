//! The agent under a service manager, and in little memory: signs of life that stop with detection, and a
//! storm that it lives through.
//!
//! `cargo test -p oom-tests --test service`, as root.

use std::{
    fs, io,
    os::unix::net::UnixDatagram,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use nix::{
    sys::{
        ptrace,
        wait::{WaitPidFlag, waitpid},
    },
    unistd::Pid,
};
use oom_agent::{
    hierarchy::CgroupVersion,
    trigger::scratch::{PREFIX, ScratchCgroup, Settings},
};
use oom_tests::{
    agent::{Agent, DEADLINE, Launch},
    check,
    machine::{self, Machine},
    scene,
};
use rustix::process::Signal;
use tempfile::TempDir;

/// After so much silence the service manager would end the agent.
const WATCHDOG: Duration = Duration::from_millis(400);

/// A service manager.
struct Manager {
    _dir: TempDir,
    socket: UnixDatagram,
    agent: Agent,
}

impl Manager {
    fn start() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path)?;
        let agent = machine::agent_binary()?
            .to_str()
            .context("path")?
            .to_owned();
        let watchdog = format!("WATCHDOG_USEC={}", WATCHDOG.as_micros());
        let launch = Launch::run(&[]).program(&["env".to_owned(), watchdog, agent]);
        let agent = launch.start_with(&socket, path.as_os_str())?;
        Ok(Self {
            _dir: dir,
            socket,
            agent,
        })
    }

    /// The next message; `None` if none comes within this time.
    fn hears(&self, within: Duration) -> Result<Option<String>> {
        self.socket.set_read_timeout(Some(within))?;
        let mut message = [0; 512];
        match self.socket.recv(&mut message) {
            Ok(length) => Ok(Some(
                String::from_utf8_lossy(&message[..length]).into_owned(),
            )),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    fn hears_signs_of_life(&self) -> Result<()> {
        for _ in 0..3 {
            ensure!(self.hears(DEADLINE)?.as_deref() == Some("WATCHDOG=1\n"));
        }
        Ok(())
    }

    /// The thread that minds detection's time.
    fn detection(&self) -> Result<Pid> {
        for entry in fs::read_dir(format!("/proc/{}/task", self.agent.pid()))? {
            let path = entry?.path();
            if fs::read_to_string(path.join("comm"))?.trim() == "detect-0" {
                let tid = path.file_name().and_then(|name| name.to_str());
                return Ok(Pid::from_raw(tid.context("tid")?.parse()?));
            }
        }
        anyhow::bail!("no detect-0")
    }
}

#[test]
fn signs_of_life_are_those_of_detection() -> Result<()> {
    let Some(_machine) = Machine::alone()? else {
        return Ok(());
    };
    let manager = Manager::start()?;
    manager.hears_signs_of_life()?;

    // Detection alone stands still; the main thread does not.
    let detection = manager.detection()?;
    ptrace::seize(detection, ptrace::Options::empty())?;
    ptrace::interrupt(detection)?;
    waitpid(detection, Some(WaitPidFlag::__WALL))?;
    // What it had done before may still be told.
    let end = Instant::now() + DEADLINE;
    while manager.hears(WATCHDOG)?.is_some() {
        ensure!(
            Instant::now() < end,
            "a detection that stands still is told to be alive"
        );
    }
    ptrace::detach(detection, None)?;

    manager.hears_signs_of_life()?;
    manager.agent.signal(Signal::TERM)?;
    let mut last = manager.hears(DEADLINE)?;
    while last.as_deref() == Some("WATCHDOG=1\n") {
        last = manager.hears(DEADLINE)?;
    }
    ensure!(last.as_deref() == Some("STOPPING=1\n"), "{last:?}");
    let finished = manager.agent.ended()?;
    finished.says(&["detection has not turned"])
}

/// What a limit must allow while the agent starts: loading takes the kernel's types, several times.
const TO_START: u64 = 48 << 20;

/// And once it is armed.
const TO_RUN: u64 = 16 << 20;

#[test]
fn a_storm_is_told_from_within_a_small_cgroup() -> Result<()> {
    let Some(machine) = Machine::alone()? else {
        return Ok(());
    };
    let name = format!("{PREFIX}{}-small", std::process::id());
    let settings = Settings {
        limit_bytes: Some(TO_START),
        ..Settings::default()
    };
    let cgroup = ScratchCgroup::create(&machine.hierarchy, &name, settings)?;
    let dir = cgroup.dir().to_str().context("path")?;
    let agent = machine::agent_binary()?.to_str().context("path")?;
    // In the cgroup before it is the agent: all its memory is charged there.
    let enter = "echo $$ > \"$0/cgroup.procs\" && exec \"$@\"";
    let words = ["sh", "-c", enter, dir, agent].map(str::to_owned);
    let agent = Launch::run(&[]).program(&words).start()?;
    agent.watches_cgroups()?;
    limit(cgroup.dir(), machine.hierarchy.version, TO_RUN)?;

    let tier = agent.tier()?;
    let truth = scene::storm(100)?;
    let events = agent.wait_for("the whole storm", |events| {
        let told = |tid: u32| {
            events
                .iter()
                .any(|it| it["kills"][0]["victim"]["tid"] == tid)
        };
        truth.tids().all(told).then(|| events.to_vec())
    })?;
    check::storm(&events, &truth, tier.known)?;
    let summary = agent.stop(Signal::TERM)?.summary()?;
    ensure!(summary.get("unexplained")? == 0, "{summary:?}");
    Ok(())
}

fn limit(dir: &Path, version: CgroupVersion, bytes: u64) -> Result<()> {
    let file = match version {
        CgroupVersion::V1 => "memory.limit_in_bytes",
        CgroupVersion::V2 => "memory.max",
    };
    fs::write(dir.join(file), bytes.to_string()).with_context(|| format!("{file} = {bytes}"))
}
