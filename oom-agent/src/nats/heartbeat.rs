//! What a node says of itself now and then: that it lives, and whether every kill is told.
//!
//! Reads a [`Status`]; emits, and reads back, JSON. Only what is not 0 is said of losses. Refuses nothing: what a
//! newer agent adds is passed over.

use std::{collections::BTreeMap, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    event::Timestamp,
    status::{Seen, SeenSink, Severity, Source, Status, Trouble, judge},
};

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
    pub sources: Vec<Source>,
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
    /// Whether it took what it was told last; null as long as there was nothing to tell, or where that is not said.
    #[serde(default)]
    pub up: Option<bool>,
}

impl Heartbeat {
    /// Of what an agent says of itself.
    #[must_use]
    pub fn of(status: Status, cluster: &str, time: Timestamp, period: Duration) -> Self {
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
            sources: status.sources,
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
                        up: sink.up,
                    };
                    (sink.sink, lag)
                })
                .collect(),
        }
    }
    /// What is wrong, the worst first: as the node's own status judges it, as far as this says. Of who stops, only
    /// what it leaves behind.
    #[must_use]
    pub fn judge(&self) -> Vec<Trouble> {
        let sinks = self.behind.iter();
        let mut troubles = judge(&Seen {
            not_ready: (!self.detecting).then_some("detection does not answer"),
            detecting: self.detecting,
            sources: &self.sources,
            unexplained: self.unexplained,
            losses: &self.losses,
            waiting: self.waiting.unwrap_or(0),
            sinks: sinks
                .map(|(name, sink)| SeenSink {
                    name,
                    up: sink.up,
                    lost: sink.lost,
                })
                .collect(),
        });
        let stays = |it: &Trouble| matches!(it.severity, Severity::Missed | Severity::Lost);
        troubles.retain(|it| !self.stopping || stays(it));
        troubles
    }
}
