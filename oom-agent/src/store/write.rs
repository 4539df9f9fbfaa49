//! One batch, one transaction.
//!
//! Reads a [`Batch`]; emits rows. An event that is there already is refused by its kind and id: a replay
//! stores nothing twice.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use rusqlite::{Connection, OptionalExtension as _, Transaction, TransactionBehavior, params};

use super::{
    age::{self, Mark},
    batch::{Batch, Step},
    ended::ended,
    error::StoreError,
    journal::Encoder,
    lock::Lock,
    open,
    recovery::Run,
    rows::{self, Journal, Writing},
};
use crate::{
    clock::Now,
    correlate::{Host, Timing},
    event::{Event, Kind},
    store::{Delivered, Snapshot},
};

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
    lock: Option<Lock>,
    run: Option<i64>,
    /// By which reports of ended boots are closed.
    pub(super) timing: Timing,
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

/// What other boots had left open when a run began.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Begun {
    /// Events that their agents owed, and that are stored now.
    pub owed: u64,
    /// Observations of theirs that cannot be read, and victims whose end nobody saw.
    pub unknown: u64,
}

impl Store {
    /// Opens the store at this path, and makes it where there is none; one that is there is only read.
    /// Snapshots are kept until there is one that is older than `keep_ns` (what the correlator remembers, and
    /// some more).
    pub fn open(path: &Path, boot_id: &str, keep_ns: u64) -> Result<Self, StoreError> {
        Self::open_under(&mut None, path, boot_id, keep_ns)
    }

    /// The same under a lock that outlives the store, and is taken if it is not held yet.
    pub(super) fn open_under(
        held: &mut Option<Lock>,
        path: &Path,
        boot_id: &str,
        keep_ns: u64,
    ) -> Result<Self, StoreError> {
        let opened = open::open(path, held)?;
        let db = opened.db;
        // A new one begins with the first run.
        let clock = read_clock(&db)?.unwrap_or_else(|| Mark::begin("", &Now::read()));
        let last = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'journal'";
        let last = db.query_row(last, [], |row| row.get(0))?;
        let first = "SELECT coalesce(min(n) - 1, ?) FROM journal WHERE boot_id = ?";
        let first = db.query_row(first, params![last, boot_id], |row| row.get(0))?;
        let is_based = db
            .prepare("SELECT 1 FROM snapshot WHERE boot_id = ?")?
            .exists([boot_id])?;
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
                wanted: !is_based,
                keep_ns,
            },
            run: None,
            lock: held.clone(),
            timing: Timing::default(),
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

    /// Whether a replay has nothing to begin with: the next quiet moment is to be told, whatever came since
    /// the last.
    #[must_use]
    pub const fn wants_snapshot(&self) -> bool {
        self.journal.wanted
    }

    /// Closes the database, and keeps the lock.
    pub(super) fn into_lock(self) -> Option<Lock> {
        self.lock
    }

    /// The last row of the journal, ever, and whether it is broken off.
    pub(super) const fn journal_end(&self) -> (i64, bool) {
        (self.journal.last, self.journal.broken)
    }

    /// Nothing is journaled until a quiet moment: as it was before this store was opened again.
    pub(super) const fn stay_broken(&mut self) {
        self.journal.broken = true;
        self.journal.wanted = true;
    }

    /// Whether an event is there.
    pub fn has_event(&self, kind: Kind, id: &str) -> Result<bool, StoreError> {
        let sql = "SELECT 1 FROM event WHERE kind = ? AND id = ?";
        let mut statement = self.db.prepare_cached(sql)?;
        Ok(statement.exists([kind.as_str(), id])?)
    }

