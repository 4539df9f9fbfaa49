//! What events are searched by.
//!
//! Reads an event on its way into the store; emits the rows by which it is found.

use rusqlite::Transaction;

use crate::event::Event;

/// Tables, indices and views of the search.
pub(super) const TABLES: &str = "";

/// Makes an event findable.
pub(super) fn insert(
    _transaction: &Transaction<'_>,
    _seq: i64,
    _time_ns: i64,
    _event: &Event,
) -> rusqlite::Result<()> {
    Ok(())
}

/// Forgets one.
pub(super) fn remove(_transaction: &Transaction<'_>, _seq: i64) -> rusqlite::Result<()> {
    Ok(())
}
