//! The thread that delivers to one sink.
//!
//! Woken by commits of the store, by what the sink holds back, and by pauses after trouble. Reads, hands over,
//! keeps the cursor. Has a small share of the CPU and a runtime of its own: whatever the other end does,
//! nobody else waits.

use std::{
    io,
    path::PathBuf,
    pin::pin,
    sync::mpsc,
    thread::{self, JoinHandle},
    time::Duration,
};

use tokio::{
    runtime,
    sync::{oneshot, watch},
    time::{Instant, sleep, sleep_until, timeout},
};

use super::{Batch, Health, Outcome, Sink, backoff::Backoff};
use crate::{
    error::chain,
    realtime,
    store::{DeadLetter, Delivered, Deliveries, Filter, QueryError, Reader, Tail},
};

/// Between two looks at the store at least: what a storm brings is gathered.
const PAUSE: Duration = Duration::from_millis(100);

/// How often the store is looked at whatever it says.
const IDLE: Duration = Duration::from_mins(1);

/// At the end, the other end may take this long.
const LAST: Duration = Duration::from_secs(1);

/// A running delivery.
#[derive(Debug)]
pub struct Delivery {
    health: Health,
    stop: oneshot::Sender<()>,
    ended: mpsc::Receiver<()>,
    thread: JoinHandle<()>,
}

impl Delivery {
    /// Starts the thread. The first time, it begins with what is stored from now on; afterwards where it was.
    /// Where the store cannot be read yet, all that it holds once it can is taken for news. To be called before
    /// detection starts.
    pub fn start<S: Sink>(sink: S, store: PathBuf, deliveries: Deliveries) -> io::Result<Self> {
        let name = sink.name();
        let health = Health::new(name, 0);
        let mut commits = deliveries.commits();
        let mut courier = Courier {
            filter: Filter {
                backfill: Some(false),
                ..sink.filter()
            },
            sink,
            store,
            database: *commits.borrow_and_update(),
            deliveries,
            health: health.clone(),
            at: None,
            is_late: false,
            kept: None,
            removed: 0,
            backoff: Backoff::default(),
        };
        if let Err(error) = courier.begin() {
            tracing::warn!("{name}: {}; tried again", chain(&error));
            courier.is_late = true;
        }
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let (stop, stopped) = oneshot::channel();
        let (running, ended) = mpsc::channel();
        let thread = thread::Builder::new().name(name.into()).spawn(move || {
            let _running: mpsc::Sender<()> = running;
            if let Err(note) = realtime::defer_thread() {
                tracing::debug!("{note}");
            }
            runtime.block_on(courier.run(commits, stopped));
            // A look-up of a name may still be under way on a thread of its own.
            runtime.shutdown_background();
        })?;
        Ok(Self {
            health,
            stop,
            ended,
            thread,
        })
    }

    /// How it goes.
    #[must_use]
    pub fn health(&self) -> Health {
        self.health.clone()
    }

    /// Delivers what can be delivered at once, and ends, after `at_most` in any case: the rest waits in the
    /// store for the next start. The store must still run.
    pub fn stop(self, at_most: Duration) {
        Self::stop_all(vec![self], at_most);
    }

    /// The same for several at once.
    pub fn stop_all(all: Vec<Self>, at_most: Duration) {
        let until = std::time::Instant::now() + at_most;
        let ending: Vec<_> = (all.into_iter())
            .map(|it| {
                drop(it.stop);
                (it.health, it.ended, it.thread)
            })
            .collect();
        for (health, ended, thread) in ending {
            let left = until.saturating_duration_since(std::time::Instant::now());
            if ended.recv_timeout(left) == Err(mpsc::RecvTimeoutError::Timeout) {
                tracing::debug!("{} is left behind", health.status().sink);
            } else if thread.join().is_err() {
                tracing::error!("a thread that delivers had panicked");
            }
        }
    }
}

/// The thread's state.
struct Courier<S> {
    sink: S,
    filter: Filter,
    store: PathBuf,
    deliveries: Deliveries,
    /// Which database the numbers are of.
    database: u64,
    health: Health,
    /// Where it is; none as long as the store could not be read.
    at: Option<Place>,
    /// The store could not be read when it was started: what was there then, and what came since, cannot be
    /// told apart.
    is_late: bool,
    /// What the store has been told of it.
    kept: Option<(i64, String)>,
    /// What retention had taken when it was last looked at: of that, nothing is counted as lost again.
    removed: i64,
    backoff: Backoff,
}

#[derive(Clone, Copy, Debug)]
struct Place {
    read: i64,
    done: i64,
}

impl<S: Sink> Courier<S> {
    async fn run(mut self, mut commits: watch::Receiver<u64>, mut stopped: oneshot::Receiver<()>) {
        loop {
            let begun = Instant::now();
            let database = *commits.borrow_and_update();
            let wait = {
                let mut pass = pin!(self.pass(database, false));
                tokio::select! {
                    wait = &mut pass => wait,
                    // What the sink has taken and what came of it must not fall apart.
                    _ = &mut stopped => match timeout(LAST, pass).await {
                        Ok(_) => break,
                        Err(_) => return,
                    },
                }
            };
            tokio::select! {
                () = sleep(wait) => {}
                // After trouble the other end is left alone, whatever comes.
                changed = commits.changed(), if self.backoff.is_reset() => {
                    if changed.is_err() {
                        break;
                    }
                }
                _ = &mut stopped => break,
            }
            tokio::select! {
                () = sleep_until(begun + PAUSE) => {}
                _ = &mut stopped => break,
            }
        }
        if self.backoff.is_reset() {
            let _ = timeout(LAST, self.pass(*commits.borrow(), true)).await;
        }
    }

