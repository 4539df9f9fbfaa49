//! The watch on a thread of its own.
//!
//! ```text
//!  questions ────────────────┐ before anything else
//!  ring or inotify ──────────┼─▶ core ─▶ one batch of evidence a turn
//!  lookups that are due ─────┤
//!  scan, some directories ───┘
//! ```
//! Emits [`crate::evidence::CgroupEvidence`] through a function that must not wait. Questions are
//! answered from the start; the watch is attached beside, on a short-lived thread, which may take seconds
//! on a busy machine, and the first scan comes after it. Whoever starts the thread waits for neither. After
//! a turn that had changes the next one comes 2 ms later, so that a storm of cgroups makes at most 500
//! turns a second, each of one ring (some 1,000 events) or 4,096 inotify events; what does not fit is
//! lost, said, and found by a scan, of which there is at most one a second, for a tenth of the time.

use std::{
    fmt, io,
    os::fd::OwnedFd,
    panic::{AssertUnwindSafe, catch_unwind},
    sync::{
        Arc, Mutex, PoisonError,
        mpsc::{Receiver, TryRecvError, channel},
    },
    thread,
};

use rustix::event::{EventfdFlags, PollFd, PollFlags, eventfd, poll};

use super::{
    Asks, Change,
    asks::{self, Asked},
    core::{Core, Counts, Lookups, Seen, ShortLived},
    inotify::Notice,
    schedule::Schedule,
    tree::Tree,
    walk::{Step, Walk},
    watch::{Watch, Watched},
};
use crate::{
    bpf::cgroups::CgroupPrograms,
    clock::Now,
    error::chain,
    evidence::{Evidence, Found},
    hierarchy::Hierarchy,
    source::{bell::timespec, worker::Worker},
};

/// After a turn that had changes.
const PAUSE_NS: u64 = 2_000_000;

/// Changes a turn: more than fit the ring.
const AT_A_TIME: usize = 4096;

/// Directories a turn.
const STEPS: usize = 64;

/// What to watch, and with whose help.
#[expect(missing_debug_implementations, reason = "lookups need none")]
pub struct Options {
    /// The memory controller's.
    pub hierarchy: Hierarchy,
    /// Finds names.
    pub lookups: Box<dyn Lookups>,
    /// Size of the ring, bytes.
    pub ring_bytes: u32,
}

/// The running watch.
#[derive(Debug)]
pub struct CgroupThread {
    stop: Arc<OwnedFd>,
    counts: Arc<Mutex<Counts>>,
    worker: Worker,
}

/// What attaching comes to; `None`: it has panicked.
type Attached = Option<Watch>;

impl CgroupThread {
    /// Starts watching, by the programs if there are any and they attach, else by inotify; `submit`
    /// gets the evidence and must not wait. `attached` is called once what attaching took has been
    /// given back, also if the watch has been stopped before.
    pub fn start(
        options: Options,
        programs: Option<CgroupPrograms>,
        attached: impl FnOnce() + Send + 'static,
        submit: impl Fn(Vec<Evidence>) + Send + 'static,
    ) -> io::Result<(Self, Asks)> {
        let (version, ring_bytes) = (options.hierarchy.version, options.ring_bytes);
        let attach = move || Watch::best(programs, version, ring_bytes);
        Self::start_by(options, attach, attached, submit)
    }

    fn start_by(
        options: Options,
        attach: impl FnOnce() -> Watch + Send + 'static,
        attached: impl FnOnce() + Send + 'static,
        submit: impl Fn(Vec<Evidence>) + Send + 'static,
    ) -> io::Result<(Self, Asks)> {
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let shutdown = stop.clone();
        let (asks, asked) = asks::channel()?;
        let waker = asked.waker();
        let (hand_over, attaching) = channel();
        let counts = Arc::new(Mutex::new(Counts {
            watched: Watched::Soon,
            ..Counts::default()
        }));
        let (told, obituary) = (counts.clone(), Obituary(counts.clone()));
        // Before anything is seen: the first scan takes nothing back.
        let began_ns = now();
        let worker = Worker::start("cgroups", move || {
            let _obituary = obituary;
            let attaching = Attaching {
                began_ns,
                watch: attaching,
            };
            Watcher::new(options, attaching, asked, submit, told).run(&shutdown);
        })?;
        let run = move || {
            let watch: Attached = catch_unwind(AssertUnwindSafe(attach)).ok();
            // Nobody takes it after a stop: then it is closed here.
            drop(hand_over.send(watch));
            waker.wake();
            attached();
        };
        let thread = Self {
            stop,
            counts,
            worker,
        };
        match thread::Builder::new().name("attach".into()).spawn(run) {
            Ok(_) => Ok((thread, asks)),
            Err(error) => {
                let _ = thread.stop();
                Err(error)
            }
        }
    }

