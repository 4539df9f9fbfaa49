//! The scenes: each makes one real OOM kill and returns the truth about it.
//!
//! Starts the actors of `bin/scenario` in scratch cgroups. Emits [`Truth`], taken from the processes
//! and the cgroup filesystem, never from the agent. Refuses to go on if the kernel did not kill whom
//! the scene meant to be killed.

use std::{
    ffi::{OsStr, OsString},
    io::{BufRead as _, BufReader, Read as _},
    ops::RangeInclusive,
    os::unix::{ffi::OsStrExt as _, process::ExitStatusExt as _},
    process::{Child, ChildStdout, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result, ensure};
use oom_agent::{
    clock::Now,
    trigger::{
        TriggerOptions,
        hierarchy::Hierarchy,
        scratch::{PREFIX, ScratchCgroup, Settings},
    },
};
use rustix::process::Signal;

use crate::machine;

const MIB: u64 = 1 << 20;

/// What the test set up: what every event about it must agree with.
#[derive(Clone, Debug)]
pub struct Truth {
    /// Who died.
    pub victim: Process,
    /// The thread that the kernel must have named.
    pub tid: u32,
    /// Who asked for memory.
    pub trigger: Process,
    /// The cgroup whose limit was hit.
    pub limit: Place,
    /// That limit.
    pub limit_bytes: u64,
    /// What the victim held when it died.
    pub anon_bytes: RangeInclusive<u64>,
    /// Just before the victim was started until it was seen dead, as events write times.
    pub lived: RangeInclusive<String>,
}

/// A process of a scene.
#[derive(Clone, Debug)]
pub struct Process {
    /// tgid.
    pub pid: u32,
    /// Its name.
    pub comm: Vec<u8>,
    /// Its `oom_score_adj`.
    pub oom_score_adj: i16,
    /// Its memory cgroup.
    pub cgroup: Place,
}

/// A cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// As the kernel prints it.
    pub path: String,
    /// kernfs id.
    pub id: u64,
    /// 1 or 2.
    pub version: u8,
}

impl Place {
    fn of(cgroup: &ScratchCgroup) -> Result<Self> {
        Ok(Self {
            path: cgroup
                .kernel_path()
                .context("inside a cgroup namespace, paths cannot be compared")?,
            id: cgroup.id(),
            version: cgroup.version().number(),
        })
    }
}

/// One process exceeds its own limit.
pub fn one_kill(hierarchy: &Hierarchy) -> Result<Truth> {
    named(hierarchy, "", b"hog")
}

/// The same with names of the test's choice: `suffix` for the cgroup, `comm` for the process.
pub fn named(hierarchy: &Hierarchy, suffix: &str, comm: &[u8]) -> Result<Truth> {
    let cgroup = scratch(hierarchy, suffix, Some(4 * MIB))?;
    suicide("hog", comm, &cgroup, &cgroup)
}

/// The limit is that of an ancestor: the leaf's own is larger, and the level between has none.
pub fn ancestor_limit(hierarchy: &Hierarchy) -> Result<Truth> {
    let top = scratch(hierarchy, "", Some(4 * MIB))?;
    let middle = top.child("middle", Settings::default())?;
    let leaf = middle.child("leaf", limit(Some(64 * MIB)))?;
    suicide("hog", b"nested", &leaf, &top)
}

/// The main thread has exited when another thread takes the memory.
pub fn leaderless(hierarchy: &Hierarchy) -> Result<Truth> {
    let cgroup = scratch(hierarchy, "", Some(4 * MIB))?;
    suicide("leaderless", b"leaderless", &cgroup, &cgroup)
}

/// A small process asks for memory, a big one in another cgroup dies; the limit is their parent's.
pub fn victim_is_not_the_trigger(hierarchy: &Hierarchy) -> Result<Truth> {
    let top = scratch(hierarchy, "", Some(32 * MIB))?;
    let (big_home, small_home) = (
        top.child("big", Settings::default())?,
        top.child("small", Settings::default())?,
    );
    let born = Birth::now();
    let mut big = Actor::start("holder", b"big", 0, &big_home, &["--bytes", "25165824"])?;
    ensure!(
        big.says()? == "held",
        "the big process did not get its memory"
    );
    let mut small = Actor::start("holder", b"small", 0, &small_home, &["--bytes", "12582912"])?;
    big.killed()?;
    let lived = born.until_now();
    // It gets its memory, or follows: 7.2 may give back the memory of the dead so late that the kernel
    // chooses once more.
    small.says()?;
    Ok(Truth {
        tid: big.process.pid,
        victim: big.process.clone(),
        trigger: small.process.clone(),
        limit: Place::of(&top)?,
        limit_bytes: top.limit_bytes().context("limit")?,
        // The kernel counts per thread or per CPU and adds up in batches.
        anon_bytes: 23 * MIB..=26 * MIB,
        lived,
    })
}

/// What a group kill did.
#[derive(Clone, Debug)]
pub struct GroupTruth {
    /// Who was chosen: the biggest.
    pub chosen: Process,
    /// Who died with it.
    pub members: Vec<Process>,
    /// The cgroup that died as one.
    pub cgroup: Place,
}

