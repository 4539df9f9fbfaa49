//! The API of a fleet: the routes that ask a store, and how the fleet is.
//!
//! Reads what the reader of the stream has laid down ([`Fleet`]); emits JSON, and plain words for probes. Refuses
//! nothing of its own.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use axum::{
    Json, Router,
    extract::{FromRef, State},
    http::StatusCode,
    routing::get,
};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Records, events, openapi, page, route::Route, router_of, stream, timeline};
use crate::fleet::{Counts, Node};

/// What there is, for who comes without a manual.
const INDEX: &str = concat!(
    "oom-agent fleet ",
    env!("CARGO_PKG_VERSION"),
    "\n\n",
    include_str!("fleet.txt")
);

/// What a server of a fleet shares. Clones are the same.
#[derive(Clone, Debug)]
pub struct Fleet(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    records: Records,
    state: Mutex<Told>,
}

#[derive(Debug, Default)]
struct Told {
    is_read: bool,
    left: u64,
    trouble: Option<String>,
    counts: Counts,
    nodes: Vec<Node>,
    unreadable: u64,
    nodes_trouble: Option<String>,
}

/// How the reading of the stream goes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FleetStatus {
    /// Version of this server.
    pub version: String,
    /// All that was in the stream when this server started has been read.
    pub ready: bool,
    /// Messages that the stream had and this server had not yet, when it looked last.
    pub behind: u64,
    /// Why the stream cannot be read; null if it can.
    pub trouble: Option<String>,
    /// What has been read since the start.
    pub counts: Counts,
}

/// The nodes.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Nodes {
    /// Those first that somebody must look after; then by name.
    pub nodes: Vec<Node>,
    /// Signs of life that this version does not understand.
    pub unreadable: u64,
    /// Why they cannot be asked for; null if they can. The nodes are those of before, then.
    pub trouble: Option<String>,
}

impl FromRef<Fleet> for Records {
    fn from_ref(fleet: &Fleet) -> Self {
        fleet.0.records.clone()
    }
}

impl Fleet {
    /// With these events.
    #[must_use]
    pub fn new(records: Records) -> Self {
        Self(Arc::new(Inner {
            records,
            state: Mutex::default(),
        }))
    }

    fn lock(&self) -> MutexGuard<'_, Told> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So much has been read, and so much is left. True the first time that nothing is.
    #[must_use]
    pub fn read(&self, counts: Counts, left: u64) -> bool {
        let mut told = self.lock();
        (told.counts, told.left, told.trouble) = (counts, left, None);
        let is_first = left == 0 && !told.is_read;
        told.is_read |= is_first;
        is_first
    }

    /// The stream cannot be read.
    pub fn fail(&self, why: &str) {
        self.lock().trouble = Some(why.to_owned());
    }

    /// These are the nodes.
    pub fn heard(&self, nodes: Vec<Node>, unreadable: u64) {
        let mut told = self.lock();
        (told.nodes, told.unreadable, told.nodes_trouble) = (nodes, unreadable, None);
    }

    /// The nodes cannot be asked for.
    pub fn fail_nodes(&self, why: &str) {
        self.lock().nodes_trouble = Some(why.to_owned());
    }
}

fn routes() -> Vec<Route<Fleet>> {
    let own = vec![
        page::root(INDEX),
        Route::new("/livez", get(livez), "Whether this server answers."),
        Route::new(
            "/readyz",
            get(readyz),
            "Whether all that was in the stream at the start has been read.",
        )
        .also(503),
        Route::new("/v1/nodes", get(nodes), "The nodes, and how each is.").answers::<Nodes>(),
        Route::new(
            "/v1/fleet",
            get(status),
            "How the reading of the stream goes.",
        )
        .answers::<FleetStatus>(),
    ];
    let of_records = [events::routes(), timeline::routes(), stream::routes()];
    own.into_iter()
        .chain(of_records.into_iter().flatten())
        .collect()
}

/// All that is served.
pub fn router_of_fleet(fleet: Fleet) -> Router {
    let mut all = routes();
    let text = openapi::of("oom-agent fleet", &all).to_string();
    let document = move || async { events::json(text) };
    all.push(
        Route::new("/v1/openapi.json", get(document), "This document.")
            .answers::<Map<String, Value>>(),
    );
    all.extend(page::routes());
    router_of(all, fleet)
}

async fn livez() -> &'static str {
    "ok\n"
}

async fn readyz(State(fleet): State<Fleet>) -> (StatusCode, &'static str) {
    if fleet.lock().is_read {
        (StatusCode::OK, "ok\n")
    } else {
        (
            StatusCode::SERVICE_UNAVAILABLE,
            "the stream has not been read to its end yet\n",
        )
    }
}

async fn nodes(State(fleet): State<Fleet>) -> Json<Nodes> {
    let now_ns = jiff::Timestamp::now().as_nanosecond();
    let told = fleet.lock();
    // Silence grows also while nobody looks.
    let again = |node: &Node| Node::new(node.heartbeat.clone(), node.heard.as_unix_ns(), now_ns);
    let mut nodes: Vec<_> = told.nodes.iter().map(again).collect();
    nodes.sort_by_key(|node| node.state);
    Json(Nodes {
        nodes,
        unreadable: told.unreadable,
        trouble: told.nodes_trouble.clone(),
    })
}

async fn status(State(fleet): State<Fleet>) -> Json<FleetStatus> {
    let told = fleet.lock();
    Json(FleetStatus {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        ready: told.is_read,
        behind: told.left,
        trouble: told.trouble.clone(),
        counts: told.counts,
    })
}
