//! Who publishes: nodes with a store and a delivery from it, as agents have them, and the servers they publish to.
//!
//! Says what of their kills the stream has to hold: each event once, and nothing else.

use std::{
    collections::BTreeSet,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use oom_agent::{
    deliver::SinkStatus,
    nats::{Access, Events, How},
    store::Reader,
};
use oom_tests::{
    agent::DEADLINE,
    delivering::{Delivering, Place},
    nats::{self, Cluster, Message},
};
use serde_json::Value;

/// The servers' window for doubles, where it is to be of use.
pub(crate) const LONG: Duration = Duration::from_mins(2);

/// The shortest that servers have.
pub(crate) const SHORT: Duration = Duration::from_millis(100);

/// A node whose agent publishes, and the servers with their streams.
pub(crate) struct Fleet {
    pub(crate) agent: Delivering,
    pub(crate) node: Node,
    pub(crate) cluster: Cluster,
}

/// A node: a store.
pub(crate) struct Node {
    name: &'static str,
    place: Place,
}

/// Servers with their streams; `None`: none can be started, and the test is skipped.
pub(crate) fn cluster(servers: usize, duplicates: Duration) -> Result<Option<Cluster>> {
    if !nats::is_there()? {
        return Ok(None);
    }
    let cluster = Cluster::start(servers)?;
    cluster.init(duplicates)?;
    Ok(Some(cluster))
}

impl Fleet {
    /// [`cluster`], and `node-1`.
    pub(crate) fn start(servers: usize, duplicates: Duration) -> Result<Option<Self>> {
        let Some(cluster) = cluster(servers, duplicates)? else {
            return Ok(None);
        };
        let node = Node::new("node-1")?;
        Ok(Some(Self {
            agent: node.start(&cluster)?,
            node,
            cluster,
        }))
    }
}

impl Node {
    pub(crate) fn new(name: &'static str) -> Result<Self> {
        let place = Place::new()?;
        Ok(Self { name, place })
    }

    pub(crate) fn store(&self) -> PathBuf {
        self.place.store()
    }

    /// Starts its agent.
    pub(crate) fn start(&self, cluster: &Cluster) -> Result<Delivering> {
        self.start_by(cluster.access()?)
    }

    pub(crate) fn start_by(&self, access: Access) -> Result<Delivering> {
        self.start_telling(access, Arc::new(|_| None))
    }

    /// The same, with signs of life each second.
    pub(crate) fn start_telling(&self, access: Access, how: How) -> Result<Delivering> {
        let beat = Duration::from_secs(1);
        self.place
            .deliver(Events::new(access, "test", self.name, beat, how))
    }

    /// Waits until the cursor is kept; gives it.
    pub(crate) fn cursor(&self, at_least: i64) -> Result<(i64, String)> {
        let end = Instant::now() + DEADLINE;
        loop {
            let kept = Reader::open(&self.store())?.delivered("nats")?;
            match kept {
                Some(kept) if kept.0 >= at_least => return Ok(kept),
                other => ensure!(Instant::now() < end, "{other:?}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }
}

/// All is published.
pub(crate) fn is_done(status: &SinkStatus) -> bool {
    status.behind == 0 && status.up == Some(true)
}

/// It says why it does not go on.
pub(crate) fn in_trouble(status: &SinkStatus) -> bool {
    status.last_error.is_some()
}

/// Every event of these kills once, and nothing else.
pub(crate) fn exactly(messages: &[Message], kills: u64) -> Result<()> {
    let mut ids = BTreeSet::new();
    for message in messages {
        let event: Value = serde_json::from_str(&message.body)?;
        let id = event["id"].as_str().context("no id")?.to_owned();
        ensure!(ids.insert(id), "twice: {}", event["id"]);
        let kind = event["kind"].as_str().context("no kind")?;
        ensure!(message.subject.ends_with(kind), "{}", message.subject);
    }
    for n in 0..kills {
        for id in [format!("kill-{n}"), format!("oom-{n}")] {
            ensure!(ids.remove(&id), "missing: {id}");
        }
    }
    ensure!(ids.is_empty(), "more than there were: {ids:?}");
    Ok(())
}
