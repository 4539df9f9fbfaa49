//! All who listen: how many they are, and the relay that they share.
//!
//! Reads nothing; emits places among them, and the relay, which the first of them starts. Refuses more than
//! so many.

use std::{path::PathBuf, sync::Arc, time::Duration};

use axum::http::StatusCode;
use tokio::{
    sync::{OnceCell, OwnedSemaphorePermit, Semaphore},
    task::spawn_blocking,
};

use super::Problem;
use crate::watch::{Relay, Watchers};

/// Streams at once, of all kinds.
const STREAMS: usize = 512;

/// When one who found no room may come again.
const AGAIN: Duration = Duration::from_secs(10);

/// The streams. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Streams {
    watchers: Watchers,
    store: Option<PathBuf>,
    relay: Arc<OnceCell<Relay>>,
    room: Arc<Semaphore>,
}

impl Streams {
    pub(super) fn new(watchers: Watchers, store: Option<PathBuf>) -> Self {
        Self {
            watchers,
            store,
            relay: Arc::default(),
            room: Arc::new(Semaphore::new(STREAMS)),
        }
    }

    /// The relay, and a place among those who listen.
    pub(super) async fn enter(&self) -> Result<(Relay, OwnedSemaphorePermit), Problem> {
        let Ok(permit) = self.room.clone().try_acquire_owned() else {
            let detail = format!("{STREAMS} streams are open, and there is room for no more");
            return Err(Problem::too_many(detail, AGAIN));
        };
        let relay = self.relay.get_or_try_init(|| async {
            let (watchers, store) = (self.watchers.clone(), self.store.clone());
            let started = spawn_blocking(move || Relay::start(&watchers, store)).await;
            let started = started.map_err(|error| error.to_string());
            started.and_then(|started| started.map_err(|error| error.to_string()))
        });
        match relay.await {
            Ok(relay) => Ok((relay.clone(), permit)),
            Err(error) => Err(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, error)),
        }
    }
}