    /// Delivers what there is; how long until the next look.
    async fn pass(&mut self, database: u64, last: bool) -> Duration {
        if database != self.database {
            self.move_on(database);
        }
        match self.deliver(last).await {
            Ok(wait) => wait,
            Err(error) => {
                self.health.stumble(&chain(&error));
                self.backoff.pause(None)
            }
        }
    }

    async fn deliver(&mut self, last: bool) -> Result<Duration, QueryError> {
        let mut at = match self.at {
            Some(at) => at,
            None => self.begin()?,
        };
        loop {
            // Opened each time: what is there may be another file by now. And not held while the other end is
            // waited for: that would keep the store from tidying up.
            let reader = Reader::open(&self.store)?;
            let tail = reader.after_seq(at.read, &self.filter, self.sink.at_most())?;
            let last_seq = reader.last_seq()?;
            drop(reader);
            if let Some(events) = lost(&tail, self.removed) {
                self.lose(events);
            }
            self.removed = tail.removed;
            let batch = Batch {
                events: &tail.events,
                through: tail.through,
                last,
            };
            let outcome = self.sink.deliver(batch).await;
            let took_all = outcome.read >= tail.through;
            at = Place {
                read: outcome.read.max(at.read),
                done: outcome.done.max(at.done),
            };
            self.at = Some(at);
            self.health.count(&outcome);
            self.health.place(at.done, last_seq);
            say_refused(self.sink.name(), &outcome.refused);
            self.keep(at.done, &outcome);
            if let Some(trouble) = outcome.trouble {
                if outcome.delivered > 0 {
                    self.backoff.reset();
                }
                return Ok(self.backoff.pause(trouble.retry_after));
            }
            self.backoff.reset();
            if !took_all {
                return Ok(outcome.again.unwrap_or(PAUSE));
            }
            if !tail.more {
                return Ok(outcome.again.unwrap_or(IDLE).min(IDLE));
            }
        }
    }

    /// Where it was; the first time, the end of the store, or its beginning if it may hold news.
    fn begin(&mut self) -> Result<Place, QueryError> {
        let reader = Reader::open(&self.store)?;
        let last = reader.last_seq()?;
        let news = if self.is_late { 0 } else { last };
        let (done, state) = match reader.delivered(self.sink.name())? {
            Some((done, state)) if done <= last => (done, state),
            Some((done, _)) => {
                tracing::warn!(
                    "{}: no event {done} in this store, whose last is {last}: begun behind {news}",
                    self.sink.name()
                );
                (news, String::new())
            }
            None => {
                tracing::info!("{}: begun behind event {news}", self.sink.name());
                (news, String::new())
            }
        };
        self.sink.resume(&state);
        let at = Place { read: done, done };
        self.at = Some(at);
        self.health.place(done, last);
        self.keep_as(done, state, Vec::new());
        Ok(at)
    }

    /// Another database has been begun, by this agent: all that is in it is news.
    fn move_on(&mut self, database: u64) {
        tracing::warn!(
            "{}: the store was damaged and begun anew; what had not been delivered is in the damaged one",
            self.sink.name()
        );
        self.database = database;
        self.removed = 0;
        self.sink.resume("");
        self.at = Some(Place { read: 0, done: 0 });
        self.kept = None;
    }

    fn lose(&self, events: i64) {
        self.health.lose(events);
        tracing::error!(
            "{}: up to {events} events were removed from the store before they were delivered",
            self.sink.name()
        );
    }

    fn keep(&mut self, done: i64, outcome: &Outcome) {
        let is_kept = |(at, state): &(i64, String)| *at == done && *state == outcome.state;
        if !outcome.refused.is_empty() || !self.kept.as_ref().is_some_and(is_kept) {
            self.keep_as(done, outcome.state.clone(), outcome.refused.clone());
        }
    }

    fn keep_as(&mut self, through: i64, state: String, dead: Vec<DeadLetter>) {
        self.deliveries.keep(Delivered {
            sink: self.sink.name().into(),
            database: self.database,
            through,
            state: state.clone(),
            dead,
        });
        self.kept = Some((through, state));
    }
}

/// How much more than was counted when retention had taken so many.
fn lost(tail: &Tail, removed: i64) -> Option<i64> {
    let more = tail.gap?.at_most.min(tail.removed - removed);
    (more > 0).then_some(more)
}

/// One line for all, for there may be many.
fn say_refused(sink: &str, refused: &[DeadLetter]) {
    if let Some(DeadLetter { thing, why, .. }) = refused.last() {
        let all: u64 = refused.iter().map(|it| it.count).sum();
        tracing::warn!("{sink}: {all} never told, the last of them {thing}: {why}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Gap;

    #[test]
    fn what_was_removed_is_lost_once() {
        let tail = |at_most, removed| Tail {
            events: Vec::new(),
            through: 0,
            more: false,
            gap: Some(Gap {
                through: 100,
                at_most,
            }),
            removed,
        };
        // Nothing is read meanwhile, and retention goes on.
        assert_eq!(lost(&tail(10, 40), 0), Some(10));
        assert_eq!(lost(&tail(10, 40), 40), None);
        assert_eq!(lost(&tail(15, 45), 40), Some(5));
        // What was read before it was removed is none of it.
        assert_eq!(lost(&tail(2, 50), 45), Some(2));
        let none = Tail {
            gap: None,
            ..tail(0, 60)
        };
        assert_eq!(lost(&none, 50), None);
    }
}
