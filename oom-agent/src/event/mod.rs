//! The public events: `OomKill` (the alert), `OomInstance` (the report), victims that end late (`VictimEnd`)
//! or not at all (`OomStuck`), and containers that came and went; schema version 1.
//!
//! Reads nothing; these types *are* the contract. Serialised as `snake_case` JSON, one object per
//! line. Sizes are bytes, durations nanoseconds, times RFC 3339 UTC. A value that is not known is
//! `null`, never 0 or a guess; a value that was inferred says so. Within a schema version fields are
//! only added.

mod container;
mod end;
mod kind;
mod memory;
mod owner;
mod workload;

use std::{fmt, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    container::{ContainerCreation, ContainerDeletion},
    end::{End, EndSource, OomStuck, StuckThread, VictimEnd},
    kind::Kind,
    memory::{
        CgroupMemory, CgroupState, Counter, FiguresSource, Memory, MemoryEvents, MemorySample,
        MemoryStat, MemoryTrend, Pressure, Stall, SystemMemory, TaskRow, TopCgroup, Zone,
    },
    owner::{LimitLevel, Owner, OwnerKind, Pod, Qos, Runtime},
    workload::workload,
};
pub use crate::timestamp::Timestamp;
use crate::{call_trace::CallTrace, text::Comm};

/// Version of this contract, in every event as `schema`.
pub const SCHEMA: u32 = 1;

/// One event as it leaves the agent. `kind` tells which.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind")]
pub enum Event {
    /// One process was killed: emitted at the first trustworthy evidence.
    OomKill(Box<OomKill>),
    /// One decision of the kernel, closed and cross-checked.
    OomInstance(Box<OomInstance>),
    /// A container came.
    ContainerCreation(Box<ContainerCreation>),
    /// A container went.
    ContainerDeletion(Box<ContainerDeletion>),
    /// A victim ended after its report had been told.
    VictimEnd(Box<VictimEnd>),
    /// A victim has not ended in time.
    OomStuck(Box<OomStuck>),
}

impl Event {
    /// Whether it tells of a kill, of what became of its victim, or of what the kernel decided instead.
    #[must_use]
    pub const fn is_of_kill(&self) -> bool {
        !matches!(
            self,
            Self::ContainerCreation(_) | Self::ContainerDeletion(_)
        )
    }

    /// Makes it history: read back from the log of before the agent watched.
    pub fn mark_backfill(&mut self) {
        match self {
            Self::OomKill(kill) => kill.mark_backfill(),
            Self::OomInstance(instance) => {
                instance.backfill = true;
                instance.open_for_ns = None;
                instance.kills.iter_mut().for_each(OomKill::mark_backfill);
            }
            Self::VictimEnd(end) => end.kill.mark_backfill(),
            Self::OomStuck(stuck) => stuck.kill.mark_backfill(),
            Self::ContainerCreation(_) | Self::ContainerDeletion(_) => {}
        }
    }

    /// The decision that it is of.
    #[must_use]
    pub fn instance_id(&self) -> Option<&Arc<str>> {
        match self {
            Self::OomKill(kill) => Some(&kill.instance_id),
            Self::OomInstance(instance) => Some(&instance.id),
            Self::VictimEnd(end) => Some(&end.kill.instance_id),
            Self::OomStuck(stuck) => Some(&stuck.kill.instance_id),
            Self::ContainerCreation(_) | Self::ContainerDeletion(_) => None,
        }
    }
}

