//! What has been told lately: a start that goes through the same evidence again tells it no second time.
//!
//! Reads the events that were stored behind a place, by their numbers: no clock that may be set is asked,
//! and nothing of before is looked at.

use std::{collections::HashSet, sync::Arc};

use rusqlite::Connection;

use super::{error::StoreError, write::Store};
use crate::event::{Event, Kind, OomKill};

/// Ids of kills and of reports that are stored, with their kinds.
pub type ToldLately = HashSet<(Kind, Arc<str>)>;

impl Store {
    /// What is stored of this boot behind an event ([`super::Recovery::event_seq`]), but for history.
    pub fn told_since(&self, event_seq: i64) -> Result<ToldLately, StoreError> {
        Ok(told_since(&self.db, &self.boot_id, event_seq)?)
    }
}

/// The alerts among what [`told_since`] gives; one that cannot be read is left out.
pub(super) fn alerts_since(
    db: &Connection,
    boot_id: &str,
    event_seq: i64,
) -> rusqlite::Result<Vec<OomKill>> {
    let sql = "SELECT body FROM event NOT INDEXED \
               WHERE seq > ?1 AND boot_id = ?2 AND NOT backfill AND kind = ?3 ORDER BY seq";
    let mut statement = db.prepare(sql)?;
    let mut rows = statement.query((event_seq, boot_id, Kind::OomKill.as_str()))?;
    let mut alerts = Vec::new();
    while let Some(row) = rows.next()? {
        let event = serde_json::from_str(row.get_ref(0)?.as_str()?);
        if let Ok(Event::OomKill(kill)) = event {
            alerts.push(*kill);
        }
    }
    Ok(alerts)
}

pub(super) fn told_since(
    db: &Connection,
    boot_id: &str,
    event_seq: i64,
) -> rusqlite::Result<ToldLately> {
    // By the number alone: behind a quiet moment there are few.
    let sql = "SELECT kind, id FROM event NOT INDEXED \
               WHERE seq > ?1 AND boot_id = ?2 AND NOT backfill AND kind IN (?3, ?4)";
    let (kill, report) = (Kind::OomKill.as_str(), Kind::OomInstance.as_str());
    let mut statement = db.prepare(sql)?;
    let mut rows = statement.query((event_seq, boot_id, kill, report))?;
    let mut told = ToldLately::default();
    while let Some(row) = rows.next()? {
        let kind = if row.get::<_, String>(0)? == kill {
            Kind::OomKill
        } else {
            Kind::OomInstance
        };
        told.insert((kind, row.get::<_, String>(1)?.into()));
    }
    Ok(told)
}
