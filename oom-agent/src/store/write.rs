//! One batch, one transaction.
//!
//! Reads a [`Batch`]; emits rows. An event that is there already is refused by its kind and id: a replay
//! stores nothing twice.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};

use super::{
    age::{self, Mark},
    batch::{Batch, Step},
    error::StoreError,
    index,
    journal::Encoder,
    lock::Lock,
    open,
    recovery::Run,
};
use crate::{
    clock::Now,
    event::{Event, Kind},
    store::Snapshot,
};

/// More of the journal than this is not kept: detection that is never quiet would fill the disk.
const JOURNAL_AT_MOST: i64 = 1 << 15;

/// What a row takes beside its body: columns, indices, what it is searched by.
pub(super) const ROW_BYTES: usize = 512;

/// An open store, of which there is one writer.
#[derive(Debug)]
pub struct Store {
    pub(super) db: Connection,
    pub(super) boot_id: Box<str>,
    pub(super) clock: Mark,
    path: PathBuf,
    set_aside: Option<PathBuf>,
    encoder: Encoder,
    journal: Journal,
    run: Option<i64>,
    _lock: Lock,
}

/// Where the journal stands.
#[derive(Clone, Copy, Debug)]
struct Journal {
    /// Its last row, ever.
    last: i64,
    /// What was cut off before, or is contained in the oldest snapshot.
    first: i64,
    /// Nothing is written until the next quiet moment: something is missing.
    broken: bool,
    /// Snapshots older than this are not needed, nanoseconds.
    keep_ns: u64,
}

/// What a batch came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Committed {
    /// Events that are stored now.
    pub events: u64,
    /// Events that were there already.
    pub duplicates: u64,
    /// Evidence in the journal.
    pub journaled: u64,
    /// Evidence that is not: the journal is broken off until the next quiet moment.
    pub unjournaled: u64,
}

impl Store {
    /// Opens the store at this path, and makes it where there is none. The journal of other boots goes:
    /// nothing is left of what it was told for. Snapshots are kept until there is one that is older than
    /// `keep_ns` (what the correlator remembers, and some more).
    pub fn open(path: &Path, boot_id: &str, keep_ns: u64) -> Result<Self, StoreError> {
        let opened = open::open(path)?;
        let db = opened.db;
        for table in ["journal", "snapshot", "boot"] {
            db.execute(
                &format!("DELETE FROM {table} WHERE boot_id <> ?"),
                [boot_id],
            )?;
        }
        let clock = read_clock(&db)?.unwrap_or_else(|| Mark::begin(boot_id, &Now::read()));
        let last = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'journal'";
        let last = db.query_row(last, [], |row| row.get(0))?;
        let first = "SELECT coalesce(min(n) - 1, ?) FROM journal";
        let first = db.query_row(first, [last], |row| row.get(0))?;
        Ok(Self {
            db,
            boot_id: boot_id.into(),
            clock,
            path: path.to_owned(),
            set_aside: opened.set_aside,
            encoder: Encoder::default(),
            journal: Journal {
                last,
                first,
                broken: false,
                keep_ns,
            },
            run: None,
            _lock: opened.lock,
        })
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Where a damaged store has been put that was found in its place.
    #[must_use]
    pub fn set_aside(&self) -> Option<&Path> {
        self.set_aside.as_deref()
    }

    /// Whether an event is there.
    pub fn has_event(&self, kind: Kind, id: &str) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM event WHERE kind = ? AND id = ?";
        let mut statement = self.db.prepare_cached(sql)?;
        Ok(statement.exists([kind.as_str(), id])?)
    }

    /// Notes a start down, once; a ring of another generation of programs begins anew.
    pub fn begin_run(&mut self, run: &Run, now: &Now) -> Result<(), StoreError> {
        self.clock = self.clock.moved(&self.boot_id, now);
        let transaction = begin(&mut self.db)?;
        transaction.execute(
            "INSERT INTO boot (boot_id, first_start_ns, ring_generation) VALUES (?1, ?2, ?3) \
             ON CONFLICT (boot_id) DO UPDATE SET ring_generation = ?3, \
             ring_seq = CASE WHEN ring_generation IS ?3 THEN ring_seq END",
            params![
                self.boot_id,
                now.monotonic_ns.cast_signed(),
                run.ring_generation
            ],
        )?;
        let started_ns = age::clamp(run.started.as_unix_ns());
        let noted = "SELECT n FROM run WHERE boot_id = ? AND pid = ? AND started_ns = ?";
        let noted: Option<i64> = transaction
            .query_row(noted, params![self.boot_id, run.pid, started_ns], |row| {
                row.get(0)
            })
            .optional()?;
        let n = if let Some(n) = noted {
            n
        } else {
            transaction.execute(
                "INSERT INTO run (boot_id, pid, pid_start_ns, started_ns, version) \
                 VALUES (?, ?, ?, ?, ?)",
                params![
                    self.boot_id,
                    run.pid,
                    run.pid_start_ns.map(u64::cast_signed),
                    started_ns,
                    run.version
                ],
            )?;
            transaction.last_insert_rowid()
        };
        transaction.execute("DELETE FROM run WHERE n <= ? - 100", [n])?;
        write_clock(&transaction, &self.clock)?;
        transaction.commit()?;
        self.run = Some(n);
        Ok(())
    }

