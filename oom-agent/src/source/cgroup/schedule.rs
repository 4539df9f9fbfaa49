//! When the tree is scanned: at the start, after losses, and now and then where nothing else is left.

/// From a loss to the scan: a cgroup is told of a moment before its directory can be seen.
const SETTLE_NS: u64 = 100_000_000;

/// Between two scans at least, and ten times what the last one took.
const REST_NS: u64 = 1_000_000_000;

/// Between two scans where nothing else is left.
const ALONE_NS: u64 = 10_000_000_000;

/// When the next scan is. All times `CLOCK_MONOTONIC`.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    /// When, and since when it stands for all that was lost.
    next: Option<(u64, u64)>,
    /// Something was lost too late for the next scan to stand for it.
    again: bool,
    began_ns: u64,
    rest_until_ns: u64,
}

impl Schedule {
    /// At once: what was known before `now_ns` and is not found is gone.
    pub(super) fn at_once(&mut self, now_ns: u64) {
        self.next = Some((now_ns, now_ns));
    }

    /// Something was lost until now.
    pub(super) fn lost(&mut self, now_ns: u64) {
        let soonest = now_ns + SETTLE_NS;
        match &mut self.next {
            None => self.next = Some((soonest.max(self.rest_until_ns), now_ns)),
            Some((at, since)) if *at >= soonest => *since = now_ns,
            Some(_) => self.again = true,
        }
    }

    /// Begins the scan if it is time, and tells since when it stands for all.
    pub(super) fn begin(&mut self, now_ns: u64) -> Option<u64> {
        let (_, since) = self.next.take_if(|(at, _)| *at <= now_ns)?;
        self.began_ns = now_ns;
        self.rest_until_ns = now_ns + REST_NS;
        if std::mem::take(&mut self.again) {
            self.lost(now_ns);
        }
        Some(since)
    }

    /// It has ended. `again`: it was not complete, the next one may be. `alone`: nothing else is left.
    pub(super) fn ended(&mut self, now_ns: u64, again: bool, alone: bool) {
        let took = now_ns.saturating_sub(self.began_ns);
        self.rest_until_ns = now_ns + REST_NS.max(took.saturating_mul(10));
        if let Some((at, _)) = &mut self.next {
            *at = self.rest_until_ns.max(*at);
        }
        if again {
            self.lost(now_ns);
        }
        if alone {
            let next = now_ns + ALONE_NS;
            self.next = Some((next, next));
        }
    }

    /// When the next one is.
    pub(super) fn next_ns(&self) -> Option<u64> {
        self.next.map(|(at, _)| at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    #[test]
    fn a_scan_follows_a_loss_and_stands_for_all_until_it() {
        let mut schedule = Schedule::default();
        schedule.lost(0);
        assert_eq!(schedule.begin(99 * MS), None);
        assert_eq!(schedule.begin(100 * MS), Some(0));
        assert_eq!(schedule.next_ns(), None);
    }

    #[test]
    fn a_loss_just_before_a_scan_gets_one_of_its_own() {
        let mut schedule = Schedule::default();
        schedule.lost(0);
        schedule.lost(50 * MS);
        assert_eq!(schedule.begin(100 * MS), Some(0));
        schedule.ended(110 * MS, false, false);
        assert_eq!(schedule.next_ns(), Some(1_110 * MS));
        // More of them in time belong to the same.
        schedule.lost(900 * MS);
        assert_eq!(schedule.begin(1_110 * MS), Some(900 * MS));
        schedule.ended(1_120 * MS, false, false);
        assert_eq!(schedule.next_ns(), None);
    }

    #[test]
    fn scans_take_a_tenth_of_the_time_however_much_is_lost() {
        let mut schedule = Schedule::default();
        schedule.at_once(0);
        assert_eq!(schedule.begin(0), Some(0));
        schedule.lost(400 * MS);
        schedule.ended(500 * MS, false, false);
        assert_eq!(schedule.next_ns(), Some(5_500 * MS));
        let mut scans = 0;
        for now in (500..60_000).map(|ms| ms * MS) {
            schedule.lost(now);
            if schedule.begin(now).is_some() {
                scans += 1;
                schedule.ended(now, false, false);
            }
        }
        assert!((50..=60).contains(&scans), "{scans}");
    }

    #[test]
    fn what_was_not_complete_is_done_again_and_what_is_alone_goes_on() {
        let mut schedule = Schedule::default();
        schedule.at_once(0);
        schedule.begin(0);
        schedule.ended(10 * MS, true, false);
        assert_eq!(schedule.begin(1_010 * MS), Some(10 * MS));
        schedule.ended(1_020 * MS, false, true);
        assert_eq!(schedule.begin(11_019 * MS), None);
        assert_eq!(schedule.begin(11_020 * MS), Some(11_020 * MS));
    }
}
