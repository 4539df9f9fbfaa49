//! Agents as tasks: the real sink, a real connection, and batches as the store would give them.

use std::{ops::Range, sync::Arc, time::Duration};

use anyhow::{Context as _, Result, bail};
use oom_agent::{
    clock::Now,
    deliver::{Batch, Sink as _},
    event::Event,
    nats::Events,
    store::{Entry, Stored},
};
use oom_tests::{nats::Cluster, told::Kills};
use tokio::task::JoinSet;

/// All of them.
pub(crate) struct Agents {
    /// Away while it publishes.
    all: Vec<Option<Agent>>,
    kills: Arc<Kills>,
    published: usize,
}

struct Agent {
    n: usize,
    sink: Events,
    seq: i64,
}

impl Agents {
    pub(crate) fn new(cluster: &Cluster, count: usize) -> Result<Self> {
        let access = cluster.access()?;
        // Not while it is measured.
        let never = Duration::from_hours(1);
        let agent = |n| {
            let name = format!("node-{n}");
            let sink = Events::new(access.clone(), "bench", &name, never, Arc::new(|_| None));
            Some(Agent { n, sink, seq: 0 })
        };
        Ok(Self {
            all: (0..count).map(agent).collect(),
            kills: Arc::new(Kills::new()?),
            published: 0,
        })
    }

    /// Events that the stream has.
    pub(crate) const fn published(&self) -> usize {
        self.published
    }

    /// So many kills on each of these nodes, all at once; returns when all are acknowledged.
    pub(crate) fn publish(
        &mut self,
        cluster: &Cluster,
        nodes: Range<usize>,
        kills: usize,
    ) -> Result<()> {
        let mut all = JoinSet::new();
        for n in nodes {
            let agent = self.all[n].take().context("an agent is away")?;
            let events = self.kills.clone();
            self.published += 2 * kills;
            let work = agent.publish(events, kills);
            all.spawn_on(work, cluster.runtime().handle());
        }
        cluster.runtime().block_on(async {
            while let Some(done) = all.join_next().await {
                let agent = done??;
                let n = agent.n;
                self.all[n] = Some(agent);
            }
            Ok(())
        })
    }
}

impl Agent {
    async fn publish(mut self, kills: Arc<Kills>, count: usize) -> Result<Self> {
        let mut events = Vec::new();
        for _ in 0..count {
            let id = (self.n as u64 * 1_000_000) + self.seq.unsigned_abs();
            for entry in kills.entries(id) {
                if let Entry::Event(event) = entry {
                    self.seq += 1;
                    events.push(stored(self.seq, &event)?);
                }
            }
        }
        let mut from = 0;
        for attempt in 0.. {
            let batch = Batch {
                events: &events[from..],
                through: self.seq,
                last: false,
            };
            let outcome = self.sink.deliver(batch).await;
            let Some(trouble) = outcome.trouble else {
                return Ok(self);
            };
            if attempt == 10 {
                bail!("{}", trouble.why);
            }
            from = events
                .iter()
                .take_while(|it| it.seq <= outcome.done)
                .count();
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
        Ok(self)
    }
}

/// As the store would give it, and as if it had happened now.
fn stored(seq: i64, event: &Event) -> Result<Stored> {
    let now = Now::read();
    let time = now.wall(now.monotonic_ns);
    let mut event = event.clone();
    match &mut event {
        Event::OomKill(kill) => kill.time = Some(time),
        Event::OomInstance(report) => report.time = Some(time),
        _ => bail!("another kind of event"),
    }
    let time_ns = i64::try_from(time.as_unix_ns())?;
    Ok(Stored {
        seq,
        cursor: format!("1.{time_ns}.{seq}").parse()?,
        kind: event.kind(),
        id: event.id().to_string(),
        time_ns,
        body: serde_json::to_string(&event)?,
    })
}
