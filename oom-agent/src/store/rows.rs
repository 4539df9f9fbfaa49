//! The rows of one batch.
//!
//! Reads its steps; emits rows of `event`, `journal` and `snapshot`, positions and usage, in a transaction
//! that somebody else commits.

use std::collections::BTreeMap;

use rusqlite::{OptionalExtension as _, Transaction, params};

use super::{
    Committed, Snapshot, age, batch::Batch, dead_letters, error::StoreError, index,
    journal::Encoder,
};
use crate::{
    clock::Now,
    event::{Event, Kind, Scope},
    evidence::Evidence,
};

/// More of the journal than this is not kept: detection that is never quiet would fill the disk.
const JOURNAL_AT_MOST: i64 = 1 << 15;

/// What a row takes beside its body: columns, indices, what it is searched by.
pub(super) const ROW_BYTES: usize = 512;

/// Where the journal stands.
#[derive(Clone, Copy, Debug)]
pub(super) struct Journal {
    /// Its last row, ever.
    pub(super) last: i64,
    /// What was cut off before, or is contained in the oldest snapshot.
    pub(super) first: i64,
    /// Nothing is written until the next quiet moment: something is missing.
    pub(super) broken: bool,
    /// There is no snapshot, or only one of before what is missing.
    pub(super) wanted: bool,
    /// Snapshots older than this are not needed, nanoseconds.
    pub(super) keep_ns: u64,
}

/// A batch on its way.
pub(super) struct Writing<'a> {
    pub(super) transaction: &'a Transaction<'a>,
    pub(super) boot_id: &'a str,
    pub(super) encoder: &'a mut Encoder,
    pub(super) journal: &'a mut Journal,
    /// Events and bytes by kind.
    pub(super) usage: BTreeMap<Kind, (i64, i64)>,
    pub(super) committed: Committed,
}

