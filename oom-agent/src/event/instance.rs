//! The report: [`OomInstance`], one decision of the kernel.
//!
//! Reads nothing: a part of the contract.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    CgroupLevel, CgroupMemory, CgroupState, Crosscheck, FiguresSource, Limit, MemorySample,
    MemoryTrend, OomKill, SCHEMA, SystemMemory, TaskRow, TimeSource, Timestamp, TopCgroup, Trigger,
};

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
                kmsg_report: super::KmsgReportState::Full,
                mismatches: Vec::new(),
            },
            open_for_ns: None,
            backfill: false,
        }
    }
}
