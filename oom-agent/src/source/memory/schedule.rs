//! When a cgroup is read, and how much of it.
//!
//! Takes usages as they are read; says what to keep, what to read beside it, and when to come again.
//! Pure: no clock and no file.
//!
//! | Against the limit | Read | Kept |
//! |---|---|---|
//! | no limit, nor an ancestor's | each 10 s | each time |
//! | below half of it | each second | each 10 s, or when it moved by 1/64 of the limit |
//! | above | each second | the same, and with all detail when it moved by 1/256 since the last detail |
//!
//! When it moved, the reading before is kept too if it was not, so that a rise begins where it began.

/// Times are multiples of this, so that one wake-up serves all.
pub const TICK_NS: u64 = 1_000_000_000;

/// Ticks between two readings of a cgroup that has no limit, and between two that are kept of one that
/// does not move.
pub const SLOW_TICKS: u64 = 10;

/// Ticks between two looks at a limit.
pub const LIMIT_TICKS: u64 = 60;

/// Readings with all detail in one turn; on version 2 each makes the kernel sum up its per-CPU counters.
pub const DETAILS_PER_TURN: usize = 64;

/// What to do about a usage that was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// Nothing: it did not move.
    Nothing,
    /// Keep it: it is time.
    Sample,
    /// Keep it, and the one before: it moved.
    Moved,
    /// The same, and read the rest too.
    Detail,
}

/// The pace of one cgroup.
#[derive(Clone, Copy, Debug, Default)]
pub struct Pace {
    /// When it is read next, `CLOCK_MONOTONIC`.
    pub due_ns: u64,
    /// When its limit is looked at next.
    pub limit_due_ns: u64,
    /// The limit that its usage is measured against: its own, or the nearest ancestor's.
    pub measure: Option<u64>,
    /// What was kept last, and when.
    kept: Option<(u64, u64)>,
    /// The usage of the last detail.
    detailed: Option<u64>,
}

impl Pace {
    /// What to do about a usage.
    #[must_use]
    pub fn judge(&self, now_ns: u64, usage: u64) -> Want {
        let Some(limit) = self.measure else {
            return Want::Sample;
        };
        let moved = |since: u64, part: u64| usage.abs_diff(since) > limit / part;
        if usage > limit / 2 && self.detailed.is_none_or(|since| moved(since, 256)) {
            return Want::Detail;
        }
        let Some((at, since)) = self.kept else {
            return Want::Sample;
        };
        if moved(since, 64) {
            Want::Moved
        } else if now_ns.saturating_sub(at) >= SLOW_TICKS * TICK_NS - TICK_NS / 2 {
            // Half a tick less: a wake-up may be late.
            Want::Sample
        } else {
            Want::Nothing
        }
    }

    /// Notes that a usage was kept.
    pub fn kept(&mut self, now_ns: u64, usage: u64, with_detail: bool) {
        self.kept = Some((now_ns, usage));
        if with_detail {
            self.detailed = Some(usage);
        }
    }

    /// It was read: sets the next time.
    pub fn read(&mut self, now_ns: u64, stagger: u64) {
        let every = if self.measure.is_some() {
            1
        } else {
            SLOW_TICKS
        };
        self.due_ns = next(now_ns, every, stagger);
    }

    /// Its limit was looked at: once more a second after it was made, then each minute.
    pub fn looked(&mut self, now_ns: u64, made_ns: u64, stagger: u64) {
        self.limit_due_ns = next_look(now_ns, made_ns, stagger);
    }
}

/// When to look for a limit after `now_ns`: those who make a cgroup set it a moment later.
#[must_use]
pub fn next_look(now_ns: u64, made_ns: u64, stagger: u64) -> u64 {
    let settled = made_ns.saturating_add(TICK_NS);
    if now_ns < settled {
        next(settled - 1, 1, 0)
    } else {
        next(now_ns, LIMIT_TICKS, stagger)
    }
}

/// The next moment on the grid of every so many ticks, shifted by `stagger` ticks.
#[must_use]
pub fn next(now_ns: u64, every: u64, stagger: u64) -> u64 {
    let tick = now_ns / TICK_NS + 1;
    let shift = stagger % every;
    let behind = (tick % every + every - shift) % every;
    let ahead = (every - behind) % every;
    (tick + ahead).saturating_mul(TICK_NS)
}

/// Keeps the hottest of those that want detail; `heat` is the usage in parts of the limit. Those that
/// are left over want it still at the next turn.
pub fn hottest<T>(wanting: &mut Vec<(u64, T)>) -> Vec<(u64, T)> {
    if wanting.len() <= DETAILS_PER_TURN {
        return Vec::new();
    }
    wanting.select_nth_unstable_by(DETAILS_PER_TURN, |(a, _), (b, _)| b.cmp(a));
    wanting.split_off(DETAILS_PER_TURN)
}

