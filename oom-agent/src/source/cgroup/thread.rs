//! The watch on a thread of its own.
//!
//! ```text
//!  questions ────────────────┐ before anything else
//!  ring or inotify ──────────┼─▶ core ─▶ one batch of evidence a turn
//!  lookups that are due ─────┤
//!  scan, some directories ───┘
//! ```
//! Emits [`crate::evidence::CgroupEvidence`] through a function that must not wait. The watch is
//! attached here, and the first scan comes after it: whoever starts the thread waits for neither. After
//! a turn that had changes the next one comes 2 ms later, so that a storm of cgroups makes at most 500
//! turns a second, each of one ring (some 1,000 events) or 4,096 inotify events; what does not fit is
//! lost, said, and found by a scan, of which there is at most one a second, for a tenth of the time.

use std::{
    fmt, fs, io,
    os::fd::OwnedFd,
    sync::Arc,
    thread::{self, JoinHandle},
};

use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};

use super::{
    Asks, Change,
    asks::{self, Asked},
    core::{Core, Counts, Lookups, Seen, ShortLived},
    inotify::{Notice, Watches},
    tree::Tree,
    walk::{Step, Walk},
};
use crate::{
    clock::Now,
    error::chain,
    evidence::{Evidence, Found},
    hierarchy::{CgroupVersion, Hierarchy},
    source::bpf::{
        cgroups::{CgroupPrograms, CgroupRing, memory_hierarchy},
        load,
    },
};

/// After a turn that had changes.
const PAUSE_NS: u64 = 2_000_000;

/// From a loss to the scan: a cgroup is told of a moment before its directory can be seen.
const SETTLE_NS: u64 = 100_000_000;

/// Between two scans at least, and ten times what the last one took.
const REST_NS: u64 = 1_000_000_000;

/// Between two scans where nothing else is left.
const SCANS_ALONE_NS: u64 = 10_000_000_000;

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
    thread: JoinHandle<Counts>,
}

impl CgroupThread {
    /// Starts watching, by the programs if there are any and they attach, else by inotify; `submit`
    /// gets the evidence and must not wait. `attached` is called once what attaching took has been
    /// given back.
    pub fn start(
        options: Options,
        programs: Option<CgroupPrograms>,
        attached: impl FnOnce() + Send + 'static,
        submit: impl Fn(Vec<Evidence>) + Send + 'static,
    ) -> io::Result<(Self, Asks)> {
        let stop = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
        let shutdown = stop.clone();
        let (asks, asked) = asks::channel()?;
        let thread = thread::Builder::new()
            .name("cgroups".into())
            .spawn(move || {
                let watcher = Watcher::new(options, programs, asked, submit);
                attached();
                watcher.run(&shutdown)
            })?;
        Ok((Self { stop, thread }, asks))
    }

    /// Stops it, after it has delivered what can be read now, and tells what it has seen.
    #[must_use]
    pub fn stop(self) -> Counts {
        if let Err(error) = rustix::io::write(&*self.stop, &1u64.to_ne_bytes()) {
            tracing::error!("cannot stop the watch of cgroups: {error}");
            return Counts::default();
        }
        self.thread.join().unwrap_or_else(|_| {
            tracing::error!("the watch of cgroups had panicked");
            Counts::default()
        })
    }
}

/// Where changes come from.
#[expect(clippy::large_enum_variant, reason = "there is one of it")]
enum Watch {
    Ring(CgroupRing),
    Inotify(Watches),
    /// From nowhere: scans alone.
    None,
}

struct Watcher<F> {
    tree: Option<Tree>,
    watch: Watch,
    core: Core,
    walk: Walk,
    asked: Asked,
    submit: F,
    batch: Vec<Evidence>,
    /// The next scan: when, and when it began, as far as others need know.
    scan_at: Option<(u64, u64)>,
    /// Something was lost too late for the next scan to stand for it.
    scan_again: bool,
    /// The running scan's start, and before when the next one may not come.
    scan_ns: u64,
    rest_until_ns: u64,
    first: bool,
    /// Until when changes wait.
    pause_until_ns: u64,
    notices: Vec<Notice>,
}

impl<F: Fn(Vec<Evidence>)> Watcher<F> {
    fn new(options: Options, programs: Option<CgroupPrograms>, asked: Asked, submit: F) -> Self {
        let version = options.hierarchy.version;
        let tree = Tree::of(&options.hierarchy)
            .inspect_err(|error| tracing::warn!("no scan of cgroups: {}", chain(error)))
            .ok();
        // Before anything is seen: the first scan takes nothing back.
        let now = now();
        let watch = match attach(programs, version, options.ring_bytes) {
            Ok(ring) => {
                tracing::info!("cgroups are watched by BPF");
                Watch::Ring(ring)
            }
            Err(reason) => {
                tracing::info!("cgroups are watched by inotify: {reason}");
                by_inotify()
            }
        };
        Self {
            watch,
            scan_at: tree.is_some().then_some((now, now)),
            tree,
            core: Core::new(options.lookups, version.number()),
            walk: Walk::default(),
            asked,
            submit,
            batch: Vec::new(),
            scan_again: false,
            scan_ns: 0,
            rest_until_ns: 0,
            first: true,
            pause_until_ns: 0,
            notices: Vec::new(),
        }
    }

    fn run(mut self, stop: &OwnedFd) -> Counts {
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
        self.changes();
        self.deliver();
        let mut counts = self.core.counts;
        counts.unread = self.walk.unread;
        counts.asks_refused = self.asked.refused();
        if let Watch::Ring(ring) = &self.watch {
            counts.refused = ring.refused();
        }
        counts
    }

