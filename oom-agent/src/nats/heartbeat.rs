//! What a node says of itself now and then: that it lives, and whether every kill is told.
//!
//! Reads a [`Status`]; emits, and reads back, JSON. Only what is not 0 is said of losses. Refuses nothing: what a
//! newer agent adds is passed over.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{event::Timestamp, status::Status};

/// A sign of life. The last one of each node is kept.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Heartbeat {
    /// The node's cluster.
    pub cluster: Option<String>,
    /// The node.
    pub node: Option<String>,
    /// When this was said, by the node's clock.
    pub time: Timestamp,
    /// Until the next one, in milliseconds.
    pub period_ms: u64,
    /// The agent has been told to end: nothing is wrong with its silence, for an hour.
    pub stopping: bool,
    /// Version of the agent.
    pub version: String,
    /// When it started.
    pub started: Timestamp,
    /// Boot id.
    pub boot_id: Option<String>,
    /// How much of a kill can be seen, in a few words.
    pub tier: String,
    /// Detection answered; if not, there are no counts.
    pub detecting: bool,
    /// Where evidence comes from.
    pub sources: Vec<SourceState>,
    /// Kills that the kernel has counted and nobody has told; null where that is not known.
    pub unexplained: Option<i64>,
    /// What has been lost, by its name; only what is not 0.
    pub losses: BTreeMap<String, u64>,
    /// Events that wait for the node's disk; null without a store.
    pub waiting: Option<u64>,
    /// Events that wait for delivery, by sink.
    pub behind: BTreeMap<String, SinkLag>,
}

/// How a sink stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SinkLag {
    /// Events that wait.
    pub behind: u64,
    /// Events that were removed before they were delivered.
    pub lost: u64,
    /// Events that the other end did not take; they are kept on the node (`oom-agent dead-letters`).
    #[serde(default)]
    pub refused: u64,
}

/// One source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SourceState {
    /// `bpf`, `kmsg`, `audit`, `cgroups`, `memory`.
    pub name: String,
    /// It delivers.
    pub up: bool,
}

impl Heartbeat {
    /// Of what an agent says of itself.
    #[must_use]
    pub fn of(status: Status, cluster: &str, time: Timestamp, period: Duration) -> Self {
        let sources = status.sources.into_iter();
        let sinks = status.sinks.into_iter();
        Self {
            cluster: Some(cluster.to_owned()),
            node: status.node,
            time,
            period_ms: u64::try_from(period.as_millis()).unwrap_or(u64::MAX),
            stopping: false,
            version: status.version,
            started: status.started,
            boot_id: status.boot_id,
            tier: status.tier,
            detecting: status.detecting,
            sources: sources
                .map(|it| SourceState {
                    name: it.name,
                    up: it.up,
                })
                .collect(),
            unexplained: status.audit.unexplained,
            losses: (status.losses.into_iter())
                .filter(|(_, count)| *count > 0)
                .collect(),
            waiting: status.store.map(|store| store.waiting),
            behind: sinks
                .map(|sink| {
                    let lag = SinkLag {
                        behind: sink.behind,
                        lost: sink.lost,
                        refused: sink.refused,
                    };
                    (sink.sink, lag)
                })
                .collect(),
        }
    }
}
