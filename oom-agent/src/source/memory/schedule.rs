//! When a cgroup is read, and how much of it.
//!
//! Takes usages as they are read; says what to keep, what to read beside it, and when to come again.
//! Pure: no clock and no file.
//!
//! | Against the limit | Read | Kept |
//! |---|---|---|
//! | no limit, nor an ancestor's | each 10 s | each time |
//! | below half of it | each second | each 10 s, or when it moved by 1/64 of the limit |
//! | above half | each second | the same, and with all detail when it moved by 1/256 since the last detail |
//! | above 4/5 | each second | with all detail: each second if it moved by a page, else after 2, 4 and each 8 s |
//!
//! When it moved, the reading before is kept too if it was not, so that a rise begins where it began. A cgroup
//! that is full of page cache stands still at its limit while a leak takes the place of the cache: there the
//! usage says nothing, and what it is made of says all.
//!
//! Where more than [`DETAILS_PER_TURN`] want detail, those above 4/5 take turns, and come before the others.

/// Times are multiples of this, so that one wake-up serves all.
pub const TICK_NS: u64 = 1_000_000_000;

/// Ticks between two readings of a cgroup that has no limit, and between two that are kept of one that
/// does not move.
pub const SLOW_TICKS: u64 = 10;

/// Ticks between two looks at a limit.
pub const LIMIT_TICKS: u64 = 60;

/// Readings with all detail in one turn: some 30 µs each, for on version 2 each makes the kernel sum up its
/// per-CPU counters. 250 cgroups that are full and all move are so read every 4 s, for 0.2 % of a
/// core.
pub const DETAILS_PER_TURN: usize = 64;

/// Ticks between two details of a cgroup that is nearly full and stands still to the page, at first and at last:
/// many are full of page cache, and idle.
const STILL_TICKS: (u64, u64) = (2, 8);

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
    /// When the last detail was read, and the usage then.
    detailed: Option<(u64, u64)>,
    /// Ticks until the next detail, if the usage stands still to the page.
    patience: u64,
}

impl Pace {
    /// What to do about a usage.
    #[must_use]
    pub fn judge(&self, now_ns: u64, usage: u64) -> Want {
        let Some(limit) = self.measure else {
            return Want::Sample;
        };
        let moved = |since: u64, part: u64| usage.abs_diff(since) > limit / part;
        let passed = |at: u64, ticks: u64| {
            // Half a tick less: a wake-up may be late.
            now_ns.saturating_sub(at) >= ticks * TICK_NS - TICK_NS / 2
        };
        let detail = match self.detailed {
            None => usage > limit / 2,
            Some((at, since)) if is_nearly_full(usage, limit) => {
                passed(at, if usage == since { self.patience } else { 1 })
            }
            Some((_, since)) => usage > limit / 2 && moved(since, 256),
        };
        if detail {
            return Want::Detail;
        }
        let Some((at, since)) = self.kept else {
            return Want::Sample;
        };
        if moved(since, 64) {
            Want::Moved
        } else if passed(at, SLOW_TICKS) {
            Want::Sample
        } else {
            Want::Nothing
        }
    }

    /// Notes that a usage was kept.
    pub fn kept(&mut self, now_ns: u64, usage: u64, with_detail: bool) {
        self.kept = Some((now_ns, usage));
        if with_detail {
            let (first, last) = STILL_TICKS;
            let is_still = self.detailed.is_some_and(|(_, since)| since == usage);
            self.patience = if is_still {
                last.min(2 * self.patience)
            } else {
                first
            };
            self.detailed = Some((now_ns, usage));
        }
    }

