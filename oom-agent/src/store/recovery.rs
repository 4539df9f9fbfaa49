//! What the last agent of this boot had come to.
//!
//! Reads the store before detection starts; emits what a correlator is to be told again, and from where
//! ring and log go on.

use std::{collections::HashSet, sync::Arc};

use rusqlite::{OptionalExtension as _, Row};

use super::{Snapshot, error::StoreError, write::Store};
use crate::{
    clock::Now,
    event::{Kind, Timestamp},
};

/// A start of an agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Its process.
    pub pid: u32,
    /// When that was started, `CLOCK_BOOTTIME`: a pid alone may be another's by now.
    pub pid_start_ns: Option<u64>,
    /// Wall clock of the start.
    pub started: Timestamp,
    /// Version of the agent.
    pub version: String,
    /// Which pinned programs it reads; `None` without pins.
    pub ring_generation: Option<String>,
}

/// Where to go on.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// `CLOCK_MONOTONIC` of the first start in this boot; `None` if there was none.
    pub first_start_ns: Option<u64>,
    /// The quiet moment to begin at. `None` with evidence: begin with nothing.
    pub snapshot: Option<Snapshot>,
    /// What the correlator was told since, and when, as [`super::journal::Encoder`] wrote it.
    pub evidence: Vec<(Now, Vec<u8>)>,
    /// The last record of the log of before the first start.
    pub first_log: Option<u64>,
    /// The log is read through this record.
    pub log_read: Option<u64>,
    /// The programs whose ring was read.
    pub ring_generation: Option<String>,
    /// The last record of it that is durable.
    pub ring_seq: Option<u64>,
    /// What the log held before the first start has been told.
    pub backfilled: bool,
    /// The last start, in this boot or before.
    pub last_run: Option<Run>,
    /// Whether that was in this boot.
    pub last_run_is_of_this_boot: bool,
    /// Whether it ended by itself; false also where there was none.
    pub had_clean_end: bool,
}

impl Store {
    /// What there is to go on from.
    pub fn recovery(&self) -> Result<Recovery, StoreError> {
        let mut recovery = Recovery::default();
        self.positions(&mut recovery)?;
        self.last_run(&mut recovery)?;
        let oldest = "SELECT monotonic_ns, state, journal_n FROM snapshot WHERE boot_id = ? \
                      ORDER BY n LIMIT 1";
        let oldest = self.db.query_row(oldest, [&self.boot_id], |row| {
            let snapshot = Snapshot {
                monotonic_ns: unsigned(row, 0)?,
                state: row.get(1)?,
            };
            Ok((snapshot, row.get::<_, i64>(2)?))
        });
        let (snapshot, journal_n) = oldest.optional()?.unzip();
        recovery.snapshot = snapshot;
        let rows = "SELECT monotonic_ns, wall_offset_ns, boot_offset_ns, evidence FROM journal \
                    WHERE boot_id = ? AND n > ? ORDER BY n";
        recovery.evidence = self
            .db
            .prepare(rows)?
            .query_map((&self.boot_id, journal_n.unwrap_or(0)), |row| {
                let now = Now {
                    monotonic_ns: unsigned(row, 0)?,
                    wall_offset_ns: row.get::<_, i64>(1)?.into(),
                    boot_offset_ns: row.get::<_, i64>(2)?.into(),
                };
                Ok((now, row.get(3)?))
            })?
            .collect::<Result<_, _>>()?;
        Ok(recovery)
    }

    /// Kills and reports of this boot that are stored. Their ids begin with the boot
    /// ([`crate::correlate::Host`]), so the index alone has them.
    pub fn told(&self) -> Result<HashSet<(Kind, Arc<str>)>, StoreError> {
        let boot = self.boot_id.replace('-', "");
        let sql = "SELECT id FROM event WHERE kind = ? AND id >= ? AND id < ?";
        let mut statement = self.db.prepare(sql)?;
        let mut told = HashSet::new();
        for (kind, before) in [(Kind::OomKill, ""), (Kind::OomInstance, "oom-")] {
            // '.' is what follows '-'.
            let range = [format!("{before}{boot}-"), format!("{before}{boot}.")];
            let mut rows = statement.query((kind.as_str(), &range[0], &range[1]))?;
            while let Some(row) = rows.next()? {
                told.insert((kind, row.get(0)?));
            }
        }
        Ok(told)
    }

    fn positions(&self, recovery: &mut Recovery) -> Result<(), StoreError> {
        let sql = "SELECT first_start_ns, log_read, ring_generation, ring_seq, backfilled, first_log \
                   FROM boot WHERE boot_id = ?";
        self.db
            .query_row(sql, [&self.boot_id], |row| {
                recovery.first_start_ns = Some(unsigned(row, 0)?);
                recovery.log_read = maybe_unsigned(row, 1)?;
                recovery.ring_generation = row.get(2)?;
                recovery.ring_seq = maybe_unsigned(row, 3)?;
                recovery.backfilled = row.get(4)?;
                recovery.first_log = maybe_unsigned(row, 5)?;
                Ok(())
            })
            .optional()?;
        Ok(())
    }

    fn last_run(&self, recovery: &mut Recovery) -> Result<(), StoreError> {
        let sql = "SELECT run.pid, run.pid_start_ns, run.started_ns, run.version, run.ended_ns, \
                   run.boot_id, boot.ring_generation \
                   FROM run LEFT JOIN boot USING (boot_id) ORDER BY run.n DESC LIMIT 1";
        self.db
            .query_row(sql, [], |row| {
                recovery.had_clean_end = row.get::<_, Option<i64>>(4)?.is_some();
                recovery.last_run_is_of_this_boot = *row.get::<_, String>(5)? == *self.boot_id;
                recovery.last_run = Some(Run {
                    pid: row.get(0)?,
                    pid_start_ns: maybe_unsigned(row, 1)?,
                    started: Timestamp::from_unix_ns(row.get::<_, i64>(2)?.into()),
                    version: row.get(3)?,
                    ring_generation: row.get(6)?,
                });
                Ok(())
            })
            .optional()?;
        Ok(())
    }
}

/// Numbers of the kernel have 64 bits without a sign, the database's have one.
fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get(column).map(i64::cast_unsigned)
}

fn maybe_unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    row.get::<_, Option<i64>>(column)
        .map(|value| value.map(i64::cast_unsigned))
}
