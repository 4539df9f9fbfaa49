//! Which kills make one event, what of them has been told, and what is due.
//!
//! Takes posts in the order of storing; emits what is to be told next, how far everything is told, and a state
//! from which it goes on after a crash. Pure: told what time it is. Refuses more than [`MOST`] series at a
//! time: then the rest waits in the store.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use super::post::{Object, Post, What};

/// A kill so long after the first of a series begins another: an event tells of at most so much.
const WINDOW_NS: i64 = 600 * 1_000_000_000;

/// How long more kills are gathered before they are told: at first, and at most.
const HOLD: Duration = Duration::from_secs(10);
const HOLD_AT_MOST: Duration = Duration::from_secs(160);

/// Between two tries of what the other end denied: at first, and at most.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_AT_MOST: Duration = Duration::from_mins(5);

/// What is denied for so long while others are taken is refused.
const PATIENCE: Duration = Duration::from_mins(10);

/// Series at a time.
const MOST: usize = 512;

/// All series that are open or not told yet.
#[derive(Debug, Default)]
pub(super) struct Book {
    series: Vec<Series>,
    /// Time of the kill that was handed over last. Not the highest: a clock that was ahead once would end all
    /// series from then on.
    last_ns: Option<i64>,
}

/// Kills of one object, or victims there that are stuck, told by one event.
#[derive(Clone, Debug)]
pub(super) struct Series {
    pub(super) first: Post,
    /// All kills, and those of them that have been told.
    all: Extent,
    told: Extent,
    /// The event is there.
    there: bool,
    /// In the order of storing, where the series begins, and the first report that is not told.
    first_seq: i64,
    untold: Option<i64>,
    /// The other end will never take it.
    refused: Option<String>,
    due: Instant,
    hold: Duration,
    tries: u32,
    denied: Option<Denied>,
}

/// The other end did not take this one.
#[derive(Clone, Copy, Debug, Default)]
struct Denied {
    times: u32,
    /// Since when it took another.
    alone: Option<Instant>,
}

/// What becomes of what was denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Then {
    /// It is tried again. The other end has taken nothing since: it may be its trouble.
    Again,
    /// It is tried again, though it alone is denied.
    AgainAlone,
    /// It was tried long enough: so many kills are refused.
    Refused(u64),
}

/// So many kills, the last at this time and in this report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Extent {
    pub(super) count: u32,
    pub(super) last_ns: i64,
    through: i64,
}

/// What became of a kill that was put into the book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// It will be told.
    Yes,
    /// It has been, before a crash.
    Told,
    /// It never will be, and why.
    Refused(String),
}

/// What is to be told next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// This one, now.
    Now(usize),
    /// One, in so long.
    In(Duration),
    /// Nothing.
    Never,
}

impl Book {
    pub(super) const fn is_full(&self) -> bool {
        self.series.len() >= MOST
    }

    /// Takes what report `seq` tells.
    pub(super) fn take(&mut self, post: Post, seq: i64, now: Instant) -> Taken {
        self.last_ns = Some(post.time_ns);
        let alike = (self.series.iter_mut())
            .filter(|it| it.first.object == post.object && it.first.what == post.what);
        let before = alike.filter(|it| it.first_seq <= seq);
        if let Some(series) = before.max_by_key(|it| it.first_seq) {
            if series.told.through >= seq {
                return Taken::Told;
            }
            if post.time_ns.abs_diff(series.first.time_ns) < WINDOW_NS.unsigned_abs() {
                return series.add(&post, seq);
            }
        }
        self.series.push(Series {
            all: Extent {
                count: 1,
                last_ns: post.time_ns,
                through: seq,
            },
            told: Extent {
                count: 0,
                last_ns: post.time_ns,
                through: seq - 1,
            },
            first: post,
            there: false,
            first_seq: seq,
            untold: Some(seq),
            refused: None,
            due: now,
            hold: HOLD,
            tries: 0,
            denied: None,
        });
        Taken::Yes
    }

    /// What is next: what failed least, then what came first. With `at_once`, nothing is held back but what
    /// was denied; where there is no room, that must not wait either.
    pub(super) fn due(&self, now: Instant, at_once: bool) -> Due {
        let untold = self.series.iter().enumerate();
        let untold = untold.filter_map(|(at, it)| it.untold.map(|seq| (at, it, seq)));
        let is_full = self.is_full();
        let is_due = |it: &Series| match it.denied {
            None => at_once || it.due <= now,
            Some(denied) => it.due <= now || is_full && denied.alone.is_some(),
        };
        let next = untold.clone().filter(|(_, it, _)| is_due(it));
        if let Some((at, ..)) = next.min_by_key(|(_, it, seq)| (it.tries, *seq)) {
            return Due::Now(at);
        }
        let soonest = untold.map(|(_, it, _)| it.due).min();
        soonest.map_or(Due::Never, |due| Due::In(due - now))
    }

    pub(super) fn series(&self, at: usize) -> &Series {
        &self.series[at]
    }

    /// Everything of it has been told; how many kills that were. What was denied before is due now: the other
    /// end is well, and it is this one or it was the trouble that is over.
    pub(super) fn told(&mut self, at: usize, now: Instant) -> u64 {
        let told = self.over(at, now);
        for series in &mut self.series {
            if let Some(Denied { alone, .. }) = &mut series.denied
                && alone.is_none()
            {
                *alone = Some(now);
                series.due = now;
            }
        }
        told
    }