/// The alert: one per killed process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OomKill {
    /// Version of this contract.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: u32,
    /// Deterministic: boot id, tgid and start time; boot id and log sequence if only the log saw it.
    pub id: Arc<str>,
    /// `id` of the report that this kill belongs to.
    pub instance_id: Arc<str>,
    /// Wall clock at the kernel's mark (or log line). Null only for a kill from a log that does not
    /// tell it.
    pub time: Option<Timestamp>,
    /// Where `time` is from; null with it.
    pub time_source: Option<TimeSource>,
    /// The same moment on `CLOCK_MONOTONIC`. Null only for a kill from a log that does not tell it.
    pub monotonic_ns: Option<u64>,
    /// `/proc/sys/kernel/random/boot_id`. Null only for a kill from a log that does not tell it.
    pub boot_id: Option<Arc<str>>,
    /// Node name. Null only for a kill from a log that does not tell it.
    pub node: Option<Arc<str>>,
    /// Name of the cluster that the node is of. Absent where the agent was not told one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Arc<str>>,
    /// Who died.
    pub victim: Victim,
    /// What the victim held.
    pub memory: Memory,
    /// The cgroup that the victim's memory was charged to.
    pub cgroup: Option<Cgroup>,
    /// Whose cgroup that is.
    pub owner: Option<Owner>,
    /// Why this process died.
    pub role: Role,
    /// The sources that had seen the kill when this event was emitted.
    pub evidence: Vec<Source>,
    /// From the kernel's mark (or log line) until the event was handed to the outputs.
    pub detection_latency_ns: Option<u64>,
    /// What the `oom_reaper` did with the victim's memory. Null if it had not spoken when the event was
    /// made.
    pub reaper: Option<Reaper>,
    /// How it ended. Null in an alert, which does not wait for that, and if nobody could tell.
    pub end: Option<End>,
    /// It happened before the agent first watched this boot, and was read back from the kernel's log:
    /// history, not an alert. Absent if not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub backfill: bool,
}

impl OomKill {
    fn mark_backfill(&mut self) {
        self.backfill = true;
        // The time until somebody read the log says nothing of detection.
        self.detection_latency_ns = None;
    }
}

/// Where the wall-clock time of an event is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimeSource {
    /// The kernel's own clock, converted on the node while it ran.
    Kernel,
    /// Whoever wrote the log noted it: later than the kill, and as exact as that logger writes.
    Logger,
    /// The log leaves out the year or the time zone; they were assumed.
    Assumed,
}

/// What the `oom_reaper` (4.6+) did with the memory of a victim that had not ended yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reaper {
    /// It took the memory back.
    Reaped,
    /// It could not, and gave up.
    Unable,
    /// The victim ended before it came.
    NotNeeded,
}

/// The process that was killed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Victim {
    /// The process (tgid). Null if only the log spoke, which names a thread, or if the tracepoint
    /// carries only a thread and it was gone.
    pub pid: Option<u32>,
    /// The thread that the kernel names: one that still had the memory.
    pub tid: u32,
    /// The pid in the victim's own pid namespace.
    pub ns_pid: Option<u32>,
    /// Parent process (tgid).
    pub ppid: Option<u32>,
    /// Name of the thread; absent where it could not be read, or is empty.
    #[serde(default, skip_serializing_if = "Comm::is_empty")]
    pub comm: Comm,
    /// Name of the parent.
    pub parent_comm: Option<Comm>,
    /// Real user id.
    pub uid: Option<u32>,
    /// When the process started.
    pub start_time: Option<Timestamp>,
    /// Threads when it was killed.
    pub threads: Option<u32>,
    /// `/proc/<pid>/oom_score_adj`, -1000 to 1000.
    pub oom_score_adj: Option<i16>,
    /// Path of the executable.
    pub exe: Option<String>,
    /// Command line; off by default, for it may hold secrets.
    pub cmdline: Option<String>,
}

/// A memory cgroup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cgroup {
    /// Path from the root of its hierarchy, as `/proc/<pid>/cgroup` shows it on the host.
    pub path: Option<String>,
    /// kernfs id: the inode number of the cgroup's directory.
    pub id: Option<u64>,
    /// Hierarchy version, 1 or 2.
    pub version: Option<u8>,
}

/// Why a process died.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The kernel chose it.
    Chosen,
    /// It shared a cgroup with `memory.oom.group` set with the chosen one.
    GroupMember,
}

