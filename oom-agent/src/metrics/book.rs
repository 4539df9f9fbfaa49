//! The series of `container_oom_events_total`: so many kills of whom, kept when the container has gone.
//!
//! Reads kills in the order of detection, each with the time it came; emits what each series counts. Pure:
//! time is passed in. What has had no kill for the time that series are kept ends, and what it counted goes
//! to [`Book::expired`]. Beyond the room the series whose last kill is longest ago goes first, into one
//! series for all. So the sum of all that is here is always the number of kills that came. The same kills
//! with the same times make the same book, whoever has looked at it in between: a restart reads it back from
//! the store.
//!
//! Memory: at most [`Limits::series`] series whose labels have [`LABEL_BYTES`] on average, and some 300 bytes
//! besides for each: 13 MiB for 10,000. Labels of containers have some 300 bytes.

use std::{
    collections::{BTreeMap, HashMap},
    sync::Arc,
};

use super::labels::Labels;
use crate::event::Timestamp;

/// Room for the labels of a series, on average of all.
pub const LABEL_BYTES: usize = 1024;

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// How long a series is kept after its last kill.
    pub keep_ns: u64,
    /// How many series there may be, besides the one for all that there is no room for.
    pub series: usize,
}

/// What one series counts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Count {
    /// Processes that were killed.
    pub kills: u64,
    /// When the last of them was; `None` if nobody can tell.
    pub last: Option<Timestamp>,
}

/// All series.
#[derive(Debug)]
pub struct Book {
    limits: Limits,
    series: HashMap<Arc<Labels>, Series>,
    /// The longest without a kill first.
    by_turn: BTreeMap<u64, Arc<Labels>>,
    turn: u64,
    /// Of all labels.
    bytes: usize,
    /// The latest time that was passed in.
    now_ns: i64,
    overflow: Count,
    expired: u64,
}

#[derive(Clone, Copy, Debug)]
struct Series {
    count: Count,
    turn: u64,
    at_ns: i64,
}

impl Count {
    fn add(&mut self, other: Self) {
        self.kills += other.kills;
        self.last = self.last.max(other.last);
    }
}

impl Book {
    /// An empty one.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            series: HashMap::new(),
            by_turn: BTreeMap::new(),
            turn: 0,
            bytes: 0,
            now_ns: i64::MIN,
            overflow: Count::default(),
            expired: 0,
        }
    }

    /// Counts a kill. `at_ns` is when it came, on any clock that does not go back.
    pub fn add(&mut self, labels: Labels, last: Option<Timestamp>, at_ns: i64) {
        self.expire(at_ns);
        let labels = self
            .series
            .get_key_value(&labels)
            .map_or_else(|| Arc::new(labels), |(known, _)| known.clone());
        self.turn += 1;
        let mut series = Series {
            count: Count { kills: 1, last },
            turn: self.turn,
            at_ns: self.now_ns,
        };
        self.bytes += labels.bytes();
        if let Some(before) = self.take(&labels) {
            series.count.add(before.count);
        }
        self.by_turn.insert(series.turn, labels.clone());
        self.series.insert(labels, series);
        let room = self.limits.series.saturating_mul(LABEL_BYTES);
        while self.series.len() > self.limits.series || self.bytes > room {
            let Some(longest_ago) = self.take_first() else {
                break;
            };
            self.overflow.add(longest_ago.count);
        }
    }

    /// Ends the series that have been kept long enough.
    pub fn expire(&mut self, now_ns: i64) {
        self.now_ns = self.now_ns.max(now_ns);
        let keep_ns = i64::try_from(self.limits.keep_ns).unwrap_or(i64::MAX);
        let kept_since = self.now_ns.saturating_sub(keep_ns);
        while self.first().is_some_and(|first| first.at_ns < kept_since) {
            if let Some(ended) = self.take_first() {
                self.expired += ended.count.kills;
            }
        }
    }

    /// Every series as it is now, but for the one of those without room.
    #[must_use]
    pub fn series(&self) -> Vec<(Arc<Labels>, Count)> {
        let all = self.series.iter();
        all.map(|(labels, series)| (labels.clone(), series.count))
            .collect()
    }

    /// The series of those for which there was no room; `None` as long as there was.
    #[must_use]
    pub fn overflow(&self) -> Option<Count> {
        (self.overflow.kills > 0).then_some(self.overflow)
    }

    /// Kills of series that have ended.
    #[must_use]
    pub const fn expired(&self) -> u64 {
        self.expired
    }

    fn first(&self) -> Option<&Series> {
        let (_, labels) = self.by_turn.first_key_value()?;
        self.series.get(labels)
    }

    fn take_first(&mut self) -> Option<Series> {
        let (_, labels) = self.by_turn.first_key_value()?;
        let labels = labels.clone();
        self.take(&labels)
    }

    fn take(&mut self, labels: &Labels) -> Option<Series> {
        let series = self.series.remove(labels)?;
        self.by_turn.remove(&series.turn);
        self.bytes -= labels.bytes();
        Some(series)
    }
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
