//! Watching live: any number of subscribers, each with a filter of its own.
//!
//! ```text
//!  hub ─ offer ─▶ intake ─▶ thread `watch` ─ matches? ─▶ queue of a subscriber ─▶ Subscription
//!                                                                                    │
//!                                               the store ─ Reader ─────────────▶ Follow
//! ```
//! Reads events from the hub; emits them to those who want them, in their order. Refuses to hold up
//! detection or one subscriber for another: what finds a queue full is missed, and the subscriber is told
//! so in its place. [`Follow`] gets it from the store; [`Relay`] follows once for any number of listeners.
//!
//! The law that `Follow` rests on: the hub offers an event here before the store is handed it, and both get
//! all events in one order.

mod follow;
mod line;
mod relay;
mod subscription;

use std::{
    io, mem,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    thread::{self, JoinHandle},
};

pub(crate) use self::relay::identity;
use self::subscription::Slot;
pub use self::{
    follow::{Follow, Next, Told},
    line::Line,
    relay::{Joined, Message, Relay},
    subscription::{Item, Live, Missed, Polled, Subscription},
};
use crate::{
    event::Event,
    hub::Output,
    store::{Filter, terms::Terms},
};

/// Events between detection and the thread: some storms' worth.
const INTAKE: usize = 16 * 1024;

/// Events between the thread and one subscriber.
const QUEUE: usize = 1024;

/// Those who watch. A handle: its clones are the same.
#[derive(Clone, Debug)]
pub struct Watchers(Arc<Shared>);

/// Where the hub puts events.
#[derive(Debug)]
pub struct Intake(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Something is there, or nothing will come any more.
    more: Condvar,
    slots: Mutex<Vec<Arc<Slot>>>,
    /// Events that were offered, and those of them that found the intake full.
    offered: AtomicU64,
    lost: AtomicU64,
    /// Subscribers that listen for others, and those others.
    relays: AtomicUsize,
    listeners: AtomicUsize,
}

/// One who listens by a relay counts as one who watches.
#[derive(Debug)]
pub struct Listening(Watchers);

impl Drop for Listening {
    fn drop(&mut self) {
        self.0.0.listeners.fetch_sub(1, Ordering::Relaxed);
    }
}

/// What waits for the thread.
#[derive(Debug, Default)]
struct Waiting {
    events: Vec<Live>,
    /// What came after these and found no room.
    missed: Option<Missed>,
    /// The last event of all.
    last: Option<Live>,
    closed: bool,
}

impl Watchers {
    /// Starts the thread. It ends, and so do all subscriptions, when the hub has dropped the intake.
    pub fn start() -> io::Result<(Self, Intake, JoinHandle<()>)> {
        let shared = Arc::new(Shared::default());
        let of_thread = shared.clone();
        let thread = thread::Builder::new()
            .name("watch".into())
            .spawn(move || while of_thread.distribute() {})?;
        Ok((Self(shared.clone()), Intake(shared), thread))
    }

    /// Watches from now on.
    #[must_use]
    pub fn subscribe(&self, filter: Filter) -> Subscription {
        self.subscribe_with(filter, QUEUE)
    }

    fn subscribe_with(&self, filter: Filter, room: usize) -> Subscription {
        let slot = Arc::new(Slot::new(filter, room));
        lock(&self.0.slots).push(slot.clone());
        // The thread dismisses those that it knew when it ended.
        if lock(&self.0.waiting).closed {
            slot.close();
        }
        Subscription::new(slot, self.clone())
    }

    /// How many watch, by a relay or for themselves.
    #[must_use]
    pub fn subscribers(&self) -> usize {
        let slots = lock(&self.0.slots).len();
        let relays = self.0.relays.load(Ordering::Relaxed);
        slots.saturating_sub(relays) + self.0.listeners.load(Ordering::Relaxed)
    }

    fn listen(&self) -> Listening {
        self.0.listeners.fetch_add(1, Ordering::Relaxed);
        Listening(self.clone())
    }

    /// Events that no subscriber got, for the thread was too far behind.
    #[must_use]
    pub fn lost(&self) -> u64 {
        self.0.lost.load(Ordering::Relaxed)
    }

    /// How many events have been offered, ever.
    fn offered(&self) -> u64 {
        self.0.offered.load(Ordering::Acquire)
    }

    /// The last event that was offered.
    fn last(&self) -> Option<Live> {
        lock(&self.0.waiting).last.clone()
    }

    fn forget(&self, slot: &Arc<Slot>) {
        lock(&self.0.slots).retain(|of| !Arc::ptr_eq(of, slot));
    }
}

impl Output for Intake {
    fn offer(&mut self, event: &Arc<Event>) -> bool {
        let mut waiting = lock(&self.0.waiting);
        let number = self.0.offered.fetch_add(1, Ordering::Release) + 1;
        let live = Live {
            number,
            event: event.clone(),
        };
        waiting.last = Some(live.clone());
        if waiting.missed.is_some() || waiting.events.len() >= INTAKE {
            self.0.lost.fetch_add(1, Ordering::Relaxed);
            Missed::add(&mut waiting.missed, &live.into());
            return true;
        }
        waiting.events.push(live);
        // Otherwise it is awake already.
        let wake = waiting.events.len() == 1;
        drop(waiting);
        if wake {
            self.0.more.notify_one();
        }
        true
    }
}

impl Drop for Intake {
    fn drop(&mut self) {
        lock(&self.0.waiting).closed = true;
        self.0.more.notify_one();
    }
}

impl Shared {
    /// Waits for events and hands them out. False once nothing will come any more.
    fn distribute(&self) -> bool {
        let nothing = |waiting: &mut Waiting| waiting.events.is_empty() && !waiting.closed;
        let waiting = self.more.wait_while(lock(&self.waiting), nothing);
        let mut waiting = waiting.unwrap_or_else(PoisonError::into_inner);
        let events = mem::take(&mut waiting.events);
        let missed = waiting.missed.take();
        let closed = waiting.closed;
        drop(waiting);

        // Nobody who comes or goes waits for what follows.
        let slots = lock(&self.slots).clone();
        for live in &events {
            let terms = Terms::of(&live.event);
            for slot in &slots {
                slot.offer(live, &terms);
            }
        }
        for slot in &slots {
            if let Some(missed) = &missed {
                slot.miss(missed);
            }
            if closed {
                slot.close();
            }
        }
        !closed
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests;