    /// What it has counted, now and later.
    pub fn counts(&self) -> impl Fn() -> Counts + Send + Sync + 'static {
        let counts = self.counts.clone();
        move || *counts.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops it, after it has delivered what can be read now, and tells what it has seen. If what it
    /// reads does not answer, it is left behind after 2 s.
    #[must_use]
    pub fn stop(self) -> Counts {
        if let Err(error) = rustix::io::write(&*self.stop, &1u64.to_ne_bytes()) {
            tracing::error!("cannot stop the watch of cgroups: {error}");
            return Counts::default();
        }
        self.worker.end("the watch of cgroups");
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says that nobody watches any more, also if the thread panics.
struct Obituary(Arc<Mutex<Counts>>);

impl Drop for Obituary {
    fn drop(&mut self) {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.watched = Watched::Ended;
    }
}

/// The watch that is to come.
struct Attaching {
    began_ns: u64,
    watch: Receiver<Attached>,
}

struct Watcher<F> {
    tree: Option<Tree>,
    /// Until the watch is there.
    attaching: Option<Attaching>,
    watch: Watch,
    core: Core,
    walk: Walk,
    asked: Asked,
    submit: F,
    batch: Vec<Evidence>,
    scans: Schedule,
    /// No scan is complete yet.
    first: bool,
    /// Until when changes wait.
    pause_until_ns: u64,
    notices: Vec<Notice>,
    /// For whoever stops the thread, should it not end.
    counts: Arc<Mutex<Counts>>,
}

impl<F: Fn(Vec<Evidence>)> Watcher<F> {
    fn new(
        options: Options,
        attaching: Attaching,
        asked: Asked,
        submit: F,
        counts: Arc<Mutex<Counts>>,
    ) -> Self {
        let version = options.hierarchy.version;
        let tree = Tree::of(&options.hierarchy)
            .inspect_err(|error| tracing::warn!("no scan of cgroups: {}", chain(error)))
            .ok();
        Self {
            attaching: Some(attaching),
            watch: Watch::None,
            tree,
            core: Core::new(options.lookups, version.number()),
            walk: Walk::default(),
            asked,
            submit,
            batch: Vec::new(),
            scans: Schedule::default(),
            first: true,
            pause_until_ns: 0,
            notices: Vec::new(),
            counts,
        }
    }

    fn run(mut self, stop: &OwnedFd) {
        loop {
            match self.wait(stop) {
                Ok(false) => self.turn(),
                Ok(true) => break,
                Err(error) => {
                    tracing::error!("poll: {error}; the watch of cgroups ends");
                    break;
                }
            }
        }
        self.pause_until_ns = 0;
        self.answer();
        self.attach();
        self.changes();
        self.core.finish(&mut self.batch);
        self.deliver();
        self.count();
    }

    /// Tells what has been counted so far, and how it is done.
    fn count(&self) {
        let mut counts = self.core.counts();
        counts.unread = self.walk.unread;
        counts.asks_refused = self.asked.refused();
        if let Watch::Ring(ring) = &self.watch {
            counts.refused = ring.refused();
        }
        counts.watched = match (&self.attaching, &self.tree, self.watch.told()) {
            (Some(_), ..) => Watched::Soon,
            (None, None, Watched::ByInotify | Watched::ByScans) => Watched::Unread,
            (None, _, watched) => watched,
        };
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner) = counts;
    }

    /// Takes the watch over if it is there.
    fn attach(&mut self) {
        let Some(attaching) = &self.attaching else {
            return;
        };
        let watch = match attaching.watch.try_recv() {
            Ok(watch) => watch,
            Err(TryRecvError::Empty) => return,
            Err(TryRecvError::Disconnected) => None,
        };
        self.scans.at_once(attaching.began_ns);
        if self.core.counts.asked > 0 {
            // What was asked for may have gone unseen: a second scan takes it back.
            self.scans.lost(now());
        }
        self.attaching = None;
        self.watch = watch.unwrap_or_else(|| {
            tracing::error!("attaching had panicked; cgroups are watched by inotify");
            Watch::by_inotify()
        });
    }

    /// Waits for something to do; true if that is to stop.
    fn wait(&self, stop: &OwnedFd) -> rustix::io::Result<bool> {
        let now = now();
        let pausing = self.pause_until_ns > now;
        let mut fds = vec![
            PollFd::new(stop, PollFlags::IN),
            PollFd::from_borrowed_fd(self.asked.fd(), PollFlags::IN),
        ];
        if let Some(fd) = self.watch.fd().filter(|_| !pausing) {
            fds.push(PollFd::from_borrowed_fd(fd, PollFlags::IN));
        }
        let next = [
            (!self.walk.is_done()).then_some(now),
            (pausing || self.watch.is_moving()).then_some(self.pause_until_ns),
            self.tree.as_ref().and_then(|_| self.scans.next_ns()),
            self.core.next_ns(),
        ];
        let next = next.into_iter().flatten().min();
        let timeout = next.map(|at| timespec(at.saturating_sub(now)));
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => return Ok(false),
            Err(error) => return Err(error),
        }
        let mut ready = fds.iter().map(|fd| !fd.revents().is_empty());
        let stopped = ready.next() == Some(true);
        if ready.next() == Some(true) {
            self.asked.woken();
        }
        Ok(stopped)
    }

