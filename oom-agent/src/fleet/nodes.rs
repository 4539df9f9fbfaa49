//! The nodes of the fleet, and how each is.
//!
//! Reads the last heartbeat of each node, and when the server took it; emits nodes, those first that somebody must
//! look after. Refuses to go by the clocks of nodes, or by its own: silence is measured by the servers' clock, which
//! is asked for its time.

use std::{collections::BTreeMap, time::Duration};

use async_nats::jetstream::{
    Context,
    consumer::{DeliverPolicy, pull::OrderedConfig},
};
use futures_util::StreamExt as _;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::timeout;

use super::FleetError;
use crate::{
    event::Timestamp,
    nats::{HEARTBEATS, Heartbeat, nodes_of, streams},
};

/// A node that has missed so many heartbeats is silent.
const MISSED: u32 = 3;

/// Who was told to end is back within this time, if it comes back: a restart takes seconds, a rollout or a machine
/// that boots minutes.
const BACK: Duration = Duration::from_hours(1);

/// The stream answers within this time.
const PATIENCE: Duration = Duration::from_secs(10);

/// How a node is, the worst first.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// It has not been heard of for three of its periods, and has not said that it ends.
    Silent,
    /// The kernel has counted kills that nobody has told.
    Unexplained,
    /// Something has been lost, or detection does not answer.
    Lossy,
    /// A source does not deliver, or the kernel's own count is not known: nobody can tell.
    Unknown,
    /// Its agent was told to end more than an hour ago, and nothing has been heard of it since: if the machine runs,
    /// nobody looks after it.
    Gone,
    /// Every kill is told.
    Well,
    /// Its agent was told to end, less than an hour ago, and owed nothing.
    Stopped,
}

/// A node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Node {
    /// How it is.
    pub state: State,
    /// When it was heard of last, by the servers' clock.
    pub heard: Timestamp,
    /// How long ago that is, in milliseconds.
    pub silent_ms: u64,
    /// What it said.
    pub heartbeat: Heartbeat,
}

impl State {
    /// Whether somebody must look.
    #[must_use]
    pub const fn is_bad(self) -> bool {
        !matches!(self, Self::Well | Self::Stopped)
    }

    fn of(heartbeat: &Heartbeat, silent: Duration) -> Self {
        let period = Duration::from_millis(heartbeat.period_ms);
        let stopping = heartbeat.stopping;
        if !stopping && silent > period.saturating_mul(MISSED) {
            return Self::Silent;
        }
        // What is told before it is counted makes it negative for a moment.
        if heartbeat.unexplained.is_some_and(|it| it > 0) {
            return Self::Unexplained;
        }
        let lost = heartbeat.behind.values().any(|sink| sink.lost > 0);
        if (!heartbeat.detecting && !stopping) || !heartbeat.losses.is_empty() || lost {
            return Self::Lossy;
        }
        if stopping {
            return if silent > BACK {
                Self::Gone
            } else {
                Self::Stopped
            };
        }
        if heartbeat.unexplained.is_none() || heartbeat.sources.iter().any(|it| !it.up) {
            return Self::Unknown;
        }
        Self::Well
    }
}

impl Node {
    /// From what it said, and when.
    #[must_use]
    pub fn new(heartbeat: Heartbeat, heard_ns: i128, now_ns: i128) -> Self {
        let silent_ns = u64::try_from((now_ns - heard_ns).max(0)).unwrap_or(u64::MAX);
        let silent = Duration::from_nanos(silent_ns);
        Self {
            state: State::of(&heartbeat, silent),
            heard: Timestamp::from_unix_ns(heard_ns),
            silent_ms: u64::try_from(silent.as_millis()).unwrap_or(u64::MAX),
            heartbeat,
        }
    }
}

/// All nodes at one moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Roll {
    /// Those first that are not well, then by name.
    pub nodes: Vec<Node>,
    /// Heartbeats that were not understood.
    pub unreadable: u64,
    /// When that was, by the servers' clock: Unix time in nanoseconds.
    pub now_ns: i128,
}

