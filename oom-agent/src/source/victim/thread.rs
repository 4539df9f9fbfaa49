//! The thread that waits for victims, and the way to it.
//!
//! It sleeps on its ring, on the pidfds and for new watches. What is in the ring is told before what a pidfd says,
//! for the kernel wrote it before. A victim that has not ended when it should have is looked at once.

use std::{
    collections::HashMap,
    io,
    os::fd::{AsFd, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::Duration,
};

use rustix::{
    buffer::spare_capacity,
    event::{
        PollFd, PollFlags,
        epoll::{self, CreateFlags, Event, EventData, EventFlags},
        poll,
    },
    io::Errno,
};

use super::process::{self, Opened};
use crate::{
    bpf::ends::{EndPrograms, EndRing},
    clock::Now,
    error::chain,
    evidence::{Evidence, Feed, VictimEvidence, Watch},
    source::{
        bell::{Bell, timespec},
        worker::Worker,
    },
};

/// Watches that may wait to be begun.
const MAX_WAITING: usize = 4096;

/// Victims that are watched at once: each takes a descriptor.
const MAX_WATCHED: usize = 256;

/// Data of the descriptors that are no victim's.
const WAKE: u64 = u64::MAX;
const RING: u64 = u64::MAX - 1;

/// What the thread has counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Records of the kernel side that found no room.
    pub dropped: u64,
    /// Records that were not understood, and reads that failed in the kernel.
    pub refused: u64,
}

#[derive(Debug)]
struct Shared {
    bell: Bell,
    stop: AtomicBool,
    dropped: AtomicU64,
    refused: AtomicU64,
}

impl Shared {
    fn counters(&self) -> Counters {
        Counters {
            dropped: self.dropped.load(Relaxed),
            refused: self.refused.load(Relaxed),
        }
    }
}

/// The running thread.
#[derive(Debug)]
pub struct VictimThread {
    shared: Arc<Shared>,
    worker: Worker,
}

/// Asks it.
#[derive(Clone, Debug)]
pub struct Watcher {
    shared: Arc<Shared>,
    asks: SyncSender<Watch>,
}

impl VictimThread {
    /// Starts it; who can ask it says that it is up ([`Feed::Victims`]), and it says so itself if it dies.
    /// `programs` are attached there, and `attached` is called when that is over. Who has not ended
    /// `stuck_after` its mark is looked at; `None`: nobody. `submit` must not wait.
    pub fn start(
        programs: Option<EndPrograms>,
        stuck_after: Option<Duration>,
        attached: impl FnOnce() + Send + 'static,
        submit: impl Fn(Vec<Evidence>) + Send + 'static,
    ) -> io::Result<(Self, Watcher)> {
        let shared = Arc::new(Shared {
            bell: Bell::new()?,
            stop: AtomicBool::new(false),
            dropped: AtomicU64::new(0),
            refused: AtomicU64::new(0),
        });
        let (ask, asked) = sync_channel(MAX_WAITING);
        let watching = Watching {
            shared: shared.clone(),
            asked,
            epoll: epoll::create(CreateFlags::CLOEXEC)?,
            ring: None,
            stuck_after: stuck_after.and_then(|after| u64::try_from(after.as_nanos()).ok()),
            sees_victims: process::sees_victims(),
            watched: HashMap::new(),
            next: 0,
        };
        let run = move || watching.run(programs, attached, &submit);
        let worker = Worker::start("victims", run)?;
        let watcher = Watcher {
            shared: shared.clone(),
            asks: ask,
        };
        Ok((Self { shared, worker }, watcher))
    }

    /// What it has counted, now and later.
    pub fn counters(&self) -> impl Fn() -> Counters + Send + Sync + 'static {
        let shared = self.shared.clone();
        move || shared.counters()
    }

    /// Stops it. Gives what it has counted.
    #[expect(
        clippy::must_use_candidate,
        reason = "it stops, whatever it has counted"
    )]
    pub fn stop(self) -> Counters {
        self.shared.stop.store(true, Relaxed);
        self.shared.bell.ring();
        self.worker.end("the watch of victims");
        self.shared.counters()
    }
}

impl Watcher {
    /// Asks for the end of a victim; false if too many wait, or nobody is there. Never waits.
    #[must_use]
    pub fn ask(&self, watch: Watch) -> bool {
        let asked = self.asks.try_send(watch).is_ok();
        if asked {
            self.shared.bell.ring();
        }
        asked
    }
}

