//! Going on where the last agent of this boot was cut off.
//!
//! Reads what is left in the store; brings a correlator to where its predecessor was, and says what that one owed, what it
//! has told, and from where the ring and the log go on. A journal that cannot be read costs what was
//! pending when it was written, and is said.

use crate::{
    clock::Now,
    correlate::{Correlator, log_record},
    detect::journal::{Hook, Told},
    event::{Event, OomKill},
    evidence::Evidence,
    store::{
        Left, Recovery,
        journal::{Decoder, decode_snapshot},
    },
};

/// Where to go on.
#[derive(Debug, Default)]
pub(super) struct Resumed {
    /// What has been told.
    pub(super) told: Told,
    /// Alerts whose report is still to come.
    pub(super) alerts: Vec<OomKill>,
    /// What had not been told, or not been stored, when the predecessor ended.
    pub(super) owed: Vec<Event>,
    /// Nothing of this boot is known: the base of the audit is not set yet.
    pub(super) is_first: bool,
    /// Everything else.
    pub(super) recovery: Recovery,
}

/// Brings a new correlator to where the last one was.
pub(super) fn resume(left: Left, correlator: &mut Correlator) -> Resumed {
    let Left {
        mut recovery,
        told,
        alerts,
    } = left;
    let mut resumed = Resumed {
        alerts,
        ..Resumed::default()
    };
    resumed.told.events = told;
    let rows = decode(std::mem::take(&mut recovery.evidence));
    let snapshot = recovery.snapshot.take();
    match snapshot.map(|snapshot| decode_snapshot(&snapshot.state)) {
        Some(Ok(snapshot)) => correlator.restore(&snapshot),
        Some(Err(error)) => {
            tracing::warn!("the audit begins anew: {}", crate::error::chain(&error));
            resumed.is_first = true;
        }
        None => resumed.is_first = true,
    }
    for (_, evidence) in &rows {
        resumed.told.log_records.extend(log_record(evidence));
        resumed.told.hooks.extend(Hook::of(evidence));
    }
    correlator.replay(rows, Now::read(), &mut resumed.owed);
    let told = &resumed.told.events;
    resumed
        .owed
        .retain(|event| !told.contains(&(event.kind(), event.id().clone())));
    resumed.recovery = recovery;
    resumed
}

fn decode(rows: Vec<(Now, Vec<u8>)>) -> Vec<(Now, Evidence)> {
    let mut decoder = Decoder::default();
    let mut unreadable = 0u64;
    let mut evidence = Vec::with_capacity(rows.len());
    for (now, row) in rows {
        match decoder.decode(&row) {
            Ok(piece) => evidence.push((now, piece)),
            Err(error) => {
                unreadable += 1;
                tracing::debug!("{}", crate::error::chain(&error));
            }
        }
    }
    if unreadable > 0 {
        tracing::warn!(
            "{unreadable} rows of the journal cannot be read: what was pending when the last agent \
             ended may be told incompletely"
        );
    }
    evidence
}
