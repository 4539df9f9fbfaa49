//! Asks the store: pages in the order of time, all there is in the order of storing, single events.
//!
//! Reads the database while an agent writes it, or after it has gone; emits events as they were on
//! standard output. Refuses to write, to make a store where there is none, and to sort or search a whole
//! table: what a page costs does not depend on how many events there are.

use std::{path::Path, time::Instant};

use rusqlite::{Connection, ErrorCode, OpenFlags, OptionalExtension as _, Transaction};

use super::{
    Cursor, Filter, Generation, StoreError, index,
    lists::{Lists, Range},
    open::{BUSY, beside, spill_nothing},
    schema,
};
use crate::event::Kind;

/// Rows that one call of [`Reader::after_seq`] looks at.
const LOOKED_AT: usize = 4096;

/// An answer ends with the event that makes it so long, whatever the limit was: one report may have
/// thousands of processes.
const LONG: usize = 4 << 20;

/// Steps of the database between two looks at the clock: some microseconds.
const STEPS: i32 = 4096;

/// An open store, to be asked.
#[derive(Debug)]
pub struct Reader {
    db: Connection,
}

/// Which end of time comes first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// The oldest.
    OldestFirst,
    /// The newest.
    NewestFirst,
}

/// An event as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Its number in the order of storing.
    pub seq: i64,
    /// The place right at it.
    pub cursor: Cursor,
    /// Its kind.
    pub kind: Kind,
    /// Its id.
    pub id: String,
    /// Unix time in nanoseconds of what it tells; when it was stored if it has none.
    pub time_ns: i64,
    /// The event, as JSON.
    pub body: String,
}

impl Stored {
    /// Its id among events of all kinds: ids alone are of a kind.
    #[must_use]
    pub fn uid(&self) -> String {
        format!("{}:{}", self.kind.as_str(), self.id)
    }
}

/// Events in the order of time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page {
    /// As many as were asked for, or all that there were, or some megabytes of them.
    pub events: Vec<Stored>,
    /// Where the next page goes on; none if there was nothing more.
    pub next: Option<Cursor>,
}

/// Events in the order of storing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tail {
    /// Those that the filter means.
    pub events: Vec<Stored>,
    /// Everything up to this has been looked at: go on from here.
    pub through: i64,
    /// Whether there was more.
    pub more: bool,
    /// Retention had taken some before they were read.
    pub gap: Option<Gap>,
    /// So many of these kinds has retention taken in all: what is more than in an answer before is new.
    pub removed: i64,
}

/// Events of the kinds that were asked for and are gone. Whether the rest of the filter meant them is not
/// known any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Gap {
    /// The last of them. The gap is told by each answer that begins before this.
    pub through: i64,
    /// No more than so many.
    pub at_most: i64,
}

/// Why the store has no answer.
#[derive(Debug, thiserror::Error)]
pub enum QueryError {
    /// It is not there, or not (yet) a store.
    #[error("there is no store at {0}")]
    Missing(String),
    /// It is of an earlier version: an agent that writes it brings it up to date.
    #[error("the store has schema {found}, which a newer agent has yet to bring up to date")]
    Older {
        /// Its version.
        found: usize,
    },
    /// It cannot be used.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The beginning of a container's id is that of too many.
    #[error("too many containers have an id that begins with {0}: give more of it")]
    Ambiguous(String),
    /// The place is of another store: this one has not stored so many events.
    #[error("no place {place} in this store: its last is {last}")]
    NoSuchPlace {
        /// What was asked for.
        place: i64,
        /// The last that was stored.
        last: i64,
    },
    /// The index and the events do not fit together.
    #[error("the store is damaged at event {0}")]
    Damaged(i64),
    /// The database refuses.
    #[error("the store cannot be read")]
    Database(#[from] rusqlite::Error),
}

impl Reader {
    /// Opens a store. Where no agent runs, SQLite makes its two files beside it, if it may, and leaves
    /// them there: a log with nothing in it, and its index.
    pub fn open(path: &Path) -> Result<Self, QueryError> {
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let missing = || QueryError::Missing(path.display().to_string());
        if !path.exists() {
            return Err(missing());
        }
        let opened = Connection::open_with_flags(path, flags);
        let reader = opened
            .map_err(QueryError::from)
            .and_then(|db| Self::of(db, path));
        match reader {
            // The directory is not ours to write, and there is nothing to read but the database itself.
            Err(error) if error.is_cannot_open() && !beside(path, "-wal").exists() => {
                let flags = flags | OpenFlags::SQLITE_OPEN_URI;
                Self::of(Connection::open_with_flags(immutable(path), flags)?, path)
            }
            other => other,
        }
    }