    /// Notes down where the first start of this boot begins, before anything is recorded: what comes after is
    /// news to whoever goes on, and what was before is history. `log_read` is the last record of the log of
    /// before it. Nothing changes, and it says false, if there was a start.
    pub fn first_start(
        &mut self,
        snapshot: &Snapshot,
        log_read: Option<u64>,
        now: &Now,
    ) -> Result<bool, StoreError> {
        let transaction = begin(&mut self.db)?;
        let first = transaction.execute(
            "INSERT OR IGNORE INTO boot (boot_id, first_start_ns, first_log, log_read) \
             VALUES (?1, ?2, ?3, ?3)",
            params![
                self.boot_id,
                now.monotonic_ns.cast_signed(),
                log_read.map(u64::cast_signed)
            ],
        )?;
        if first > 0 {
            rows::insert_snapshot(&transaction, &self.boot_id, self.journal.last, snapshot)?;
        }
        transaction.commit()?;
        self.journal.wanted &= first == 0;
        Ok(first > 0)
    }

    /// Notes a start down, once, and where history ends if the first start of this boot could not be
    /// ([`Self::first_start`]); a ring of another generation of programs begins anew. The journal of other boots goes: what
    /// their agents still owed is stored first, of the node that `host` says. What the last writer left in the log is on the
    /// disk then, whatever that writer was told.
    pub fn begin_run(&mut self, run: &Run, host: &Host, now: &Now) -> Result<Begun, StoreError> {
        self.clock = self.clock.moved(&self.boot_id, now);
        let stored_ns = self.clock.at(&self.boot_id, now);
        let transaction = begin(&mut self.db)?;
        open::write_log_again(&self.path)?;
        let ended = ended(&transaction, &self.boot_id, host, self.timing)?;
        let mut writing = Writing {
            transaction: &transaction,
            boot_id: &self.boot_id,
            encoder: &mut self.encoder,
            journal: &mut self.journal,
            usage: BTreeMap::new(),
            committed: Committed::default(),
        };
        for event in &ended.events {
            writing.event(event, age::wall_ns(now), stored_ns)?;
        }
        writing.positions(&Batch::default(), (age::wall_ns(now), stored_ns))?;
        let begun = Begun {
            owed: writing.committed.events,
            unknown: ended.unknown,
        };
        for table in ["journal", "snapshot", "boot"] {
            transaction.execute(
                &format!("DELETE FROM {table} WHERE boot_id <> ?"),
                [&self.boot_id],
            )?;
        }
        transaction.execute(
            "INSERT INTO boot (boot_id, first_start_ns, ring_generation, first_log) \
             VALUES (?1, ?2, ?3, ?4) ON CONFLICT (boot_id) DO UPDATE SET ring_generation = ?3, \
             ring_seq = CASE WHEN ring_generation IS ?3 THEN ring_seq END",
            params![
                self.boot_id,
                now.monotonic_ns.cast_signed(),
                run.ring_generation,
                run.first_log.map(u64::cast_signed)
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
        Ok(begun)
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
        self.write(batch, now, |_| Ok(()))
    }

    /// Writes what other agents have told, in their own words, for these may hold more than this build
    /// understands; and how far that goes.
    pub fn take(
        &mut self,
        told: &[(Arc<Event>, Box<str>)],
        place: Delivered,
        now: &Now,
    ) -> Result<Committed, StoreError> {
        let stored_ns = self.clock.at(&self.boot_id, now);
        let batch = Batch {
            delivered: vec![place],
            ..Batch::default()
        };
        self.write(&batch, now, |writing| {
            for (event, body) in told {
                writing.told(event, body, age::wall_ns(now), stored_ns)?;
            }
            Ok(())
        })
    }

    fn write(
        &mut self,
        batch: &Batch,
        now: &Now,
        more: impl FnOnce(&mut Writing<'_>) -> Result<(), StoreError>,
    ) -> Result<Committed, StoreError> {
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
                // What is missing is missing behind it: its audit is the newest there is.
                Step::Quiet(snapshot) if batch.hole => writing.base(snapshot)?,
                Step::Quiet(snapshot) => writing.quiet(snapshot)?,
            }
        }
        more(&mut writing)?;
        writing.positions(batch, (age::wall_ns(now), stored_ns))?;
        let committed = writing.committed;
        transaction.commit()?;
        self.journal = journal;
        Ok(committed)
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