impl Writing<'_> {
    /// A replay would not find what is missing, and conclude from less than there was: nothing is told again
    /// until a quiet moment has made what was before irrelevant. The newest snapshot stays for its audit: the
    /// kills since then are counted by the kernel, and show as unexplained.
    pub(super) fn break_off(&mut self) -> Result<(), StoreError> {
        self.journal.broken = true;
        self.journal.wanted = true;
        self.journal.first = self.journal.last;
        self.encoder.forget();
        self.transaction.execute("DELETE FROM journal", [])?;
        self.transaction.execute(
            "DELETE FROM snapshot WHERE n < (SELECT max(n) FROM snapshot)",
            [],
        )?;
        self.transaction
            .execute("UPDATE snapshot SET journal_n = ?", [self.journal.last])?;
        Ok(())
    }

    /// The only snapshot from now on.
    pub(super) fn base(&mut self, snapshot: &Snapshot) -> Result<(), StoreError> {
        self.transaction.execute("DELETE FROM snapshot", [])?;
        insert_snapshot(self.transaction, self.boot_id, self.journal.last, snapshot)?;
        Ok(())
    }

    pub(super) fn evidence(&mut self, evidence: &Evidence, at: &Now) -> Result<(), StoreError> {
        if !self.journal.broken && self.journal.last - self.journal.first >= JOURNAL_AT_MOST {
            tracing::warn!(
                "no quiet moment for {JOURNAL_AT_MOST} observations: the journal is cut"
            );
            self.break_off()?;
        }
        if self.journal.broken {
            self.committed.unjournaled += 1;
            return Ok(());
        }
        let encoded = match self.encoder.encode(evidence) {
            Ok(encoded) => encoded,
            Err(error) => {
                tracing::error!(
                    "an observation cannot be journaled: {}",
                    crate::error::chain(&error)
                );
                self.committed.unjournaled += 1;
                return self.break_off();
            }
        };
        let mut statement = self.transaction.prepare_cached(
            "INSERT INTO journal (boot_id, monotonic_ns, wall_offset_ns, boot_offset_ns, evidence) \
             VALUES (?, ?, ?, ?, ?)",
        )?;
        self.journal.last = statement.insert(params![
            self.boot_id,
            at.monotonic_ns.cast_signed(),
            age::clamp(at.wall_offset_ns),
            age::clamp(at.boot_offset_ns),
            encoded
        ])?;
        self.committed.journaled += 1;
        Ok(())
    }

    pub(super) fn event(
        &mut self,
        event: &Event,
        wall_ns: i64,
        stored_ns: i64,
    ) -> Result<(), StoreError> {
        let body = serde_json::to_string(event)?;
        self.told(event, &body, wall_ns, stored_ns)
    }

    /// The same, in words that are there already.
    pub(super) fn told(
        &mut self,
        event: &Event,
        body: &str,
        wall_ns: i64,
        stored_ns: i64,
    ) -> Result<(), StoreError> {
        let bytes = i64::try_from(body.len() + ROW_BYTES).unwrap_or(i64::MAX);
        let time_ns = event
            .time()
            .map_or(wall_ns, |time| age::clamp(time.as_unix_ns()));
        let mut statement = self.transaction.prepare_cached(
            "INSERT OR IGNORE INTO event \
             (id, kind, time_ns, boot_id, scope, backfill, bytes, stored_ns, body) \
             VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        )?;
        let inserted = statement.execute(params![
            event.id(),
            event.kind().as_str(),
            time_ns,
            event.boot_id(),
            event.scope().map(Scope::as_str),
            event.is_backfill(),
            bytes,
            stored_ns,
            body
        ])?;
        if inserted == 0 {
            self.committed.duplicates += 1;
            return Ok(());
        }
        let seq = self.transaction.last_insert_rowid();
        index::insert(self.transaction, seq, time_ns, event)?;
        let (events, all) = self.usage.entry(event.kind()).or_default();
        *events += 1;
        *all += bytes;
        self.committed.events += 1;
        Ok(())
    }

    /// Keeps a snapshot if it is worth it, and forgets what no replay needs any more.
    pub(super) fn quiet(&mut self, snapshot: &Snapshot) -> Result<(), StoreError> {
        if self.journal.broken {
            self.base(snapshot)?;
            (self.journal.broken, self.journal.wanted) = (false, false);
            return Ok(());
        }
        let at = snapshot.monotonic_ns.cast_signed();
        let newest: Option<(i64, i64)> = self
            .transaction
            .prepare_cached("SELECT journal_n, monotonic_ns FROM snapshot ORDER BY n DESC LIMIT 1")?
            .query_row([], |row| Ok((row.get(0)?, row.get(1)?)))
            .optional()?;
        let keep_ns = self.journal.keep_ns.cast_signed();
        let is_news = newest.is_none_or(|(journal_n, newest)| {
            journal_n < self.journal.last && at.saturating_sub(newest) >= keep_ns / 8
        });
        if is_news {
            insert_snapshot(self.transaction, self.boot_id, self.journal.last, snapshot)?;
            self.journal.wanted = false;
        }
        let oldest: Option<(i64, i64)> = self
            .transaction
            .prepare_cached(
                "SELECT n, journal_n FROM snapshot WHERE monotonic_ns <= ? ORDER BY n DESC LIMIT 1",
            )?
            .query_row([at.saturating_sub(keep_ns)], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })
            .optional()?;
        if let Some((n, journal_n)) = oldest {
            let journal = "DELETE FROM journal WHERE n <= ?";
            self.transaction
                .prepare_cached(journal)?
                .execute([journal_n])?;
            let snapshots = "DELETE FROM snapshot WHERE n < ?";
            self.transaction.prepare_cached(snapshots)?.execute([n])?;
            self.journal.first = journal_n;
        }
        Ok(())
    }

    pub(super) fn positions(&self, batch: &Batch, at: (i64, i64)) -> Result<(), StoreError> {
        if batch.log_read.is_some() || batch.ring.is_some() || batch.backfilled {
            self.transaction
                .prepare_cached(
                    "UPDATE boot SET log_read = coalesce(?2, log_read), \
                     ring_seq = coalesce(?3, ring_seq), backfilled = backfilled OR ?4 \
                     WHERE boot_id = ?1",
                )?
                .execute(params![
                    self.boot_id,
                    batch.log_read.map(u64::cast_signed),
                    batch.ring.map(|ring| ring.seq.cast_signed()),
                    batch.backfilled
                ])?;
        }
        for delivered in &batch.delivered {
            self.transaction
                .prepare_cached("INSERT OR REPLACE INTO sink (name, seq, state) VALUES (?, ?, ?)")?
                .execute(params![delivered.sink, delivered.through, delivered.state])?;
            for letter in &delivered.dead {
                dead_letters::insert(self.transaction, &delivered.sink, letter, at)?;
            }
        }
        for (kind, (events, bytes)) in &self.usage {
            self.transaction
                .prepare_cached(
                    "INSERT INTO usage (kind, events, bytes) VALUES (?1, ?2, ?3) ON CONFLICT (kind) \
                     DO UPDATE SET events = events + ?2, bytes = bytes + ?3",
                )?
                .execute(params![kind.as_str(), events, bytes])?;
        }
        Ok(())
    }
}

/// One snapshot, with the place of the last event: what comes behind it is of later.
pub(super) fn insert_snapshot(
    transaction: &Transaction<'_>,
    boot_id: &str,
    journal_n: i64,
    snapshot: &Snapshot,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT INTO snapshot (boot_id, journal_n, event_seq, monotonic_ns, state) VALUES (?, ?, \
             (SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'event'), ?, ?)",
        )?
        .execute(params![
            boot_id,
            journal_n,
            snapshot.monotonic_ns.cast_signed(),
            snapshot.state
        ])?;
    Ok(())
}
