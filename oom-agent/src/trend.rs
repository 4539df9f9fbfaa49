//! What a history says in short.
//!
//! Reads samples, oldest first; emits a [`MemoryTrend`]. Pure. Refuses to tell a growth from fewer than
//! three samples. The recorder makes the trend of what it has read; the correlator makes it anew where it
//! knows what the kernel saw at the kill.
//!
//! **The last way up** is what follows the last fall that counts. Going back from the newest sample, a
//! fall counts if it is more than half of what the usage has risen since (a garbage collector takes back
//! less) and more than 1/32 of the most in the history (noise). Of what follows, the way up begins at
//! the last sample that is within 1/16 of the rise from its lowest: what was flat before is left out. If
//! all of it is noise, it is flat, and all of it is taken.
//! Fewer than three samples: the last three are taken, and the growth may be negative. The growth is the
//! slope of the line of least squares through these samples.
//!
//! **What grew** is the usage; but where it stood still, at a limit or not, while what no file backs (anonymous
//! and shared memory, and what of it was swapped out) took the place of page cache, it is that, over its own
//! last way up. The usage stands still as long as it is within 1/32 of what it was at the last sample with
//! detail; what no file backs must have grown meanwhile by more than twice as much, and by more than 1/512 of it.
//!
//! **Past 80 %** of one limit: that of the kill, whatever it was when a sample was taken. The usage is taken
//! to have gone in a straight line between two samples. If it was below at the last sample, it rose in between: of a limit that was hit it is known to have stood at the
//! limit when the kernel decided. If it never was below, it has been above for as long as is recorded, at least.

use crate::event::{Cgroup, GrowthOf, MemorySample, MemoryTrend};

/// Fewer samples say nothing of a growth.
const MIN_SAMPLES: usize = 3;

/// The cgroup that was recorded.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Which.
    pub cgroup: Cgroup,
    /// Its limit: at the kill, or else as it was read last.
    pub limit_bytes: Option<u64>,
    /// It is the one whose limit was hit.
    pub hit: bool,
}

/// The trend of these samples; `None` if there are none.
#[must_use]
pub fn trend(samples: &[MemorySample], of: Recorded) -> Option<MemoryTrend> {
    let peak_bytes = samples.iter().map(|sample| sample.usage_bytes).max()?;
    let unbacked = points(samples, unbacked);
    let (growth_of, points) = if displaces(samples) {
        (GrowthOf::Anon, unbacked)
    } else {
        let usage = points(samples, |sample| Some(sample.usage_bytes));
        (GrowthOf::Usage, usage)
    };
    let way_up = last_way_up(&points);
    let growth_bytes_per_s = slope(way_up);
    let over = way_up.first().zip(way_up.last());
    let since = of
        .limit_bytes
        .and_then(|limit| since_80_percent(samples, limit, of.hit));
    Some(MemoryTrend {
        peak_bytes,
        growth_bytes_per_s,
        growth_of: growth_bytes_per_s.map(|_| growth_of),
        growth_over_ns: over
            .filter(|_| growth_bytes_per_s.is_some())
            .map(|(first, last)| last.t_ns.abs_diff(first.t_ns)),
        since_80_percent_ns: since.map(|since| since.ns),
        since_80_percent_at_least: since.is_some_and(|since| since.at_least),
        cgroup: of.cgroup,
    })
}

/// One size at one moment.
#[derive(Clone, Copy, Debug)]
struct Point {
    t_ns: i64,
    bytes: u64,
}

fn points(samples: &[MemorySample], size: fn(&MemorySample) -> Option<u64>) -> Vec<Point> {
    let point = |sample: &MemorySample| {
        Some(Point {
            t_ns: sample.t_ns,
            bytes: size(sample)?,
        })
    };
    samples.iter().filter_map(point).collect()
}

/// What can only be kept, swapped or killed for.
fn unbacked(sample: &MemorySample) -> Option<u64> {
    let rest = [sample.shmem_bytes, sample.swap_bytes];
    let rest = rest.into_iter().flatten();
    Some(rest.fold(sample.anon_bytes?, u64::saturating_add))
}

