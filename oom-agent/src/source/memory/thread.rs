//! The recorder on a thread of its own, and the ways to it.
//!
//! Takes what the watch of cgroups saw and what the correlator wishes, through bounded queues; emits
//! [`Evidence::Memory`] and the state of [`Feed::Memory`], through a function that must not wait.
//!
//! The thread wakes up for a wish, for news of cgroups, and each second if something is recorded; with
//! nothing to record it sleeps. Wishes come first, in order. Of those that wait together the first
//! [`FULL_ANSWERS`] are answered in full as long as they are younger than [`FULL_WITHIN_NS`]; the
//! others get history and state, for the correlator does not wait long.

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, poll},
    io::Errno,
    time::{ClockId, clock_gettime},
};

use super::{answer::Extent, recording::Recording};
use crate::{
    clock::Now,
    evidence::{CgroupEvidence, Evidence, Feed, Wish},
    hierarchy::Hierarchy,
    source::{
        bell::{Bell, timespec},
        worker::Worker,
    },
};

/// Wishes that may wait.
pub const MAX_WISHES: usize = 64;

/// Of those that wait together, so many are answered in full.
pub const FULL_ANSWERS: usize = 16;

/// A wish that has waited longer is not answered in full.
pub const FULL_WITHIN_NS: u64 = 150_000_000;

/// News of cgroups that may wait: so many batches of [`BATCH`].
pub const MAX_BATCHES: usize = 64;

/// News in one batch.
pub const BATCH: usize = 256;

/// How long the watch of cgroups may be held up.
const PATIENCE: Duration = Duration::from_millis(100);
const PAUSE: Duration = Duration::from_millis(1);

/// What the recorder has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Cgroups that are recorded now.
    pub recorded: u64,
    /// Samples kept.
    pub samples: u64,
    /// Readings with all detail.
    pub details: u64,
    /// Readings that failed, of cgroups that are there.
    pub unread: u64,
    /// Cgroups that were not recorded for want of room.
    pub no_room: u64,
    /// News of cgroups that were lost because the recorder was behind.
    pub news_lost: u64,
    /// Wishes that were refused because too many waited.
    pub wishes_refused: u64,
    /// CPU time of the thread.
    pub cpu_ns: u64,
}

#[derive(Debug, Default)]
struct Counts {
    recorded: AtomicU64,
    samples: AtomicU64,
    details: AtomicU64,
    unread: AtomicU64,
    no_room: AtomicU64,
    news_lost: AtomicU64,
    wishes_refused: AtomicU64,
    cpu_ns: AtomicU64,
}

#[derive(Debug)]
struct Shared {
    /// Rung when there is something to do.
    bell: Bell,
    stop: AtomicBool,
    counts: Counts,
}

impl Shared {
    fn counters(&self) -> Counters {
        let counts = &self.counts;
        Counters {
            recorded: counts.recorded.load(Relaxed),
            samples: counts.samples.load(Relaxed),
            details: counts.details.load(Relaxed),
            unread: counts.unread.load(Relaxed),
            no_room: counts.no_room.load(Relaxed),
            news_lost: counts.news_lost.load(Relaxed),
            wishes_refused: counts.wishes_refused.load(Relaxed),
            cpu_ns: counts.cpu_ns.load(Relaxed),
        }
    }
}

/// The running recorder.
#[derive(Debug)]
pub struct MemoryThread {
    shared: Arc<Shared>,
    worker: Worker,
}

/// Tells the recorder of cgroups, and asks it.
#[derive(Clone, Debug)]
pub struct Recorder {
    shared: Arc<Shared>,
    news: SyncSender<Vec<CgroupEvidence>>,
    wishes: SyncSender<Wish>,
}

impl MemoryThread {
    /// Starts recording below this hierarchy; `submit` gets the answers, and the state of the source.
    pub fn start(
        hierarchy: Hierarchy,
        submit: impl Fn(Vec<Evidence>) + Send + 'static,
    ) -> io::Result<(Self, Recorder)> {
        let shared = Arc::new(Shared {
            bell: Bell::new()?,
            stop: AtomicBool::new(false),
            counts: Counts::default(),
        });
        let (news, fresh) = sync_channel(MAX_BATCHES);
        let (wishes, asked) = sync_channel(MAX_WISHES);
        let inbox = Inbox {
            shared: shared.clone(),
            news: fresh,
            wishes: asked,
        };
        let run = move || inbox.run(Recording::new(hierarchy), submit);
        let worker = Worker::start("memory", run)?;
        let recorder = Recorder {
            shared: shared.clone(),
            news,
            wishes,
        };
        Ok((Self { shared, worker }, recorder))
    }

    /// What it has counted, now and later.
    pub fn counters(&self) -> impl Fn() -> Counters + Send + Sync + 'static {
        let shared = self.shared.clone();
        move || shared.counters()
    }

    /// Stops it, after the wishes that wait have been answered. Gives what it has counted. If a file
    /// that it reads does not answer, it is left behind after 2 s.
    #[expect(
        clippy::must_use_candidate,
        reason = "it stops, whatever it has counted"
    )]
    pub fn stop(self) -> Counters {
        self.shared.stop.store(true, Relaxed);
        self.shared.bell.ring();
        self.worker.end("the flight recorder");
        self.shared.counters()
    }
}

impl Recorder {
    /// What of the evidence is news of cgroups.
    #[must_use]
    pub fn news(evidence: &[Evidence]) -> Vec<CgroupEvidence> {
        let news = evidence.iter().filter_map(|evidence| match evidence {
            Evidence::Cgroup(news) => Some((**news).clone()),
            _ => None,
        });
        news.collect()
    }

