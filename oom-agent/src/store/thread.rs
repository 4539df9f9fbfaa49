//! The store thread: takes what there is, commits it, lets the ring go.
//!
//! Commits at once when idle; while the disk is busy, entries gather for the next commit. A disk that is
//! full, read-only or broken holds up nothing: all waits in memory as far as there is room, and in the ring
//! until that fills up; every loss is counted, and said when it begins and when it is over. The store stays
//! locked: it is this agent's also while it refuses.

use std::{
    convert::Infallible,
    io, mem,
    path::PathBuf,
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, RecvTimeoutError, channel},
    },
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use tokio::sync::watch;

use super::{
    batch::Batch,
    counts::{Counts, with_lost},
    deliveries::Deliveries,
    error::StoreError,
    lanes::Lanes,
    lock::Lock,
    open,
    queue::{Offer, Release, Shared},
    recovery::Run,
    retain::{self, Retained, Retention},
    write::{Begun, Store},
};
use crate::{
    clock::Now,
    correlate::{Host, Timing},
    error::chain,
    realtime,
};

/// Between two tries on a disk that refuses: first, and at most.
const AGAIN: Duration = Duration::from_millis(100);
const AGAIN_AT_MOST: Duration = Duration::from_secs(5);

/// How often age is looked at when nothing is stored.
const IDLE: Duration = Duration::from_mins(10);

/// How soon number and bytes are after something was: so what a storm brings goes in small steps, too.
const BUSY: Duration = Duration::from_millis(100);

/// What the thread is to do.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where the store is.
    pub path: PathBuf,
    /// This boot, of this node.
    pub host: Host,
    /// As for [`Store::open`].
    pub keep_ns: u64,
    /// By which reports are closed, those that the agents of ended boots owed among them.
    pub timing: Timing,
    /// What is kept.
    pub retention: Retention,
    /// This start.
    pub run: Run,
    /// Bytes of the ring that may wait for the disk; beyond them it is let go before they are durable.
    pub ring_room: u64,
}

/// The running thread.
#[derive(Debug)]
pub struct Storing {
    shared: Arc<Shared>,
    counts: Arc<Mutex<Counts>>,
    commits: watch::Receiver<u64>,
    /// Nothing comes: the other end is dropped with the thread's work.
    ended: Receiver<Infallible>,
    thread: JoinHandle<()>,
}

/// Starts the thread. Without a store it goes on trying to open it. `release` lets the ring go.
pub fn start(
    store: Option<Store>,
    options: Options,
    release: Release,
) -> io::Result<(Offer, Storing)> {
    let shared = Shared::new(release, options.ring_room);
    let counts = Arc::<Mutex<Counts>>::default();
    let (running, ended) = channel();
    let (committed, commits) = watch::channel(0);
    let keeper = Keeper {
        shared: shared.clone(),
        published: counts.clone(),
        committed,
        databases: 0,
        started: Now::read(),
        options,
        store,
        begun: false,
        outage: None,
        held: Lanes::default(),
        lock: None,
        left: None,
        counts: Counts::default(),
        before: Counts::default(),
        look_at: Instant::now(),
        unlooked: 0,
    };
    let thread = thread::Builder::new().name("store".into()).spawn(move || {
        let _running = running;
        if let Err(note) = realtime::defer_thread() {
            tracing::debug!("{note}");
        }
        keeper.run();
    })?;
    let storing = Storing {
        shared: shared.clone(),
        counts,
        commits,
        ended,
        thread,
    };
    Ok((Offer(shared), storing))
}

impl Storing {
    /// What there is to count so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.counting()()
    }

    /// The same, now and later.
    pub fn counting(&self) -> impl Fn() -> Counts + Send + Sync + 'static {
        let (counts, shared) = (self.counts.clone(), self.shared.clone());
        move || {
            let counts = *counts.lock().unwrap_or_else(PoisonError::into_inner);
            with_lost(counts, shared.lost())
        }
    }

    /// For those who deliver what is stored.
    #[must_use]
    pub fn deliveries(&self) -> Deliveries {
        Deliveries::new(self.shared.clone(), self.commits.clone())
    }

    /// Waits until everything is stored and the file closed, at most this long: a disk that does not
    /// answer must not keep the agent from ending. The [`Offer`] must have been dropped.
    #[must_use]
    pub fn finish(self, at_most: Duration) -> Counts {
        if self.ended.recv_timeout(at_most) == Err(RecvTimeoutError::Timeout) {
            tracing::warn!("the store does not end: its disk does not answer; left behind");
            return self.counts();
        }
        let counts = self.counts();
        if self.thread.join().is_err() {
            tracing::error!("the store thread had panicked");
        }
        counts
    }
}