    /// Waits for something to do; true if that is to stop.
    fn wait(&self, stop: &OwnedFd) -> rustix::io::Result<bool> {
        let now = now();
        let pausing = self.pause_until_ns > now;
        let mut fds = vec![
            PollFd::new(stop, PollFlags::IN),
            PollFd::from_borrowed_fd(self.asked.fd(), PollFlags::IN),
        ];
        match &self.watch {
            Watch::Ring(ring) if !pausing => {
                fds.push(PollFd::from_borrowed_fd(ring.fd(), PollFlags::IN));
            }
            Watch::Inotify(watches) if !pausing => {
                fds.push(PollFd::from_borrowed_fd(watches.fd(), PollFlags::IN));
            }
            _ => {}
        }
        let next = [
            (!self.walk.is_done()).then_some(now),
            (pausing || self.is_moving()).then_some(self.pause_until_ns),
            self.scan_at.map(|(at, _)| at),
            self.core.next_ns(),
        ];
        let timeout = next.into_iter().flatten().min().map(|at| {
            let wait = at.saturating_sub(now);
            Timespec {
                tv_sec: i64::try_from(wait / 1_000_000_000).unwrap_or(i64::MAX),
                tv_nsec: i64::try_from(wait % 1_000_000_000).unwrap_or(0),
            }
        });
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

    fn is_moving(&self) -> bool {
        matches!(&self.watch, Watch::Inotify(watches) if watches.is_moving())
    }

    fn turn(&mut self) {
        self.answer();
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
            let answer = self.core.answer(ask, now());
            self.batch.push(answer);
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
        if !changes.is_empty() || self.is_moving() {
            self.pause_until_ns = now() + PAUSE_NS;
        }
        let gone = ShortLived::of(&changes);
        for change in changes {
            if matches!(change, Change::Renamed { .. }) {
                self.walk.renamed(None);
            }
            let now = now();
            if self.core.change(change, now, &gone, &mut self.batch) {
                self.scan_for(now);
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
            self.watch = by_inotify();
            self.walk.clear();
        }
        changes
    }

    /// The tree must be scanned for what was lost until now.
    fn scan_for(&mut self, now_ns: u64) {
        if self.tree.is_none() {
            return;
        }
        let soonest = now_ns + SETTLE_NS;
        match &mut self.scan_at {
            None => self.scan_at = Some((soonest.max(self.rest_until_ns), now_ns)),
            Some((at, lost_ns)) if *at >= soonest => *lost_ns = now_ns,
            Some(_) => self.scan_again = true,
        }
    }

    fn begin_scan(&mut self) {
        let now = now();
        let Some((_, began_ns)) = self.scan_at.filter(|(at, _)| *at <= now) else {
            return;
        };
        if self.walk.is_scanning() {
            return;
        }
        self.scan_at = None;
        self.scan_ns = now;
        self.rest_until_ns = now + REST_NS;
        if matches!(self.watch, Watch::Inotify(_)) {
            // What has its watch already is no news: the scan fills a new one.
            self.watch = by_inotify();
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
                self.rest(now);
            }
            Step::Incomplete { again } => {
                self.scan_again |= again;
                self.rest(now);
            }
            Step::NoRoom(error) => {
                tracing::warn!(
                    "cgroups: no more inotify watches ({error}): scanned every 10 s instead; \
                     raise fs.inotify.max_user_watches above the number of cgroups"
                );
                self.watch = Watch::None;
                self.walk.clear();
                self.scan_at = Some((now, now));
            }
        }
    }

    /// A scan has ended: when may the next one begin?
    fn rest(&mut self, now_ns: u64) {
        let took = now_ns.saturating_sub(self.scan_ns);
        self.rest_until_ns = now_ns + REST_NS.max(took.saturating_mul(10));
        if let Some((at, _)) = &mut self.scan_at {
            *at = self.rest_until_ns.max(*at);
        }
        if std::mem::take(&mut self.scan_again) {
            self.scan_for(now_ns);
        }
        if matches!(self.watch, Watch::None) {
            let next = now_ns + SCANS_ALONE_NS;
            self.scan_at = Some((next, next));
        }
    }
}

impl<F> fmt::Debug for Watcher<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watcher").finish_non_exhaustive()
    }
}

fn attach(
    programs: Option<CgroupPrograms>,
    version: CgroupVersion,
    ring_bytes: u32,
) -> Result<CgroupRing, String> {
    let programs = programs.ok_or("no BPF for it")?;
    let hierarchy_id = match version {
        CgroupVersion::V2 => 0,
        CgroupVersion::V1 => fs::read_to_string("/proc/cgroups")
            .and_then(|text| memory_hierarchy(&text))
            .map_err(|error| error.to_string())?,
    };
    let ring = programs.attach(hierarchy_id, ring_bytes);
    // Loading takes several times the memory that the watch needs.
    load::release_memory();
    let ring = ring.map_err(|error| chain(&error))?;
    if let Some(note) = ring.note() {
        tracing::info!("renames of cgroups are not seen: {note}");
    }
    Ok(ring)
}

fn by_inotify() -> Watch {
    match Watches::new() {
        Ok(watches) => Watch::Inotify(watches),
        Err(error) => {
            tracing::warn!(
                "cgroups are not watched, but scanned every 10 s: inotify: {error}; raise \
                 fs.inotify.max_user_instances"
            );
            Watch::None
        }
    }
}

fn now() -> u64 {
    Now::read().monotonic_ns
}