/// A source of evidence.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The eBPF programs.
    Bpf,
    /// The kernel log.
    Kmsg,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bpf => "bpf",
            Self::Kmsg => "kmsg",
        })
    }
}

/// The report: one per decision of the kernel.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct OomInstance {
    /// Version of this contract.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: u32,
    /// Deterministic; `instance_id` of its kills.
    pub id: Arc<str>,
    /// Wall clock of the first evidence. Null only for a report from a log that does not tell it.
    pub time: Option<Timestamp>,
    /// Where `time` is from; null with it.
    pub time_source: Option<TimeSource>,
    /// The same moment on `CLOCK_MONOTONIC`. Null only for a report from a log that does not tell it.
    pub monotonic_ns: Option<u64>,
    /// `/proc/sys/kernel/random/boot_id`. Null only for a report from a log that does not tell it.
    pub boot_id: Option<Arc<str>>,
    /// Node name. Null only for a report from a log that does not tell it.
    pub node: Option<Arc<str>>,
    /// Name of the cluster that the node is of. Absent where the agent was not told one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Arc<str>>,
    /// Release of the kernel, as its report names it (`6.12.9+deb13-cloud-amd64`).
    pub kernel: Option<String>,
    /// What ran out. Null where no source could tell.
    pub scope: Option<Scope>,
    /// The kernel's `enum oom_constraint` by name.
    pub constraint: Option<Constraint>,
    /// Who asked for the memory.
    pub trigger: Option<Trigger>,
    /// The limit that was hit; null when the scope is not `memcg` or it is not known.
    pub limit: Option<Limit>,
    /// The cgroups of the first victim, its own first, each against its limit at the kernel's mark. Empty if only the
    /// log spoke; where the last one is not the root, the tree is deeper than is read.
    #[serde(default)]
    pub levels: Vec<CgroupLevel>,
    /// How it ended. Null if the kernel decided, and what would tell the end was lost.
    pub outcome: Option<Outcome>,
    /// Whether the kernel killed a whole cgroup (`memory.oom.group`). Null where no source could tell.
    pub group_kill: Option<bool>,
    /// Every process that was killed, final.
    pub kills: Vec<OomKill>,
    /// What the cgroup whose limit was hit held, with all below it. Null if nobody told.
    pub limit_memory: Option<CgroupMemory>,
    /// Where `limit_memory` is from; null with it.
    pub limit_memory_source: Option<FiguresSource>,
    /// What the whole machine held. Null if nobody told; the kernel prints it when the machine, or
    /// some of its nodes, ran out.
    pub system_memory: Option<SystemMemory>,
    /// Where `system_memory` is from; null with it.
    pub system_memory_source: Option<FiguresSource>,
    /// What the memory of the limit's cgroup (of the victim's, if that was not recorded) did before the
    /// kill, oldest first; empty where it was not recorded.
    pub memory_history: Vec<MemorySample>,
    /// What that history says in short; null with an empty one.
    pub memory_trend: Option<MemoryTrend>,
    /// Counters and pressure of the limit's cgroup. Null if the cgroup was gone, or could not be read in
    /// time.
    pub limit_state: Option<CgroupState>,
    /// Where the machine ran out: the cgroups that held the most, the largest first.
    pub top_cgroups: Vec<TopCgroup>,
    /// The processes of the limit's cgroup (of the machine): the table that the kernel printed, or what
    /// was left of them right after the kill.
    pub tasks: Vec<TaskRow>,
    /// Where `tasks` is from; null if it is empty.
    pub tasks_source: Option<FiguresSource>,
    /// Rows of that table that are not in `tasks`: too many, or not understood.
    pub tasks_dropped: u32,
    /// What each source said, and where they differ.
    pub crosscheck: Crosscheck,
    /// From the first evidence until this report was closed. Null for a report from a log that was read
    /// afterwards.
    pub open_for_ns: Option<u64>,
    /// It happened before the agent first watched this boot, and was read back from the kernel's log:
    /// history, not an alert. Absent if not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub backfill: bool,
}

