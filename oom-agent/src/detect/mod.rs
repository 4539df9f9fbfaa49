//! Detection: sources → correlator → hub, on threads of its own.
//!
//! ```text
//!  ring fd ──┬─▶ waiter on one CPU ───┐ one lock:
//!            └─▶ waiter on another ───┼─▶ drain ring, take inbox, correlate ─▶ hub
//!  kmsg thread ─▶ inbox, eventfd ─────┤
//!  timerfd (deadlines, slow drain) ───┘
//! ```
//! The task that kills stays in the kernel on its CPU for a millisecond or two after it woke us, and
//! `oom_lock` lets only one CPU kill at a time: with two waiters on two CPUs one of them can always
//! run. Outputs take what they can at once and can never hold these threads up.

mod core;
pub mod journal;
mod live;
mod waiter;

use std::{
    io,
    os::fd::OwnedFd,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    thread::{self, JoinHandle},
    time::Duration,
};

use rustix::event::{EventfdFlags, eventfd};

pub use core::{Core, Helper, Helpers, Tally};
pub use live::Live;

use crate::{evidence::Evidence, realtime};

/// Runs detection until it is stopped.
#[derive(Debug)]
pub struct Detector {
    shared: Arc<Shared>,
    waiters: Vec<JoinHandle<()>>,
}

/// What the waiters share.
#[derive(Debug)]
struct Shared {
    core: Mutex<Core>,
    inbox: Mutex<Vec<Evidence>>,
    /// Readable when the inbox has something.
    wake: OwnedFd,
    /// Readable for ever once it is time to stop.
    stop: OwnedFd,
    /// How often the waiter that minds time has done all there was to do.
    turns: AtomicU64,
    desk: live::Desk,
}

/// Tells whether detection still turns.
#[derive(Clone, Debug)]
pub struct Turns(Arc<Shared>);

impl Turns {
    /// How often it has.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.0.turns.load(Relaxed)
    }

    /// Has it turn once more, soon.
    pub fn wake(&self) {
        signal(&self.0.wake);
    }
}

/// Puts evidence of other sources before the correlator.
#[derive(Clone, Debug)]
pub struct Inbox(Arc<Shared>);

impl Inbox {
    /// Hands over evidence and wakes a waiter.
    pub fn submit(&self, evidence: impl IntoIterator<Item = Evidence>) {
        self.0
            .inbox
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .extend(evidence);
        signal(&self.0.wake);
    }
}

impl Detector {
    /// Starts the waiters. Returns notes on what was not allowed, too.
    pub fn start(core: Core) -> io::Result<(Self, Vec<String>)> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        let mut cpus: Vec<Option<usize>> = realtime::two_cpus().into_iter().map(Some).collect();
        if !core.has_ring() || cpus.is_empty() {
            cpus = vec![None];
        }
        let shared = Arc::new(Shared {
            core: Mutex::new(core),
            inbox: Mutex::new(Vec::with_capacity(256)),
            wake: eventfd(0, flags)?,
            stop: eventfd(0, flags)?,
            turns: AtomicU64::new(0),
            desk: live::Desk::default(),
        });
        let mut detector = Self {
            shared,
            waiters: Vec::new(),
        };
        let mut notes = Vec::new();
        for (index, cpu) in cpus.into_iter().enumerate() {
            let (started, failed) = std::sync::mpsc::sync_channel(1);
            let shared = detector.shared.clone();
            let waiter = waiter::Waiter::new(&shared, index == 0)?;
            detector.waiters.push(
                thread::Builder::new()
                    .name(format!("detect-{index}"))
                    .spawn(move || {
                        let place = cpu.map_or(Ok(()), realtime::pin_thread);
                        let notes = [place, realtime::raise_thread()]
                            .into_iter()
                            .filter_map(Result::err);
                        let _ = started.send(notes.collect::<Vec<_>>());
                        waiter.run(&shared);
                    })?,
            );
            notes.extend(failed.recv().unwrap_or_default());
        }
        notes.dedup();
        Ok((detector, notes))
    }

    /// Who answers what the detection threads must not wait for.
    pub fn help(&self, helpers: Helpers) {
        self.core().help(helpers);
    }

    /// Where other sources put their evidence.
    #[must_use]
    pub fn inbox(&self) -> Inbox {
        Inbox(self.shared.clone())
    }

    /// Whether detection still turns.
    #[must_use]
    pub fn turns(&self) -> Turns {
        Turns(self.shared.clone())
    }

    /// What has been counted so far.
    #[must_use]
    pub fn live(&self) -> Live {
        Live(self.shared.clone())
    }

    /// Waits until nothing is pending, at most this long.
    pub fn settle(&self, at_most: Duration) {
        let deadline = std::time::Instant::now() + at_most;
        while std::time::Instant::now() < deadline {
            let inbox_empty = self
                .shared
                .inbox
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .is_empty();
            if inbox_empty && self.core().is_quiet() {
                break;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }

    fn core(&self) -> std::sync::MutexGuard<'_, Core> {
        self.shared
            .core
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Stops the waiters, takes what is left, closes what is open, and tells what was seen.
    pub fn stop(self) -> Tally {
        signal(&self.shared.stop);
        for waiter in self.waiters {
            if waiter.join().is_err() {
                tracing::error!("a detection thread had panicked");
            }
        }
        let left = std::mem::take(
            &mut *self
                .shared
                .inbox
                .lock()
                .unwrap_or_else(PoisonError::into_inner),
        );
        let mut core = self
            .shared
            .core
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        core.take(left);
        core.finish()
    }
}

fn signal(fd: &OwnedFd) {
    if let Err(error) = rustix::io::write(fd, &1u64.to_ne_bytes()) {
        // A counter at its maximum is readable all the same.
        tracing::debug!("eventfd: {error}");
    }
}
