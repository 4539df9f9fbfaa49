//! A fleet's stream: the events of many nodes in one place, carried by NATS `JetStream`.
//!
//! ```text
//!  deliver ─ events ─▶ sink ─▶ link ─▶ stream OOM:        oom.CLUSTER.NODE.KIND
//!  status::Board ────▶ heartbeat ────▶ stream OOM_NODES:  oom-nodes.CLUSTER.NODE, the last of each
//!                                           │
//!  oom-agent fleet ◀── read ────────────────┘
//! ```
//! Reads the store by [`crate::deliver`], and the board; emits messages whose payload is the event as it is
//! stored, and whose id is its kind and id. `fleet init` makes both streams ([`streams`]); an agent makes none.
//! Every event is in the stream once: within the server's window for doubles the server sees to that, beyond it
//! the agent, which looks at each new connection at what has arrived of it (`link`). Refuses servers without TLS
//! where a certificate is given, and passwords in URLs: command lines are everybody's to read.

mod access;
mod heartbeat;
mod link;
mod place;
mod sink;
pub mod streams;
mod subject;

use std::time::Duration;

pub use self::{
    access::{Access, AccessError, Options},
    heartbeat::{Heartbeat, SinkLag},
    link::{Link, LinkError, Placed, Publication},
    place::{NoPlace, Place},
    sink::{Events, How},
    subject::{HEARTBEATS, STREAM, nodes_of, of_event, of_heartbeat, of_node, subjects_of, token},
};

/// Between two heartbeats, if nothing else is said.
pub const HEARTBEAT: Duration = Duration::from_secs(30);