/// Whether the usage stood still at the end while what no file backs grew.
fn displaces(samples: &[MemorySample]) -> bool {
    let known = |sample: &MemorySample| Some((sample.usage_bytes, unbacked(sample)?));
    let mut known = samples.iter().rev().filter_map(known);
    let Some(last) = known.next() else {
        return false;
    };
    let still = known.take_while(|(usage, _)| usage.abs_diff(last.0) <= last.0 / 32);
    let still: Vec<(u64, u64)> = still.collect();
    let Some(first) = still.last().filter(|_| still.len() + 1 >= MIN_SAMPLES) else {
        return false;
    };
    let grown = last.1.saturating_sub(first.1);
    grown > last.0 / 512 && grown / 2 > last.0.saturating_sub(first.0)
}

fn last_way_up(points: &[Point]) -> &[Point] {
    let Some((last, earlier)) = points.split_last() else {
        return points;
    };
    let noise = points.iter().map(|point| point.bytes).max().unwrap_or(0) / 32;
    let (mut start, mut lowest, mut highest) = (earlier.len(), last.bytes, last.bytes);
    for (index, point) in earlier.iter().enumerate().rev() {
        let fall = point.bytes.saturating_sub(lowest);
        if fall > noise && fall > (highest - lowest) / 2 {
            break;
        }
        start = index;
        lowest = lowest.min(point.bytes);
        highest = highest.max(point.bytes);
    }
    let tail = &points[start..];
    if highest - lowest <= noise && tail.len() >= MIN_SAMPLES {
        return tail;
    }
    let flat = lowest + (highest - lowest) / 16;
    let from = tail.iter().rposition(|point| point.bytes <= flat);
    let tail = &tail[from.unwrap_or(0)..];
    if tail.len() < MIN_SAMPLES {
        &points[points.len().saturating_sub(MIN_SAMPLES)..]
    } else {
        tail
    }
}

/// Least squares, in bytes per second.
fn slope(points: &[Point]) -> Option<i64> {
    if points.len() < MIN_SAMPLES {
        return None;
    }
    let first = points.first()?;
    #[expect(
        clippy::cast_precision_loss,
        reason = "a growth need not be exact to the byte"
    )]
    let places = || {
        points.iter().map(|point| {
            let seconds = (point.t_ns - first.t_ns) as f64 / 1e9;
            (seconds, point.bytes as f64)
        })
    };
    #[expect(clippy::cast_precision_loss, reason = "a few samples")]
    let count = points.len() as f64;
    let (sum_x, sum_y) = places().fold((0.0, 0.0), |(a, b), (x, y)| (a + x, b + y));
    let (mean_x, mean_y) = (sum_x / count, sum_y / count);
    let (over, under) = places().fold((0.0, 0.0), |(over, under), (x, y)| {
        let x = x - mean_x;
        (over + x * (y - mean_y), under + x * x)
    });
    #[expect(clippy::cast_possible_truncation, reason = "saturates")]
    (under > 0.0).then(|| (over / under).round() as i64)
}

/// How long above.
#[derive(Clone, Copy, Debug)]
struct Since {
    ns: u64,
    at_least: bool,
}