/// The thread's state.
struct Keeper {
    shared: Arc<Shared>,
    published: Arc<Mutex<Counts>>,
    /// Says that there is something new, and in which database.
    committed: watch::Sender<u64>,
    /// How often another database was begun.
    databases: u64,
    started: Now,
    options: Options,
    store: Option<Store>,
    /// This start is noted down in it.
    begun: bool,
    outage: Option<Outage>,
    /// What could not be written.
    held: Lanes,
    lock: Option<Lock>,
    /// Where the journal stood when the store was closed for an error, and whether it was broken off.
    left: Option<(i64, bool)>,
    counts: Counts,
    /// As they were when the outage began.
    before: Counts,
    /// When retention has its turn, and how many events have been stored since its last.
    look_at: Instant,
    unlooked: u64,
}

/// A time during which nothing can be stored.
#[derive(Debug)]
struct Outage {
    since: Instant,
    /// What the disk said last.
    why: String,
    pause: Duration,
    next: Instant,
}

impl Keeper {
    fn run(mut self) {
        self.try_to(Self::begin);
        let mut lanes = Lanes::default();
        loop {
            let until = self
                .outage
                .as_ref()
                .map_or(self.look_at, |outage| outage.next);
            let closed = self.shared.take(&mut lanes, Some(until));
            if closed || self.may_try() {
                self.write(&mut lanes);
            } else {
                self.hold(&mut lanes);
            }
            if closed {
                break;
            }
            self.tidy();
            self.publish();
        }
        self.end();
        self.publish();
    }

    fn may_try(&self) -> bool {
        self.outage
            .as_ref()
            .is_none_or(|outage| outage.next <= Instant::now())
    }

    /// Writes what was held before, then what has come; once the disk refuses, holds all the rest.
    fn write(&mut self, lanes: &mut Lanes) {
        if self.try_to(Self::begin).is_none() {
            return self.hold(lanes);
        }
        let mut held = mem::take(&mut self.held);
        for from in [&mut held, lanes] {
            while !from.is_empty() {
                let batch = from.batch();
                if self.store.is_some() {
                    self.commit(batch);
                } else {
                    self.put_back(batch);
                }
            }
        }
        if self.held.is_empty() && self.store.is_some() {
            self.recovered();
        }
    }

    /// Commits a batch, or holds it.
    fn commit(&mut self, mut batch: Batch) {
        // Numbers of a database that was moved aside mean nothing in this one.
        let database = self.databases;
        batch.delivered.retain(|it| it.database == database);
        let Some(done) = self.try_to(|keeper| match &mut keeper.store {
            Some(store) => store.commit(&batch, &Now::read()),
            None => Ok(super::Committed::default()),
        }) else {
            self.put_back(batch);
            return;
        };
        self.counts.duplicates += done.duplicates;
        self.counts.journaled += done.journaled;
        self.counts.undurable += done.unjournaled;
        if let Some(ring) = batch.ring {
            self.shared.release(ring);
        }
        self.ask_for_snapshot();
        if done.events > 0 {
            self.stored(done.events);
        }
        self.publish();
    }

    /// Opens the store if it is not open, and notes the start down.
    fn begin(&mut self) -> Result<(), StoreError> {
        if self.store.is_none() {
            let options = &self.options;
            let store = Store::open_under(
                &mut self.lock,
                &options.path,
                options.host.boot_id.as_deref().unwrap_or_default(),
                options.keep_ns,
            )?;
            let moved_aside = u64::from(store.set_aside().is_some());
            self.counts.moved_aside += moved_aside;
            self.databases += moved_aside;
            self.store = Some(store);
            self.begun = false;
        }
        if let Some(store) = &mut self.store
            && !self.begun
        {
            let options = &self.options;
            store.timing = options.timing;
            let of_before = store.begin_run(&options.run, &options.host, &self.started)?;
            self.begun = true;
            // Only now is what was found in it on the disk.
            self.go_on();
            self.ended(of_before);
            self.ask_for_snapshot();
        }
        Ok(())
    }

    /// What came of boots that are over.
    fn ended(&mut self, of_before: Begun) {
        let Begun { owed, unknown } = of_before;
        self.counts.lost_with_boot += unknown;
        if owed > 0 {
            tracing::info!(
                "the agent of another boot was cut off: {owed} events that it owed are stored now"
            );
            self.stored(owed);
        }
        if unknown > 0 {
            tracing::warn!(
                "the agent of another boot was cut off: {unknown} ends of victims, or observations that cannot \
                 be read, stay unknown"
            );
        }
    }