/// All nodes as they are now.
pub async fn nodes(context: &Context, stream: &str) -> Result<Roll, FleetError> {
    let broken = |error: async_nats::Error| FleetError::Broken(Some(error));
    let name = nodes_of(stream);
    let stream = streams::open(context, &name).await?;
    let config = OrderedConfig {
        deliver_policy: DeliverPolicy::LastPerSubject,
        filter_subject: HEARTBEATS.to_owned(),
        ..OrderedConfig::default()
    };
    let consumer = stream.create_consumer(config).await;
    let consumer = consumer.map_err(|error| broken(error.into()))?;
    let mut left = consumer.cached_info().num_pending;
    let mut messages = consumer.messages().await.map_err(|e| broken(e.into()))?;
    // One that speaks meanwhile comes twice.
    let mut heard = BTreeMap::new();
    while left > 0 {
        let message = timeout(PATIENCE, messages.next()).await;
        let message = message.map_err(|_| FleetError::Broken(None))?;
        let message = message.ok_or(FleetError::Broken(None))?;
        let message = message.map_err(|error| broken(error.into()))?;
        let info = message.info().map_err(broken)?;
        left = info.pending;
        heard.insert(
            message.subject.clone(),
            (
                serde_json::from_slice::<Heartbeat>(&message.payload),
                info.published.unix_timestamp_nanos(),
            ),
        );
    }
    let now_ns = streams::clock(context, &name).await?;
    let (mut nodes, mut unreadable) = (Vec::new(), 0);
    for (heartbeat, heard_ns) in heard.into_values() {
        match heartbeat {
            Ok(heartbeat) => nodes.push(Node::new(heartbeat, heard_ns, now_ns)),
            Err(_) => unreadable += 1,
        }
    }
    nodes.sort_by(|a, b| {
        let name = |node: &Node| {
            let Heartbeat { cluster, node, .. } = &node.heartbeat;
            (cluster.clone(), node.clone())
        };
        (a.state, name(a)).cmp(&(b.state, name(b)))
    });
    Ok(Roll {
        nodes,
        unreadable,
        now_ns,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nats::{SinkLag, SourceState};

    fn heartbeat() -> Heartbeat {
        Heartbeat {
            cluster: Some("eu".into()),
            node: Some("n".into()),
            time: Timestamp::from_unix_ns(0),
            period_ms: 1000,
            stopping: false,
            version: "0".into(),
            started: Timestamp::from_unix_ns(0),
            boot_id: None,
            tier: "bpf".into(),
            detecting: true,
            sources: Vec::new(),
            unexplained: Some(0),
            losses: BTreeMap::new(),
            waiting: Some(0),
            behind: BTreeMap::new(),
        }
    }

    fn state(heartbeat: Heartbeat, silent_ms: i128) -> State {
        Node::new(heartbeat, 0, silent_ms * 1_000_000).state
    }

    #[test]
    fn how_a_node_is() {
        let well = heartbeat();
        assert_eq!(state(well.clone(), 0), State::Well);
        assert_eq!(state(well.clone(), 3000), State::Well);
        assert_eq!(state(well.clone(), 3001), State::Silent);
        // A server's clock that goes after ours.
        assert_eq!(state(well.clone(), -50), State::Well);
        let unknown = Heartbeat {
            unexplained: None,
            ..well.clone()
        };
        assert_eq!(state(unknown, 0), State::Unknown);
        let mut down = well.clone();
        down.sources.push(SourceState {
            name: "kmsg".into(),
            up: false,
        });
        assert_eq!(state(down, 0), State::Unknown);
        // It is kept, and can be told again.
        let mut refused = well.clone();
        let lag = SinkLag {
            behind: 0,
            lost: 0,
            refused: 1,
        };
        refused.behind.insert("nats".into(), lag);
        assert_eq!(state(refused, 0), State::Well);
        for (unexplained, expected) in [(1, State::Unexplained), (-1, State::Well)] {
            let owes = Heartbeat {
                unexplained: Some(unexplained),
                ..well.clone()
            };
            assert_eq!(state(owes, 0), expected, "{unexplained}");
        }
        let mut lossy = well;
        lossy.losses.insert("ring_dropped".into(), 1);
        assert_eq!(state(lossy, 0), State::Lossy);
    }

    #[test]
    fn who_has_stopped_is_well_for_an_hour_if_nothing_is_owed() {
        const HOUR_MS: i128 = 3_600_000;
        let stopped = Heartbeat {
            stopping: true,
            detecting: false,
            unexplained: None,
            ..heartbeat()
        };
        let owes = Heartbeat {
            unexplained: Some(3),
            ..stopped.clone()
        };
        let mut lossy = stopped.clone();
        lossy.losses.insert("ring_dropped".into(), 1);
        for (heartbeat, silent_ms, expected) in [
            (&stopped, 0, State::Stopped),
            (&stopped, HOUR_MS, State::Stopped),
            (&stopped, HOUR_MS + 1, State::Gone),
            (&owes, 0, State::Unexplained),
            (&owes, 2 * HOUR_MS, State::Unexplained),
            (&lossy, 0, State::Lossy),
        ] {
            let found = state(heartbeat.clone(), silent_ms);
            assert_eq!(found, expected, "{silent_ms} {heartbeat:?}");
        }
        assert!(State::Gone.is_bad() && State::Gone < State::Well);
    }
}