/// What ran out of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// A memory cgroup reached its limit.
    Memcg,
    /// The whole machine.
    System,
    /// The nodes that a cpuset allows.
    Cpuset,
    /// The nodes that a memory policy allows.
    Mempolicy,
    /// Somebody asked for it with sysrq-f.
    Sysrq,
}

/// `enum oom_constraint` (include/linux/oom.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Constraint {
    /// No constraint: the whole machine.
    #[serde(rename = "CONSTRAINT_NONE")]
    None,
    /// A cpuset.
    #[serde(rename = "CONSTRAINT_CPUSET")]
    Cpuset,
    /// A NUMA memory policy.
    #[serde(rename = "CONSTRAINT_MEMORY_POLICY")]
    MemoryPolicy,
    /// A memory cgroup.
    #[serde(rename = "CONSTRAINT_MEMCG")]
    Memcg,
}

/// The task that asked for the memory. It need not be the victim.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Trigger {
    /// Process (tgid); null if only the log spoke (it names a thread).
    pub pid: Option<u32>,
    /// Thread.
    pub tid: Option<u32>,
    /// Process name.
    pub comm: Option<Comm>,
    /// Memory cgroup of the trigger.
    pub cgroup: Option<String>,
    /// `gfp_t` of the allocation, as a number (its bits differ between kernels).
    pub gfp_mask: Option<u32>,
    /// The same, as the kernel's log names it.
    pub gfp_flags: Option<String>,
    /// The allocation asked for 2^order pages.
    pub order: Option<i32>,
    /// `oom_score_adj` of the trigger.
    pub oom_score_adj: Option<i16>,
    /// What was being allocated, from the kernel stack.
    pub allocation: Option<Allocation>,
    /// The CPU that it ran on.
    pub cpu: Option<u32>,
    /// Functions of its kernel stack as the log names them, the innermost first; empty if the log has
    /// none.
    pub call_trace: CallTrace,
}

/// What was being allocated when memory ran out, named from the kernel stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Allocation {
    /// A page fault on anonymous memory.
    AnonPageFault,
    /// A page fault on a file mapping.
    FilePageFault,
    /// Copy on write.
    CopyOnWrite,
    /// A page read or written through the page cache.
    PageCache,
    /// Shared memory or tmpfs.
    Shmem,
    /// Kernel objects charged to the cgroup.
    Slab,
    /// Page tables.
    PageTable,
    /// A page coming back from swap.
    SwapIn,
    /// Socket buffers.
    Socket,
    /// A transparent or explicit huge page.
    HugePage,
    /// `vmalloc`, kernel stacks and the like.
    Vmalloc,
    /// Lowering the limit below what was in use.
    LimitWrite,
    /// Other kernel memory.
    OtherKernel,
}

/// The limit that was hit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Limit {
    /// The cgroup whose limit it is: the victim's own or one above it.
    pub cgroup: Cgroup,
    /// Which level of the tree that is, by its path. Null if the path is not known.
    pub level: Option<LimitLevel>,
    /// The limit.
    pub limit_bytes: Option<u64>,
    /// What was charged to it at that moment.
    pub usage_bytes: Option<u64>,
    /// How often the limit had been hit.
    pub failcnt: Option<u64>,
    /// How this is known.
    pub source: LimitSource,
}

/// One level of the tree above a victim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CgroupLevel {
    /// Which cgroup.
    pub cgroup: Cgroup,
    /// Which level of the tree that is, by its path. Null if the path is not known.
    pub level: Option<LimitLevel>,
    /// Charged to it and all below it. Null, as what follows, where the memory controller is not enabled or nothing
    /// could be read.
    pub usage_bytes: Option<u64>,
    /// Its limit; null also where there is none.
    pub limit_bytes: Option<u64>,
    /// How often the limit had been hit.
    pub failcnt: Option<u64>,
}

