//! One scale of time for a log, whatever stamps it has.
//!
//! Reads the stamps of lines in their order; emits nanoseconds on one scale: the kernel's clock where
//! the log has it, else the wall clock, else the number of the line. Says when a clock has jumped back:
//! then the machine has booted, or another log begins. Refuses to let time run backwards.

use super::format::{Head, Wall};

/// What one line says of its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Stamps {
    pub(super) monotonic_ns: Option<u64>,
    pub(super) wall: Option<Wall>,
}

impl Stamps {
    pub(super) fn of(head: &Head<'_>) -> Self {
        Self {
            monotonic_ns: head.monotonic_ns,
            wall: head.wall,
        }
    }
}

/// What the scale is made of: the best that the lines have had so far.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Scale {
    #[default]
    Lines,
    Wall,
    Monotonic,
}

/// The clock of one host in one boot.
#[derive(Debug, Default)]
pub(super) struct Clock {
    scale: Scale,
    now_ns: u64,
}

/// Messages of several CPUs may be out of order by this much.
const MONOTONIC_DISORDER_NS: u64 = 1_000_000_000;
/// A wall clock may be set back by this much, and lines of several loggers be out of order.
const WALL_DISORDER_NS: u64 = 60_000_000_000;
/// For a log without any stamp: lines a thousandth of a second apart.
const LINE_NS: u64 = 1_000_000;

impl Clock {
    /// The time of a line, or `None` if it is not on the scale of the lines before it: the clock has
    /// jumped back, or changed. What follows is another log.
    pub(super) fn at(&mut self, stamps: Stamps, line: u64) -> Option<u64> {
        let wall = stamps
            .wall
            .and_then(|wall| u64::try_from(wall.unix_ns).ok());
        if self.scale == Scale::Lines {
            let better = match (stamps.monotonic_ns, wall) {
                (Some(_), _) => Scale::Monotonic,
                (None, Some(_)) => Scale::Wall,
                (None, None) => Scale::Lines,
            };
            if self.scale != better && self.now_ns > 0 {
                return None;
            }
            self.scale = better;
        }
        let (at, disorder_ns) = match self.scale {
            Scale::Monotonic => (stamps.monotonic_ns, MONOTONIC_DISORDER_NS),
            Scale::Wall => (wall, WALL_DISORDER_NS),
            Scale::Lines => (Some(line.saturating_mul(LINE_NS)), 0),
        };
        // A line without the stamp of the others stands where the one before it stood.
        let at = at.unwrap_or(self.now_ns);
        if at.saturating_add(disorder_ns) < self.now_ns {
            return None;
        }
        self.now_ns = self.now_ns.max(at);
        Some(self.now_ns)
    }

    /// The time of the newest line.
    pub(super) fn now_ns(&self) -> u64 {
        self.now_ns
    }
}
