//! [`Record`]: one observation of the kernel side. `repr(C)`, no implicit padding.

use crate::{COMM_LEN, MAX_LEVELS, NAMES_LEN, STACK_DEPTH};

/// What a record is: [`Record::kind`].
pub mod kind {
    /// `oom:mark_victim`: [`super::Record::task`] is the victim.
    pub const MARK: u16 = 1;
    /// Entry of `oom_kill_process`: [`super::Record::task`] is the chosen task,
    /// [`super::Record::oom`] the decision.
    pub const DECISION: u16 = 2;
    /// Self-check at start: [`super::Record::task`] is the agent itself.
    pub const SELF_CHECK: u16 = 3;
}

/// Bits of [`Record::flags`]: which parts of a record mean anything.
pub mod flags {
    /// `task` was read from a `task_struct`. Without it only `task.tid` is valid.
    pub const TASK: u32 = 1 << 0;
    /// `task` had a memory map, so its sizes mean something.
    pub const MM: u32 = 1 << 1;
    /// `oom` is filled in.
    pub const OOM: u32 = 1 << 2;
    /// `oom.memcg_id` and its counters are filled in: a memory cgroup's limit was hit.
    pub const OOM_MEMCG: u32 = 1 << 3;
    /// The cgroup hierarchy of `levels` is version 2.
    pub const CGROUP_V2: u32 = 1 << 4;
    /// The tree is deeper than what was walked.
    pub const LEVELS_CUT: u32 = 1 << 5;
    /// A cgroup name could not be read or had no room; the names end before it.
    pub const NAMES_CUT: u32 = 1 << 6;
    /// `task.ns_pid` is filled in.
    pub const NS_PID: u32 = 1 << 7;
    /// The asker's `cgroup_id` and `oom_score_adj` are filled in.
    pub const ASKER_TASK: u32 = 1 << 8;
    /// The same as [`NAMES_CUT`], for the asker's names.
    pub const ASKER_NAMES_CUT: u32 = 1 << 9;
    /// `task` comes from the fields of the classic tracepoint: `tid`, `comm`, `uid`,
    /// `oom_score_adj` and the sizes, which are in kB.
    pub const CLASSIC: u32 = 1 << 10;
}

/// Bits of [`Level::flags`].
pub mod level_flags {
    /// The memory controller is enabled here: the counters mean something.
    pub const MEMCG: u64 = 1 << 0;
    /// `memory.oom.group` is set.
    pub const OOM_GROUP: u64 = 1 << 1;
    /// Whether `memory.oom.group` is set is known.
    pub const OOM_GROUP_KNOWN: u64 = 1 << 2;
    /// The memory controller is enabled here, but its counters could not be read.
    pub const COUNTERS_UNKNOWN: u64 = 1 << 3;
}

/// Indices of the per-CPU counters of the kernel side.
pub mod stat {
    /// Program runs that had something to report.
    pub const SEEN: u32 = 0;
    /// Records that the ring had no room for.
    pub const DROPPED: u32 = 1;
    /// Reads of kernel memory that failed.
    pub const READ_FAILED: u32 = 2;
    /// How many counters there are.
    pub const COUNT: u32 = 3;
}

/// One observation. Only the first `names_len` bytes of `names` are sent.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Record {
    /// [`crate::WIRE_VERSION`].
    pub version: u16,
    /// See [`kind`].
    pub kind: u16,
    /// See [`flags`].
    pub flags: u32,
    /// Numbers every record of the kernel side, those that found no room too: a gap is a loss.
    pub seq: u64,
    /// `CLOCK_MONOTONIC`, ns.
    pub time_ns: u64,
    /// The task in whose context the kernel runs.
    pub asker: Asker,
    /// The task that the record is about.
    pub task: Task,
    /// The kernel's decision.
    pub oom: Oom,
    /// The cgroup levels of `task`, its own first; `level_count` of them are valid.
    pub levels: [Level; MAX_LEVELS],
    /// Return addresses, innermost first; `stack_len` bytes of them are valid.
    pub stack: [u64; STACK_DEPTH],
    /// Valid entries of `levels`.
    pub level_count: u32,
    /// Levels of the asker's cgroup whose names follow those of `levels`.
    pub asker_level_count: u32,
    /// Bytes of `stack`; 0 if the kernel gave none.
    pub stack_len: u32,
    /// Bytes of `names`.
    pub names_len: u32,
    /// NUL-terminated cgroup names: one for each of `levels`, then the asker's. The root's is empty.
    pub names: [u8; NAMES_LEN],
}