/// A victim that is there.
struct Victim {
    watch: Watch,
    fd: OwnedFd,
    pid: u32,
    /// When it should have ended, `CLOCK_MONOTONIC`; `None` once it has been looked at.
    stuck_at_ns: Option<u64>,
}

/// Says that nobody waits any more, when the thread fails or panics. At the end of the agent nothing is said: its
/// successor goes on waiting.
struct Obituary<'a, Submit: Fn(Vec<Evidence>)> {
    submit: &'a Submit,
    in_order: bool,
}

impl<Submit: Fn(Vec<Evidence>)> Drop for Obituary<'_, Submit> {
    fn drop(&mut self) {
        if !self.in_order {
            (self.submit)(vec![Evidence::SourceState {
                source: Feed::Victims,
                up: false,
            }]);
        }
    }
}

struct Watching {
    shared: Arc<Shared>,
    asked: Receiver<Watch>,
    epoll: OwnedFd,
    ring: Option<EndRing>,
    stuck_after: Option<u64>,
    sees_victims: bool,
    watched: HashMap<u64, Victim>,
    next: u64,
}

impl Watching {
    fn run(
        mut self,
        programs: Option<EndPrograms>,
        attached: impl FnOnce(),
        submit: &impl Fn(Vec<Evidence>),
    ) {
        let mut obituary = Obituary {
            submit,
            in_order: false,
        };
        self.ring = programs.and_then(attach);
        attached();
        match self.serve(submit) {
            Ok(()) => obituary.in_order = true,
            Err(error) => tracing::error!("how victims end is not told any more: epoll: {error}"),
        }
    }

    /// Tells what there is until it is stopped.
    fn serve(&mut self, submit: &impl Fn(Vec<Evidence>)) -> rustix::io::Result<()> {
        self.register()?;
        loop {
            // Before the queue is emptied: what comes after that wakes us up again.
            let stop = self.shared.stop.load(Relaxed);
            let told = self.turn(stop)?;
            if !told.is_empty() {
                let told = told.into_iter().map(Box::new).map(Evidence::Victim);
                submit(told.collect());
            }
            if stop {
                return Ok(());
            }
        }
    }

    fn register(&self) -> rustix::io::Result<()> {
        let readable = EventFlags::IN;
        epoll::add(
            &self.epoll,
            &self.shared.bell,
            EventData::new_u64(WAKE),
            readable,
        )?;
        if let Some(ring) = &self.ring {
            epoll::add(&self.epoll, ring.fd(), EventData::new_u64(RING), readable)?;
        }
        Ok(())
    }

    /// Sleeps until there is something, unless it is the last turn; then tells all there is.
    fn turn(&mut self, last: bool) -> rustix::io::Result<Vec<VictimEvidence>> {
        let ready = self.sleep(last)?;
        let gone: Vec<Victim> = ready
            .into_iter()
            .filter_map(|key| self.watched.remove(&key))
            .collect();
        let seen_ns = Now::read().monotonic_ns;
        let late = self.begin();
        // The kernel had written what is in the ring before it let those go.
        let mut told: Vec<VictimEvidence> = Vec::new();
        if let Some(ring) = &mut self.ring {
            told.extend(ring.by_ref());
            self.shared.dropped.store(ring.dropped(), Relaxed);
            self.shared.refused.store(ring.refused(), Relaxed);
        }
        let ring = self.ring.as_ref();
        let over = |watch: Watch, monotonic_ns, at_most| VictimEvidence::Gone {
            tells_reaper: ring.is_some_and(|ring| ring.tells_reaper(watch.monotonic_ns)),
            kill: watch.kill,
            tid: watch.pid,
            monotonic_ns,
            at_most,
        };
        told.extend(
            gone.into_iter()
                .map(|victim| over(victim.watch, seen_ns, false)),
        );
        for (watch, begun) in late {
            told.push(match begun {
                Some(at_ns) => over(watch, at_ns, true),
                None => VictimEvidence::Unwatched {
                    kernel_tells: self.ring.is_some(),
                    kill: watch.kill,
                    tid: watch.pid,
                },
            });
        }
        told.extend(self.stuck());
        Ok(told)
    }

