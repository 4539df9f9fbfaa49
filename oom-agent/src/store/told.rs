//! What has been told lately: a start that goes through the same evidence again tells it no second time.
//!
//! Reads the newest events first, and stops where they are too old to come again.

use std::{collections::HashSet, sync::Arc};

use super::{error::StoreError, write::Store};
use crate::event::Kind;

/// Events are stored nearly in the order of their times; a late line or a held alert may be behind.
const SLACK_NS: i64 = 120_000_000_000;

impl Store {
    /// Kinds and ids of the events of kills in this boot since then (Unix time, nanoseconds), and of some
    /// before it.
    pub fn told_since(&self, unix_ns: i64) -> Result<HashSet<(Kind, Arc<str>)>, StoreError> {
        let sql = "SELECT kind, id, time_ns FROM event \
                   WHERE boot_id = ? AND NOT backfill ORDER BY seq DESC";
        let mut statement = self.db.prepare(sql)?;
        let mut rows = statement.query([&self.boot_id])?;
        let mut told = HashSet::new();
        while let Some(row) = rows.next()? {
            if row.get::<_, i64>(2)? < unix_ns.saturating_sub(SLACK_NS) {
                break;
            }
            let word: String = row.get(0)?;
            let kind = [Kind::OomKill, Kind::OomInstance];
            if let Some(kind) = kind.into_iter().find(|kind| kind.as_str() == word) {
                told.insert((kind, row.get::<_, String>(1)?.into()));
            }
        }
        Ok(told)
    }
}
