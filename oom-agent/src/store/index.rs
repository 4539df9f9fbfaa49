//! What events are searched by: an inverted index, and the view `events` for people.
//!
//! Reads an event that is being stored or removed; writes its terms. Each kind has terms of its own, so
//! that a page of one kind need not look at the others. Refuses nothing.

use rusqlite::{OptionalExtension as _, Result, Transaction, params};

use super::terms::Terms;
use crate::event::{Event, Kind};

/// The tables, their comments and the view; needs the table `event`.
pub(super) const TABLES: &str = include_str!("index.sql");

/// The number of a kind in these tables.
pub(super) const fn number(kind: Kind) -> u8 {
    match kind {
        Kind::OomKill => 0,
        Kind::OomInstance => 1,
        Kind::ContainerCreation => 2,
        Kind::ContainerDeletion => 3,
        Kind::VictimEnd => 4,
        Kind::OomStuck => 5,
    }
}

/// Makes an event findable that has just been stored under `seq`.
pub(super) fn insert(tx: &Transaction<'_>, seq: i64, time_ns: i64, event: &Event) -> Result<()> {
    let kind = number(event.kind());
    let mut find =
        tx.prepare_cached("SELECT id FROM term WHERE kind = ?1 AND field = ?2 AND word = ?3")?;
    let mut make =
        tx.prepare_cached("INSERT INTO term (kind, field, word) VALUES (?1, ?2, ?3) RETURNING id")?;
    let mut post =
        tx.prepare_cached("INSERT INTO posting (term, time_ns, seq) VALUES (?1, ?2, ?3)")?;
    let mut ids: Vec<i64> = Vec::new();
    for (field, word) in Terms::of(event).iter() {
        let term = params![kind, field as u8, word];
        let id = match find.query_row(term, |row| row.get(0)).optional()? {
            Some(id) => id,
            None => make.query_row(term, |row| row.get(0))?,
        };
        post.execute(params![id, time_ns, seq])?;
        ids.push(id);
    }
    let ids = format!("{ids:?}");
    tx.prepare_cached("INSERT INTO indexed (seq, kind, time_ns, terms) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![seq, kind, time_ns, ids])?;
    Ok(())
}

/// Forgets the event under `seq`, and the words that only it had.
pub(super) fn remove(tx: &Transaction<'_>, seq: i64) -> Result<()> {
    for statement in [
        "DELETE FROM posting WHERE (term, time_ns, seq) IN
           (SELECT value, time_ns, seq FROM indexed, json_each(terms) WHERE seq = ?1)",
        "DELETE FROM term WHERE id IN
           (SELECT value FROM indexed, json_each(terms) WHERE seq = ?1)
           AND NOT EXISTS (SELECT 1 FROM posting WHERE posting.term = term.id)",
        "DELETE FROM indexed WHERE seq = ?1",
    ] {
        tx.prepare_cached(statement)?.execute([seq])?;
    }
    Ok(())
}
