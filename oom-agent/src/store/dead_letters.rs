//! What sinks will never deliver, kept with the reason until somebody has looked at it.
//!
//! Takes [`DeadLetter`]s in the transaction that moves their sink's cursor over them; emits them to whoever asks, the
//! newest first. The event itself stays where it is, as long as retention keeps it. Refuses to grow: the newest
//! [`DeadLetter::KEPT`] are kept, as long as events are, and the numbers tell how many there were.

use rusqlite::{Connection, Transaction, params};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{QueryError, Reader};
use crate::event::Timestamp;

/// Something that a sink gave up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeadLetter {
    /// Number of the event in the store.
    pub seq: i64,
    /// The sink's own word for it: the event's id, or the name that it would have had there.
    pub thing: String,
    /// How much it is, in the sink's own units.
    pub count: u64,
    /// How often it was tried.
    pub tries: u32,
    /// Why it was given up.
    pub why: String,
}

impl DeadLetter {
    /// As many are kept.
    pub const KEPT: usize = 10_000;
}

/// Those that are kept, and how many there were.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DeadLetters {
    /// The newest first.
    pub dead_letters: Vec<Given>,
    /// How many are kept, of all sinks.
    pub kept: u64,
    /// How many were dropped for age or number.
    pub dropped: u64,
}

/// One that is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Given {
    /// Name of the sink.
    pub sink: String,
    /// When it was given up.
    pub time: Timestamp,
    /// Number of the event in the store.
    pub seq: i64,
    /// Its kind. Null if retention had removed it by then.
    pub kind: Option<String>,
    /// Its id, likewise.
    pub id: Option<String>,
    /// The sink's own word for what it could not deliver.
    pub thing: String,
    /// How much it is, in the sink's own units.
    pub count: u64,
    /// How often it was tried.
    pub tries: u32,
    /// Why it was given up.
    pub why: String,
}

/// Puts one down; what is there already is brought up to date. `at` is Unix time and the store's own clock.
pub(super) fn insert(
    transaction: &Transaction<'_>,
    sink: &str,
    letter: &DeadLetter,
    (at_ns, stored_ns): (i64, i64),
) -> rusqlite::Result<()> {
    // Not an upsert: that would use up a number, and the numbers tell how many there were.
    let known = transaction
        .prepare_cached(
            "UPDATE dead_letter SET count = ?4, tries = ?5, why = ?6, at_ns = ?7 \
             WHERE sink = ?1 AND seq = ?2 AND thing = ?3",
        )?
        .execute(params![
            sink,
            letter.seq,
            letter.thing,
            letter.count.cast_signed(),
            letter.tries,
            letter.why,
            at_ns
        ])?;
    if known > 0 {
        return Ok(());
    }
    transaction
        .prepare_cached(
            "INSERT INTO dead_letter (sink, seq, thing, kind, id, count, tries, why, at_ns, stored_ns) \
             VALUES (?1, ?2, ?3, (SELECT kind FROM event WHERE seq = ?2), \
             (SELECT id FROM event WHERE seq = ?2), ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            sink,
            letter.seq,
            letter.thing,
            letter.count.cast_signed(),
            letter.tries,
            letter.why,
            at_ns,
            stored_ns
        ])?;
    let kept = i64::try_from(DeadLetter::KEPT).unwrap_or(i64::MAX);
    transaction
        .prepare_cached("DELETE FROM dead_letter WHERE n <= (SELECT max(n) FROM dead_letter) - ?")?
        .execute([kept])?;
    Ok(())
}

/// Drops those that are older than this on the store's own clock. Looks at the oldest alone if it is not.
pub(super) fn retain(db: &Connection, oldest_ns: i64) -> rusqlite::Result<()> {
    let oldest =
        "SELECT 1 FROM dead_letter WHERE n = (SELECT min(n) FROM dead_letter) AND stored_ns < ?";
    if db.prepare_cached(oldest)?.exists([oldest_ns])? {
        db.prepare_cached("DELETE FROM dead_letter WHERE stored_ns < ?")?
            .execute([oldest_ns])?;
    }
    Ok(())
}

