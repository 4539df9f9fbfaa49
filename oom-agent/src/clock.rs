//! The one clock: monotonic nanoseconds, and what to add to them for wall and boot time.
//!
//! Reads the kernel's clocks at an edge; everything behind the edge is handed a [`Now`].

use rustix::time::{ClockId, Timespec, clock_gettime};

use crate::event::Timestamp;

/// `USER_HZ`: the unit of times in `/proc`, on every architecture that this agent runs on.
pub const TICK_NS: u64 = 10_000_000;

/// One moment, and how the other clocks stood at it.
#[derive(Clone, Copy, Debug, Default)]
pub struct Now {
    /// `CLOCK_MONOTONIC`: what BPF's `bpf_ktime_get_ns` and, nearly, the kernel log use.
    pub monotonic_ns: u64,
    /// `CLOCK_REALTIME` − `CLOCK_MONOTONIC`.
    pub wall_offset_ns: i128,
    /// `CLOCK_BOOTTIME` − `CLOCK_MONOTONIC`: time spent in suspend.
    pub boot_offset_ns: i128,
}

impl Now {
    /// Reads the clocks.
    #[must_use]
    pub fn read() -> Self {
        let monotonic = ns(clock_gettime(ClockId::Monotonic));
        Self {
            monotonic_ns: u64::try_from(monotonic).unwrap_or_default(),
            wall_offset_ns: ns(clock_gettime(ClockId::Realtime)) - monotonic,
            boot_offset_ns: ns(clock_gettime(ClockId::Boottime)) - monotonic,
        }
    }

    /// Wall clock of a moment on `CLOCK_MONOTONIC`.
    #[must_use]
    pub fn wall(&self, monotonic_ns: u64) -> Timestamp {
        Timestamp::from_unix_ns(i128::from(monotonic_ns) + self.wall_offset_ns)
    }

    /// `CLOCK_BOOTTIME` of a moment on `CLOCK_MONOTONIC`.
    #[must_use]
    pub fn boottime_ns(&self, monotonic_ns: u64) -> u64 {
        let at = i128::from(monotonic_ns) + self.boot_offset_ns;
        u64::try_from(at).unwrap_or_default()
    }

    /// Wall clock of a moment on `CLOCK_BOOTTIME`.
    #[must_use]
    pub fn wall_of_boottime(&self, boottime_ns: u64) -> Timestamp {
        Timestamp::from_unix_ns(i128::from(boottime_ns) - self.boot_offset_ns + self.wall_offset_ns)
    }
}

fn ns(time: Timespec) -> i128 {
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}
