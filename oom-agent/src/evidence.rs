//! Evidence: what one source saw, before anyone compares it with the other.
//!
//! Emitted by `source::{bpf,kmsg,audit,memory,victim}` and read by `correlate`; by `source::cgroup` and read by
//! `attribute`. A source turns bytes into these values and knows nothing of other sources; what it
//! could not read is `None`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::{
    call_trace::CallTrace,
    event::{
        Allocation, Cgroup, CgroupMemory, CgroupState, Constraint, Memory, MemorySample,
        MemoryTrend, Reaper, Role, Runtime, Scope, StuckThread, SystemMemory, TaskRow, TopCgroup,
        Victim,
    },
    text::Comm,
};

/// One observation of one source.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Evidence {
    /// BPF: the kernel decided on a victim (entry of `oom_kill_process`).
    Decision(Box<Decision>),
    /// BPF: the kernel marked a task as an OOM victim (`oom:mark_victim`).
    Mark(Box<Mark>),
    /// BPF: records that the ring had no room for, known from a gap in their numbers.
    RingGap {
        /// How many.
        lost: u64,
    },
    /// The kernel log.
    Kmsg(KmsgEvidence),
    /// The kernel log: its records up to this one have become evidence, or said nothing.
    LogRead {
        /// Its number.
        through: u64,
    },
    /// `/proc/vmstat oom_kill`: all kills since boot.
    Counter {
        /// Its value.
        oom_kill: u64,
        /// When it was read, `CLOCK_MONOTONIC`.
        read_ns: u64,
    },
    /// A source came up, went down or never was.
    SourceState {
        /// Which.
        source: Feed,
        /// Whether it delivers now.
        up: bool,
    },
    /// The tree of memory cgroups, and whose they are.
    Cgroup(Box<CgroupEvidence>),
    /// What the memory of a decision's cgroup did, and was right after it.
    Memory(Box<MemoryEvidence>),
    /// What becomes of a victim.
    Victim(Box<VictimEvidence>),
}

/// What reports wait for, as long as it is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Feed {
    /// The eBPF programs.
    Bpf,
    /// The kernel log.
    Kmsg,
    /// The flight recorder.
    Memory,
    /// Who waits for victims to end.
    Victims,
}

/// One thing that was seen of a victim after its mark. Moments are on `CLOCK_MONOTONIC`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum VictimEvidence {
    /// BPF: its last thread ended, or one of the last that ended at once.
    Exited {
        /// Process.
        pid: u32,
        /// `start_boottime` of its leader.
        start_boottime_ns: u64,
        /// When.
        monotonic_ns: u64,
        /// What was resident still; `None` where the thread has yet to let go of its memory.
        left_bytes: Option<u64>,
    },
    /// BPF: all its memory is unmapped.
    Freed {
        /// Process.
        pid: u32,
        /// `start_boottime` of its leader.
        start_boottime_ns: u64,
        /// When.
        monotonic_ns: u64,
    },
    /// BPF: the `oom_reaper` begins.
    Reaping {
        /// Thread.
        tid: u32,
        /// When.
        monotonic_ns: u64,
    },
    /// BPF: the `oom_reaper` stops, done or not.
    Reaped {
        /// Thread.
        tid: u32,
        /// When.
        monotonic_ns: u64,
    },
    /// A watch is over: the process is gone.
    Gone {
        /// Id of the kill.
        kill: Arc<str>,
        /// The number that the watch had.
        tid: u32,
        /// When that was seen.
        monotonic_ns: u64,
        /// It was gone when the watch began.
        at_most: bool,
        /// All that the reaper did up to then has been told.
        tells_reaper: bool,
    },
    /// A watch that could not be kept.
    Unwatched {
        /// BPF will tell of the end all the same.
        kernel_tells: bool,
        /// Id of the kill.
        kill: Arc<str>,
        /// The number that the watch had.
        tid: u32,
    },
    /// It has not ended in time.
    Alive {
        /// Id of the kill.
        kill: Arc<str>,
        /// The number that the watch has.
        tid: u32,
        /// When it was looked at.
        monotonic_ns: u64,
        /// The thread that looks most stuck.
        thread: Option<StuckThread>,
        /// Threads.
        threads: Option<u32>,
        /// Of them in an uninterruptible sleep.
        uninterruptible: Option<u32>,
        /// What it has resident.
        held_bytes: Option<u64>,
    },
}

