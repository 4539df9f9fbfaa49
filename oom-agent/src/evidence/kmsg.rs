//! What the kernel log said.
//!
//! Emitted by `source::kmsg`, and by `offline` of kept logs; read by `correlate`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::Charge;
use crate::{
    call_trace::CallTrace,
    event::{
        Allocation, CgroupMemory, Constraint, Memory, Reaper, Role, Scope, SystemMemory, TaskRow,
    },
    text::Comm,
};

/// One thing that the kernel log said about OOM.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum KmsgEvidence {
    /// "Killed process": one kill, never rate-limited by the kernel.
    Killed(Box<KmsgKill>),
    /// "Tasks in X are going to be killed due to memory.oom.group set".
    GroupKill {
        /// [`KmsgKill::decision`].
        decision: u64,
        /// Sequence number of the record.
        seq: u64,
        /// `CLOCK_MONOTONIC`.
        monotonic_ns: u64,
        /// The cgroup that dies as one.
        cgroup: String,
    },
    /// "OOM victim N (comm) is already exiting. Skip killing the task".
    AlreadyExiting {
        /// Where it says so.
        end: KmsgEnd,
        /// Thread.
        tid: u32,
        /// Name.
        comm: Comm,
    },
    /// "Out of memory and no killable processes...".
    NoVictim(KmsgEnd),
    /// `compulsory` or `system-wide panic_on_oom is enabled`, or a panic because nobody could be killed.
    Panic(KmsgEnd),
    /// `oom_reaper: reaped process` or `unable to reap`.
    Reaped {
        /// `CLOCK_MONOTONIC`.
        monotonic_ns: u64,
        /// Thread.
        tid: u32,
        /// Whether its memory was taken back.
        reaped: bool,
        /// What was left of it, where it was.
        #[serde(default)]
        left_bytes: Option<u64>,
    },
    /// `oom_kill_process: N callbacks suppressed`: the kernel swallowed N reports.
    Suppressed {
        /// How many.
        reports: u64,
    },
    /// Reports that ended without the line that closes them.
    Abandoned {
        /// How many.
        reports: u64,
    },
    /// Records that were overwritten before they were read.
    Lost {
        /// How many, from the gap in sequence numbers.
        records: u64,
    },
    /// An OOM-looking record that the kernel did not write (its facility is not the kernel's), or a
    /// kill line at a level that the kernel does not print kills with: text that a user chose, at the
    /// end of some other line of the kernel.
    Forged {
        /// Sequence number of the record.
        seq: u64,
    },
    /// A record, or an OOM line in one, that could not be understood.
    Malformed {
        /// Sequence number, if there was one.
        seq: Option<u64>,
    },
}

/// The end of a decision that killed nobody.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KmsgEnd {
    /// [`KmsgKill::decision`].
    pub decision: u64,
    /// Sequence number of the record.
    pub seq: u64,
    /// `CLOCK_MONOTONIC`.
    pub monotonic_ns: u64,
    /// The report it closes, if there was one.
    pub report: Option<Arc<KmsgReport>>,
}

/// A "Killed process" line and what the report around it told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KmsgKill {
    /// Number of the first record of the decision that this kill is of: what has the same number was
    /// decided at once.
    pub decision: u64,
    /// Sequence number of the record: with the boot id, its identity.
    pub seq: u64,
    /// `CLOCK_MONOTONIC` (the log's own clock, microseconds).
    pub monotonic_ns: u64,
    /// The thread that the kernel names.
    pub tid: u32,
    /// Its name.
    pub comm: Comm,
    /// Real uid (5.4+).
    pub uid: Option<u32>,
    /// `oom_score_adj` (5.4+).
    pub oom_score_adj: Option<i16>,
    /// What it held.
    pub memory: Memory,
    /// Chosen, or a member of the group that the last [`KmsgEvidence::GroupKill`] named.
    pub role: Role,
    /// What ran out, by the words before the kill (before 5.1 before the choice). They tell only
    /// `memcg` from `system`, and count nodes that a cpuset or a policy allows as `system`.
    pub scope: Option<Scope>,
    /// The cgroup of the group kill that this line belongs to.
    pub group: Option<String>,
    /// Header and summary; `None` if the kernel suppressed them or they were lost.
    pub report: Option<Arc<KmsgReport>>,
    /// A child died for the task that was chosen (before 5.1): the report's victim is another, and so
    /// may be its cgroup.
    pub sacrificed: bool,
    /// What the `oom_reaper` has said of it since; filled in while the line waits for its mark.
    pub reaper: Option<Reaper>,
    /// What it has left.
    #[serde(default)]
    pub reaper_left_bytes: Option<u64>,
}

/// What the kernel prints before a kill when its rate limit allows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct KmsgReport {
    /// Sequence number of the header, or of the first line seen of a truncated report.
    pub seq: u64,
    /// `CLOCK_MONOTONIC` of that line.
    pub monotonic_ns: u64,
    /// Whether both the header and the summary were seen; before 5.0, or where there is no victim, the
    /// line that stands for the summary.
    pub complete: bool,
    /// Name of the task that asked.
    pub trigger_comm: Option<Comm>,
    /// Thread id of the task that asked, from the `CPU: … PID:` line.
    pub trigger_tid: Option<u32>,
    /// `gfp_mask`.
    pub gfp_mask: Option<u32>,
    /// `gfp_mask` in the kernel's words.
    pub gfp_flags: Option<String>,
    /// Allocation order; -1 is sysrq.
    pub order: Option<i32>,
    /// `oom_score_adj` of the trigger.
    pub trigger_oom_score_adj: Option<i16>,
    /// `constraint=`.
    pub constraint: Option<Constraint>,
    /// What ran out where the constraint is not said, by the other lines; as coarse as
    /// [`KmsgKill::scope`].
    pub scope: Option<Scope>,
    /// Whether the summary says `global_oom`.
    pub global: bool,
    /// `oom_memcg=`: whose limit was hit.
    pub oom_memcg: Option<String>,
    /// `task_memcg=`: the victim's cgroup.
    pub task_memcg: Option<String>,
    /// `task=`.
    pub victim_comm: Option<Comm>,
    /// `pid=`: a thread id.
    pub victim_tid: Option<u32>,
    /// `uid=`.
    pub victim_uid: Option<u32>,
    /// `memory: usage …kB, limit …kB, failcnt …` of the limit's cgroup.
    pub limit: Option<Charge>,
    /// All that the report says of the memory of the limit's cgroup.
    pub limit_memory: Option<CgroupMemory>,
    /// `Mem-Info`.
    pub system_memory: Option<SystemMemory>,
    /// The CPU of the `CPU: … PID:` line.
    pub trigger_cpu: Option<u32>,
    /// The kernel's release, from the same line.
    pub kernel: Option<String>,
    /// Functions of the trigger's kernel stack, the innermost first.
    pub call_trace: CallTrace,
    /// What was being allocated, from that stack.
    pub allocation: Option<Allocation>,
    /// The process table.
    pub tasks: Vec<TaskRow>,
    /// Rows of it that were not kept: too many, or not understood.
    pub tasks_dropped: u32,
}

impl KmsgReport {
    /// Whether a thread is one of its victim: the kernel names one that still has memory, and the table
    /// has both.
    #[must_use]
    pub fn names(&self, tid: u32) -> bool {
        let of_victim = |task: &TaskRow| task.pid == tid && Some(task.tgid) == self.victim_tid;
        self.victim_tid == Some(tid) || self.tasks.iter().any(of_victim)
    }
}