/// How the limit is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LimitSource {
    /// Read from the kernel's decision.
    OomControl,
    /// Named by the kernel log.
    Kmsg,
    /// The level whose usage stood at its limit.
    Inferred,
}

/// How a decision ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// At least one process was killed.
    Killed,
    /// The task that the kernel would have killed was exiting already: marked, not killed.
    AlreadyExiting,
    /// Nothing could be killed.
    NoVictim,
    /// The kernel panicked (`vm.panic_on_oom`).
    Panic,
}

/// What each source said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Crosscheck {
    /// Kills of this instance that BPF saw; null when that source was down.
    pub bpf_kills: Option<u32>,
    /// Distinct kills of this instance that the log named; null when that source was down.
    pub kmsg_kills: Option<u32>,
    /// Further log lines for victims already killed (group kills name the first victim twice).
    pub repeats: u32,
    /// How much of its report the kernel wrote to the log.
    pub kmsg_report: KmsgReportState,
    /// Fields on which the sources disagree.
    pub mismatches: Vec<Mismatch>,
}

/// How much of its report the kernel wrote to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KmsgReportState {
    /// Header, summary and kill line.
    Full,
    /// A part of it: the rest was lost on the way, or is not in the log that was read.
    Partial,
    /// The kill line alone, as where the kernel's rate limit (10 reports in 5 s) swallows the rest.
    Suppressed,
    /// Nothing: not readable, or lost before it was read.
    Absent,
}

/// A field on which the sources disagree; the BPF value is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Mismatch {
    /// Dotted name of the field.
    pub field: String,
    /// What BPF read.
    pub bpf: serde_json::Value,
    /// What the log said.
    pub kmsg: serde_json::Value,
}

/// The JSON Schema of [`Event`], generated from these types.
#[must_use]
pub fn json_schema() -> schemars::Schema {
    schemars::schema_for!(Event)
}

#[cfg(test)]
impl OomInstance {
    /// A closed report of which nothing is known.
    pub(crate) fn for_tests(kills: Vec<OomKill>) -> Self {
        Self {
            schema: SCHEMA,
            id: "instance".into(),
            time: Some(Timestamp::from_unix_ns(0)),
            time_source: Some(TimeSource::Kernel),
            monotonic_ns: Some(0),
            boot_id: Some("boot".into()),
            node: Some("node".into()),
            cluster: None,
            kernel: None,
            scope: None,
            constraint: None,
            trigger: None,
            limit: None,
            levels: Vec::new(),
            outcome: Some(Outcome::Killed),
            group_kill: None,
            kills,
            limit_memory: None,
            limit_memory_source: None,
            system_memory: None,
            system_memory_source: None,
            memory_history: Vec::new(),
            memory_trend: None,
            limit_state: None,
            top_cgroups: Vec::new(),
            tasks: Vec::new(),
            tasks_source: None,
            tasks_dropped: 0,
            crosscheck: Crosscheck {
                bpf_kills: None,
                kmsg_kills: None,
                repeats: 0,
                kmsg_report: KmsgReportState::Full,
                mismatches: Vec::new(),
            },
            open_for_ns: None,
            backfill: false,
        }
    }
}

#[cfg(test)]
impl OomKill {
    /// A kill of which nothing is known.
    pub(crate) fn for_tests() -> Self {
        Self {
            schema: SCHEMA,
            id: "id".into(),
            instance_id: "instance".into(),
            time: Some(Timestamp::from_unix_ns(0)),
            time_source: Some(TimeSource::Kernel),
            monotonic_ns: Some(0),
            boot_id: Some("boot".into()),
            node: Some("node".into()),
            cluster: None,
            victim: Victim::default(),
            memory: Memory::default(),
            cgroup: None,
            owner: None,
            role: Role::Chosen,
            evidence: Vec::new(),
            detection_latency_ns: None,
            reaper: None,
            end: None,
            backfill: false,
        }
    }
}
