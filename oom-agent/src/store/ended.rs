//! What the agent of a boot that is over still owed: told by the first start in another boot.
//!
//! Reads the journal of every other boot; emits its events as of the last evidence, those that are stored already among
//! them. A kill has the names that its alert was told with, for whose its cgroup was nobody can look up any more.
//! Refuses to tell how late an alert was that nobody told then.

use rusqlite::{Connection, OptionalExtension as _, Result};

use super::{
    journal::{Decoder, decode_snapshot},
    recovery,
};
use crate::{
    correlate::{Correlator, Host, Timing},
    event::{Cgroup, Event, Kind, OomKill},
};

/// What boots that are over come to.
#[derive(Debug, Default)]
pub(super) struct Ended {
    /// What their agents told, and what they owed.
    pub(super) events: Vec<Event>,
    /// Observations that cannot be read, and victims whose end nobody saw.
    pub(super) unknown: u64,
}

/// Goes through the journals of all boots but that of `host`, which has the name of the node.
pub(super) fn ended(db: &Connection, boot_id: &str, host: &Host, timing: Timing) -> Result<Ended> {
    let others = "SELECT boot_id FROM journal WHERE boot_id <> ?1 UNION \
                  SELECT boot_id FROM snapshot WHERE boot_id <> ?1";
    let others: Vec<String> = db
        .prepare(others)?
        .query_map([boot_id], |row| row.get(0))?
        .collect::<Result<_>>()?;
    let mut ended = Ended::default();
    for boot_id in others {
        ended.close(db, &boot_id, host, timing)?;
    }
    Ok(ended)
}

impl Ended {
    fn close(&mut self, db: &Connection, boot_id: &str, host: &Host, timing: Timing) -> Result<()> {
        let host = Host {
            boot_id: Some(boot_id.into()),
            boot: boot_id.replace('-', "").into(),
            ..host.clone()
        };
        let mut correlator = Correlator::new(host, timing);
        let recovery = recovery::of(db, boot_id)?;
        if let Some(snapshot) = recovery.snapshot {
            match decode_snapshot(&snapshot.state) {
                Ok(snapshot) => correlator.restore(&snapshot),
                Err(_) => self.unknown += 1,
            }
        }
        let mut decoder = Decoder::default();
        let mut evidence = Vec::with_capacity(recovery.evidence.len());
        for (now, row) in recovery.evidence {
            match decoder.decode(&row) {
                Ok(piece) => evidence.push((now, piece)),
                Err(_) => self.unknown += 1,
            }
        }
        let first = self.events.len();
        self.unknown += correlator.replay_to_the_end(evidence, &mut self.events);
        for event in &mut self.events[first..] {
            for kill in kills(event) {
                name(kill, alert(db, &kill.id)?);
            }
        }
        Ok(())
    }
}

fn kills(event: &mut Event) -> &mut [OomKill] {
    match event {
        Event::OomInstance(report) => &mut report.kills,
        Event::OomKill(kill) => std::slice::from_mut(kill),
        Event::VictimEnd(end) => std::slice::from_mut(&mut end.kill),
        Event::OomStuck(stuck) => std::slice::from_mut(&mut stuck.kill),
        Event::ContainerCreation(_) | Event::ContainerDeletion(_) => &mut [],
    }
}

/// The alert of a kill, as it was told.
fn alert(db: &Connection, id: &str) -> Result<Option<OomKill>> {
    let sql = "SELECT body FROM event WHERE kind = ? AND id = ?";
    let mut statement = db.prepare_cached(sql)?;
    let body: Option<String> = statement
        .query_row([Kind::OomKill.as_str(), id], |row| row.get(0))
        .optional()?;
    let event = body.and_then(|body| serde_json::from_str(&body).ok());
    Ok(match event {
        Some(Event::OomKill(kill)) => Some(*kill),
        _ => None,
    })
}

fn name(kill: &mut OomKill, alert: Option<OomKill>) {
    kill.detection_latency_ns = None;
    if let Some(told) = alert {
        kill.detection_latency_ns = told.detection_latency_ns;
        kill.cgroup = both(told.cgroup, kill.cgroup.take());
        kill.owner = told.owner.or(kill.owner.take());
    }
}

/// What the alert knew of it, and else what was found later: the log may have named what the ring could not.
fn both(told: Option<Cgroup>, found: Option<Cgroup>) -> Option<Cgroup> {
    let (mut told, found) = match (told, found) {
        (Some(told), Some(found)) => (told, found),
        (told, found) => return told.or(found),
    };
    told.path = told.path.or(found.path);
    told.id = told.id.or(found.id);
    told.version = told.version.or(found.version);
    Some(told)
}

#[cfg(test)]
#[path = "ended_tests.rs"]
mod tests;