    /// So many events are new.
    fn stored(&mut self, events: u64) {
        self.counts.events += events;
        self.unlooked += events;
        self.look_at = self.look_at.min(Instant::now() + BUSY);
        self.committed.send_replace(self.databases);
    }

    /// Brings a store that was opened again to where the one that was closed for an error would be.
    fn go_on(&mut self) {
        if let (Some(store), Some((last, was_broken))) = (&mut self.store, self.left.take()) {
            // A transaction whose end failed may be found whole by the next who opens.
            let (found, _) = store.journal_end();
            self.held.forget(found - last);
            if was_broken || found < last {
                store.stay_broken();
            }
        }
    }

    fn ask_for_snapshot(&self) {
        if self.store.as_ref().is_some_and(Store::wants_snapshot) {
            self.shared.want_snapshot();
        }
    }

    /// Does something with the store; after an error the store is closed, to be opened again later.
    fn try_to<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T, StoreError>) -> Option<T> {
        match work(self) {
            Ok(done) => Some(done),
            Err(error) => {
                self.fail(&error);
                None
            }
        }
    }

    fn fail(&mut self, error: &StoreError) {
        self.counts.failed_commits += 1;
        if let Some(store) = self.store.take() {
            self.left.get_or_insert_with(|| store.journal_end());
            self.lock = store.into_lock();
        }
        if error.is_damage()
            && let Ok(_) = open::set_aside(&self.options.path, error)
        {
            self.counts.moved_aside += 1;
            self.databases += 1;
        }
        let why = chain(error);
        let now = Instant::now();
        let outage = self.outage.get_or_insert_with(|| {
            tracing::error!(
                "{}: {why}; detection goes on, events wait in memory as far as there is room",
                self.options.path.display()
            );
            self.before = with_lost(self.counts, self.shared.lost());
            Outage {
                since: now,
                why: why.clone(),
                pause: AGAIN / 2,
                next: now,
            }
        });
        if outage.why != why {
            tracing::error!("{}: now {why}", self.options.path.display());
            outage.why = why;
        }
        outage.pause = (outage.pause * 2).min(AGAIN_AT_MOST);
        outage.next = now + outage.pause;
    }

    fn recovered(&mut self) {
        let Some(outage) = self.outage.take() else {
            return;
        };
        let now = with_lost(self.counts, self.shared.lost());
        let before = self.before;
        tracing::warn!(
            "{}: written again after {:.1} s; {} events stored late; lost for it: {} events of kills and \
             {} news of containers; {} observations were not journaled",
            self.options.path.display(),
            outage.since.elapsed().as_secs_f64(),
            now.events - before.events,
            now.unstored_kills - before.unstored_kills,
            now.unstored_news - before.unstored_news,
            now.undurable - before.undurable,
        );
    }

    /// Keeps what can be kept without the disk.
    fn hold(&mut self, lanes: &mut Lanes) {
        while !lanes.is_empty() {
            let batch = lanes.batch();
            self.put_back(batch);
        }
    }

    fn put_back(&mut self, batch: Batch) {
        let lost = self.held.put_back(batch);
        self.counts.undurable += lost.evidence;
        self.counts.unstored_kills += lost.kills;
        self.counts.unstored_news += lost.news;
    }

    /// Retention: as many steps as keep up with what is stored, and more as long as nobody waits.
    fn tidy(&mut self) {
        let mut steps = 1 + mem::take(&mut self.unlooked) / u64::from(retain::STEP);
        while self.outage.is_none() && self.look_at <= Instant::now() {
            if steps == 0 && self.shared.is_due() {
                break;
            }
            steps = steps.saturating_sub(1);
            let retention = self.options.retention;
            let step = self.try_to(|keeper| match &mut keeper.store {
                Some(store) => store.retain(&retention, &Now::read()),
                None => Ok(Retained::default()),
            });
            let Some(Retained { removed, more }) = step else {
                return;
            };
            self.counts.removed += removed;
            if !more {
                self.look_at = Instant::now() + IDLE;
            }
        }
    }

    /// The end: what could not be stored so far never will be.
    fn end(&mut self) {
        let (kills, news) = self.held.events();
        self.counts.unstored_kills += kills;
        self.counts.unstored_news += news;
        self.counts.undurable += self.held.observations();
        self.held = Lanes::default();
        self.try_to(|keeper| match &mut keeper.store {
            Some(store) => store.end_run(&Now::read()),
            None => Ok(()),
        });
    }

    fn publish(&mut self) {
        let (kills, news) = self.held.events();
        self.counts.waiting = kills + news;
        *self
            .published
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = self.counts;
    }
}

#[cfg(test)]
#[path = "thread_tests.rs"]
mod tests;
