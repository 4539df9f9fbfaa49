//! The API over HTTP: ask, watch, be told how the agent is.
//!
//! ```text
//!  socket ─▶ edge (limits, who may) ─▶ router ─┬─ events, instances ─▶ the store ────────────────┐ Records
//!                                              ├─ timeline ──────────▶ the index of the store ────────┤
//!                                              ├─ stream ────────────▶ watch::Relay, and the store ┘
//!                                              ├─ cadvisor ──────────▶ both, in cAdvisor's words
//!                                              ├─ node ──────────────▶ status::Board, the machine
//!                                              └─ page ──────────────▶ files for browsers
//! ```
//! Routes of [`Records`] ask nothing but a store and those who watch it: whoever has these can serve them.
//! Reads requests; emits what the store, the live subscribers and the board know. Refuses to hold up
//! detection: it has a thread and a runtime of its own, and reads the store through readers of its own.
//!
//! Sockets are bound before the agent gives up its privileges ([`Bound`]) and served after
//! ([`Server`]).

mod cadvisor;
mod dead_letters;
mod edge;
mod events;
#[cfg(feature = "nats")]
mod fleet;
mod listener;
mod node;
mod openapi;
mod page;
mod place;
mod problem;
mod query;
mod readers;
mod route;
mod scrape;
mod stream;
mod streams;
mod timeline;

use std::{path::PathBuf, sync::Arc};

use axum::{Router, extract::FromRef};
use tokio::sync::Semaphore;

#[cfg(feature = "nats")]
pub use self::fleet::{Fleet, FleetStatus, Nodes, router_of_fleet};
pub use self::{
    cadvisor::CadvisorEvent,
    edge::{ApiError, Bound, Options, SecretError, Server, SocketError, TlsFiles},
    events::{Events, Paging},
    openapi::document,
    problem::Problem,
};
use self::{readers::Readers, route::Route, streams::Streams};
use crate::{host::Host, metrics::Metrics, status::Board, watch::Watchers};

/// Where the API is served if nothing else is said.
pub const SOCKET: &str = "/run/oom-agent/api.sock";

/// What all handlers share. Clones are the same.
#[derive(Clone, Debug)]
pub struct Shared(Arc<Served>);

/// What is known of the past, and who is told what comes. Clones are the same.
#[derive(Clone, Debug)]
pub struct Records {
    readers: Readers,
    streams: Streams,
}

impl Records {
    /// Of a store, and of those who watch live what goes into it.
    #[must_use]
    pub fn new(watchers: Watchers, store: Option<PathBuf>) -> Self {
        Self {
            readers: Readers::new(store.clone()),
            streams: Streams::new(watchers, store),
        }
    }
}

impl FromRef<Shared> for Records {
    fn from_ref(shared: &Shared) -> Self {
        shared.0.records.clone()
    }
}

#[derive(Debug)]
struct Served {
    parts: Parts,
    records: Records,
    /// One scrape at a time.
    scraping: Arc<Semaphore>,
}

/// The same, by its parts.
#[derive(Debug)]
pub struct Parts {
    /// How the agent is.
    pub board: Board,
    /// The store; `None` without one.
    pub store: Option<PathBuf>,
    /// Those who watch live.
    pub watchers: Watchers,
    /// What is counted for Prometheus.
    pub metrics: Metrics,
    /// Which node and boot this is.
    pub host: Host,
    /// Where the host's files are.
    pub host_root: PathBuf,
}

impl Shared {
    /// From the parts.
    #[must_use]
    pub fn new(parts: Parts) -> Self {
        let records = Records::new(parts.watchers.clone(), parts.store.clone());
        Self(Arc::new(Served {
            parts,
            records,
            scraping: Arc::new(Semaphore::new(1)),
        }))
    }

    /// How the agent is.
    #[must_use]
    pub fn board(&self) -> &Board {
        &self.0.parts.board
    }
}

/// All that the document tells.
fn routes() -> Vec<Route<Shared>> {
    [
        events::routes(),
        timeline::routes(),
        dead_letters::routes(),
        stream::routes(),
        node::routes(),
        cadvisor::routes(),
        scrape::routes(),
        openapi::routes(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// All that is served, without the limits of the edge.
pub fn router(shared: Shared) -> Router {
    let all = routes().into_iter().chain(page::routes());
    router_of(all.collect(), shared)
}

fn router_of<S: Clone + Send + Sync + 'static>(routes: Vec<Route<S>>, state: S) -> Router {
    let all = (routes.into_iter()).fold(Router::new(), |router, route| route.add_to(router));
    all.fallback(problem::not_found)
        .method_not_allowed_fallback(problem::not_allowed)
        .with_state(state)
}

#[cfg(test)]
mod tests;
