//! The series of before this start: a container that died while nobody scraped is found all the same.
//!
//! Reads every `OomKill` that the store held when the agent started, in the order of detection; counts them
//! in a [`Book`]. What is stored later comes from detection itself. All of them, not only those of the time
//! that series are kept: a series that goes on over several starts must go on with the same number, or
//! Prometheus would take it for a counter that was reset, and count it once more. Refuses history
//! (`backfill`), as everything does that tells of kills.

use std::path::Path;

use serde::Deserialize;

use super::{book::Book, labels::Labels};
use crate::{
    clock::Now,
    event::{Cgroup, Kind, Owner, Timestamp},
    store::{Filter, QueryError, Reader},
};

/// Events that are in memory at once.
const PAGE: usize = 256;

/// What the store held at the start.
#[derive(Debug)]
pub(super) struct Seed {
    reader: Reader,
    through: i64,
}

/// Of an `OomKill`, what makes a series.
#[derive(Deserialize)]
struct Kill {
    time: Option<Timestamp>,
    cgroup: Option<Cgroup>,
    owner: Option<Owner>,
}

impl Seed {
    /// Notes down how far the store goes. Detection must not have told anything yet.
    pub(super) fn open(store: &Path) -> Result<Self, QueryError> {
        let reader = Reader::open(store)?;
        let through = reader.last_seq()?;
        Ok(Self { reader, through })
    }

    /// Counts all of it. Gives the number of events that could not be understood.
    pub(super) fn plant(self, book: &mut Book, now: &Now) -> Result<u64, QueryError> {
        let filter = Filter {
            kinds: vec![Kind::OomKill],
            backfill: Some(false),
            ..Filter::default()
        };
        let boottime_ns = boottime_ns(now);
        let wall_ns = now.wall(now.monotonic_ns).as_unix_ns();
        let (mut at, mut malformed) = (0, 0);
        while at < self.through {
            let tail = self.reader.after_seq(at, &filter, PAGE)?;
            at = tail.through;
            let ours = tail.events.iter().filter(|it| it.seq <= self.through);
            for stored in ours {
                let Ok(kill) = serde_json::from_str::<Kill>(&stored.body) else {
                    malformed += 1;
                    continue;
                };
                let labels = Labels::of(kill.cgroup.as_ref(), kill.owner.as_ref());
                // Of a time to come, as a clock that was set back leaves it: now.
                let age_ns = i64::try_from(wall_ns - i128::from(stored.time_ns));
                let at_ns = boottime_ns.saturating_sub(age_ns.unwrap_or(i64::MAX).max(0));
                book.add(labels, kill.time, at_ns);
            }
        }
        Ok(malformed)
    }
}

/// `CLOCK_BOOTTIME`: the clock by which series are kept.
pub(super) fn boottime_ns(now: &Now) -> i64 {
    let ns = i128::from(now.monotonic_ns) + now.boot_offset_ns;
    i64::try_from(ns).unwrap_or(i64::MAX)
}
