//! One subscriber: a filter, a bounded queue, and what did not fit into it.
//!
//! Reads events from the thread; emits those that the filter means, in their order, and [`Missed`] in the
//! place of those that found no room. From the first one missed on nothing more is queued until the
//! subscriber has come to that place, so what is missed is one stretch.

use std::{
    collections::VecDeque,
    sync::{Arc, Condvar, Mutex, PoisonError},
    task::{Context, Poll, Waker},
    time::Instant,
};

use super::{Watchers, lock};
use crate::{
    event::Event,
    store::{Filter, terms::Terms},
};

/// An event, and its number among all that the hub has offered.
#[derive(Clone, Debug)]
pub struct Live {
    pub(super) number: u64,
    /// The event.
    pub event: Arc<Event>,
}

/// Events that a subscriber did not get.
#[derive(Clone, Debug)]
pub struct Missed {
    /// How many; where the thread itself was behind, without regard to the filter.
    pub events: u64,
    /// The first of them.
    pub first: Arc<Event>,
    /// The last of them.
    pub last: Live,
}

impl From<Live> for Missed {
    fn from(live: Live) -> Self {
        Self {
            events: 1,
            first: live.event.clone(),
            last: live,
        }
    }
}

impl Missed {
    /// Makes a stretch longer.
    pub(super) fn add(to: &mut Option<Self>, more: &Self) {
        match to {
            Some(missed) => {
                missed.events += more.events;
                missed.last = more.last.clone();
            }
            None => *to = Some(more.clone()),
        }
    }
}

/// What a subscriber gets.
#[derive(Clone, Debug)]
pub enum Item {
    /// An event that its filter means.
    Event(Live),
    /// Here some are missing.
    Missed(Missed),
}

/// An answer of [`Subscription::poll`].
#[derive(Clone, Debug)]
pub enum Polled {
    /// Something.
    Item(Item),
    /// Nothing yet.
    Nothing,
    /// Nothing will come any more: the agent stops.
    Closed,
}

/// The thread's end.
#[derive(Debug)]
pub(super) struct Slot {
    filter: Filter,
    room: usize,
    queue: Mutex<Queue>,
    more: Condvar,
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Live>,
    missed: Option<Missed>,
    /// Of all stretches.
    missed_ever: u64,
    closed: bool,
    waker: Option<Waker>,
}

impl Queue {
    fn is_ready(&self) -> bool {
        !self.events.is_empty() || self.missed.is_some() || self.closed
    }
}

impl Slot {
    pub(super) fn new(filter: Filter, room: usize) -> Self {
        Self {
            filter,
            room,
            queue: Mutex::default(),
            more: Condvar::new(),
        }
    }

    pub(super) fn offer(&self, live: &Live, terms: &Terms<'_>) {
        if !self.filter.matches_terms(&live.event, terms) {
            return;
        }
        let has_room = {
            let queue = lock(&self.queue);
            queue.missed.is_none() && queue.events.len() < self.room
        };
        if has_room {
            // Only this thread puts something in: the room is still there.
            self.change(|queue| queue.events.push_back(live.clone()));
        } else {
            self.miss(&live.clone().into());
        }
    }

    pub(super) fn miss(&self, missed: &Missed) {
        self.change(|queue| {
            queue.missed_ever += missed.events;
            Missed::add(&mut queue.missed, missed);
        });
    }

    pub(super) fn close(&self) {
        self.change(|queue| queue.closed = true);
    }

    fn change(&self, change: impl FnOnce(&mut Queue)) {
        let mut queue = lock(&self.queue);
        change(&mut queue);
        let waker = queue.waker.take();
        drop(queue);
        self.more.notify_one();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// The subscriber's end. Dropped, it is forgotten.
#[derive(Debug)]
pub struct Subscription {
    slot: Arc<Slot>,
    watchers: Watchers,
}

impl Subscription {
    pub(super) const fn new(slot: Arc<Slot>, watchers: Watchers) -> Self {
        Self { slot, watchers }
    }

    /// What is there, without waiting.
    #[must_use]
    pub fn poll(&self) -> Polled {
        let mut queue = lock(&self.slot.queue);
        if let Some(live) = queue.events.pop_front() {
            return Polled::Item(Item::Event(live));
        }
        match queue.missed.take() {
            Some(missed) => Polled::Item(Item::Missed(missed)),
            None if queue.closed => Polled::Closed,
            None => Polled::Nothing,
        }
    }

    /// Waits until [`Subscription::poll`] has an answer, or for the deadline.
    pub fn wait(&self, deadline: Option<Instant>) {
        let mut queue = lock(&self.slot.queue);
        while !queue.is_ready() {
            let Some(deadline) = deadline else {
                queue = (self.slot.more.wait(queue)).unwrap_or_else(PoisonError::into_inner);
                continue;
            };
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return;
            }
            let waited = self.slot.more.wait_timeout(queue, left);
            queue = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// The same for an executor: ready when [`Subscription::poll`] has an answer. The last one who asked is
    /// woken.
    pub fn poll_ready(&self, context: &Context<'_>) -> Poll<()> {
        let mut queue = lock(&self.slot.queue);
        if queue.is_ready() {
            return Poll::Ready(());
        }
        queue.waker = Some(context.waker().clone());
        Poll::Pending
    }

    /// The next item; waits for it. `None` at the deadline, or if nothing will come any more.
    #[must_use]
    pub fn next(&self, deadline: Option<Instant>) -> Option<Item> {
        self.wait(deadline);
        match self.poll() {
            Polled::Item(item) => Some(item),
            Polled::Nothing | Polled::Closed => None,
        }
    }

    /// How many it has missed since it began.
    #[must_use]
    pub fn missed(&self) -> u64 {
        lock(&self.slot.queue).missed_ever
    }

    pub(super) const fn watchers(&self) -> &Watchers {
        &self.watchers
    }

    pub(super) fn filter(&self) -> &Filter {
        &self.slot.filter
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.watchers.forget(&self.slot);
    }
}
