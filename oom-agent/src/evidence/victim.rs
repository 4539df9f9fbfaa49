//! What was seen of a victim after its mark.
//!
//! Emitted by `source::victim`, whose programs and pidfds are two ways to see one end; read by `correlate`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::StuckThread;

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