impl VictimEvidence {
    /// The process or thread that it names.
    #[must_use]
    pub const fn number(&self) -> u32 {
        match self {
            Self::Exited { pid, .. } | Self::Freed { pid, .. } => *pid,
            Self::Reaping { tid, .. }
            | Self::Reaped { tid, .. }
            | Self::Gone { tid, .. }
            | Self::Unwatched { tid, .. }
            | Self::Alive { tid, .. } => *tid,
        }
    }
}

/// One thing that the watch of cgroups saw or found out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CgroupEvidence {
    /// A cgroup is there, or was when it was looked at.
    Known(KnownCgroup),
    /// A cgroup was removed.
    Removed {
        /// Its path.
        path: Arc<str>,
        /// kernfs id.
        id: Option<u64>,
        /// `CLOCK_MONOTONIC`.
        monotonic_ns: u64,
        /// Of the container that it was, where its runtime leaves that on disk.
        exit_code: Option<i32>,
    },
    /// A cgroup, with all below it, has another name (version 1 only).
    Renamed {
        /// Its path before.
        from: Arc<str>,
        /// Its path now.
        path: Arc<str>,
        /// kernfs id.
        id: Option<u64>,
        /// `CLOCK_MONOTONIC`.
        monotonic_ns: u64,
    },
    /// A scan of the whole tree is complete: what it did not find was removed, if it was known before.
    Scanned {
        /// When the scan began, `CLOCK_MONOTONIC`.
        began_ns: u64,
    },
    /// Events of the watch were lost; a scan follows.
    Lost {
        /// How many; `None` if that is not known either.
        events: Option<u64>,
    },
}

/// A cgroup of the memory controller's hierarchy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KnownCgroup {
    /// Path from the root of the hierarchy, as the kernel prints it.
    pub path: Arc<str>,
    /// kernfs id; unknown only where somebody asked for a path that was gone.
    pub id: Option<u64>,
    /// Version of the hierarchy.
    pub version: u8,
    /// `CLOCK_MONOTONIC`: when it was made, or, if that was not seen, looked at.
    pub monotonic_ns: u64,
    /// How it came to be known.
    pub found: Found,
    /// What its runtime has left on disk about it.
    pub lookup: Lookup,
}

/// How a cgroup came to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Found {
    /// Its creation was seen.
    Created,
    /// By the scan at the start.
    AtStart,
    /// By a scan after events had been lost.
    Late,
    /// It was known, or asked for, and looked up once more.
    LookedUp,
}

/// What was found on disk about a cgroup's owner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Lookup {
    /// Not looked for: the path says all.
    NotNeeded,
    /// Nothing there. It may come: some runtimes write only after they have made the cgroup.
    Absent,
    /// Something is there, and cannot be used.
    Unreadable(Unreadable),
    /// Found.
    Found(Arc<Names>),
}

/// Why a runtime's file is not used. Each is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Unreadable {
    /// Permission denied, or an error of the disk.
    Refused,
    /// Not a regular file, or reached through a link that leads out of its place.
    NotAFile,
    /// Larger than any runtime writes.
    TooLarge,
    /// Not JSON, not UTF-8, or not of the form that the runtime writes.
    Malformed,
    /// It speaks of another container or cgroup.
    Mismatch,
}

/// What a runtime calls a container. What it does not say is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// Its id, also where that cannot be told from the cgroup's path.
    pub container_id: Option<String>,
    /// The runtime.
    pub runtime: Option<Runtime>,
    /// Name of the container. `None` for a pod's sandbox.
    pub container_name: Option<String>,
    /// Image, as it was asked for.
    pub image: Option<String>,
    /// Its pod.
    pub pod: Option<PodNames>,
    /// It is the sandbox (the `pause` container) of its pod.
    pub sandbox: bool,
}

/// What a runtime calls a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodNames {
    /// Namespace.
    pub namespace: Option<String>,
    /// Name.
    pub name: Option<String>,
    /// Uid.
    pub uid: Option<String>,
}

