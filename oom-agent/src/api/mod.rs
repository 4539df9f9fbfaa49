//! The API over HTTP: ask, watch, be told how the agent is.
//!
//! ```text
//!  socket ─▶ edge (limits, who may) ─▶ router ─┬─ events, instances ─▶ the store
//!                                              ├─ stream ────────────▶ watch::Follow
//!                                              ├─ cadvisor ──────────▶ both, in cAdvisor's words
//!                                              └─ node ──────────────▶ status::Board, the machine
//! ```
//! Reads requests; emits what the store, the live subscribers and the board know. Refuses to hold up
//! detection: it has a thread and a runtime of its own, and reads the store through readers of its own.
//!
//! Sockets are bound before the agent gives up its privileges ([`Bound`]) and served after
//! ([`Server`]).

mod edge;
mod node;
mod problem;

use std::{path::PathBuf, sync::Arc};

use axum::Router;

pub use self::{
    edge::{ApiError, Bound, Options, SecretError, Server, SocketError, TlsFiles},
    problem::Problem,
};
use crate::{
    correlate::Host,
    metrics::{self, Metrics},
    status::Board,
    watch::Watchers,
};

/// Where the API is served if nothing else is said.
pub const SOCKET: &str = "/run/oom-agent/api.sock";

/// What all handlers share. Clones are the same.
#[derive(Clone, Debug)]
pub struct Shared(Arc<Parts>);

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
        Self(Arc::new(parts))
    }

    /// How the agent is.
    #[must_use]
    pub fn board(&self) -> &Board {
        &self.0.board
    }
}

/// All that is served, without the limits of the edge.
pub fn router(shared: Shared) -> Router {
    let Parts { metrics, board, .. } = &*shared.0;
    let metrics = metrics::routes(metrics.clone(), board.clone());
    Router::new()
        .merge(node::routes())
        .merge(metrics)
        .fallback(problem::not_found)
        .method_not_allowed_fallback(problem::not_allowed)
        .with_state(shared)
}