    /// Hands over what the watch of cgroups saw; other evidence is passed by. May wait for up to 100 ms;
    /// what finds no room then is counted.
    pub fn follow(&self, evidence: &[Evidence]) {
        self.follow_news(Self::news(evidence));
    }

    /// The same for news alone.
    pub fn follow_news(&self, mut news: Vec<CgroupEvidence>) {
        if news.is_empty() {
            return;
        }
        let until = Instant::now() + PATIENCE;
        while !news.is_empty() {
            let rest = news.split_off(news.len().min(BATCH));
            self.send(std::mem::replace(&mut news, rest), until);
        }
        self.shared.bell.ring();
    }

    fn send(&self, mut batch: Vec<CgroupEvidence>, until: Instant) {
        loop {
            match self.news.try_send(batch) {
                Ok(()) => return,
                Err(TrySendError::Full(back)) if Instant::now() < until => batch = back,
                Err(TrySendError::Full(lost) | TrySendError::Disconnected(lost)) => {
                    let lost = u64::try_from(lost.len()).unwrap_or(u64::MAX);
                    self.shared.counts.news_lost.fetch_add(lost, Relaxed);
                    return;
                }
            }
            self.shared.bell.ring();
            thread::sleep(PAUSE);
        }
    }

    /// Asks; false if too many wait, or nobody is there to answer. Never waits.
    #[must_use]
    pub fn ask(&self, wish: Wish) -> bool {
        let asked = self.wishes.try_send(wish).is_ok();
        if asked {
            self.shared.bell.ring();
        } else {
            self.shared.counts.wishes_refused.fetch_add(1, Relaxed);
        }
        asked
    }

    /// What has been counted so far.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.shared.counters()
    }
}

fn state(up: bool) -> Evidence {
    Evidence::SourceState {
        source: Feed::Memory,
        up,
    }
}

/// Says that nothing is recorded any more, also if the thread panics.
struct Obituary<'a, Submit: Fn(Vec<Evidence>)>(&'a Submit);

impl<Submit: Fn(Vec<Evidence>)> Drop for Obituary<'_, Submit> {
    fn drop(&mut self) {
        (self.0)(vec![state(false)]);
    }
}

/// The thread's end of the queues.
struct Inbox {
    shared: Arc<Shared>,
    news: Receiver<Vec<CgroupEvidence>>,
    wishes: Receiver<Wish>,
}

impl Inbox {
    fn run(self, mut recording: Recording, submit: impl Fn(Vec<Evidence>)) {
        submit(vec![state(true)]);
        let _obituary = Obituary(&submit);
        loop {
            // Before the queues are emptied: what comes after that wakes us up again.
            let stop = self.shared.stop.load(Relaxed);
            self.grant(&mut recording, &submit);
            while let Ok(news) = self.news.try_recv() {
                for news in &news {
                    recording.roster.take(news);
                }
                // An alert does not wait for a scan.
                self.grant(&mut recording, &submit);
            }
            if stop {
                break;
            }
            let now = Now::read().monotonic_ns;
            if recording.next_due().is_some_and(|due| due <= now) {
                recording.turn(now);
            }
            self.count(&recording);
            if let Err(error) = self.sleep(recording.next_due()) {
                tracing::error!("flight recorder: poll: {error}; it ends");
                break;
            }
        }
        self.count(&recording);
    }

    /// Answers the wishes that wait.
    fn grant(&self, recording: &mut Recording, submit: &impl Fn(Vec<Evidence>)) {
        let wishes: Vec<Wish> = self.wishes.try_iter().take(MAX_WISHES).collect();
        for (index, wish) in wishes.iter().enumerate() {
            let age = Now::read().monotonic_ns.saturating_sub(wish.monotonic_ns);
            let extent = if index < FULL_ANSWERS && age < FULL_WITHIN_NS {
                Extent::Full
            } else {
                Extent::Brief
            };
            let answer = recording.answer(wish, extent);
            submit(vec![Evidence::Memory(Box::new(answer))]);
        }
    }

    fn sleep(&self, due_ns: Option<u64>) -> Result<(), Errno> {
        let left = |due: u64| timespec(due.saturating_sub(Now::read().monotonic_ns));
        let timeout = due_ns.map(left);
        let mut fds = [PollFd::new(&self.shared.bell, PollFlags::IN)];
        match poll(&mut fds, timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => self.shared.bell.heard(),
            Err(error) => Err(error),
        }
    }

    fn count(&self, recording: &Recording) {
        let counts = &self.shared.counts;
        let recorded = u64::try_from(recording.roster.live.len()).unwrap_or(u64::MAX);
        counts.recorded.store(recorded, Relaxed);
        counts.samples.store(recording.counts.samples, Relaxed);
        counts.details.store(recording.counts.details, Relaxed);
        counts.unread.store(recording.counts.unread, Relaxed);
        counts.no_room.store(recording.roster.no_room, Relaxed);
        let cpu = clock_gettime(ClockId::ThreadCPUTime);
        let ns = cpu
            .tv_sec
            .saturating_mul(1_000_000_000)
            .saturating_add(cpu.tv_nsec);
        counts
            .cpu_ns
            .store(u64::try_from(ns).unwrap_or_default(), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_that_panics_is_down() {
        let (tell, told) = std::sync::mpsc::channel();
        let dies = move || {
            let submit = |evidence| tell.send(evidence).unwrap();
            let _obituary = Obituary(&submit);
            panic!("on purpose");
        };
        assert!(thread::spawn(dies).join().is_err());
        let said: Vec<Evidence> = told.iter().flatten().collect();
        assert!(
            matches!(
                said[..],
                [Evidence::SourceState {
                    source: Feed::Memory,
                    up: false
                }]
            ),
            "{said:?}"
        );
    }
}