/// Three processes share a cgroup with `memory.oom.group`; one of them exceeds its limit. cgroup v2
/// only.
pub fn group(hierarchy: &Hierarchy) -> Result<GroupTruth> {
    let settings = Settings {
        limit_bytes: Some(16 * MIB),
        oom_group: true,
    };
    let cgroup = scratch_with(hierarchy, "", settings)?;
    let mut members = Vec::new();
    for comm in [b"member-a", b"member-b"] {
        let mut member = Actor::start("holder", comm, 0, &cgroup, &["--bytes", "1048576"])?;
        ensure!(member.says()? == "held", "a member did not get its memory");
        members.push(member);
    }
    let mut chosen = Actor::start("hog", b"chosen", 0, &cgroup, &[])?;
    chosen.killed()?;
    for member in &mut members {
        member.killed()?;
    }
    Ok(GroupTruth {
        chosen: chosen.process.clone(),
        members: members
            .iter()
            .map(|member| member.process.clone())
            .collect(),
        cgroup: Place::of(&cgroup)?,
    })
}

/// How the trigger starts this crate's hog.
pub fn trigger_options(limit_bytes: u64) -> Result<TriggerOptions> {
    Ok(TriggerOptions {
        hog: vec![scenario()?, "hog".into()],
        limit_bytes,
        ..TriggerOptions::default()
    })
}

/// A process that exceeds a limit and is killed for it.
fn suicide(part: &str, comm: &[u8], home: &ScratchCgroup, limit: &ScratchCgroup) -> Result<Truth> {
    let born = Birth::now();
    let mut actor = Actor::start(part, comm, 1000, home, &[])?;
    let tid = match part {
        "leaderless" => {
            let line = actor.says()?;
            let tid = line.strip_prefix("tid ").context("no thread id")?.parse()?;
            ensure!(tid != actor.process.pid, "the main thread is still there");
            tid
        }
        _ => actor.process.pid,
    };
    actor.killed()?;
    let limit_bytes = limit.limit_bytes().context("limit")?;
    Ok(Truth {
        victim: actor.process.clone(),
        tid,
        trigger: actor.process.clone(),
        limit: Place::of(limit)?,
        limit_bytes,
        // What it held before it entered the cgroup is charged elsewhere, so a little more is right.
        // Kernel memory and batched charges take their share of so small a limit.
        anon_bytes: limit_bytes / 4..=limit_bytes + MIB,
        lived: born.until_now(),
    })
}

/// Before a victim was started.
struct Birth(Now);

impl Birth {
    fn now() -> Self {
        Self(Now::read())
    }

    /// The kernel's clocks may differ from each other by some ticks.
    fn until_now(&self) -> RangeInclusive<String> {
        const TICKS_NS: u64 = 20_000_000;
        let now = Now::read();
        self.0.wall(self.0.monotonic_ns - TICKS_NS).to_string()
            ..=now.wall(now.monotonic_ns + TICKS_NS).to_string()
    }
}

fn scratch(hierarchy: &Hierarchy, suffix: &str, bytes: Option<u64>) -> Result<ScratchCgroup> {
    scratch_with(hierarchy, suffix, limit(bytes))
}

fn scratch_with(hierarchy: &Hierarchy, suffix: &str, settings: Settings) -> Result<ScratchCgroup> {
    static NUMBER: AtomicU32 = AtomicU32::new(0);
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let name = format!("{PREFIX}{}-scene{number}{suffix}", std::process::id());
    Ok(ScratchCgroup::create(hierarchy, &name, settings)?)
}

fn limit(limit_bytes: Option<u64>) -> Settings {
    Settings {
        limit_bytes,
        oom_group: false,
    }
}

fn scenario() -> Result<OsString> {
    Ok(machine::build_dir()?.join("scenario").into())
}

/// A running actor; killed and reaped when dropped.
struct Actor {
    child: Child,
    stdout: BufReader<ChildStdout>,
    process: Process,
}

impl Actor {
    fn start(
        part: &str,
        comm: &[u8],
        oom_score_adj: i16,
        home: &ScratchCgroup,
        rest: &[&str],
    ) -> Result<Self> {
        let mut child = Command::new(scenario()?)
            .arg(part)
            .arg("--cgroup")
            .arg(home.dir())
            .arg("--comm")
            .arg(OsStr::from_bytes(comm))
            .arg(format!("--oom-score-adj={oom_score_adj}"))
            .args(rest)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start an actor")?;
        let stdout = BufReader::new(child.stdout.take().context("stdout")?);
        let process = Process {
            pid: child.id(),
            comm: comm.to_owned(),
            oom_score_adj,
            cgroup: Place::of(home)?,
        };
        Ok(Self {
            child,
            stdout,
            process,
        })
    }

    /// Its next line; empty if it ended instead.
    fn says(&mut self) -> Result<String> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    /// Waits for it to be killed; every actor ends by itself if the kernel does not end it.
    fn killed(&mut self) -> Result<()> {
        let mut stderr = String::new();
        if let Some(mut pipe) = self.child.stderr.take() {
            pipe.read_to_string(&mut stderr)?;
        }
        let status = self.child.wait()?;
        ensure!(
            status.signal() == Some(Signal::KILL.as_raw()),
            "actor {:?} ended with {status}, not by the OOM killer: {stderr}",
            self.process
        );
        Ok(())
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            let _ = self.child.wait();
        }
    }
}
