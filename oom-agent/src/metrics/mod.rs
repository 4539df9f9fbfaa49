//! What Prometheus reads: how many kills, of whom, how soon they were known, and how the agent is.
//!
//! ```text
//!  hub ─ Event ─▶ queue ─▶ metrics thread ─▶ totals, book ─┐
//!  store ─ OomKill of before this start ──────────▶ book ──┼─▶ a scrape: OpenMetrics, or classic text
//!  status ──────────────────────── counts of this moment ──┘
//! ```
//! Reads events from a queue, on a thread of its own, and a [`Status`] at each scrape; emits text. A scrape takes
//! the lock that the thread needs only for as long as copying the series takes, not while it writes them. What
//! the queue had no room for is counted. Refuses labels that anybody could make without bound: all but the
//! [`book`] have words of the contract only, and the book has its limits.

pub mod book;
mod classic;
mod figures;
pub mod labels;
mod seed;
mod series;
mod totals;

use std::{
    io,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    thread,
    time::Duration,
};

use prometheus_client::{
    encoding::text,
    metrics::{gauge::ConstGauge, info::Info},
    registry::{Registry, Unit},
};

pub use self::classic::Format;
use self::{
    book::{Book, Limits},
    figures::Figures,
    labels::Labels,
    seed::Seed,
    series::Series,
    totals::Totals,
};
use crate::{
    clock::Now,
    error::chain,
    event::Event,
    hub::{Queue, Queued, queue},
    realtime,
    status::Status,
    store::QueryError,
};

/// What is kept of containers.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// How long a series of `container_oom_events_total` is kept after its last kill.
    pub keep: Duration,
    /// How many of them there may be.
    pub series: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            keep: Duration::from_hours(24),
            series: 10_000,
        }
    }
}

/// What is counted. Clones share it.
#[derive(Clone, Debug)]
pub struct Metrics(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    /// What is counted here.
    registry: Registry,
    totals: Totals,
    kept: Kept,
    queued: Arc<Queued>,
}

/// The series; `None` until those of before this start are among them: they would begin too low.
type Kept = Arc<Mutex<Option<Book>>>;

/// Starts counting: what the hub hands to the queue, and, first of all, what the store holds now; so detection must
/// not have told anything yet. The thread ends when the hub has gone.
pub fn start(options: &Options, store: Option<&Path>) -> io::Result<(Metrics, Queue)> {
    let seed = store.map(Seed::open).transpose().unwrap_or_else(|error| {
        missing(&error);
        None
    });
    let (queue, queued) = queue();
    let metrics = Metrics::new(Arc::new(queued), Now::read());
    let of_thread = metrics.clone();
    let book = Book::new(Limits {
        keep_ns: u64::try_from(options.keep.as_nanos()).unwrap_or(u64::MAX),
        series: options.series,
    });
    thread::Builder::new()
        .name("metrics".into())
        .spawn(move || {
            if let Err(note) = realtime::defer_thread() {
                tracing::debug!("{note}");
            }
            of_thread.begin(book, seed);
            while let Some(event) = of_thread.0.queued.next() {
                of_thread.count(&event, &Now::read());
            }
        })?;
    Ok((metrics, queue))
}

impl Metrics {
    fn new(queued: Arc<Queued>, now: Now) -> Self {
        let mut registry = Registry::default();
        registry.register(
            "oom_agent_build",
            "Version of the agent",
            Info::new([("version", env!("CARGO_PKG_VERSION"))]),
        );
        registry.register_with_unit(
            "oom_agent_start_time",
            "When the agent started, in seconds since 1970",
            Unit::Seconds,
            ConstGauge::new(series::unix_seconds(now.wall(now.monotonic_ns))),
        );
        let totals = Totals::new(&mut registry);
        let kept = Kept::default();
        registry.register_collector(Box::new(Series(kept.clone())));
        Self(Arc::new(Inner {
            registry,
            totals,
            kept,
            queued,
        }))
    }

    /// Takes over what was before this start.
    fn begin(&self, mut book: Book, seed: Option<Seed>) {
        match seed.map(|seed| seed.plant(&mut book, &Now::read())) {
            None | Some(Ok(0)) => {}
            Some(Ok(malformed)) => tracing::warn!(
                "metrics: {malformed} stored kills could not be understood, and are not counted"
            ),
            Some(Err(error)) => missing(&error),
        }
        *self.0.lock() = Some(book);
    }

    /// Counts an event.
    fn count(&self, event: &Event, now: &Now) {
        self.0.totals.count(event);
        if let Event::OomKill(kill) = event
            && !kill.backfill
        {
            let labels = Labels::of(kill.cgroup.as_ref(), kill.owner.as_ref());
            if let Some(book) = &mut *self.0.lock() {
                book.add(labels, kill.time, seed::boottime_ns(now));
            }
        }
    }

    /// Everything, as it is now.
    #[must_use]
    pub fn encode(&self, format: Format, status: &Status) -> String {
        let now = seed::boottime_ns(&Now::read());
        if let Some(book) = &mut *self.0.lock() {
            book.expire(now);
        }
        let mut of_now = Registry::default();
        of_now.register_collector(Box::new(Figures::new(status, self.0.queued.missed())));
        let mut text = String::new();
        let written = text::encode_registry(&mut text, &self.0.registry)
            .and_then(|()| text::encode(&mut text, &of_now));
        if written.is_err() {
            // Only a writer can fail, and a string does not.
            tracing::error!("the metrics could not be written");
        }
        match format {
            Format::OpenMetrics => text,
            Format::Classic => classic::classic(&text),
        }
    }
}

fn missing(error: &QueryError) {
    tracing::warn!(
        "metrics: containers that were killed before this start may be missing: {}",
        chain(error)
    );
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, Option<Book>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests;
