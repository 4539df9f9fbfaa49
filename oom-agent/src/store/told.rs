//! What has been told lately: a start that goes through the same evidence again tells it no second time.
//!
//! Reads the events that were stored behind a place, by their numbers: no clock that may be set is asked,
//! and nothing of before is looked at.

use std::{collections::HashSet, sync::Arc};

use rusqlite::Connection;

use super::{error::StoreError, write::Store};
use crate::event::Kind;

/// Events of kills that are stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ToldLately {
    /// Ids of kills and of reports, with their kinds.
    pub ids: HashSet<(Kind, Arc<str>)>,
    /// The thread of each kill's victim, and when it was marked (`CLOCK_MONOTONIC`, nanoseconds).
    pub kills: Vec<(u32, u64)>,
}

impl Store {
    /// What is stored of this boot behind an event ([`super::Recovery::event_seq`]), but for history.
    pub fn told_since(&self, event_seq: i64) -> Result<ToldLately, StoreError> {
        Ok(told_since(&self.db, &self.boot_id, event_seq)?)
    }
}

pub(super) fn told_since(
    db: &Connection,
    boot_id: &str,
    event_seq: i64,
) -> rusqlite::Result<ToldLately> {
    // By the number alone: behind a quiet moment there are few.
    let sql = "SELECT kind, id, json_extract(body, '$.victim.tid'), json_extract(body, '$.monotonic_ns') \
               FROM event NOT INDEXED WHERE seq > ?1 AND boot_id = ?2 AND NOT backfill \
               AND kind IN (?3, ?4)";
    let (kill, report) = (Kind::OomKill.as_str(), Kind::OomInstance.as_str());
    let mut statement = db.prepare(sql)?;
    let mut rows = statement.query((event_seq, boot_id, kill, report))?;
    let mut told = ToldLately::default();
    while let Some(row) = rows.next()? {
        let is_kill = row.get::<_, String>(0)? == kill;
        let kind = if is_kill {
            Kind::OomKill
        } else {
            Kind::OomInstance
        };
        told.ids.insert((kind, row.get::<_, String>(1)?.into()));
        if let (true, Some(tid), Some(monotonic_ns)) =
            (is_kill, row.get(2)?, row.get::<_, Option<i64>>(3)?)
        {
            told.kills.push((tid, monotonic_ns.cast_unsigned()));
        }
    }
    Ok(told)
}
