//! How a delivery goes, for status and metrics.
//!
//! Written by the thread that delivers; read by anybody, at any time, without waiting for it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Outcome, Trouble};
use crate::{clock::Now, event::Timestamp};

/// A handle on how one delivery goes. Its clones are the same.
#[derive(Clone, Debug)]
pub struct Health(Arc<Mutex<SinkStatus>>);

/// How one delivery goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SinkStatus {
    /// Name of the sink.
    pub sink: String,
    /// Whether the other end took what it was told last. Null as long as there was nothing to tell.
    pub up: Option<bool>,
    /// Since when that is so.
    pub since: Timestamp,
    /// What the trouble is; while `up`, what it was the last time.
    pub last_error: Option<String>,
    /// What was delivered since the agent's start, in the sink's own units.
    pub delivered: u64,
    /// What the other end will never take, likewise.
    pub refused: u64,
    /// Events that retention has removed before they were delivered, at the most.
    pub lost: u64,
    /// Tries that failed.
    pub retries: u64,
    /// The number in the store up to which everything is delivered or refused.
    pub through: i64,
    /// Events that have been stored behind that, of any kind.
    pub behind: u64,
}

impl Health {
    pub(super) fn new(sink: &str, through: i64) -> Self {
        Self(Arc::new(Mutex::new(SinkStatus {
            sink: sink.to_owned(),
            up: None,
            since: now(),
            last_error: None,
            delivered: 0,
            refused: 0,
            lost: 0,
            retries: 0,
            through,
            behind: 0,
        })))
    }

    /// How it goes now.
    #[must_use]
    pub fn status(&self) -> SinkStatus {
        self.lock().clone()
    }

    fn lock(&self) -> MutexGuard<'_, SinkStatus> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Events that are gone.
    pub(super) fn lose(&self, events: i64) {
        self.lock().lost += u64::try_from(events).unwrap_or(0);
    }

    /// Where it stands.
    pub(super) fn place(&self, through: i64, last: i64) {
        let mut status = self.lock();
        status.through = through;
        status.behind = u64::try_from(last.saturating_sub(through)).unwrap_or(0);
    }

    /// What came of a batch.
    pub(super) fn count(&self, outcome: &Outcome) {
        let mut status = self.lock();
        status.delivered += outcome.delivered;
        status.refused += outcome.refused.iter().map(|it| it.count).sum::<u64>();
        if let Some(Trouble { why, .. }) = &outcome.trouble {
            status.fail(why);
        } else if outcome.delivered > 0 {
            status.turn(true);
        }
    }

    /// The store cannot be read.
    pub(super) fn fail(&self, why: &str) {
        self.lock().fail(why);
    }
}

impl SinkStatus {
    fn fail(&mut self, why: &str) {
        self.retries += 1;
        if self.up != Some(false) || self.last_error.as_deref() != Some(why) {
            tracing::warn!("{}: {why}; tried again, nothing is lost", self.sink);
            self.last_error = Some(why.to_owned());
        }
        self.turn(false);
    }

    fn turn(&mut self, up: bool) {
        if self.up == Some(up) {
            return;
        }
        if up && self.up.is_some() {
            tracing::info!("{}: delivered again", self.sink);
        }
        self.up = Some(up);
        self.since = now();
    }
}

fn now() -> Timestamp {
    let now = Now::read();
    now.wall(now.monotonic_ns)
}
