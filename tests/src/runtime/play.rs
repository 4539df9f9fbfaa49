//! Lets something die in a container.
//!
//! Reads the container's cgroup and `/proc`; emits a [`Story`]. Refuses to go on if the kernel did not kill
//! whom the test meant to be killed, or if the main process went with its child.

use std::{
    fs,
    os::fd::OwnedFd,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use oom_agent::{event::LimitLevel, hierarchy::Hierarchy};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, kill_process, pidfd_open},
};

use super::{Container, Running, place, traces};
use crate::{agent::Agent, scene::Place};

/// Nothing here takes longer.
const PATIENCE: Duration = Duration::from_secs(20);

/// Between two looks at what will be so soon.
const PAUSE: Duration = Duration::from_millis(1);

/// What a shell would call the end by SIGKILL.
const KILLED: i32 = 137;

const VICTIM: &str = "oom-victim";
const PARENT: &str = "oom-parent";

/// Who dies in a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dies {
    /// Its main process.
    Main,
    /// Its main process, which grows slowly.
    Slow,
    /// A child of it; it goes on.
    Child,
}

impl Dies {
    /// The payload's arguments.
    #[must_use]
    pub fn args(self) -> &'static [&'static str] {
        match self {
            Self::Main => &["hog", VICTIM],
            Self::Slow => &["slow", VICTIM],
            Self::Child => &["parent", PARENT, VICTIM],
        }
    }
}

/// When the container is removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Removed {
    /// When the agent has told of the kill.
    Later,
    /// As soon as the victim is dead.
    AtOnce,
}

/// What happened.
#[derive(Debug, Default)]
pub struct Story {
    /// Who died.
    pub deaths: Vec<Death>,
    /// Which containers came and went.
    pub lives: Vec<Life>,
}

/// One kill.
#[derive(Debug)]
pub struct Death {
    /// Who died.
    pub victim: Process,
    /// Where.
    pub container: Container,
    /// The limit that was hit.
    pub limit: Limit,
}

/// A limit that was hit.
#[derive(Clone, Debug)]
pub struct Limit {
    /// Whose it is.
    pub place: Place,
    /// What it is a limit of.
    pub level: LimitLevel,
    /// As the kernel holds it.
    pub bytes: u64,
}

impl Limit {
    fn own(container: &Container, hierarchy: &Hierarchy) -> Result<Self> {
        Ok(Self {
            place: container.place.clone(),
            level: container.level,
            bytes: container.limit_bytes(hierarchy)?,
        })
    }

    /// Gives one to a cgroup above.
    pub fn set(hierarchy: &Hierarchy, path: &str, level: LimitLevel, bytes: u64) -> Result<Self> {
        let (place, dir) = place(hierarchy, path)?;
        let file = dir.join(hierarchy.version.limit_file());
        fs::write(&file, bytes.to_string()).with_context(|| file.display().to_string())?;
        Ok(Self {
            place,
            level,
            bytes,
        })
    }
}

/// A container's life.
#[derive(Debug)]
pub struct Life {
    /// Which.
    pub container: Container,
    /// How it ended.
    pub exit_code: i32,
}

impl Life {
    /// It ended by itself.
    #[must_use]
    pub fn ended(container: Container) -> Self {
        Self {
            container,
            exit_code: 0,
        }
    }

    /// Its main process was killed.
    #[must_use]
    pub fn killed(container: Container) -> Self {
        Self {
            container,
            exit_code: KILLED,
        }
    }
}

/// A process of a container, seen from the host.
#[derive(Clone, Debug)]
pub struct Process {
    /// Its pid on the host.
    pub pid: u32,
    /// Its pid in the container.
    pub ns_pid: u32,
    /// Its name.
    pub comm: &'static str,
}

/// One dies in `running`, by its own limit; then it is removed, and nothing else holds it.
pub fn kill(
    agent: &Agent,
    hierarchy: &Hierarchy,
    mut running: impl Running,
    dies: Dies,
    removed: Removed,
) -> Result<Story> {
    let container = running.container().clone();
    let death = die(hierarchy, &container, None)?;
    let mut life = Life::killed(container);
    if removed == Removed::Later {
        agent.wait_for_death(death.victim.pid)?;
        if dies == Dies::Child {
            go_on(&life.container)?;
            life.exit_code = 0;
        }
    }
    running.remove()?;
    Ok(Story {
        deaths: vec![death],
        lives: vec![life],
    })
}

/// Waits for the victim to be ready, lets it take memory, and waits for its end. The limit is the
/// container's own if there is none `above`; a runtime has set it by then.
pub fn die(hierarchy: &Hierarchy, container: &Container, above: Option<Limit>) -> Result<Death> {
    let (victim, fd) = ready(container, VICTIM)?;
    let limit = match above {
        Some(limit) => limit,
        None => Limit::own(container, hierarchy)?,
    };
    signal(&victim, Signal::USR1)?;
    ended(&victim, &fd)?;
    Ok(Death {
        victim,
        container: container.clone(),
        limit,
    })
}

/// The main process has outlived its child; now it is told to end.
fn go_on(container: &Container) -> Result<()> {
    let (main, fd) = ready(container, PARENT).context("the main process went with its child")?;
    signal(&main, Signal::TERM)?;
    ended(&main, &fd)
}

/// Waits until a process of that name is in the container.
fn ready(container: &Container, comm: &'static str) -> Result<(Process, OwnedFd)> {
    soon(&format!("{comm} in {}", container.place.path), || {
        let pid = traces::processes(&container.dir).into_iter().find(|pid| {
            fs::read_to_string(format!("/proc/{pid}/comm"))
                .is_ok_and(|name| name.trim_end() == comm)
        })?;
        let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
        let ns_pids = status
            .lines()
            .find_map(|line| line.strip_prefix("NSpid:"))?;
        let ns_pid = ns_pids.split_whitespace().next_back()?.parse().ok()?;
        let fd = pidfd_open(pid_of(pid)?, PidfdFlags::empty()).ok()?;
        Some((Process { pid, ns_pid, comm }, fd))
    })
}

fn signal(process: &Process, signal: Signal) -> Result<()> {
    let pid = pid_of(process.pid).context("pid")?;
    kill_process(pid, signal).with_context(|| format!("{signal:?} to {process:?}"))
}

fn ended(process: &Process, fd: &OwnedFd) -> Result<()> {
    let patience = Timespec {
        tv_sec: PATIENCE.as_secs().cast_signed(),
        tv_nsec: 0,
    };
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    let ready = poll(&mut fds, Some(&patience))?;
    ensure!(ready == 1, "{process:?} does not end");
    Ok(())
}

fn pid_of(pid: u32) -> Option<Pid> {
    Pid::from_raw(pid.cast_signed())
}

/// Waits until there is something.
pub(super) fn soon<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> Result<T> {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return Ok(found);
        }
        ensure!(Instant::now() < end, "no {what}");
        thread::sleep(PAUSE);
    }
}