    fn turn(&mut self) {
        self.answer();
        self.attach();
        if now() >= self.pause_until_ns {
            self.changes();
        }
        while self.core.look_at_one_due(now(), &mut self.batch) {
            self.answer();
        }
        self.begin_scan();
        for _ in 0..STEPS {
            if self.walk.is_done() {
                break;
            }
            self.step();
            self.answer();
        }
        self.deliver();
        self.count();
    }

    fn deliver(&mut self) {
        if !self.batch.is_empty() {
            (self.submit)(std::mem::take(&mut self.batch));
        }
    }

    /// Questions go before anything else, what was seen before them excepted.
    fn answer(&mut self) {
        let mut answered = false;
        while let Some(ask) = self.asked.next() {
            self.core.answer(ask, now(), &mut self.batch);
            answered = true;
        }
        if answered {
            self.deliver();
        }
    }

    /// Takes what the watch has to tell.
    fn changes(&mut self) {
        let changes = match &mut self.watch {
            Watch::Ring(ring) => ring.take(AT_A_TIME).collect(),
            Watch::Inotify(_) => self.notices(),
            Watch::None => return,
        };
        if !changes.is_empty() || self.watch.is_moving() {
            self.pause_until_ns = now() + PAUSE_NS;
        }
        let gone = ShortLived::of(&changes);
        for change in changes {
            if matches!(change, Change::Renamed { .. }) {
                self.walk.renamed(None);
            }
            let now = now();
            if self.core.change(change, now, &gone, &mut self.batch) {
                self.scans.lost(now);
            }
            self.answer();
        }
    }

    /// inotify's events: changes, and directories to be walked.
    fn notices(&mut self) -> Vec<Change> {
        let (Watch::Inotify(watches), Some(tree)) = (&mut self.watch, &self.tree) else {
            return Vec::new();
        };
        let now = now();
        let waited = watches.is_moving();
        let read = watches.read(tree, now, &mut self.notices);
        if waited && self.notices.is_empty() {
            watches.settle(tree, now, &mut self.notices);
        }
        let mut changes = Vec::new();
        for notice in self.notices.drain(..) {
            match notice {
                Notice::Change(change) => changes.push(change),
                Notice::Appeared(below) => self.walk.made(below),
                Notice::Moved(below) => self.walk.renamed(Some(below)),
            }
        }
        if let Err(error) = read {
            tracing::error!("inotify: {error}; starting over");
            changes.push(Change::Lost { events: None });
        }
        let lost = |change: &Change| matches!(change, Change::Lost { .. });
        if changes.iter().any(lost) {
            // What it knows is not what is there. The scan comes.
            self.watch = Watch::by_inotify();
            self.walk.clear();
        }
        changes
    }

    fn begin_scan(&mut self) {
        if self.walk.is_scanning() || self.tree.is_none() {
            return;
        }
        let Some(began_ns) = self.scans.begin(now()) else {
            return;
        };
        if matches!(self.watch, Watch::Inotify(_)) {
            // What has its watch already is no news: the scan fills a new one.
            self.watch = Watch::by_inotify();
            self.walk.clear();
        }
        let found = if self.first {
            Found::AtStart
        } else {
            Found::Late
        };
        self.core.scan_begins();
        self.walk.start_scan(found, began_ns);
    }

    /// One directory.
    fn step(&mut self) {
        let Some(tree) = &self.tree else { return };
        let watches = match &mut self.watch {
            Watch::Inotify(watches) => Some(watches),
            _ => None,
        };
        let step = self.walk.step(tree, watches);
        let alone = matches!(self.watch, Watch::None);
        let now = now();
        match step {
            Step::Nothing => {}
            Step::Found { path, id, found } => {
                let seen = Seen {
                    path,
                    id,
                    monotonic_ns: now,
                    found,
                };
                self.core.seen(seen, now, &mut self.batch);
            }
            Step::Scanned { began_ns } => {
                self.core.scanned(began_ns, &mut self.batch);
                self.first = false;
                self.scans.ended(now, false, alone);
            }
            Step::Incomplete { again } => self.scans.ended(now, again, alone),
            Step::NoRoom(error) => {
                tracing::warn!(
                    "cgroups: no more inotify watches ({error}): scanned every 10 s instead; \
                     raise fs.inotify.max_user_watches above the number of cgroups"
                );
                self.watch = Watch::None;
                self.walk.clear();
                self.scans.at_once(now);
            }
        }
    }
}

impl<F> fmt::Debug for Watcher<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").finish_non_exhaustive()
    }
}

fn now() -> u64 {
    Now::read().monotonic_ns
}

#[cfg(test)]
#[path = "thread_tests.rs"]
mod tests;
