//! The store, for requests: a few readers on threads that may wait.
//!
//! Reads the database; emits answers, or a [`Problem`] that says what to do. Refuses to let questions pile
//! up: so many at a time, each for a limited time, also if nobody waits for its answer any more. A reader is
//! opened when it is needed first, and anew once another file stands in its place.

use std::{
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use axum::http::StatusCode;
use tokio::{sync::Semaphore, task::spawn_blocking, time::timeout};

use super::Problem;
use crate::{
    error::chain,
    store::{QueryError, Reader},
    watch::identity,
};

/// Questions that are answered at once.
const AT_ONCE: usize = 4;

/// A request waits so long for its turn.
const TURN: Duration = Duration::from_secs(2);

/// An answer takes no longer.
const ANSWER: Duration = Duration::from_secs(5);

/// When one who had to be sent away may come again.
const AGAIN: Duration = Duration::from_secs(1);

/// Readers. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Readers(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    path: Option<PathBuf>,
    turns: Arc<Semaphore>,
    idle: Mutex<Vec<Open>>,
}

#[derive(Debug)]
struct Open {
    reader: Reader,
    identity: Option<(u64, u64)>,
}

/// How long somebody waits for a turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// A request, which can come again.
    Some,
    /// A listener, which has nothing else to do.
    All,
}

impl Readers {
    pub(super) fn new(path: Option<PathBuf>) -> Self {
        Self(Arc::new(Inner {
            path,
            turns: Arc::new(Semaphore::new(AT_ONCE)),
            idle: Mutex::default(),
        }))
    }

    /// Asks, when it is this one's turn.
    pub(super) async fn ask<T: Send + 'static>(
        &self,
        patience: Patience,
        question: impl FnOnce(&Reader) -> Result<T, QueryError> + Send + 'static,
    ) -> Result<T, Problem> {
        let turn = self.0.turns.clone().acquire_owned();
        let turn = match patience {
            Patience::All => Some(turn.await),
            Patience::Some => timeout(TURN, turn).await.ok(),
        };
        let Some(Ok(turn)) = turn else {
            return Err(Problem::later("too many questions to the store", AGAIN));
        };
        let inner = self.0.clone();
        let answer = spawn_blocking(move || {
            let answer = inner.ask(question);
            // Until here, whether or not anybody still waits for the answer.
            drop(turn);
            answer
        });
        match answer.await {
            Ok(answer) => answer.map_err(problem),
            Err(error) => Err(Problem::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                error.to_string(),
            )),
        }
    }
}

impl Inner {
    fn ask<T>(
        &self,
        question: impl FnOnce(&Reader) -> Result<T, QueryError>,
    ) -> Result<T, QueryError> {
        let mut open = self.open()?;
        open.reader.until(Some(Instant::now() + ANSWER))?;
        let answer = question(&open.reader);
        if !matches!(&answer, Err(error) if error.is_damage()) {
            self.idle().push(open);
        }
        answer
    }

    /// One that nobody uses, or a new one.
    fn open(&self) -> Result<Open, QueryError> {
        let Some(path) = &self.path else {
            return Err(QueryError::Missing("none (--store none)".into()));
        };
        let identity = identity(path);
        let mut idle = self.idle();
        idle.retain(|open| open.identity == identity);
        if let Some(open) = idle.pop() {
            return Ok(open);
        }
        drop(idle);
        let reader = Reader::open(path)?;
        Ok(Open { reader, identity })
    }

    fn idle(&self) -> std::sync::MutexGuard<'_, Vec<Open>> {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a client is told.
fn problem(error: QueryError) -> Problem {
    let says = chain(&error);
    match error {
        error if error.is_late() => Problem::later(
            "the answer took too long: ask for less, as with since, until or a lower limit",
            AGAIN,
        ),
        error if error.is_damage() => Problem::new(StatusCode::INTERNAL_SERVER_ERROR, says),
        QueryError::NoSuchPlace { .. } | QueryError::Ambiguous(_) => {
            Problem::new(StatusCode::BAD_REQUEST, says)
        }
        QueryError::Missing(_) => Problem::later(
            format!("{says}: the agent keeps none, or cannot write it yet; /v1/status says more"),
            AGAIN,
        ),
        _ => Problem::later(says, AGAIN),
    }
}