/// Usage in 1/1024 of the limit.
#[must_use]
pub fn heat(usage: u64, limit: Option<u64>) -> u64 {
    let limit = u128::from(limit.unwrap_or(u64::MAX).max(1));
    u64::try_from(u128::from(usage) * 1024 / limit).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: u64 = 1 << 30;

    fn pace(kept: (u64, u64), detailed: Option<u64>) -> Pace {
        Pace {
            measure: Some(LIMIT),
            kept: Some(kept),
            detailed,
            ..Pace::default()
        }
    }

    #[test]
    fn what_is_kept_and_what_is_read() {
        let (low, high) = (LIMIT / 4, LIMIT / 4 * 3);
        let at = 100 * TICK_NS;
        let cases: &[(&str, Pace, u64, u64, Want)] = &[
            (
                "first",
                Pace {
                    measure: Some(LIMIT),
                    ..Pace::default()
                },
                at,
                low,
                Want::Sample,
            ),
            (
                "first, high",
                Pace {
                    measure: Some(LIMIT),
                    ..Pace::default()
                },
                at,
                high,
                Want::Detail,
            ),
            ("no limit", Pace::default(), at, low, Want::Sample),
            (
                "low, still",
                pace((at, low), None),
                at + TICK_NS,
                low + LIMIT / 64,
                Want::Nothing,
            ),
            (
                "low, moved",
                pace((at, low), None),
                at + TICK_NS,
                low + LIMIT / 64 + 1,
                Want::Moved,
            ),
            (
                "low, fell",
                pace((at, low), None),
                at + TICK_NS,
                low - LIMIT / 64 - 1,
                Want::Moved,
            ),
            (
                "low, time",
                pace((at, low), None),
                at + 10 * TICK_NS,
                low,
                Want::Sample,
            ),
            (
                "high, still",
                pace((at, high), Some(high)),
                at + TICK_NS,
                high + LIMIT / 256,
                Want::Nothing,
            ),
            (
                "high, moved",
                pace((at, high), Some(high)),
                at + TICK_NS,
                high + LIMIT / 256 + 1,
                Want::Detail,
            ),
            (
                "high, time",
                pace((at, high), Some(high)),
                at + 10 * TICK_NS,
                high,
                Want::Sample,
            ),
            (
                "no room at all",
                Pace {
                    measure: Some(0),
                    ..Pace::default()
                },
                at,
                1,
                Want::Detail,
            ),
        ];
        for (name, pace, now, usage, want) in cases {
            assert_eq!(pace.judge(*now, *usage), *want, "{name}");
        }
    }

    #[test]
    fn the_grid() {
        let s = TICK_NS;
        assert_eq!(next(0, 1, 0), s);
        assert_eq!(next(s, 1, 7), 2 * s);
        assert_eq!(next(s - 1, 1, 0), s);
        assert_eq!(next(12 * s, 10, 3), 13 * s);
        assert_eq!(next(13 * s, 10, 3), 23 * s);
        assert_eq!(next(13 * s, 10, 13), 23 * s);
        // A limit is looked at a second after the cgroup was made, then on the grid of its own.
        assert_eq!(next_look(5 * s + 10, 5 * s, 9), 6 * s);
        assert_eq!(next_look(6 * s, 5 * s, 9), 9 * s);
        assert_eq!(next_look(9 * s, 5 * s, 9), 69 * s);
    }

    #[test]
    fn the_hottest_come_first() {
        let mut wanting: Vec<(u64, u64)> = (0..200).map(|i| (i * 7 % 200, i)).collect();
        let left = hottest(&mut wanting);
        assert_eq!(
            (wanting.len(), left.len()),
            (DETAILS_PER_TURN, 200 - DETAILS_PER_TURN)
        );
        assert!(wanting.iter().all(|(heat, _)| *heat >= 200 - 64));
        assert!(hottest(&mut wanting).is_empty());
        assert_eq!(heat(512, Some(1024)), 512);
        assert_eq!(heat(u64::MAX, Some(0)), u64::MAX);
        assert_eq!(heat(512, None), 0);
    }

    proptest! {
        #[test]
        fn the_grid_is_ahead_and_not_far(now in 0_u64..1 << 60, every in 1_u64..100, stagger: u64) {
            let at = next(now, every, stagger);
            prop_assert!(at > now && at - now <= every * TICK_NS);
            prop_assert_eq!(at / TICK_NS % every, stagger % every);
        }
    }
}
