//! Tables, and how a store of an earlier version gets those of this one.
//!
//! Reads `user_version` and `application_id` (<https://www.sqlite.org/pragma.html>); refuses what a later
//! version or another program made.

use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::{error::StoreError, index, terms::Field};

/// What marks a database as ours: `OOMa`.
const APPLICATION: i64 = 0x4f4f_4d61;

/// Each brings a store from the version of its place in the list to the next. Only ever appended to.
const STEPS: &[Step] = &[
    Step::Sql(&[include_str!("schema.sql"), index::TABLES]),
    Step::Sql(&[include_str!("sink.sql")]),
    Step::Sql(&[include_str!("generation.sql")]),
    Step::Sql(&[include_str!("dead_letter.sql")]),
    Step::Findable(Field::Cluster),
    Step::Sql(&[include_str!("view.sql")]),
];

/// What one step does.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// These statements.
    Sql(&'static [&'static str]),
    /// Events that are there can be found by words of this field and those behind it.
    Findable(Field),
}

/// The version that this agent writes.
pub(super) const VERSION: usize = STEPS.len();

/// Looks at the version, before anything is written. Gives it.
pub(super) fn check(db: &Connection, path: &Path) -> Result<usize, StoreError> {
    check_against(db, path, STEPS.len())
}

fn check_against(db: &Connection, path: &Path, known: usize) -> Result<usize, StoreError> {
    let found: i64 = db.pragma_query_value(None, "user_version", |row| row.get(0))?;
    let application: i64 = db.pragma_query_value(None, "application_id", |row| row.get(0))?;
    let tables: i64 = db.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    let is_new = found == 0 && application == 0 && tables == 0;
    let path = path.to_owned();
    if !is_new && application != APPLICATION {
        return Err(StoreError::Foreign { path });
    }
    match usize::try_from(found) {
        Ok(version) if version <= known => Ok(version),
        _ => Err(StoreError::Newer {
            path,
            found,
            known: i64::try_from(known).unwrap_or(i64::MAX),
        }),
    }
}

/// Takes all steps that are left, each whole or not at all.
pub(super) fn migrate(db: &mut Connection, version: usize) -> Result<(), StoreError> {
    migrate_by(db, version, STEPS)
}

fn migrate_by(db: &mut Connection, version: usize, steps: &[Step]) -> Result<(), StoreError> {
    for (before, step) in steps.iter().enumerate().skip(version) {
        let transaction = db.transaction_with_behavior(TransactionBehavior::Immediate)?;
        match *step {
            Step::Sql(statements) => {
                for sql in statements {
                    transaction.execute_batch(sql)?;
                }
            }
            Step::Findable(from) => index::add(&transaction, from)?,
        }
        transaction.pragma_update(None, "application_id", APPLICATION)?;
        let after = i64::try_from(before + 1).unwrap_or(i64::MAX);
        transaction.pragma_update(None, "user_version", after)?;
        transaction.commit()?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const FIRST: Step = Step::Sql(&["CREATE TABLE a (x)"]);
    const SECOND: Step = Step::Sql(&["ALTER TABLE a ADD COLUMN y", "INSERT INTO a VALUES (1, 2)"]);
    const BROKEN: Step = Step::Sql(&["CREATE TABLE b (x)", "nonsense"]);

    fn version(db: &Connection) -> i64 {
        db.pragma_query_value(None, "user_version", |row| row.get(0))
            .unwrap()
    }

    #[test]
    fn each_version_gets_the_steps_that_it_lacks_once() {
        let path = Path::new("x");
        let mut db = Connection::open_in_memory().unwrap();
        assert_eq!(check_against(&db, path, 1).unwrap(), 0);
        migrate_by(&mut db, 0, &[FIRST]).unwrap();
        assert_eq!(check_against(&db, path, 2).unwrap(), 1);
        migrate_by(&mut db, 1, &[FIRST, SECOND]).unwrap();
        migrate_by(&mut db, 2, &[FIRST, SECOND]).unwrap();
        let rows: i64 = db
            .query_row("SELECT count(*) FROM a WHERE y = 2", [], |row| row.get(0))
            .unwrap();
        assert_eq!((rows, version(&db)), (1, 2));
        assert!(matches!(
            check_against(&db, path, 1),
            Err(StoreError::Newer {
                found: 2,
                known: 1,
                ..
            })
        ));
    }

    #[test]
    fn a_step_that_fails_leaves_nothing() {
        let mut db = Connection::open_in_memory().unwrap();
        migrate_by(&mut db, 0, &[FIRST, BROKEN]).unwrap_err();
        assert_eq!(version(&db), 1);
        let table = db.query_row("SELECT 1 FROM sqlite_schema WHERE name = 'b'", [], |_| {
            Ok(())
        });
        assert!(table.is_err());
    }

    #[test]
    fn a_database_of_another_is_left_alone() {
        let db = Connection::open_in_memory().unwrap();
        db.execute_batch("CREATE TABLE theirs (x)").unwrap();
        let refused = check(&db, Path::new("x"));
        assert!(matches!(refused, Err(StoreError::Foreign { .. })));
    }
}
