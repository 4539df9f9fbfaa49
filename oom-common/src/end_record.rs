//! [`EndRecord`]: a victim ended, gave back its memory, or was reaped. `repr(C)`, no implicit padding.

/// What happened: [`EndRecord::kind`].
pub mod end_kind {
    /// `sched:sched_process_exit` of the last thread of a victim.
    pub const EXITED: u16 = 1;
    /// `mmap:exit_mmap` of a victim's memory, by the victim.
    pub const FREED: u16 = 2;
    /// `oom:start_task_reaping`.
    pub const REAPING: u16 = 3;
    /// `oom:finish_task_reaping`: also where it did not get all (6.6+).
    pub const REAPED: u16 = 4;
}

/// Indices of the counters of these programs, per CPU.
pub mod end_stat {
    /// Records that the ring had no room for.
    pub const DROPPED: u32 = 0;
    /// Reads of kernel memory that failed.
    pub const READ_FAILED: u32 = 1;
    /// How many counters there are.
    pub const COUNT: u32 = 2;
}

/// One record.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct EndRecord {
    /// [`crate::WIRE_VERSION`].
    pub version: u16,
    /// See [`end_kind`].
    pub kind: u16,
    /// Thread: the one that ended, or the one that the reaper names.
    pub tid: u32,
    /// Process; 0 in records of the reaper, which names a thread alone.
    pub tgid: u32,
    /// 1 if the thread that ended had let go of its memory before.
    pub mm_gone: u32,
    /// `CLOCK_MONOTONIC`, ns.
    pub time_ns: u64,
    /// `start_boottime` of the group leader, ns; 0 in records of the reaper.
    pub start_boottime_ns: u64,
    /// `signal->oom_mm`: resident pages of files, anonymous ones, swap entries, shared ones.
    pub rss: [i64; 4],
}

const _: () = assert!(size_of::<EndRecord>() == 64);