/// The answer to a wish ([`crate::correlate::Wish`]).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MemoryEvidence {
    /// Id of the instance that it was asked for.
    pub instance: Arc<str>,
    /// Readings of before the kill, oldest first, with what they say in short.
    pub history: Option<(Vec<MemorySample>, MemoryTrend)>,
    /// Of the limit's cgroup, or the victim's.
    pub state: Option<CgroupState>,
    /// What the limit's cgroup held.
    pub limit_memory: Option<CgroupMemory>,
    /// What the machine held; only if it ran out.
    pub system_memory: Option<SystemMemory>,
    /// Who held the most; only if the machine ran out.
    pub top: Vec<TopCgroup>,
    /// Processes of the cgroup (of the machine).
    pub tasks: Vec<TaskRow>,
    /// Of them not kept.
    pub tasks_dropped: u32,
}

/// `oom:mark_victim`, as the kernel side read it at that instant.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Mark {
    /// Number among all records of the kernel side.
    pub seq: u64,
    /// `CLOCK_MONOTONIC` of the mark.
    pub monotonic_ns: u64,
    /// Who was marked. Only `tid` is certain where the tracepoint carries nothing else.
    pub victim: Victim,
    /// `task_struct.start_boottime`: with the pid, the identity of a process within one boot.
    pub start_boottime_ns: Option<u64>,
    /// What it held.
    pub memory: Memory,
    /// The victim's cgroups, its own first, the root last.
    pub levels: Vec<Level>,
    /// The tree is deeper than `levels`: what is above them is not known.
    pub levels_cut: bool,
    /// Version of the hierarchy that `levels` is from.
    pub cgroup_version: Option<u8>,
    /// The task in whose context the kernel did it.
    pub asker: Asker,
    /// Whether the mark is a kill.
    pub verdict: Verdict,
    /// Scope, as far as the stack tells.
    pub scope: Option<Scope>,
    /// Role, as far as the stack tells.
    pub role: Option<Role>,
    /// What was being allocated, as far as the stack tells.
    pub allocation: Option<Allocation>,
}

impl Mark {
    /// The memory cgroup that the victim was charged to.
    #[must_use]
    pub fn memcg(&self) -> Option<&Level> {
        self.levels.iter().find(|level| level.memcg)
    }
}

/// What the kernel stack at the mark says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// `__oom_kill_process` is on the stack.
    Kill,
    /// The task was exiting already; nothing was killed.
    MarkOnly,
    /// No stack, no symbols, or the function was inlined.
    #[default]
    Unknown,
}

/// One level of the victim's cgroup path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    /// kernfs id.
    pub id: u64,
    /// Path from the root of the hierarchy; `None` if its name could not be read.
    pub path: Option<String>,
    /// Whether the memory controller is enabled on this level.
    pub memcg: bool,
    /// Its counters; `None` where it is not enabled or they could not be read.
    pub charge: Option<Charge>,
}

/// `struct page_counter` of one memory cgroup, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// Charged now.
    pub usage_bytes: u64,
    /// Limit; `None` where there is none.
    pub limit_bytes: Option<u64>,
    /// Times the limit was hit.
    pub failcnt: u64,
    /// `memory.oom.group`.
    pub oom_group: Option<bool>,
}

/// The task that asked for memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asker {
    /// Process.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// Name.
    pub comm: Comm,
    /// `oom_score_adj`.
    pub oom_score_adj: Option<i16>,
    /// Memory cgroup path.
    pub cgroup: Option<String>,
}

/// `struct oom_control` at the entry of `oom_kill_process`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Decision {
    /// Number among all records of the kernel side.
    pub seq: u64,
    /// `CLOCK_MONOTONIC`.
    pub monotonic_ns: u64,
    /// The task that asked.
    pub asker: Asker,
    /// Why the choice was constrained.
    pub constraint: Option<Constraint>,
    /// `gfp_t`.
    pub gfp_mask: u32,
    /// Allocation order; -1 is sysrq.
    pub order: i32,
    /// `oom_control.totalpages` in bytes: the limit (or RAM and swap), never the usage.
    pub total_bytes: u64,
    /// Badness of the chosen task, in pages.
    pub points: i64,
    /// The cgroup whose limit was hit and its counters; `None` for the whole machine.
    pub limit: Option<(Cgroup, Charge)>,
    /// Thread and process of the chosen task.
    pub chosen: (u32, u32),
    /// The chosen task in full, as a mark would describe it.
    pub chosen_task: Option<Box<Mark>>,
}

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