    /// How urgent detail is, of a cgroup that wants it.
    #[must_use]
    pub fn urgency(&self, now_ns: u64, usage: u64) -> Urgency {
        let limit = self.measure.unwrap_or(u64::MAX);
        let nearly_full = is_nearly_full(usage, limit);
        let since = self
            .detailed
            .map_or(u64::MAX, |(at, _)| now_ns.saturating_sub(at) / TICK_NS);
        Urgency {
            nearly_full,
            waited_ticks: if nearly_full { since } else { 0 },
            heat: heat(usage, limit),
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

/// Who comes first where not all can be read in full: the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Urgency {
    /// Above 4/5 of its limit.
    nearly_full: bool,
    /// Ticks since the last detail, so that all who are nearly full take turns.
    waited_ticks: u64,
    /// Usage in 1/1024 of the limit.
    heat: u64,
}

/// Keeps the most urgent of those that want detail, and gives back the others: they want it still at the next
/// turn.
pub fn most_urgent<T>(wanting: &mut Vec<(Urgency, T)>) -> Vec<(Urgency, T)> {
    if wanting.len() <= DETAILS_PER_TURN {
        return Vec::new();
    }
    wanting.select_nth_unstable_by(DETAILS_PER_TURN, |(a, _), (b, _)| b.cmp(a));
    wanting.split_off(DETAILS_PER_TURN)
}

fn is_nearly_full(usage: u64, limit: u64) -> bool {
    usage > limit / 5 * 4
}

fn heat(usage: u64, limit: u64) -> u64 {
    u64::try_from(u128::from(usage) * 1024 / u128::from(limit.max(1))).unwrap_or(u64::MAX)
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
            detailed: detailed.map(|usage| (kept.0, usage)),
            patience: STILL_TICKS.0,
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
    fn what_is_nearly_full_is_read_in_full() {
        let (at, full) = (100 * TICK_NS, LIMIT / 8 * 7);
        let third = TICK_NS / 3;
        for (name, passed_ns, usage, want) in [
            ("moved by a page", TICK_NS, full - 4096, Want::Detail),
            ("read in this second", third, full - 4096, Want::Nothing),
            ("still", TICK_NS, full, Want::Nothing),
            ("still, two seconds", 2 * TICK_NS, full, Want::Detail),
            (
                "after a late wake-up",
                2 * TICK_NS - third,
                full,
                Want::Detail,
            ),
        ] {
            let pace = pace((at, full), Some(full));
            assert_eq!(pace.judge(at + passed_ns, usage), want, "{name}");
        }
        // As long as it stands still, ever more rarely; when it moves, at once again.
        let mut pace = pace((at, full), None);
        let mut detailed = Vec::new();
        for second in 0..40 {
            let usage = if second < 32 {
                full
            } else {
                full + second * 4096
            };
            if pace.judge(at + second * TICK_NS, usage) == Want::Detail {
                pace.kept(at + second * TICK_NS, usage, true);
                detailed.push(second);
            }
        }
        assert_eq!(
            detailed,
            [0, 2, 6, 14, 22, 30, 32, 33, 34, 35, 36, 37, 38, 39]
        );
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
    fn the_most_urgent_come_first() {
        let room = u64::try_from(DETAILS_PER_TURN).unwrap();
        let of = |waited_s: Option<u64>, usage| {
            let detailed = waited_s.map(|waited| (100 * TICK_NS - waited * TICK_NS, 0));
            let pace = Pace {
                measure: Some(1024),
                detailed,
                ..Pace::default()
            };
            pace.urgency(100 * TICK_NS, usage)
        };
        // What is nearly full comes before what is not, and takes turns; of others the fullest come first.
        assert!(of(Some(3), 900) > of(Some(2), 1000) && of(Some(1), 900) > of(Some(9), 700));
        assert!(of(Some(1), 700) > of(Some(9), 600) && of(Some(1), 1000) > of(Some(1), 900));
        let mut wanting: Vec<(Urgency, u64)> =
            (0..room + 40).map(|i| (of(None, 600 + i), i)).collect();
        let left = most_urgent(&mut wanting);
        assert_eq!((wanting.len(), left.len()), (DETAILS_PER_TURN, 40));
        assert!(wanting.iter().all(|(_, i)| *i >= 40));
        assert!(most_urgent(&mut wanting).is_empty());
        assert_eq!(heat(u64::MAX, 0), u64::MAX);
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