    fn over(&mut self, at: usize, now: Instant) -> u64 {
        let series = &mut self.series[at];
        let before = series.told.count;
        series.told = series.all;
        series.there = true;
        series.untold = None;
        series.tries = 0;
        series.denied = None;
        series.due = now + series.hold;
        series.hold = (series.hold * 2).min(HOLD_AT_MOST);
        u64::from(series.all.count.saturating_sub(before))
    }

    /// The event is there, made before a crash. How many kills it tells of is not known, but that it is one at
    /// least: if there are more, they are all to be told. Gives how many have been.
    pub(super) fn was_there(&mut self, at: usize, now: Instant) -> u64 {
        self.series[at].there = true;
        if self.series[at].all.count > 1 {
            return 0;
        }
        self.told(at, now)
    }

    /// The event is gone: it is to be made anew, with all that it told.
    pub(super) fn was_gone(&mut self, at: usize) {
        self.series[at].there = false;
    }

    /// The other end did not take it now.
    pub(super) fn failed(&mut self, at: usize) {
        self.series[at].tries = self.series[at].tries.saturating_add(1);
    }

    /// The other end did not take this one, and may take others: it waits for itself.
    pub(super) fn denied(&mut self, at: usize, why: &str, now: Instant) -> Then {
        let patience = if self.is_full() {
            Duration::ZERO
        } else {
            PATIENCE
        };
        let series = &mut self.series[at];
        let denied = series.denied.get_or_insert_default();
        let pause = PAUSE.saturating_mul(1 << denied.times.min(16));
        denied.times = denied.times.saturating_add(1);
        series.tries = series.tries.saturating_add(1);
        series.due = now + pause.min(PAUSE_AT_MOST);
        match denied.alone {
            None => Then::Again,
            Some(since) if now - since < patience => Then::AgainAlone,
            Some(_) => Then::Refused(self.refused(at, why, now)),
        }
    }

    /// The other end will never take it: its kills that were to be told.
    pub(super) fn refused(&mut self, at: usize, why: &str, now: Instant) -> u64 {
        self.series[at].refused = Some(why.to_owned());
        self.over(at, now)
    }

    /// Up to where all is told of what was handed over up to `read`; forgets what is of no use any more.
    pub(super) fn settle(&mut self, read: i64) -> i64 {
        let untold = self.series.iter().filter_map(|it| it.untold).min();
        let done = untold.map_or(read, |seq| (seq - 1).min(read));
        // By the times of kills, not by the clock: what is read late makes the same series.
        let (full, last_ns) = (self.is_full(), self.last_ns);
        self.series.retain(|it| {
            let passed = last_ns.map_or(0, |last| last.abs_diff(it.first.time_ns));
            let is_open = passed < WINDOW_NS.unsigned_abs();
            it.untold.is_some() || it.all.through > done || is_open && !full
        });
        done
    }

    /// What has been told, of which there may be more: with all that is stored behind `settle`'s answer it
    /// makes the same book.
    pub(super) fn state(&self) -> Result<String, serde_json::Error> {
        let there = self.series.iter().filter(|it| it.there);
        let kept = there.map(|it| Kept {
            object: it.first.object.clone(),
            what: it.first.what,
            name: it.first.name.clone(),
            time_ns: it.first.time_ns,
            note: it.first.note.clone(),
            first_seq: it.first_seq,
            told: it.told,
            refused: it.refused.clone(),
        });
        serde_json::to_string(&kept.collect::<Vec<_>>())
    }

    /// Goes on from such a state.
    pub(super) fn resume(state: &str, now: Instant) -> Result<Self, serde_json::Error> {
        if state.is_empty() {
            return Ok(Self::default());
        }
        let kept: Vec<Kept> = serde_json::from_str(state)?;
        let series = kept.into_iter().take(MOST).map(|it| Series {
            first: Post {
                object: it.object,
                what: it.what,
                name: it.name,
                time_ns: it.time_ns,
                note: it.note,
            },
            all: it.told,
            told: it.told,
            there: true,
            first_seq: it.first_seq,
            untold: None,
            refused: it.refused,
            due: now,
            hold: HOLD,
            tries: 0,
            denied: None,
        });
        Ok(Self {
            series: series.collect(),
            // What has been told may be of later than what is handed over now.
            last_ns: None,
        })
    }
}

impl Series {
    /// The first report of it that is not told.
    pub(super) fn untold_from(&self) -> i64 {
        self.untold.unwrap_or(self.first_seq)
    }

    /// How often telling it failed.
    pub(super) const fn tried(&self) -> u32 {
        self.tries
    }

    fn add(&mut self, post: &Post, seq: i64) -> Taken {
        self.all = Extent {
            count: self.all.count.saturating_add(1),
            last_ns: self.all.last_ns.max(post.time_ns),
            through: seq,
        };
        if let Some(why) = &self.refused {
            self.told = self.all;
            return Taken::Refused(why.clone());
        }
        self.untold = self.untold.or(Some(seq));
        Taken::Yes
    }

    /// How much there is to tell.
    pub(super) const fn all(&self) -> Extent {
        self.all
    }

    /// Whether its event is there.
    pub(super) const fn is_there(&self) -> bool {
        self.there
    }
}

/// A series in the store.
#[derive(Debug, Serialize, Deserialize)]
struct Kept {
    object: Object,
    #[serde(default)]
    what: What,
    name: String,
    time_ns: i64,
    note: String,
    first_seq: i64,
    told: Extent,
    refused: Option<String>,
}

#[cfg(test)]
#[path = "book_tests.rs"]
mod tests;