impl Reader {
    /// What sinks have given up, the newest first, so many at most: of this sink, or of all.
    pub fn dead_letters(
        &self,
        sink: Option<&str>,
        limit: usize,
    ) -> Result<DeadLetters, QueryError> {
        let tx = self.connection().unchecked_transaction()?;
        let number = |sql| tx.query_row(sql, [], |row| row.get::<_, i64>(0));
        let kept = number("SELECT count(*) FROM dead_letter")?;
        let ever = "SELECT coalesce(max(seq), 0) FROM sqlite_sequence WHERE name = 'dead_letter'";
        let ever = number(ever)?;
        let mut rows = tx.prepare_cached(
            "SELECT sink, at_ns, seq, kind, id, thing, count, tries, why FROM dead_letter \
             WHERE ?1 IS NULL OR sink = ?1 ORDER BY n DESC LIMIT ?2",
        )?;
        let limit = i64::try_from(limit).unwrap_or(i64::MAX);
        let rows = rows.query_map(params![sink, limit], |row| {
            Ok(Given {
                sink: row.get(0)?,
                time: Timestamp::from_unix_ns(row.get::<_, i64>(1)?.into()),
                seq: row.get(2)?,
                kind: row.get(3)?,
                id: row.get(4)?,
                thing: row.get(5)?,
                count: row.get::<_, i64>(6)?.cast_unsigned(),
                tries: row.get(7)?,
                why: row.get(8)?,
            })
        })?;
        Ok(DeadLetters {
            dead_letters: rows.collect::<Result<_, _>>()?,
            kept: kept.unsigned_abs(),
            dropped: u64::try_from(ever - kept).unwrap_or(0),
        })
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::{
        super::{
            Batch, Delivered, Reader, Retention,
            testing::{S, batch, kill, store, told},
        },
        *,
    };
    use crate::clock::Now;

    fn letter(seq: i64, thing: &str, why: &str) -> DeadLetter {
        DeadLetter {
            seq,
            thing: thing.to_owned(),
            count: 1,
            tries: 5,
            why: why.to_owned(),
        }
    }

    fn delivered(sink: &str, dead: Vec<DeadLetter>) -> Batch {
        Batch {
            delivered: vec![Delivered {
                sink: sink.into(),
                database: 0,
                through: 1,
                state: String::new(),
                dead,
            }],
            ..Batch::default()
        }
    }

    #[test]
    fn they_are_kept_once_with_their_event_and_dropped_with_age() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("events.db");
        let mut store = store(&path);
        let now = Now::default();
        store.commit(&batch([told(kill(1))]), &now).unwrap();
        for why in ["500", "422"] {
            let dead = vec![letter(1, "boot-1", why), letter(9, "gone", why)];
            store.commit(&delivered("webhook", dead), &now).unwrap();
        }
        let other = vec![letter(1, "cart-0.boot-1", "no pod")];
        store.commit(&delivered("kubernetes", other), &now).unwrap();
        let all = |sink, limit| {
            let reader = Reader::open(&path).unwrap();
            reader.dead_letters(sink, limit).unwrap()
        };
        let found = all(None, 100);
        let rows: Vec<_> = (found.dead_letters.iter())
            .map(|it| (it.sink.as_str(), it.id.as_deref(), it.why.as_str()))
            .collect();
        assert_eq!(
            rows,
            [
                ("kubernetes", Some("boot-1"), "no pod"),
                ("webhook", None, "422"),
                ("webhook", Some("boot-1"), "422"),
            ]
        );
        assert_eq!((found.kept, found.dropped), (3, 0));
        assert_eq!(all(Some("webhook"), 1).dead_letters.len(), 1);
        let retention = Retention {
            age: Duration::from_secs(5),
            ..Retention::default()
        };
        let later = Now {
            monotonic_ns: 600 * S,
            ..Now::default()
        };
        store.retain(&retention, &later).unwrap();
        while store.retain(&retention, &later).unwrap().more {}
        let found = all(None, 100);
        assert!(found.dead_letters.is_empty());
        assert_eq!((found.kept, found.dropped), (0, 3));
    }

    #[test]
    fn the_last_word_of_a_sink_keeps_what_was_given_up_before() {
        let word = |thing: &str| Delivered {
            sink: "webhook".into(),
            database: 0,
            through: 1,
            state: String::new(),
            dead: vec![letter(1, thing, "422")],
        };
        let mut last = word("b");
        last.follow(word("a"));
        let things: Vec<_> = last.dead.iter().map(|it| it.thing.as_str()).collect();
        assert_eq!(things, ["a", "b"]);
        let mut full = word("b");
        full.dead = vec![letter(1, "b", "422"); DeadLetter::KEPT];
        full.follow(word("a"));
        assert_eq!(full.dead.len(), DeadLetter::KEPT);
        let mut of_another = word("b");
        of_another.database = 1;
        of_another.follow(word("a"));
        assert_eq!(of_another.dead.len(), 1);
    }
}
