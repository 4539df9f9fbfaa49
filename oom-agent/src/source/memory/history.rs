//! The last two minutes of one cgroup's memory, packed.
//!
//! Takes readings, newest last; emits [`MemorySample`]s relative to a kill. Pure. A sample takes 36
//! bytes, a history at most [`MAX_SAMPLES`] of them, and its room grows only as it is used. Refuses a
//! reading that is no later than the one before, and a usage of 16 TiB or more, which does not fit.

use std::collections::VecDeque;

use crate::event::MemorySample;

/// How far back a history goes.
pub const SPAN_NS: u64 = 120 * NS_PER_S;

/// One reading each second; and the one that the newest pushes over the edge.
pub const MAX_SAMPLES: usize = 121;

const NS_PER_S: u64 = 1_000_000_000;
const NS_PER_MS: u64 = 1_000_000;

/// Unit of sizes: the smallest page there is, and `page_counter`s count in pages.
const UNIT: u64 = 4096;

/// What was read at one moment.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Reading {
    /// `CLOCK_MONOTONIC`, after it was read.
    pub monotonic_ns: u64,
    /// Charged.
    pub usage_bytes: u64,
    /// What the usage was made of; `None` where only that was read.
    pub detail: Option<Detail>,
}

/// What is read beside the usage. What could not be read, or is not there, is `None`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Detail {
    /// Limit.
    pub limit_bytes: Option<u64>,
    /// Anonymous memory.
    pub anon_bytes: Option<u64>,
    /// Page cache.
    pub file_bytes: Option<u64>,
    /// Of it tmpfs and shared memory.
    pub shmem_bytes: Option<u64>,
    /// Kernel memory.
    pub kernel_bytes: Option<u64>,
    /// Swapped out.
    pub swap_bytes: Option<u64>,
    /// `some avg10`, in percent.
    pub pressure_some: Option<f32>,
    /// `full avg10`, in percent.
    pub pressure_full: Option<f32>,
}

/// The readings of one cgroup.
#[derive(Debug, Default)]
pub struct History {
    samples: VecDeque<Packed>,
}

impl History {
    /// Keeps a reading, and forgets those that are too old beside it; false if it was refused.
    pub fn push(&mut self, reading: &Reading) -> bool {
        let Some(packed) = Packed::of(reading) else {
            return false;
        };
        let passed = self.samples.back().map(|last| packed.ms_after(*last));
        if passed.is_some_and(|ms| ms <= 0) {
            return false;
        }
        let old = |first: &Packed| u64::from(packed.t_ms.wrapping_sub(first.t_ms)) * NS_PER_MS;
        while self.samples.front().is_some_and(|s| old(s) > SPAN_NS)
            || self.samples.len() >= MAX_SAMPLES
        {
            self.samples.pop_front();
        }
        // After a rush the room is given back.
        if self.samples.len() < self.samples.capacity() / 4 {
            self.samples.shrink_to(2 * self.samples.len());
        }
        self.samples.push_back(packed);
        true
    }

    /// How many readings are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        self.samples.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.samples.is_empty()
    }

    /// The usage of the newest.
    #[must_use]
    pub fn newest(&self) -> Option<u64> {
        Some(u64::from(self.samples.back()?.usage) * UNIT)
    }

    /// What was read within [`SPAN_NS`] before a moment of `CLOCK_MONOTONIC`, or at it.
    #[must_use]
    pub fn before(&self, monotonic_ns: u64) -> Vec<MemorySample> {
        let moment = wrapped_ms(monotonic_ns);
        let within_ms = monotonic_ns % NS_PER_MS;
        let samples = self.samples.iter().filter_map(|sample| {
            let whole = signed(moment.wrapping_sub(sample.t_ms));
            let age_ns = u64::try_from(whole).ok()? * NS_PER_MS + within_ms;
            (age_ns <= SPAN_NS).then(|| sample.unpack(age_ns))
        });
        samples.collect()
    }
}

/// A reading in 36 bytes. Sizes are in [`UNIT`]s, [`UNKNOWN`] where not known.
#[derive(Clone, Copy, Debug)]
struct Packed {
    /// Milliseconds; wraps after 49 days, and only differences are taken.
    t_ms: u32,
    usage: u32,
    limit: u32,
    anon: u32,
    file: u32,
    shmem: u32,
    kernel: u32,
    swap: u32,
    /// Hundredths of a percent, as the kernel prints them.
    some: u16,
    full: u16,
}

const UNKNOWN: u32 = u32::MAX;
const NO_PRESSURE: u16 = u16::MAX;

impl Packed {
    fn of(reading: &Reading) -> Option<Self> {
        let usage = size(Some(reading.usage_bytes));
        let detail = reading.detail.unwrap_or_default();
        (usage != UNKNOWN).then(|| Self {
            // Rounded up: what was read may not seem to be earlier than it was.
            t_ms: wrapped_ms(reading.monotonic_ns.saturating_add(NS_PER_MS - 1)),
            usage,
            limit: size(detail.limit_bytes),
            anon: size(detail.anon_bytes),
            file: size(detail.file_bytes),
            shmem: size(detail.shmem_bytes),
            kernel: size(detail.kernel_bytes),
            swap: size(detail.swap_bytes),
            some: share(detail.pressure_some),
            full: share(detail.pressure_full),
        })
    }

