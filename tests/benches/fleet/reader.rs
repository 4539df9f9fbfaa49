//! One who reads the stream: how late each event is, and whether each comes once.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use async_nats::jetstream::consumer::pull::OrderedConfig;
use futures_util::StreamExt as _;
use oom_agent::{clock::Now, event::Timestamp};
use oom_tests::nats::{Cluster, STREAM};
use serde::Deserialize;
use tokio::runtime::Builder;

/// Nothing that is waited for takes longer.
const PATIENCE: Duration = Duration::from_mins(5);

pub(crate) struct Reader(Arc<Mutex<Read>>);

#[derive(Default)]
struct Read {
    ids: HashSet<String>,
    events: usize,
    lags_ms: Vec<f64>,
}

#[derive(Deserialize)]
struct Told {
    kind: String,
    id: String,
    time: Timestamp,
}

impl Reader {
    pub(crate) fn start(cluster: &Cluster) -> Result<Self> {
        let read = Arc::<Mutex<Read>>::default();
        let (into, access) = (read.clone(), cluster.access()?);
        let runtime = Builder::new_current_thread().enable_all().build()?;
        thread::spawn(move || {
            if let Err(error) = runtime.block_on(follow(access, into)) {
                eprintln!("the reader has ended: {error:#}");
            }
        });
        Ok(Self(read))
    }

    /// Waits until so many have been read.
    pub(crate) fn wait(&self, events: usize) -> Result<()> {
        let end = Instant::now() + PATIENCE;
        loop {
            let read = lock(&self.0).events;
            if read >= events {
                return Ok(());
            }
            ensure!(Instant::now() < end, "{read} of {events} events were read");
            thread::sleep(Duration::from_millis(5));
        }
    }

    /// How late the events were so far is of no interest.
    pub(crate) fn forget(&self) {
        lock(&self.0).lags_ms.clear();
    }

    /// In milliseconds, the smallest first.
    pub(crate) fn lags(&self) -> Vec<f64> {
        let mut lags = lock(&self.0).lags_ms.clone();
        lags.sort_by(f64::total_cmp);
        lags
    }

    /// Each came once.
    pub(crate) fn exactly(&self, events: usize) -> Result<()> {
        let read = lock(&self.0);
        let (came, different) = (read.events, read.ids.len());
        ensure!(
            came == events && different == events,
            "{came} events came, {different} different ones; there were {events}"
        );
        Ok(())
    }
}

fn lock(read: &Mutex<Read>) -> std::sync::MutexGuard<'_, Read> {
    read.lock().unwrap_or_else(PoisonError::into_inner)
}

async fn follow(access: oom_agent::nats::Access, into: Arc<Mutex<Read>>) -> Result<()> {
    let context = access.connect("bench").await?;
    let stream = context.get_stream(STREAM).await?;
    let consumer = stream.create_consumer(OrderedConfig::default()).await?;
    let mut messages = consumer.messages().await?;
    loop {
        // It ends with the servers.
        let Some(message) = messages.next().await else {
            return Ok(());
        };
        let message = message?;
        let told: Told = serde_json::from_slice(&message.payload)?;
        let now = Now::read();
        let now = now.wall(now.monotonic_ns);
        let late_ns = now.as_unix_ns() - told.time.as_unix_ns();
        let mut read = lock(&into);
        read.events += 1;
        read.ids.insert(told.kind + &told.id);
        #[expect(clippy::cast_precision_loss, reason = "milliseconds")]
        read.lags_ms.push(late_ns as f64 / 1e6);
    }
}