    /// From this moment on every question ends in [`QueryError::is_late`]; `None`: none does.
    pub fn until(&mut self, deadline: Option<Instant>) -> Result<(), QueryError> {
        let is_late = deadline.map(|deadline| move || Instant::now() >= deadline);
        self.db.progress_handler(STEPS, is_late)?;
        Ok(())
    }

    pub(super) const fn connection(&self) -> &Connection {
        &self.db
    }

    fn of(db: Connection, path: &Path) -> Result<Self, QueryError> {
        db.busy_timeout(BUSY)?;
        // KiB. The file is in the kernel's page cache besides.
        db.pragma_update(None, "cache_size", -1024)?;
        spill_nothing(&db)?;
        db.set_prepared_statement_cache_capacity(64);
        match schema::check(&db, path)? {
            0 => Err(QueryError::Missing(path.display().to_string())),
            found if found < schema::VERSION => Err(QueryError::Older { found }),
            _ => Ok(Self { db }),
        }
    }

    /// Events in the order of time, `limit` of them (at least one), behind a place.
    pub fn page(
        &self,
        filter: &Filter,
        order: Order,
        after: Option<Cursor>,
        limit: usize,
    ) -> Result<Page, QueryError> {
        let limit = limit.max(1);
        let range = Range::of(filter, order, after);
        let tx = self.db.unchecked_transaction()?;
        let conditions = filter.conditions();
        let mut keys = Vec::new();
        for kind in filter.kinds() {
            let lists = Lists::of(&tx, kind, &conditions)?;
            // One more tells whether there is a next page.
            lists.read(&tx, range, order, limit.saturating_add(1), &mut keys)?;
        }
        keys.sort_unstable();
        keys.dedup();
        if order == Order::NewestFirst {
            keys.reverse();
        }
        let more = keys.len() > limit;
        keys.truncate(limit);
        let mut events = Vec::with_capacity(keys.len());
        let mut bytes = 0;
        for (_, seq) in &keys {
            if bytes >= LONG {
                break;
            }
            let stored = by_seq(&tx, *seq)?;
            bytes += stored.body.len();
            events.push(stored);
        }
        let more = more || events.len() < keys.len();
        let next = events.last().filter(|_| more).map(|last| last.cursor);
        Ok(Page { events, next })
    }

    /// Events in the order of storing, `limit` of them (at least one) at the most, behind a number; 0 is
    /// before all of them. Looks at a bounded number of rows: go on while there is more.
    pub fn after_seq(&self, seq: i64, filter: &Filter, limit: usize) -> Result<Tail, QueryError> {
        let tx = self.db.unchecked_transaction()?;
        let last = last_seq(&tx)?;
        if seq > last {
            return Err(QueryError::NoSuchPlace { place: seq, last });
        }
        let conditions = filter.conditions();
        let lists = filter
            .kinds()
            .map(|kind| Ok((index::number(kind), Lists::of(&tx, kind, &conditions)?)));
        let lists = lists.collect::<Result<Vec<_>, QueryError>>()?;
        let time = filter.since.unwrap_or(i64::MIN)..=filter.until.unwrap_or(i64::MAX);
        let (gap, removed) = gap(&tx, seq, filter)?;
        let mut tail = Tail {
            events: Vec::new(),
            through: seq,
            more: false,
            gap,
            removed,
        };
        let mut rows = tx.prepare_cached(AFTER)?;
        let mut rows = rows.query([seq])?;
        let (mut looked_at, mut bytes) = (0, 0);
        while let Some(row) = rows.next()? {
            let full = tail.events.len() >= limit.max(1) || bytes >= LONG;
            if looked_at == LOOKED_AT || full {
                tail.more = true;
                return Ok(tail);
            }
            looked_at += 1;
            let (seq, kind, time_ns): (i64, u8, i64) = (row.get(0)?, row.get(1)?, row.get(2)?);
            tail.through = seq;
            let lists = lists.iter().find(|(of, _)| *of == kind);
            let Some((_, lists)) = lists.filter(|_| time.contains(&time_ns)) else {
                continue;
            };
            let terms = row.get_ref(3)?.as_str().map_err(rusqlite::Error::from)?;
            let terms: Vec<i64> =
                serde_json::from_str(terms).map_err(|_| QueryError::Damaged(seq))?;
            if lists.mean(&terms) {
                let stored = by_seq(&tx, seq)?;
                bytes += stored.body.len();
                tail.events.push(stored);
            }
        }
        // What was removed behind the last one is passed, too.
        tail.through = last;
        Ok(tail)
    }

    /// The number of the event that was stored last, 0 if none was.
    pub fn last_seq(&self) -> Result<i64, QueryError> {
        last_seq(&self.db)
    }

    /// Which store this is: numbers of events are of it.
    pub fn generation(&self) -> Result<Generation, QueryError> {
        let mut row = self.db.prepare_cached("SELECT number FROM generation")?;
        Ok(row.query_row([], |row| row.get(0))?)
    }

