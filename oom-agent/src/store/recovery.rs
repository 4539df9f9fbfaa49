//! What the last agent of this boot had come to.
//!
//! Reads the store before detection starts; emits what a correlator is to be told again, and from where
//! ring and log go on.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, Row};

use super::{
    Snapshot,
    error::StoreError,
    query::{QueryError, Reader},
    told::{ToldLately, alerts_since, told_since},
    write::Store,
};
use crate::{
    clock::Now,
    event::{Kind, OomKill, Timestamp},
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
    /// The last record of the log of before the first start in its boot, as far as it knows.
    pub first_log: Option<u64>,
}

/// Where to go on.
#[derive(Clone, Debug, Default)]
pub struct Recovery {
    /// `CLOCK_MONOTONIC` of the first start in this boot; `None` if there was none.
    pub first_start_ns: Option<u64>,
    /// The quiet moment to begin at. `None` with evidence: begin with nothing.
    pub snapshot: Option<Snapshot>,
    /// The last event that was stored before that moment; 0 without one.
    pub event_seq: i64,
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
    /// The starts of this boot that did not end by themselves, the newest first.
    pub cut_off: Vec<Run>,
}

/// All that the last agent of this boot has left.
#[derive(Clone, Debug, Default)]
pub struct Left {
    /// Where to go on.
    pub recovery: Recovery,
    /// What has been told since the quiet moment that it begins with.
    pub told: ToldLately,
    /// The alerts among it whose report has not been told, oldest first.
    pub alerts: Vec<OomKill>,
}

impl Store {
    /// What there is to go on from.
    pub fn recovery(&self) -> Result<Recovery, StoreError> {
        Ok(of(&self.db, &self.boot_id)?)
    }

    /// The same, and what has been told.
    pub fn left(&self) -> Result<Left, StoreError> {
        Ok(left(&self.db, &self.boot_id)?)
    }

    /// The same of a store that cannot be written now: it is neither locked nor changed.
    pub fn read_back(path: &Path, boot_id: &str) -> Result<Left, QueryError> {
        Ok(left(Reader::open(path)?.connection(), boot_id)?)
    }
}

fn left(db: &Connection, boot_id: &str) -> rusqlite::Result<Left> {
    let recovery = of(db, boot_id)?;
    let told = told_since(db, boot_id, recovery.event_seq)?;
    let mut alerts = alerts_since(db, boot_id, recovery.event_seq)?;
    alerts.retain(|kill| !told.contains(&(Kind::OomInstance, kill.instance_id.clone())));
    Ok(Left {
        recovery,
        told,
        alerts,
    })
}

/// What there is to go on from in this boot.
pub(super) fn of(db: &Connection, boot_id: &str) -> rusqlite::Result<Recovery> {
    let mut recovery = Recovery::default();
    positions(db, boot_id, &mut recovery)?;
    runs(db, boot_id, &mut recovery)?;
    let oldest = "SELECT monotonic_ns, state, journal_n, event_seq FROM snapshot WHERE boot_id = ? \
                  ORDER BY n LIMIT 1";
    let oldest = db.query_row(oldest, [boot_id], |row| {
        recovery.snapshot = Some(Snapshot {
            monotonic_ns: unsigned(row, 0)?,
            state: row.get(1)?,
        });
        recovery.event_seq = row.get(3)?;
        row.get::<_, i64>(2)
    });
    let journal_n = oldest.optional()?;
    let rows = "SELECT monotonic_ns, wall_offset_ns, boot_offset_ns, evidence FROM journal \
                WHERE boot_id = ? AND n > ? ORDER BY n";
    recovery.evidence = db
        .prepare(rows)?
        .query_map((boot_id, journal_n.unwrap_or(0)), |row| {
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

fn positions(db: &Connection, boot_id: &str, recovery: &mut Recovery) -> rusqlite::Result<()> {
    let sql = "SELECT first_start_ns, log_read, ring_generation, ring_seq, backfilled, first_log \
               FROM boot WHERE boot_id = ?";
    db.query_row(sql, [boot_id], |row| {
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

const RUN: &str = "SELECT run.pid, run.pid_start_ns, run.started_ns, run.version, run.ended_ns, \
                   run.boot_id, boot.ring_generation, boot.first_log \
                   FROM run LEFT JOIN boot USING (boot_id)";

fn run(row: &Row<'_>) -> rusqlite::Result<Run> {
    Ok(Run {
        pid: row.get(0)?,
        pid_start_ns: maybe_unsigned(row, 1)?,
        started: Timestamp::from_unix_ns(row.get::<_, i64>(2)?.into()),
        version: row.get(3)?,
        ring_generation: row.get(6)?,
        first_log: maybe_unsigned(row, 7)?,
    })
}

fn runs(db: &Connection, boot_id: &str, recovery: &mut Recovery) -> rusqlite::Result<()> {
    let last = format!("{RUN} ORDER BY run.n DESC LIMIT 1");
    db.query_row(&last, [], |row| {
        recovery.had_clean_end = row.get::<_, Option<i64>>(4)?.is_some();
        recovery.last_run_is_of_this_boot = row.get::<_, String>(5)? == boot_id;
        recovery.last_run = Some(run(row)?);
        Ok(())
    })
    .optional()?;
    let cut_off =
        format!("{RUN} WHERE run.boot_id = ? AND run.ended_ns IS NULL ORDER BY run.n DESC");
    recovery.cut_off = db
        .prepare(&cut_off)?
        .query_map([boot_id], run)?
        .collect::<Result<_, _>>()?;
    Ok(())
}

/// Numbers of the kernel have 64 bits without a sign, the database's have one.
fn unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<u64> {
    row.get(column).map(i64::cast_unsigned)
}

fn maybe_unsigned(row: &Row<'_>, column: usize) -> rusqlite::Result<Option<u64>> {
    row.get::<_, Option<i64>>(column)
        .map(|value| value.map(i64::cast_unsigned))
}
