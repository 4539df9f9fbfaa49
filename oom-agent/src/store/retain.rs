//! What is kept, and for how long.
//!
//! Removes the events that were stored first, each kind by itself: by age on the store's own clock
//! ([`super::age`]), by number and by bytes. In small steps, each a transaction of its own: a kill that is
//! to be stored waits for one of them at most. What a successor would take for untold if it were gone stays:
//! the events behind the snapshot from which it would replay, those of about the last minute.

use std::time::Duration;

use rusqlite::params;

use super::{
    dead_letters,
    error::StoreError,
    index,
    write::{Store, begin, write_clock},
};
use crate::clock::Now;

/// Events of one step: some milliseconds.
pub(super) const STEP: u32 = 128;

/// Free pages that stay in the file, to be used again (4 MiB).
const SPARE_PAGES: u32 = 1024;

/// Pages that are given back in one step.
const PAGES: u32 = 256;

/// How far a crash may set the store's clock back.
const NOTED_NS: i64 = 300 * 1_000_000_000;

/// What is kept of each kind of event.
#[derive(Clone, Copy, Debug)]
pub struct Retention {
    /// As old at most.
    pub age: Duration,
    /// As many at most.
    pub events: u64,
    /// As many bytes at most, with what an event takes beside its text, about.
    pub bytes: u64,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            age: Duration::from_hours(30 * 24),
            events: 100_000,
            bytes: 256 << 20,
        }
    }
}

/// What a step came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Retained {
    /// Events that are gone.
    pub(super) removed: u64,
    /// There may be more to do.
    pub(super) more: bool,
}

/// A kind, what there is of it, and what retention lets go of.
struct Usage {
    kind: String,
    events: i64,
    bytes: i64,
    removed: i64,
    through: i64,
}

impl Store {
    /// All steps that are due: for a store without a thread of its own.
    pub fn tidy(&mut self, retention: &Retention, now: &Now) -> Result<u64, StoreError> {
        let mut removed = 0;
        loop {
            let step = self.retain(retention, now)?;
            removed += step.removed;
            if !step.more {
                return Ok(removed);
            }
        }
    }

    /// One step.
    pub(super) fn retain(
        &mut self,
        retention: &Retention,
        now: &Now,
    ) -> Result<Retained, StoreError> {
        let age = i64::try_from(retention.age.as_nanos()).unwrap_or(i64::MAX);
        let oldest_ns = self.clock.at(&self.boot_id, now).saturating_sub(age);
        let through = self.replayed_from()?;
        for usage in self.usage()? {
            let removed = self.remove(usage, retention, (oldest_ns, through), now)?;
            if removed > 0 {
                // Another step looks whether that was all.
                return Ok(Retained {
                    removed,
                    more: true,
                });
            }
        }
        let more = self.give_back()?;
        if !more {
            self.note_clock(now)?;
            dead_letters::retain(&self.db, oldest_ns)?;
        }
        Ok(Retained { removed: 0, more })
    }

    /// The last event that no successor makes again.
    fn replayed_from(&self) -> Result<i64, StoreError> {
        let oldest = "SELECT min(event_seq) FROM snapshot WHERE boot_id = ?";
        let mut oldest = self.db.prepare_cached(oldest)?;
        let from: Option<i64> = oldest.query_row([&self.boot_id], |row| row.get(0))?;
        Ok(from.unwrap_or(i64::MAX))
    }

    fn usage(&self) -> Result<Vec<Usage>, StoreError> {
        let mut statement = self
            .db
            .prepare_cached("SELECT kind, events, bytes FROM usage")?;
        let rows = statement.query_map([], |row| {
            Ok(Usage {
                kind: row.get(0)?,
                events: row.get(1)?,
                bytes: row.get(2)?,
                removed: 0,
                through: 0,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    fn remove(
        &mut self,
        mut usage: Usage,
        retention: &Retention,
        (oldest_ns, last): (i64, i64),
        now: &Now,
    ) -> Result<u64, StoreError> {
        let most_events = i64::try_from(retention.events).unwrap_or(i64::MAX);
        let most_bytes = i64::try_from(retention.bytes).unwrap_or(i64::MAX);
        let oldest: Vec<(i64, i64, i64)> = self
            .db
            .prepare_cached(
                "SELECT seq, bytes, stored_ns FROM event INDEXED BY event_by_kind \
                 WHERE kind = ? ORDER BY seq LIMIT ?",
            )?
            .query_map(params![usage.kind, STEP], |row| {
                Ok((row.get(0)?, row.get(1)?, row.get(2)?))
            })?
            .collect::<Result<_, _>>()?;
        let mut gone = Vec::new();
        for (seq, bytes, stored_ns) in oldest {
            let over = usage.events > most_events || usage.bytes > most_bytes;
            if seq > last || !over && stored_ns >= oldest_ns {
                break;
            }
            usage.events -= 1;
            usage.bytes -= bytes;
            usage.removed += 1;
            usage.through = seq;
            gone.push(seq);
        }
        if gone.is_empty() {
            return Ok(0);
        }
        let clock = self.clock.moved(&self.boot_id, now);
        let transaction = begin(&mut self.db)?;
        for seq in gone {
            index::remove(&transaction, seq)?;
            transaction
                .prepare_cached("DELETE FROM event WHERE seq = ?")?
                .execute([seq])?;
        }
        transaction
            .prepare_cached(
                "UPDATE usage SET events = ?2, bytes = ?3, removed = removed + ?4, \
                 removed_through = ?5 WHERE kind = ?1",
            )?
            .execute(params![
                usage.kind,
                usage.events,
                usage.bytes,
                usage.removed,
                usage.through
            ])?;
        write_clock(&transaction, &clock)?;
        transaction.commit()?;
        self.clock = clock;
        Ok(usage.removed.unsigned_abs())
    }

    /// Gives a few free pages back to the file system, if there are many; true if there are more.
    fn give_back(&mut self) -> Result<bool, StoreError> {
        let free: u32 = self
            .db
            .pragma_query_value(None, "freelist_count", |row| row.get(0))?;
        let too_many = free.saturating_sub(SPARE_PAGES);
        if too_many == 0 {
            return Ok(false);
        }
        let pages = too_many.min(PAGES);
        // A row for each page.
        let mut statement = self
            .db
            .prepare(&format!("PRAGMA incremental_vacuum({pages})"))?;
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
        Ok(too_many > pages)
    }

    /// Notes down now and then where the store's clock stands.
    fn note_clock(&mut self, now: &Now) -> Result<(), StoreError> {
        let clock = self.clock.moved(&self.boot_id, now);
        if clock.store_ns - self.clock.store_ns < NOTED_NS {
            return Ok(());
        }
        let transaction = begin(&mut self.db)?;
        write_clock(&transaction, &clock)?;
        transaction.commit()?;
        self.clock = clock;
        Ok(())
    }
}

#[cfg(test)]
#[path = "retain_tests.rs"]
mod tests;