    fn ms_after(self, other: Self) -> i32 {
        signed(self.t_ms.wrapping_sub(other.t_ms))
    }

    fn unpack(self, age_ns: u64) -> MemorySample {
        let bytes = |units| (units != UNKNOWN).then(|| u64::from(units) * UNIT);
        let percent = |share| (share != NO_PRESSURE).then(|| f32::from(share) / 100.0);
        MemorySample {
            t_ns: -i64::try_from(age_ns).unwrap_or(i64::MAX),
            usage_bytes: u64::from(self.usage) * UNIT,
            limit_bytes: bytes(self.limit),
            anon_bytes: bytes(self.anon),
            file_bytes: bytes(self.file),
            shmem_bytes: bytes(self.shmem),
            kernel_bytes: bytes(self.kernel),
            swap_bytes: bytes(self.swap),
            pressure_some_percent: percent(self.some),
            pressure_full_percent: percent(self.full),
        }
    }
}

fn size(bytes: Option<u64>) -> u32 {
    bytes
        .and_then(|bytes| u32::try_from(bytes / UNIT).ok())
        .unwrap_or(UNKNOWN)
}

fn share(percent: Option<f32>) -> u16 {
    match percent {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "within 0..=10000"
        )]
        Some(percent) if (0.0..=100.0).contains(&percent) => (percent * 100.0).round() as u16,
        _ => NO_PRESSURE,
    }
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "wraps; only differences are taken"
)]
const fn wrapped_ms(ns: u64) -> u32 {
    (ns / NS_PER_MS) as u32
}

/// A difference of two wrapped times.
const fn signed(difference: u32) -> i32 {
    difference.cast_signed()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const S: u64 = NS_PER_S;

    fn usage(monotonic_ns: u64, usage_bytes: u64) -> Reading {
        Reading {
            monotonic_ns,
            usage_bytes,
            detail: None,
        }
    }

    #[test]
    fn a_sample_is_as_small_as_it_says() {
        assert_eq!(size_of::<Packed>(), 36);
    }

    #[test]
    fn what_was_read_comes_back() {
        let detail = Detail {
            limit_bytes: Some(8 << 20),
            anon_bytes: Some(4096),
            file_bytes: Some(0),
            shmem_bytes: Some(8192),
            kernel_bytes: Some(12 << 10),
            swap_bytes: None,
            pressure_some: Some(12.34),
            pressure_full: Some(100.0),
        };
        let mut history = History::default();
        assert!(history.push(&Reading {
            detail: Some(detail),
            ..usage(5 * S, 4 << 20)
        }));
        let sample = history.before(6 * S + 7)[0];
        let expected = MemorySample {
            limit_bytes: Some(8 << 20),
            anon_bytes: Some(4096),
            file_bytes: Some(0),
            shmem_bytes: Some(8192),
            kernel_bytes: Some(12 << 10),
            pressure_some_percent: Some(12.34),
            pressure_full_percent: Some(100.0),
            ..MemorySample::of(-1_000_000_007, 4 << 20)
        };
        assert_eq!(sample, expected);
    }

    #[test]
    fn only_what_was_read_before_is_told() {
        let mut history = History::default();
        for second in 1..=5 {
            assert!(history.push(&usage(second * S, second * UNIT)));
        }
        let told = |at: u64| {
            let samples = history.before(at);
            samples
                .iter()
                .map(|s| s.usage_bytes / UNIT)
                .collect::<Vec<_>>()
        };
        assert_eq!(told(3 * S), [1, 2, 3]);
        assert_eq!(told(3 * S - 1), [1, 2]);
        assert!(told(S / 2).is_empty());
        assert_eq!(told(SPAN_NS + 4 * S), [4, 5]);
    }

    #[test]
    fn refuses_what_does_not_fit_or_came_before() {
        let mut history = History::default();
        assert!(!history.push(&usage(S, 1 << 44)));
        assert!(history.push(&usage(S, (1 << 44) - 2 * UNIT)));
        assert!(!history.push(&usage(S, UNIT)));
        assert!(!history.push(&usage(S / 2, UNIT)));
        assert_eq!(history.len(), 1);
    }

    proptest! {
        #[test]
        fn it_stays_within_its_bounds(
            start in prop_oneof![Just(S), Just((u64::from(u32::MAX) - 60_000) * NS_PER_MS)],
            steps in prop::collection::vec((0_u64..20 * S, any::<u64>()), 0..400),
            at in 0_u64..400 * S,
        ) {
            let mut history = History::default();
            let mut now = start;
            for (step, bytes) in steps {
                now += step;
                history.push(&usage(now, bytes));
                prop_assert!(history.len() <= MAX_SAMPLES);
                prop_assert!(history.samples.capacity() <= 128);
            }
            let told = history.before(start + at);
            prop_assert!(told.iter().all(|s| s.t_ns <= 0 && s.t_ns.unsigned_abs() <= SPAN_NS));
            prop_assert!(told.windows(2).all(|pair| pair[0].t_ns < pair[1].t_ns));
        }
    }
}