    /// Begins the watches that wait. Gives those that cannot be, with the moment where it was too late.
    fn begin(&mut self) -> Vec<(Watch, Option<u64>)> {
        let mut late = Vec::new();
        while let Ok(watch) = self.asked.try_recv() {
            if !self.sees_victims || self.watched.len() >= MAX_WATCHED {
                late.push((watch, None));
                continue;
            }
            let opened = process::open(&watch, Now::read());
            let now_ns = Now::read().monotonic_ns;
            match opened {
                Opened::Gone => late.push((watch, Some(now_ns))),
                Opened::Refused(error) => {
                    tracing::debug!("pidfd_open of {}: {error}", watch.pid);
                    late.push((watch, None));
                }
                // A zombie: when it ended nobody can tell any more.
                Opened::There { fd, .. } if has_ended(&fd) => late.push((watch, Some(now_ns))),
                Opened::There { fd, pid } => {
                    let key = self.next;
                    let data = EventData::new_u64(key);
                    if let Err(error) = epoll::add(&self.epoll, &fd, data, EventFlags::IN) {
                        tracing::debug!("epoll of a pidfd: {error}");
                        late.push((watch, None));
                        continue;
                    }
                    self.next += 1;
                    let stuck_at_ns = self.stuck_after.map(|after| watch.monotonic_ns + after);
                    let victim = Victim {
                        watch,
                        fd,
                        pid,
                        stuck_at_ns,
                    };
                    self.watched.insert(key, victim);
                }
            }
        }
        late
    }

    /// Those that should have ended by now.
    fn stuck(&mut self) -> Vec<VictimEvidence> {
        let now_ns = Now::read().monotonic_ns;
        let mut stuck = Vec::new();
        for victim in self.watched.values_mut() {
            if victim.stuck_at_ns.is_none_or(|at| at > now_ns) || has_ended(&victim.fd) {
                continue;
            }
            victim.stuck_at_ns = None;
            let look = process::look(victim.pid);
            stuck.push(VictimEvidence::Alive {
                kill: victim.watch.kill.clone(),
                tid: victim.watch.pid,
                monotonic_ns: Now::read().monotonic_ns,
                thread: look.thread,
                threads: look.threads,
                uninterruptible: look.uninterruptible,
                held_bytes: look.held_bytes,
            });
        }
        stuck
    }

    /// Keys of the victims that have ended.
    fn sleep(&self, at_once: bool) -> rustix::io::Result<Vec<u64>> {
        let due = self
            .watched
            .values()
            .filter_map(|victim| victim.stuck_at_ns);
        let due = due
            .min()
            .map(|at| at.saturating_sub(Now::read().monotonic_ns));
        let timeout = if at_once { Some(0) } else { due };
        let timeout = timeout.map(timespec);
        let mut events: Vec<Event> = Vec::with_capacity(64);
        match epoll::wait(&self.epoll, spare_capacity(&mut events), timeout.as_ref()) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(error) => return Err(error),
        }
        self.shared.bell.heard()?;
        let keys = events.iter().map(|event| event.data.u64());
        Ok(keys.filter(|&key| key != WAKE && key != RING).collect())
    }
}

fn attach(programs: EndPrograms) -> Option<EndRing> {
    match programs.attach() {
        Ok(ring) => {
            for note in ring.notes() {
                tracing::info!("less is told of how victims end: {note}");
            }
            Some(ring)
        }
        Err(error) => {
            tracing::info!("victims are waited for by pidfd alone: {}", chain(&error));
            None
        }
    }
}

/// Readable: no thread of it is left (`pidfd_open`(2)).
fn has_ended(fd: &impl AsFd) -> bool {
    let mut fds = [PollFd::new(fd, PollFlags::IN)];
    matches!(poll(&mut fds, Some(&timespec(0))), Ok(1..))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn a_death_is_told_and_an_end_is_not() {
        for (in_order, told) in [(true, 0), (false, 1)] {
            let said = RefCell::new(Vec::new());
            let submit = |evidence| said.borrow_mut().extend::<Vec<_>>(evidence);
            drop(Obituary {
                submit: &submit,
                in_order,
            });
            let said = said.take();
            assert_eq!(said.len(), told);
            let down = |it: &Evidence| {
                matches!(
                    it,
                    Evidence::SourceState {
                        source: Feed::Victims,
                        up: false
                    }
                )
            };
            assert!(said.iter().all(down), "{said:?}");
        }
        let (tell, told) = std::sync::mpsc::channel();
        let dies = move || {
            let submit = |evidence| tell.send(evidence).unwrap();
            let _obituary = Obituary {
                submit: &submit,
                in_order: false,
            };
            panic!("on purpose");
        };
        assert!(std::thread::spawn(dies).join().is_err());
        assert_eq!(told.try_iter().count(), 1);
    }
}