fn since_80_percent(samples: &[MemorySample], limit: u64, hit: bool) -> Option<Since> {
    let mark = u64::try_from(u128::from(limit) * 4 / 5).ok()?;
    // At the kill itself; it may have been sampled in the same instant.
    let kill = hit.then_some((0, limit));
    let known = samples
        .iter()
        .map(|sample| (sample.t_ns, sample.usage_bytes));
    let mut points: Vec<(i64, u64)> = known.chain(kill).collect();
    let Some(below) = points.iter().rposition(|&(_, usage)| usage < mark) else {
        let (first, _) = points.first()?;
        return Some(Since {
            ns: (*first).min(0).unsigned_abs(),
            at_least: true,
        });
    };
    points.drain(..below);
    let crossed = match *points.as_slice() {
        [(t0, low), (t1, high), ..] => {
            let rise = u128::from(high - low);
            let part = u128::from(mark - low) * u128::from(t1.abs_diff(t0)) / rise.max(1);
            t0.saturating_add(i64::try_from(part).ok()?)
        }
        // It was below when it was read last.
        _ => 0,
    };
    Some(Since {
        ns: crossed.min(0).unsigned_abs(),
        at_least: false,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What it is, its samples in MiB, growth in MiB a second and over how many.
    type Shape = (&'static str, &'static [u64], Option<(i64, u64)>);
    /// Samples and limit in MiB, whether it was hit, and since when above, or before.
    type Past = (&'static [u64], Option<u64>, bool, Option<(u64, bool)>);

    const MIB: u64 = 1 << 20;
    const S: i64 = 1_000_000_000;

    /// One sample a second, the last one a second before the kill.
    fn history(mib: &[u64]) -> Vec<MemorySample> {
        let count = i64::try_from(mib.len()).unwrap();
        let at = |i: usize| (i64::try_from(i).unwrap() - count) * S;
        let samples = mib.iter().enumerate();
        samples
            .map(|(i, &mib)| MemorySample::of(at(i), mib * MIB))
            .collect()
    }

    fn of(samples: &[MemorySample], limit_mib: Option<u64>, hit: bool) -> MemoryTrend {
        let recorded = Recorded {
            cgroup: Cgroup {
                path: Some("/a".into()),
                id: None,
                version: Some(2),
            },
            limit_bytes: limit_mib.map(|mib| mib * MIB),
            hit,
        };
        trend(samples, recorded).unwrap()
    }

    /// Growth in MiB a second, and over how many seconds.
    fn growth(mib: &[u64]) -> Option<(i64, u64)> {
        let trend = of(&history(mib), None, false);
        let growth = trend.growth_bytes_per_s?;
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            reason = "test"
        )]
        let mib = (growth as f64 / MIB as f64).round() as i64;
        Some((mib, trend.growth_over_ns.unwrap() / 1_000_000_000))
    }

    #[test]
    fn shapes() {
        let cases: &[Shape] = &[
            ("a leak", &[10, 20, 30, 40, 50, 60], Some((10, 5))),
            ("flat", &[50, 50, 50, 50], Some((0, 3))),
            ("noise", &[90, 50, 51, 50, 51, 50, 51], Some((0, 5))),
            (
                "flat, then a leak",
                &[9, 10, 10, 10, 10, 20, 30, 40],
                Some((10, 3)),
            ),
            ("a step at the end", &[10, 10, 10, 90], Some((40, 2))),
            ("a step, then flat", &[10, 10, 90, 90, 90], Some((24, 3))),
            (
                "a sawtooth",
                &[10, 30, 50, 70, 10, 30, 50, 70],
                Some((20, 3)),
            ),
            (
                "a leak under a garbage collector",
                &[20, 30, 26, 36, 32, 42, 38, 48],
                Some((3, 7)),
            ),
            ("a fall", &[90, 70, 50, 30], Some((-20, 2))),
            (
                "a dip at the end",
                &[10, 20, 30, 40, 50, 60, 59],
                Some((9, 6)),
            ),
            ("two samples", &[10, 20], None),
        ];
        for (name, mib, expected) in cases {
            let told = growth(mib);
            assert_eq!(told, *expected, "{name}");
        }
        assert!(
            trend(
                &[],
                Recorded {
                    cgroup: Cgroup {
                        path: None,
                        id: None,
                        version: None
                    },
                    limit_bytes: None,
                    hit: false
                }
            )
            .is_none()
        );
    }

    #[test]
    fn past_80_percent() {
        let since = |mib: &[u64], limit, hit| {
            let trend = of(&history(mib), limit, hit);
            let at_least = trend.since_80_percent_at_least;
            trend.since_80_percent_ns.map(|ns| (ns, at_least))
        };
        let cases: &[Past] = &[
            // 80 is passed in the middle of the second between -3 s and -2 s.
            (
                &[60, 75, 85, 95],
                Some(100),
                true,
                Some((2_500_000_000, false)),
            ),
            (
                &[60, 75, 85, 95],
                Some(100),
                false,
                Some((2_500_000_000, false)),
            ),
            // The last time counts.
            (
                &[90, 70, 90, 95],
                Some(100),
                true,
                Some((2_500_000_000, false)),
            ),
            // Passed after the last sample, on the way to the limit.
            (&[10, 60], Some(100), true, Some((500_000_000, false))),
            (&[10, 60], Some(100), false, Some((0, false))),
            // Since before the history began.
            (&[85, 90], Some(100), true, Some((2_000_000_000, true))),
            (&[85, 90, 85], Some(100), false, Some((3_000_000_000, true))),
            (&[10, 90], None, true, None),
            (&[10, 90], Some(0), true, Some((2_000_000_000, true))),
        ];
        for (mib, limit, hit, expected) in cases {
            assert_eq!(since(mib, *limit, *hit), *expected, "{mib:?} {hit}");
        }
    }

    /// A history with detail: usage, anonymous, shared, swapped out.
    fn detailed(mib: &[[u64; 4]]) -> Vec<MemorySample> {
        let usage: Vec<u64> = mib.iter().map(|of| of[0]).collect();
        let with = |(sample, of): (MemorySample, &[u64; 4])| MemorySample {
            anon_bytes: Some(of[1] * MIB),
            shmem_bytes: Some(of[2] * MIB),
            swap_bytes: Some(of[3] * MIB),
            ..sample
        };
        history(&usage).into_iter().zip(mib).map(with).collect()
    }

    #[test]
    fn where_the_usage_stands_still_what_no_file_backs_tells_the_growth() {
        let full = |at: u64| [1000, 15 * at, 0, 0];
        let cases: &[(&str, Vec<[u64; 4]>, GrowthOf, i64)] = &[
            (
                "full of cache",
                (1..40).map(full).collect(),
                GrowthOf::Anon,
                15,
            ),
            (
                "filled with cache first",
                (1..11)
                    .map(|at| [90 * at, 0, 0, 0])
                    .chain((1..40).map(full))
                    .collect(),
                GrowthOf::Anon,
                15,
            ),
            (
                "into a tmpfs, and out to swap",
                (1..40).map(|at| [1000, 500, 9 * at, 6 * at]).collect(),
                GrowthOf::Anon,
                15,
            ),
            (
                "a plain leak",
                (1..40).map(|at| [15 * at, 15 * at - 5, 0, 0]).collect(),
                GrowthOf::Usage,
                15,
            ),
            (
                "a slow leak",
                (1..40).map(|at| [1000 + at, at, 0, 0]).collect(),
                GrowthOf::Usage,
                1,
            ),
            (
                "cache grows, and nothing else",
                (1..40).map(|at| [1000 + 15 * at, 500, 0, 0]).collect(),
                GrowthOf::Usage,
                15,
            ),
            (
                "nothing grows",
                vec![[1000, 500, 0, 0]; 40],
                GrowthOf::Usage,
                0,
            ),
            ("just begun", (1..3).map(full).collect(), GrowthOf::Usage, 0),
        ];
        for (name, mib, growth_of, rate) in cases {
            let mut samples = detailed(mib);
            // What the kernel saw at the kill has no detail.
            samples.push(MemorySample::of(0, mib.last().unwrap()[0] * MIB));
            let told = of(&samples, Some(1000), true);
            assert_eq!(told.growth_of, Some(*growth_of), "{name}");
            let expected = rate * i64::try_from(MIB).unwrap();
            let off = told.growth_bytes_per_s.unwrap().abs_diff(expected);
            assert!(off <= expected.unsigned_abs() / 20, "{name}: {told:?}");
        }
    }

    #[test]
    fn the_peak_is_of_the_whole_history() {
        assert_eq!(
            of(&history(&[10, 90, 20]), None, false).peak_bytes,
            90 * MIB
        );
    }

    proptest! {
        #[test]
        fn any_history_has_a_trend(
            points in prop::collection::vec((1_i64..100 * S, any::<u64>()), 1..121),
            limit: Option<u64>,
            hit: bool,
        ) {
            let mut t_ns = -121 * 100 * S;
            let samples: Vec<MemorySample> = points
                .iter()
                .map(|&(step, usage)| {
                    t_ns += step;
                    MemorySample::of(t_ns, usage)
                })
                .collect();
            let recorded = Recorded {
                cgroup: Cgroup { path: None, id: None, version: None },
                limit_bytes: limit,
                hit,
            };
            let told = trend(&samples, recorded).unwrap();
            prop_assert_eq!(told.growth_bytes_per_s.is_some(), samples.len() >= 3);
            prop_assert_eq!(told.growth_over_ns.is_some(), samples.len() >= 3);
            prop_assert!(told.since_80_percent_ns.unwrap_or(0) <= samples[0].t_ns.unsigned_abs());
        }

        #[test]
        fn a_steady_leak_is_measured(
            from in 0_u64..1 << 30,
            per_s in (1_u64 << 16)..(1 << 30),
            count in 3_usize..120,
        ) {
            let samples: Vec<MemorySample> = (0..count)
                .map(|i| {
                    let i = u64::try_from(i).unwrap();
                    MemorySample::of(i64::try_from(i).unwrap() * S - 120 * S, from + i * per_s)
                })
                .collect();
            let told = of(&samples, None, false).growth_bytes_per_s.unwrap();
            prop_assert!(told.abs_diff(i64::try_from(per_s).unwrap()) <= 1);
        }
    }
}
