//! The store's own clock, by which retention counts age.
//!
//! Reads `CLOCK_BOOTTIME`, and the wall clock only from one boot to the next. The wall clock may be set
//! wrong and right again: an event that was stored a moment ago must not be old after it, and not all
//! events at once. So age is the time that has passed since an event was stored, as far as a machine
//! can know it: suspend counts, and of the time that it was off at most [`OFF_AT_MOST_NS`] for each start.

use crate::clock::Now;

/// A wall clock that is wrong by years adds no more than this to the age of events.
const OFF_AT_MOST_NS: i64 = 7 * 24 * 3600 * 1_000_000_000;

/// Where the store's clock stood at some moment, and how the others stood then.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mark {
    /// The store's own: begins at the wall clock's time, and never goes back.
    pub(super) store_ns: i64,
    /// Unix time.
    pub(super) wall_ns: i64,
    /// `CLOCK_BOOTTIME`.
    pub(super) boottime_ns: i64,
    /// Of which boot.
    pub(super) boot_id: Box<str>,
}

impl Mark {
    /// A clock that begins now.
    pub(super) fn begin(boot_id: &str, now: &Now) -> Self {
        Self {
            store_ns: wall_ns(now),
            wall_ns: wall_ns(now),
            boottime_ns: boottime_ns(now),
            boot_id: boot_id.into(),
        }
    }

    /// What the store's clock shows now.
    pub(super) fn at(&self, boot_id: &str, now: &Now) -> i64 {
        let passed = if *self.boot_id == *boot_id {
            boottime_ns(now).saturating_sub(self.boottime_ns).max(0)
        } else {
            let off = wall_ns(now).saturating_sub(self.wall_ns);
            off.clamp(0, OFF_AT_MOST_NS)
        };
        self.store_ns.saturating_add(passed)
    }

    /// The same clock, noted down now; as it was, if that is before it was noted down last: what has passed since counts
    /// once.
    pub(super) fn moved(&self, boot_id: &str, now: &Now) -> Self {
        if *self.boot_id == *boot_id && boottime_ns(now) < self.boottime_ns {
            return self.clone();
        }
        Self {
            store_ns: self.at(boot_id, now),
            ..Self::begin(boot_id, now)
        }
    }
}

/// Unix time of a moment, as a database holds it (until the year 2262).
pub(super) fn wall_ns(now: &Now) -> i64 {
    clamp(i128::from(now.monotonic_ns) + now.wall_offset_ns)
}

fn boottime_ns(now: &Now) -> i64 {
    clamp(i128::from(now.monotonic_ns) + now.boot_offset_ns)
}

/// Into what a database holds.
pub(super) fn clamp(ns: i128) -> i64 {
    let most = if ns < 0 { i64::MIN } else { i64::MAX };
    i64::try_from(ns).unwrap_or(most)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: i64 = 1_000_000_000;
    const YEAR: i128 = 365 * 24 * 3600 * 1_000_000_000;

    fn at(monotonic_s: u64, wall: i128) -> Now {
        Now {
            monotonic_ns: monotonic_s * 1_000_000_000,
            wall_offset_ns: wall,
            boot_offset_ns: 0,
        }
    }

    #[test]
    fn within_a_boot_the_wall_clock_does_not_matter() {
        let mark = Mark::begin("a", &at(10, 50 * YEAR));
        for wall in [0, 50 * YEAR, 90 * YEAR] {
            assert_eq!(mark.at("a", &at(15, wall)) - mark.store_ns, 5 * SECOND);
        }
    }

    #[test]
    fn a_store_that_is_opened_again_with_the_time_of_the_start_does_not_age() {
        let mark = Mark::begin("a", &at(10, 50 * YEAR));
        let day = 24 * 3600;
        let noted = mark.moved("a", &at(10 + day, 50 * YEAR));
        let again = noted.moved("a", &at(10, 50 * YEAR));
        let passed = again.at("a", &at(11 + day, 50 * YEAR)) - mark.store_ns;
        assert_eq!(passed, (day.cast_signed() + 1) * SECOND);
    }

    #[test]
    fn suspend_counts() {
        let mark = Mark::begin("a", &at(10, 50 * YEAR));
        let mut later = at(15, 50 * YEAR);
        later.boot_offset_ns = 100 * i128::from(SECOND);
        assert_eq!(mark.at("a", &later) - mark.store_ns, 105 * SECOND);
    }

    #[test]
    fn time_off_counts_forwards_and_within_reason() {
        let mark = Mark::begin("a", &at(10, 50 * YEAR));
        let hour = 3600 * i128::from(SECOND);
        for (wall, passed) in [
            (50 * YEAR + hour, 3600 * SECOND),
            (0, 0),
            (90 * YEAR, OFF_AT_MOST_NS),
        ] {
            assert_eq!(mark.at("b", &at(10, wall)) - mark.store_ns, passed);
        }
    }

    #[test]
    fn it_goes_on_where_it_was_noted_down() {
        let mark = Mark::begin("a", &at(10, 50 * YEAR));
        let wrong = mark.moved("a", &at(20, 90 * YEAR));
        let right = wrong.moved("b", &at(5, 50 * YEAR));
        assert_eq!(right.store_ns - mark.store_ns, 10 * SECOND);
        assert_eq!(right.at("b", &at(6, 0)) - mark.store_ns, 11 * SECOND);
    }
}