    /// Notes the end of the run down, and leaves one file without a write-ahead log.
    pub fn end_run(&mut self, now: &Now) -> Result<(), StoreError> {
        self.clock = self.clock.moved(&self.boot_id, now);
        let transaction = begin(&mut self.db)?;
        transaction.execute(
            "UPDATE run SET ended_ns = ? WHERE n = ?",
            params![age::wall_ns(now), self.run],
        )?;
        write_clock(&transaction, &self.clock)?;
        transaction.commit()?;
        self.db
            .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))?;
        Ok(())
    }

    /// Writes a batch: all of it or, with an error, nothing. What it returned for is on the disk.
    ///
    /// After an error the store is to be opened again.
    pub fn commit(&mut self, batch: &Batch, now: &Now) -> Result<Committed, StoreError> {
        let stored_ns = self.clock.at(&self.boot_id, now);
        let mut journal = self.journal;
        let transaction = begin(&mut self.db)?;
        let mut writing = Writing {
            transaction: &transaction,
            boot_id: &self.boot_id,
            encoder: &mut self.encoder,
            journal: &mut journal,
            usage: BTreeMap::new(),
            committed: Committed::default(),
        };
        if batch.hole {
            writing.break_off()?;
        }
        for step in &batch.steps {
            match step {
                Step::Evidence(evidence, at) => writing.evidence(evidence, at)?,
                Step::Event(event) => writing.event(event, age::wall_ns(now), stored_ns)?,
                // What is missing is missing behind it.
                Step::Quiet(_) if batch.hole => {}
                Step::Quiet(snapshot) => writing.quiet(snapshot)?,
            }
        }
        writing.positions(batch)?;
        let committed = writing.committed;
        transaction.commit()?;
        self.journal = journal;
        Ok(committed)
    }
}

/// A batch on its way.
struct Writing<'a> {
    transaction: &'a Transaction<'a>,
    boot_id: &'a str,
    encoder: &'a mut Encoder,
    journal: &'a mut Journal,
    /// Events and bytes by kind.
    usage: BTreeMap<Kind, (i64, i64)>,
    committed: Committed,
}

impl Writing<'_> {
    /// A replay would not find what is missing, and conclude from less than there was: there is none
    /// until a quiet moment has made what was before irrelevant.
    fn break_off(&mut self) -> Result<(), StoreError> {
        self.journal.broken = true;
        self.journal.first = self.journal.last;
        self.encoder.forget();
        self.transaction.execute("DELETE FROM journal", [])?;
        self.transaction.execute("DELETE FROM snapshot", [])?;
        self.encoder.forget();
        Ok(())
    }

    fn evidence(
        &mut self,
        evidence: &crate::evidence::Evidence,
        at: &Now,
    ) -> Result<(), StoreError> {
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

    fn event(&mut self, event: &Event, wall_ns: i64, stored_ns: i64) -> Result<(), StoreError> {
        let body = serde_json::to_string(event)?;
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
            event.scope().map(crate::event::Scope::as_str),
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
    fn quiet(&mut self, snapshot: &Snapshot) -> Result<(), StoreError> {
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
        if is_news || self.journal.broken {
            self.transaction.execute(
                "INSERT INTO snapshot (boot_id, journal_n, monotonic_ns, state) VALUES (?, ?, ?, ?)",
                params![self.boot_id, self.journal.last, at, snapshot.state],
            )?;
            self.journal.broken = false;
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

    fn positions(&self, batch: &Batch) -> Result<(), StoreError> {
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

/// A transaction that writes.
pub(super) fn begin(db: &mut Connection) -> rusqlite::Result<Transaction<'_>> {
    db.transaction_with_behavior(TransactionBehavior::Immediate)
}

fn read_clock(db: &Connection) -> rusqlite::Result<Option<Mark>> {
    let sql = "SELECT store_ns, wall_ns, boottime_ns, boot_id FROM clock";
    db.query_row(sql, [], |row| {
        Ok(Mark {
            store_ns: row.get(0)?,
            wall_ns: row.get(1)?,
            boottime_ns: row.get(2)?,
            boot_id: row.get::<_, String>(3)?.into(),
        })
    })
    .optional()
}

pub(super) fn write_clock(transaction: &Transaction<'_>, clock: &Mark) -> rusqlite::Result<()> {
    transaction.execute(
        "INSERT OR REPLACE INTO clock (one, store_ns, wall_ns, boottime_ns, boot_id) \
         VALUES (1, ?, ?, ?, ?)",
        params![
            clock.store_ns,
            clock.wall_ns,
            clock.boottime_ns,
            clock.boot_id
        ],
    )?;
    Ok(())
}

#[cfg(test)]
#[path = "write_tests.rs"]
mod tests;