    /// How far a sink of this name has delivered, and what it left for itself; `None` if it never has.
    pub fn delivered(&self, sink: &str) -> Result<Option<(i64, String)>, QueryError> {
        let mut row = self
            .db
            .prepare_cached("SELECT seq, state FROM sink WHERE name = ?1")?;
        let row = row.query_row([sink], |row| Ok((row.get(0)?, row.get(1)?)));
        Ok(row.optional()?)
    }

    /// An event by its id. Ids are of a kind: without one, the first kind that has it.
    pub fn get(&self, kind: Option<Kind>, id: &str) -> Result<Option<Stored>, QueryError> {
        let tx = self.db.unchecked_transaction()?;
        for kind in kind.map_or_else(|| Kind::ALL.to_vec(), |kind| vec![kind]) {
            let seq = tx
                .prepare_cached(BY_ID)?
                .query_row([kind.as_str(), id], |row| row.get(0))
                .optional()?;
            if let Some(seq) = seq {
                return by_seq(&tx, seq).map(Some);
            }
        }
        Ok(None)
    }
}

impl QueryError {
    fn is_cannot_open(&self) -> bool {
        self.code() == Some(ErrorCode::CannotOpen)
    }

    /// Whether the answer took longer than it was given ([`Reader::until`]).
    #[must_use]
    pub fn is_late(&self) -> bool {
        self.code() == Some(ErrorCode::OperationInterrupted)
    }

    /// Whether the file is not, or not any more, a database, or does not fit together.
    #[must_use]
    pub fn is_damage(&self) -> bool {
        let code = self.code();
        matches!(self, Self::Damaged(_))
            || matches!(
                code,
                Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase)
            )
    }

    fn code(&self) -> Option<ErrorCode> {
        match self {
            Self::Database(error) | Self::Store(StoreError::Database(error)) => {
                error.sqlite_error_code()
            }
            _ => None,
        }
    }
}

/// <https://www.sqlite.org/uri.html>: a database that nobody changes.
fn immutable(path: &Path) -> String {
    use std::{fmt::Write as _, os::unix::ffi::OsStrExt as _};

    let mut uri = String::from("file:");
    for byte in path.as_os_str().as_bytes() {
        let _ = write!(uri, "%{byte:02x}");
    }
    uri + "?immutable=1"
}

const BY_SEQ: &str = "SELECT kind, id, time_ns, body FROM event WHERE seq = ?1";

const BY_ID: &str = "SELECT seq FROM event WHERE kind = ?1 AND id = ?2";

const AFTER: &str = "SELECT seq, kind, time_ns, terms FROM indexed WHERE seq > ?1 ORDER BY seq";

fn last_seq(db: &Connection) -> Result<i64, QueryError> {
    let mut last = db.prepare_cached("SELECT seq FROM sqlite_sequence WHERE name = 'event'")?;
    let last = last.query_row([], |row| row.get(0)).optional()?;
    Ok(last.unwrap_or(0))
}

/// What is gone behind a number, and how many in all.
fn gap(
    tx: &Transaction<'_>,
    after: i64,
    filter: &Filter,
) -> Result<(Option<Gap>, i64), QueryError> {
    let mut usage =
        tx.prepare_cached("SELECT removed, removed_through FROM usage WHERE kind = ?1")?;
    let mut gap: Option<Gap> = None;
    let mut in_all = 0_i64;
    for kind in filter.kinds() {
        let removed = usage.query_row([kind.as_str()], |row| Ok((row.get(0)?, row.get(1)?)));
        let (removed, through): (i64, i64) = removed.optional()?.unwrap_or_default();
        in_all = in_all.saturating_add(removed);
        if removed > 0 && through > after {
            let gap = gap.get_or_insert(Gap {
                through,
                at_most: 0,
            });
            gap.through = gap.through.max(through);
            gap.at_most = gap.at_most.saturating_add(removed.min(through - after));
        }
    }
    Ok((gap, in_all))
}

fn by_seq(tx: &Transaction<'_>, seq: i64) -> Result<Stored, QueryError> {
    let mut row = tx.prepare_cached(BY_SEQ)?;
    let stored = row.query_row([seq], |row| {
        let kind: String = row.get(0)?;
        let kind = Kind::ALL.into_iter().find(|of| of.as_str() == kind);
        Ok(kind.map(|kind| (kind, row.get(1), row.get(2), row.get(3))))
    });
    let Some((kind, id, time_ns, body)) = stored.optional()?.flatten() else {
        return Err(QueryError::Damaged(seq));
    };
    let time_ns = time_ns?;
    Ok(Stored {
        seq,
        cursor: Cursor { time_ns, seq },
        kind,
        id: id?,
        time_ns,
        body: body?,
    })
}

#[cfg(test)]
#[path = "query_tests.rs"]
mod tests;
