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
    status::{Severity, Trouble},
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
    /// It sees no kill now: detection does not answer, or no source that can see one is up.
    Blind,
    /// The kernel has counted kills that nobody has told.
    Unexplained,
    /// Events, or evidence of kills, are gone for good.
    Lossy,
    /// Something that it wants does not work now: a source, its disk, a sink.
    Failing,
    /// Its agent was told to end more than an hour ago, and nothing has been heard of it since: if the machine runs,
    /// nobody looks after it.
    Gone,
    /// All is well as far as can be told, but the kernel has no counter that would prove it.
    Unproven,
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
    /// What is wrong with it by its own words, the worst first.
    pub troubles: Vec<Trouble>,
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
        !matches!(self, Self::Unproven | Self::Well | Self::Stopped)
    }

    fn of(heartbeat: &Heartbeat, troubles: &[Trouble], silent: Duration) -> Self {
        let period = Duration::from_millis(heartbeat.period_ms);
        let stopping = heartbeat.stopping;
        if !stopping && silent > period.saturating_mul(MISSED) {
            return Self::Silent;
        }
        match troubles.first().map(|worst| worst.severity) {
            Some(Severity::Blind) => Self::Blind,
            Some(Severity::Missed) => Self::Unexplained,
            Some(Severity::Lost) => Self::Lossy,
            Some(Severity::Failing) => Self::Failing,
            Some(Severity::Unproven) => Self::Unproven,
            Some(Severity::Limited) | None if stopping && silent > BACK => Self::Gone,
            Some(Severity::Limited) | None if stopping => Self::Stopped,
            Some(Severity::Limited) | None => Self::Well,
        }
    }
}

impl Node {
    /// From what it said, and when.
    #[must_use]
    pub fn new(heartbeat: Heartbeat, heard_ns: i128, now_ns: i128) -> Self {
        let silent_ns = u64::try_from((now_ns - heard_ns).max(0)).unwrap_or(u64::MAX);
        let silent = Duration::from_nanos(silent_ns);
        let troubles = heartbeat.judge();
        Self {
            state: State::of(&heartbeat, &troubles, silent),
            troubles,
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
    use crate::{nats::SinkLag, status::Source};

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

    fn source(name: &str, up: bool, wanted: bool) -> Source {
        Source {
            name: name.into(),
            up,
            wanted,
            reason: None,
        }
    }

    #[test]
    fn how_a_node_is() {
        let well = heartbeat();
        assert_eq!(state(well.clone(), 0), State::Well);
        assert_eq!(state(well.clone(), 3000), State::Well);
        assert_eq!(state(well.clone(), 3001), State::Silent);
        // A server's clock that goes after ours.
        assert_eq!(state(well.clone(), -50), State::Well);
        let silent = Heartbeat {
            detecting: false,
            unexplained: None,
            ..well.clone()
        };
        assert_eq!(state(silent, 0), State::Blind);
        for (unexplained, expected) in [
            (Some(1), State::Unexplained),
            (Some(-1), State::Well),
            (None, State::Unproven),
        ] {
            let owes = Heartbeat {
                unexplained,
                ..well.clone()
            };
            assert_eq!(state(owes, 0), expected, "{unexplained:?}");
        }
        for (losses, expected) in [
            (
                vec!["bare_marks", "suppressed_reports", "late_lines"],
                State::Well,
            ),
            (vec!["bare_marks", "ring_dropped"], State::Well),
            (vec!["unstored"], State::Lossy),
            (vec!["what only a later version knows"], State::Lossy),
        ] {
            let losses = losses.into_iter().map(|it| (it.to_owned(), 1)).collect();
            let lossy = Heartbeat {
                losses,
                ..well.clone()
            };
            assert_eq!(state(lossy.clone(), 0), expected, "{lossy:?}");
        }
    }

    #[test]
    fn sources_count_that_are_wanted() {
        for (sources, expected) in [
            (
                vec![source("bpf", true, true), source("kmsg", false, true)],
                State::Failing,
            ),
            (
                vec![source("bpf", false, false), source("kmsg", true, true)],
                State::Well,
            ),
            (
                vec![source("bpf", false, false), source("kmsg", false, true)],
                State::Blind,
            ),
            (
                vec![source("bpf", true, true), source("memory", false, false)],
                State::Well,
            ),
        ] {
            let node = Heartbeat {
                sources,
                ..heartbeat()
            };
            assert_eq!(state(node.clone(), 0), expected, "{node:?}");
        }
    }

    #[test]
    fn sinks_count_that_lose_or_are_away() {
        let kept = SinkLag {
            behind: 9,
            lost: 0,
            // It is kept, and can be told again.
            refused: 1,
            up: Some(true),
        };
        for (lag, expected) in [
            (kept, State::Well),
            (SinkLag { up: None, ..kept }, State::Well),
            (
                SinkLag {
                    up: Some(false),
                    ..kept
                },
                State::Failing,
            ),
            (SinkLag { lost: 1, ..kept }, State::Lossy),
        ] {
            let node = Heartbeat {
                behind: [("nats".to_owned(), lag)].into(),
                ..heartbeat()
            };
            assert_eq!(state(node, 0), expected, "{lag:?}");
        }
    }

    #[test]
    fn heartbeats_of_older_agents_are_understood() {
        let old = r#"{"cluster":"eu","node":"n","time":"2026-11-20T22:01:03Z","period_ms":1000,"stopping":false,
            "version":"0","started":"2026-11-20T22:01:03Z","boot_id":null,"tier":"bpf","detecting":true,
            "sources":[{"name":"bpf","up":true},{"name":"kmsg","up":false}],"unexplained":0,"losses":{},
            "waiting":0,"behind":{"nats":{"behind":0,"lost":0}}}"#;
        let old: Heartbeat = serde_json::from_str(old).unwrap();
        assert_eq!(state(old, 0), State::Failing);
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