/// The task in whose context the kernel runs: the one that asked for memory, never the victim as such.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Asker {
    /// Process.
    pub tgid: u32,
    /// Thread.
    pub tid: u32,
    /// Name.
    pub comm: [u8; COMM_LEN],
    /// kernfs id of its memory cgroup.
    pub cgroup_id: u64,
    /// `signal_struct.oom_score_adj`.
    pub oom_score_adj: i32,
    /// Always 0.
    pub reserved: u32,
}

/// A `task_struct`. Sizes in pages unless the name says bytes.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Task {
    /// Thread.
    pub tid: u32,
    /// Process.
    pub tgid: u32,
    /// The process in its own pid namespace.
    pub ns_pid: u32,
    /// Parent process.
    pub ppid: u32,
    /// Real uid in the initial user namespace.
    pub uid: u32,
    /// `signal_struct.nr_threads`.
    pub threads: u32,
    /// `signal_struct.oom_score_adj`.
    pub oom_score_adj: i32,
    /// Always 0.
    pub reserved: u32,
    /// `task_struct.start_boottime` of the group leader, ns.
    pub start_boottime_ns: u64,
    /// Name of the thread.
    pub comm: [u8; COMM_LEN],
    /// Name of the parent.
    pub parent_comm: [u8; COMM_LEN],
    /// `mm_struct.total_vm`.
    pub total_vm: u64,
    /// `mm_struct.rss_stat`: file, anonymous, swap entries, shared memory. May be slightly negative.
    pub rss: [i64; 4],
    /// `mm_struct.hiwater_rss`.
    pub hiwater_rss: u64,
    /// `mm_struct.pgtables_bytes`.
    pub pgtables_bytes: u64,
}

/// `struct oom_control` (include/linux/oom.h). Sizes in pages.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Oom {
    /// kernfs id of the cgroup whose limit was hit.
    pub memcg_id: u64,
    /// Its `memory.usage`.
    pub usage: u64,
    /// Its `memory.max`.
    pub max: u64,
    /// Its `memory.failcnt`.
    pub failcnt: u64,
    /// The limit, or RAM and swap: never the usage.
    pub totalpages: u64,
    /// Badness of the chosen task.
    pub points: i64,
    /// `gfp_t`.
    pub gfp_mask: u32,
    /// -1 is sysrq.
    pub order: i32,
    /// `enum oom_constraint`.
    pub constraint: u32,
    /// Always 0.
    pub reserved: u32,
}

/// One level of the cgroup tree; counters in pages.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Level {
    /// kernfs id.
    pub id: u64,
    /// `page_counter.usage`.
    pub usage: u64,
    /// `page_counter.max`.
    pub max: u64,
    /// `page_counter.failcnt`.
    pub failcnt: u64,
    /// See [`level_flags`].
    pub flags: u64,
}

impl Record {
    /// Bytes of a record without names: the least that is ever sent.
    pub const FIXED_LEN: usize = core::mem::offset_of!(Self, names);
}

const _: () = {
    assert!(size_of::<Asker>() == 40);
    assert!(size_of::<Task>() == 128);
    assert!(size_of::<Oom>() == 64);
    assert!(size_of::<Level>() == 40);
    assert!(Record::FIXED_LEN == 24 + 40 + 128 + 64 + 40 * MAX_LEVELS + 8 * STACK_DEPTH + 16);
    assert!(size_of::<Record>() == Record::FIXED_LEN + NAMES_LEN);
};
