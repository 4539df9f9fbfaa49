//! From a place in the store to what happens now, without a gap and nothing twice.
//!
//! Reads the store and a subscription; emits every event that the filter means exactly once, in the order
//! of detection: what is stored from the store, what is new at once, before it is stored. Refuses to run
//! ahead of a store that lags: what a subscriber missed, or what was on its way when it came, is waited for
//! a moment; after that it comes when it is stored, out of order.
//!
//! A client keeps the number of the last [`Told::Stored`] or [`Told::Place`] and begins there the next
//! time. Every event up to this number has been told. Events told live behind it, of which the store had
//! not been heard when the client went, are told again: their ids are the same.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use super::{Item, Live, Polled, Subscription};
use crate::{
    event::Event,
    store::{Gap, QueryError, Reader, Stored},
};

/// How long newer events are held back for older ones that are not stored yet.
const HOLD: Duration = Duration::from_secs(1);

/// How soon the store is looked at for what has been told live: as long as a commit takes; then ever more
/// rarely.
const SOON: Duration = Duration::from_millis(20);
const RARELY: Duration = Duration::from_secs(5);

/// How often if nothing is expected: the place must not fall behind what retention takes.
const IDLE: Duration = Duration::from_mins(1);

/// Events read from the store at a time.
const AT_A_TIME: usize = 256;

/// Events told that the store has not: with more, it is waited for.
const AHEAD: usize = 4096;

/// What a follower is told.
#[derive(Clone, Debug)]
pub enum Told {
    /// An event from the store, and the place right at it.
    Stored(Stored),
    /// An event that the store may not have yet.
    Live(Arc<Event>),
    /// Everything up to this number has been told.
    Place(i64),
    /// Events that were to come next had been removed from the store.
    Gap(Gap),
}

/// An answer of [`Follow::poll`].
#[derive(Clone, Debug)]
pub enum Next {
    /// Something.
    Told(Told),
    /// Nothing until the subscription has something, or until this moment.
    Wait(Instant),
    /// Nothing until this moment, whatever the subscription has.
    Hold(Instant),
    /// Nothing will come any more: the agent stops.
    Closed,
}

/// A follower.
#[derive(Debug)]
pub struct Follow {
    subscription: Subscription,
    /// Everything stored up to this is told, or not meant.
    place: i64,
    ready: VecDeque<Told>,
    /// From the subscription, and not told yet.
    next: Option<Live>,
    /// What was told live and not yet seen in the store, in order.
    ahead: VecDeque<Live>,
    /// What has been read from the store may still come from the subscription, up to this number.
    overlap: u64,
    /// What the store must have before it can be said to be caught up with.
    owed: Option<Live>,
    /// Until then newer events are held back for what is owed.
    hold: Option<Instant>,
    /// When the store is read next, and how long after that again.
    read_at: Instant,
    delay: Duration,
    /// Gaps up to this have been told.
    gap: i64,
}

impl Follow {
    /// Begins behind a place that the store has.
    pub(super) fn from_place(subscription: Subscription, place: i64, now: Instant) -> Self {
        // It may be on its way to the store and was offered before the subscription.
        let owed = subscription.watchers().last();
        Self {
            hold: owed.as_ref().map(|_| now + HOLD),
            owed,
            subscription,
            place,
            ready: VecDeque::new(),
            next: None,
            ahead: VecDeque::new(),
            overlap: 0,
            read_at: now,
            delay: SOON,
            gap: place,
        }
    }

    /// What to wait on.
    #[must_use]
    pub const fn subscription(&self) -> &Subscription {
        &self.subscription
    }

    /// Everything stored up to this has been told, but for what [`Follow::poll`] still has ready.
    #[must_use]
    pub const fn place(&self) -> i64 {
        self.place
    }

    /// Whether nothing that was read from the store is still to be told: place and [`Follow::ahead`] are then
    /// of one moment.
    pub(super) fn is_settled(&self) -> bool {
        self.ready.is_empty()
    }

    /// How many of the events that were told live are not yet seen in the store: the last ones.
    pub(super) fn ahead(&self) -> usize {
        self.ahead.len()
    }

    /// Stops to follow; what the subscription has is still there.
    pub(super) fn into_subscription(self) -> Subscription {
        self.subscription
    }

