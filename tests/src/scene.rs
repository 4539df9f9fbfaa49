//! The scenes: each makes one real OOM kill and returns the truth about it.
//!
//! Starts the actors of `bin/scenario` in scratch cgroups. Emits [`Truth`], taken from the processes
//! and the cgroup filesystem, never from the agent. Refuses to go on if the kernel did not kill whom
//! the scene meant to be killed.

pub mod actor;
mod alike;
mod exiting;
mod files;
mod laid_out;
mod leak;
mod machine_wide;
mod shared;

use std::{
    collections::HashSet,
    ffi::OsString,
    ops::RangeInclusive,
    sync::atomic::{AtomicU32, Ordering},
    thread,
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use oom_agent::{
    clock::Now,
    hierarchy::Hierarchy,
    trigger::{
        self, StormReport, TriggerOptions,
        scratch::{PREFIX, ScratchCgroup, Settings},
    },
};

use self::actor::Actor;
pub use self::{
    alike::cgroups_named_alike,
    exiting::already_exiting,
    files::{no_killable_process, page_cache, tmpfs},
    laid_out::{Owned, churn, owners},
    leak::{Leaked, leak},
    machine_wide::{
        cpuset, kill_allocating_task, memory_policy, slow_console, some_kills, sysrq,
        sysrq_without_victim, system,
    },
    shared::shared_memory,
};
use crate::{agent::DEADLINE, klog::KernelLog, machine};

const MIB: u64 = 1 << 20;

/// What the test set up: what every event about it must agree with.
#[derive(Clone, Debug)]
pub struct Truth {
    /// Who died.
    pub victim: Process,
    /// The thread that the kernel must have named.
    pub tid: u32,
    /// What ran out, as events say it.
    pub scope: &'static str,
    /// Who asked for memory; `None` where that is the kernel's affair.
    pub trigger: Option<Process>,
    /// The limit that was hit, if it was one.
    pub limit: Option<Limit>,
    /// What was being allocated, as events say it, where the scene can tell.
    pub allocation: Option<&'static str>,
    /// What the victim held when it died.
    pub anon_bytes: RangeInclusive<u64>,
    /// Just before the victim was started until it was seen dead, as events write times.
    pub lived: RangeInclusive<String>,
}

/// The limit that was hit.
#[derive(Clone, Debug)]
pub struct Limit {
    /// Whose it is.
    pub cgroup: Place,
    /// How much.
    pub bytes: u64,
    /// Whether nobody gives memory back while the kernel decides: then all of it was in use.
    pub full: bool,
}

impl Limit {
    fn of(cgroup: &ScratchCgroup) -> Result<Option<Self>> {
        Ok(Some(Self {
            cgroup: Place::of(cgroup)?,
            bytes: cgroup.limit_bytes().context("limit")?,
            full: true,
        }))
    }
}

/// A process of a scene.
#[derive(Clone, Debug)]
pub struct Process {
    /// tgid.
    pub pid: u32,
    /// Who started it.
    pub parent: u32,
    /// Its name.
    pub comm: Vec<u8>,
    /// Its `oom_score_adj`.
    pub oom_score_adj: i16,
    /// Its memory cgroup.
    pub cgroup: Place,
}

impl Process {
    fn nix_pid(&self) -> Result<nix::unistd::Pid> {
        Ok(nix::unistd::Pid::from_raw(self.pid.try_into()?))
    }
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
///
/// Where the memory of the dead comes back so late that the kernel chooses once more (seen on 7.2), the
/// small one follows it: then there is a second truth.
pub fn victim_is_not_the_trigger(hierarchy: &Hierarchy) -> Result<Vec<Truth>> {
    let top = scratch(hierarchy, "", Some(32 * MIB))?;
    let (big_home, small_home) = (
        top.child("big", Settings::default())?,
        top.child("small", Settings::default())?,
    );
    let born = Birth::now();
    let mut big = Actor::start("holder", b"big", 0, &big_home, &["--bytes", "25165824"])?;
    big.must_say("held")?;
    let mut small = Actor::start("holder", b"small", 0, &small_home, &["--bytes", "12582912"])?;
    big.killed()?;
    let lived = born.until_now();
    let follows = small.says()? != "held";
    let mut truths = vec![Truth {
        tid: big.process.pid,
        victim: big.process.clone(),
        scope: "memcg",
        trigger: Some(small.process.clone()),
        limit: Limit::of(&top)?,
        allocation: None,
        // The kernel counts per thread or per CPU and adds up in batches.
        anon_bytes: 23 * MIB..=26 * MIB,
        lived,
    }];
    if follows {
        small.killed()?;
        // Meanwhile the first one's memory comes back.
        let limit = Limit::of(&top)?.map(|limit| Limit {
            full: false,
            ..limit
        });
        truths.push(Truth {
            anon_bytes: 0..=13 * MIB,
            ..Truth::own(&small, limit, &born)
        });
    }
    Ok(truths)
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

impl GroupTruth {
    /// All who died.
    pub fn all(&self) -> impl Iterator<Item = &Process> {
        self.members.iter().chain([&self.chosen])
    }
}

/// So many processes share a cgroup with `memory.oom.group`, and one more exceeds its limit. cgroup v2
/// only.
pub fn group(hierarchy: &Hierarchy, members: u8) -> Result<GroupTruth> {
    let settings = Settings {
        limit_bytes: Some((12 + 2 * u64::from(members)) * MIB),
        oom_group: true,
    };
    let cgroup = scratch_with(hierarchy, "", settings)?;
    let names = (b'a'..).take(members.into());
    let mut members = Vec::new();
    for comm in names.map(|name| [b"member-".as_slice(), &[name]].concat()) {
        let mut member = Actor::start("holder", &comm, 0, &cgroup, &["--bytes", "1048576"])?;
        member.must_say("held")?;
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

/// The kernel found nobody to kill.
#[derive(Clone, Debug)]
pub struct NoVictim {
    /// What ran out, as events say it.
    pub scope: &'static str,
    /// How often the kernel said so.
    pub times: usize,
}

impl NoVictim {
    /// As the log tells it; waits for the first time.
    fn logged(scope: &'static str, log: &mut KernelLog) -> Result<Self> {
        let end = Instant::now() + DEADLINE;
        let mut times = 0;
        while times == 0 {
            ensure!(
                Instant::now() < end,
                "the kernel does not say that it found nobody"
            );
            thread::yield_now();
            let messages = log.messages()?;
            let nobody = |message: &&String| message.contains("no killable process");
            times = messages.iter().filter(nobody).count();
        }
        Ok(Self { scope, times })
    }
}

/// The kernel marked a process that was dying already.
#[derive(Clone, Debug)]
pub struct Marked {
    /// Whom.
    pub process: Process,
    /// How many kills it counted meanwhile: 0, where nobody else makes any.
    pub kills: u64,
}

/// A storm, and what the kernel log still held of it.
#[derive(Debug)]
pub struct StormTruth {
    /// What was done.
    pub report: StormReport,
    /// The threads whose "Killed process" line the log held when the storm had ended.
    pub logged: HashSet<u32>,
}

impl StormTruth {
    /// The threads that died.
    pub fn tids(&self) -> impl Iterator<Item = u32> {
        self.report.kills.iter().map(|kill| kill.pid)
    }
}

/// So many kills, each in a cgroup of its own.
pub fn storm(kills: u32) -> Result<StormTruth> {
    const LIMIT: u64 = MIB;
    let mut log = KernelLog::from_now()?;
    let report = trigger::storm(&trigger_options(LIMIT)?, kills)?;
    let killed: HashSet<u32> = log.killed_tids()?.into_iter().collect();
    let ours = report.kills.iter().map(|kill| kill.pid);
    let logged = ours.filter(|tid| killed.contains(tid)).collect();
    Ok(StormTruth { report, logged })
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
    let limit = Limit::of(limit)?;
    let bytes = limit.as_ref().map_or(0, |limit| limit.bytes);
    Ok(Truth {
        tid,
        // What it held before it entered the cgroup is charged elsewhere, so a little more is right.
        // Kernel memory and batched charges take their share of so small a limit.
        anon_bytes: bytes / 4..=bytes + MIB,
        ..Truth::own(&actor, limit, &born)
    })
}

impl Truth {
    /// An actor of one thread reached this limit itself, or else the machine's.
    fn own(actor: &Actor, limit: Option<Limit>, born: &Birth) -> Self {
        Self {
            victim: actor.process.clone(),
            tid: actor.process.pid,
            scope: if limit.is_some() { "memcg" } else { "system" },
            trigger: Some(actor.process.clone()),
            limit,
            allocation: None,
            anon_bytes: 0..=u64::MAX,
            lived: born.until_now(),
        }
    }
}

/// Before a victim was started.
struct Birth(Now);

impl Birth {
    fn now() -> Self {
        Self(Now::read())
    }

    /// The kernel's clocks may differ from each other by some ticks, and that of its log falls behind: by 30 ms
    /// within a day, seen.
    fn until_now(&self) -> RangeInclusive<String> {
        const TICKS_NS: u64 = 20_000_000;
        const BEHIND_NS: u64 = 200_000_000;
        let now = Now::read();
        let from_ns = self.0.monotonic_ns.saturating_sub(BEHIND_NS);
        self.0.wall(from_ns).to_string()..=now.wall(now.monotonic_ns + TICKS_NS).to_string()
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
