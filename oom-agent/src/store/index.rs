//! What events are searched by: an inverted index.
//!
//! Reads an event that is being stored or removed; writes its terms. Each kind has terms of its own, so
//! that a page of one kind need not look at the others. Refuses nothing.

use rusqlite::{OptionalExtension as _, Result, Transaction, params};

use super::terms::{Field, Terms};
use crate::event::{Event, Kind};

/// The tables and their comments.
pub(super) const TABLES: &str = include_str!("index.sql");

/// Events that are read at once when all of them are gone through.
const AT_ONCE: i64 = 256;

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
    let ids = format!("{:?}", post(tx, seq, time_ns, event, Field::All)?);
    tx.prepare_cached("INSERT INTO indexed (seq, kind, time_ns, terms) VALUES (?1, ?2, ?3, ?4)")?
        .execute(params![seq, kind, time_ns, ids])?;
    Ok(())
}

/// Makes all events that are there findable by fields that earlier versions did not know: this one, and those behind
/// it. An event that is not understood stays as it is.
pub(super) fn add(tx: &Transaction<'_>, from: Field) -> Result<()> {
    let mut behind = 0;
    loop {
        let mut rows = tx.prepare_cached(
            "SELECT event.seq, indexed.time_ns, body, terms FROM event JOIN indexed USING (seq) \
             WHERE event.seq > ?1 ORDER BY event.seq LIMIT ?2",
        )?;
        let rows = rows.query_map([behind, AT_ONCE], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?, row.get(3)?))
        })?;
        let rows: Vec<(i64, i64, String, String)> = rows.collect::<Result<_>>()?;
        let Some((last, ..)) = rows.last() else {
            return Ok(());
        };
        behind = *last;
        for (seq, time_ns, body, terms) in rows {
            let event = serde_json::from_str::<Event>(&body);
            let terms = serde_json::from_str::<Vec<i64>>(&terms);
            if let (Ok(event), Ok(mut terms)) = (event, terms) {
                terms.extend(post(tx, seq, time_ns, &event, from)?);
                tx.prepare_cached("UPDATE indexed SET terms = ?2 WHERE seq = ?1")?
                    .execute(params![seq, format!("{terms:?}")])?;
            } else {
                tracing::debug!("event {seq} is found as before, and not by what is new");
            }
        }
    }
}

/// Puts an event into the lists of its terms, of this field and those behind it; the terms.
fn post(
    tx: &Transaction<'_>,
    seq: i64,
    time_ns: i64,
    event: &Event,
    from: Field,
) -> Result<Vec<i64>> {
    let kind = number(event.kind());
    let mut find =
        tx.prepare_cached("SELECT id FROM term WHERE kind = ?1 AND field = ?2 AND word = ?3")?;
    let mut make =
        tx.prepare_cached("INSERT INTO term (kind, field, word) VALUES (?1, ?2, ?3) RETURNING id")?;
    let mut post =
        tx.prepare_cached("INSERT INTO posting (term, time_ns, seq) VALUES (?1, ?2, ?3)")?;
    let mut ids: Vec<i64> = Vec::new();
    for (field, word) in Terms::of(event).iter().filter(|(field, _)| *field >= from) {
        let term = params![kind, field as u8, word];
        let id = match find.query_row(term, |row| row.get(0)).optional()? {
            Some(id) => id,
            None => make.query_row(term, |row| row.get(0))?,
        };
        post.execute(params![id, time_ns, seq])?;
        ids.push(id);
    }
    Ok(ids)
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