    /// What comes next; does not wait. After an error nothing is lost: ask again.
    pub fn poll(&mut self, reader: &Reader, now: Instant) -> Result<Next, QueryError> {
        loop {
            if let Some(told) = self.ready.pop_front() {
                return Ok(Next::Told(told));
            }
            if self.read_at <= now {
                // What is live goes on without the store.
                self.read_at = now + RARELY;
                self.read(reader, now)?;
                continue;
            }
            self.hold = self.hold.filter(|until| *until > now);
            if let Some(until) = self.hold {
                return Ok(Next::Hold(until.min(self.read_at)));
            }
            if self.ahead.len() >= AHEAD {
                return Ok(Next::Hold(self.read_at));
            }
            if let Some(live) = &self.next {
                let is_told = live.number <= self.overlap && self.is_told(reader, live)?;
                if let Some(live) = self.next.take().filter(|_| !is_told) {
                    return Ok(Next::Told(self.tell(live, now)));
                }
            }
            match self.subscription.poll() {
                Polled::Item(Item::Event(live)) => self.next = Some(live),
                Polled::Item(Item::Missed(missed)) => {
                    self.owed = Some(missed.last);
                    self.hold = Some(now + HOLD);
                    self.delay = SOON;
                    self.read_at = now;
                }
                Polled::Nothing => return Ok(Next::Wait(self.read_at)),
                Polled::Closed => return Ok(Next::Closed),
            }
        }
    }

    /// Takes from the store what is behind the place.
    fn read(&mut self, reader: &Reader, now: Instant) -> Result<(), QueryError> {
        let tail = reader.after_seq(self.place, self.subscription.filter(), AT_A_TIME)?;
        let owed = match &self.owed {
            Some(live) => reader.get(Some(live.event.kind()), live.event.id())?,
            None => None,
        };
        // All that was read had been offered before.
        self.overlap = self.subscription.watchers().offered();

        if let Some(gap) = tail.gap.filter(|gap| gap.through > self.gap) {
            self.gap = gap.through;
            self.ready.push_back(Told::Gap(gap));
        }
        let mut progress = false;
        for stored in tail.events {
            let is_it = |live: &Live| is_same(&live.event, &stored);
            if let Some(at) = self.ahead.iter().position(is_it) {
                // What was told before this and is not stored never will be.
                let told = self.ahead.drain(..=at).next_back();
                let through = told.map_or(0, |live| live.number);
                self.owed = self.owed.take().filter(|owed| owed.number > through);
                progress = true;
            } else {
                self.ready.push_back(Told::Stored(stored));
            }
        }
        let is_said =
            matches!(self.ready.back(), Some(Told::Stored(last)) if last.seq == tail.through);
        if tail.through > self.place && !is_said {
            self.ready.push_back(Told::Place(tail.through));
        }
        self.place = tail.through;

        let owed = owed.map(|stored| stored.seq);
        if owed.is_some_and(|seq| seq <= self.place) {
            self.owed = None;
        }
        if self.owed.is_none() {
            self.hold = None;
        }
        let more = tail.more || owed.is_some_and(|seq| seq > self.place);
        let expected = self.owed.is_some() || !self.ahead.is_empty();
        if progress || !expected {
            self.delay = SOON;
        }
        let delay = match (more, expected) {
            (true, _) => Duration::ZERO,
            (false, true) => self.delay,
            (false, false) => IDLE,
        };
        self.delay = RARELY.min(self.delay * 2);
        self.read_at = now + delay;
        Ok(())
    }

    /// Whether an event from the subscription was read from the store before.
    fn is_told(&self, reader: &Reader, live: &Live) -> Result<bool, QueryError> {
        let stored = reader.get(Some(live.event.kind()), live.event.id())?;
        Ok(stored.is_some_and(|stored| stored.seq <= self.place))
    }

    fn tell(&mut self, live: Live, now: Instant) -> Told {
        if self.ahead.is_empty() {
            self.delay = SOON;
            self.read_at = self.read_at.min(now + SOON);
        }
        let event = live.event.clone();
        self.ahead.push_back(live);
        Told::Live(event)
    }
}

fn is_same(event: &Event, stored: &Stored) -> bool {
    event.kind() == stored.kind && **event.id() == *stored.id
}
