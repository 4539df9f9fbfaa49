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
pub struct Health(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    status: SinkStatus,
    /// The last try failed, at the other end or before it.
    is_failing: bool,
}

/// How one delivery goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SinkStatus {
    /// Name of the sink.
    pub sink: String,
    /// Whether the other end took what it was told last. Null as long as there was nothing to tell.
    pub up: Option<bool>,
    /// Since when that is so.
    pub since: Timestamp,
    /// What the trouble is, or was the last time: at the other end, or with the store.
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
        let status = SinkStatus {
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
        };
        Self(Arc::new(Mutex::new(State {
            status,
            is_failing: false,
        })))
    }

    /// How it goes now.
    #[must_use]
    pub fn status(&self) -> SinkStatus {
        self.lock().status.clone()
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Events that are gone.
    pub(super) fn lose(&self, events: i64) {
        self.lock().status.lost += u64::try_from(events).unwrap_or(0);
    }

    /// Where it stands.
    pub(super) fn place(&self, through: i64, last: i64) {
        let status = &mut self.lock().status;
        status.through = through;
        status.behind = u64::try_from(last.saturating_sub(through)).unwrap_or(0);
    }

    /// What came of a batch.
    pub(super) fn count(&self, outcome: &Outcome) {
        let mut state = self.lock();
        let status = &mut state.status;
        status.delivered += outcome.delivered;
        status.refused += outcome.refused.iter().map(|it| it.count).sum::<u64>();
        let took_some = outcome.trouble.is_none() && outcome.delivered > 0;
        let trouble = outcome.trouble.as_ref().map(|Trouble { why, .. }| why);
        status.retries += outcome.failed + u64::from(trouble.is_some());
        if let Some(why) = trouble.or(outcome.denied.as_ref()) {
            state.fail(why);
            state.turn(took_some);
            return;
        }
        state.go_on();
        // What had failed is delivered or refused: the other end has answered.
        let nothing_waits = outcome.done >= outcome.read;
        if took_some || nothing_waits && state.status.up.is_some() {
            state.turn(true);
        }
    }

    /// The store cannot be read, for which the other end can do nothing.
    pub(super) fn stumble(&self, why: &str) {
        let mut state = self.lock();
        state.status.retries += 1;
        state.fail(why);
    }
}

impl State {
    fn fail(&mut self, why: &str) {
        let status = &mut self.status;
        if !self.is_failing || status.last_error.as_deref() != Some(why) {
            tracing::warn!("{}: {why}; tried again, nothing is lost", status.sink);
            status.last_error = Some(why.to_owned());
        }
        self.is_failing = true;
    }

    fn go_on(&mut self) {
        if self.is_failing {
            tracing::info!("{}: goes on", self.status.sink);
        }
        self.is_failing = false;
    }

    fn turn(&mut self, up: bool) {
        if self.status.up != Some(up) {
            self.status.up = Some(up);
            self.status.since = now();
        }
    }
}

fn now() -> Timestamp {
    let now = Now::read();
    now.wall(now.monotonic_ns)
}
