//! One who listens: from a place in the store to what happens now, by the relay that all share.
//!
//! Reads the relay's messages, and the store where the relay is ahead; emits every event that the filter
//! means exactly once, and places to go on from. Refuses to be waited for: one who is slower than the relay's
//! ring is long reads the store from its own place on.

use std::{
    collections::{BTreeSet, VecDeque},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, broadcast::error::RecvError},
    time::{Instant, timeout_at},
};

use super::{
    Problem,
    place::Place,
    readers::{Patience, Readers},
    streams::Streams,
};
use crate::{
    store::{Filter, Generation, Stored, Tail},
    watch::{Joined, Line, Message, Relay},
};

/// One to whom nothing has been written for so long hears where it stands, or that nothing happened.
const ALIVE: Duration = if cfg!(test) {
    Duration::from_millis(600)
} else {
    Duration::from_secs(15)
};

/// Events that are read from the store at a time.
const AT_A_TIME: usize = 32;

/// What a listener is told.
#[derive(Debug)]
pub(super) enum Said {
    /// An event; with its place if it is from the store.
    Event(Option<Place>, Arc<Line>),
    /// Everything up to this has been told.
    Place(Place),
    /// Events are missing: the last of them, and no more than so many; `None` where nobody knows.
    Gap(Option<(i64, i64)>),
    /// Nothing that is meant has happened for a while.
    Nothing,
}

/// A listener.
#[derive(Debug)]
pub(super) struct Listener {
    relay: Relay,
    readers: Readers,
    filter: Filter,
    joined: Joined,
    /// Everything stored up to this has been told, or is ready; `None` without a store.
    place: Option<i64>,
    /// Which store that is of.
    generation: Option<Generation>,
    /// What the client knows of that.
    said: Option<i64>,
    /// Up to here the store is to be read.
    until: Option<i64>,
    /// Gaps up to this have been told.
    gap: i64,
    /// Told live, and not yet behind the place.
    told: VecDeque<(u64, Arc<Line>)>,
    ready: VecDeque<Said>,
    /// Something is to be written by then, whatever happens to others.
    alive: Instant,
    _place_among_all: OwnedSemaphorePermit,
}

impl Listener {
    /// Begins behind a place in the store (0: everything), or with what happens from now on. A place that the store
    /// does not have is one of the store before: nobody knows what is missing, and everything there is comes.
    pub(super) async fn begin(
        streams: &Streams,
        readers: &Readers,
        filter: Filter,
        after: Option<Place>,
    ) -> Result<Self, Problem> {
        let (relay, permit) = streams.enter().await?;
        let joined = relay.join();
        let is_lost = after.is_some_and(|after| !is_in(&joined, after));
        let after = after.map(|after| if is_lost { 0 } else { after.seq });
        let mut listener = Self {
            relay,
            readers: readers.clone(),
            filter,
            place: after.or(joined.place),
            generation: joined.generation,
            said: after,
            until: None,
            gap: after.unwrap_or(i64::MAX),
            told: VecDeque::new(),
            ready: VecDeque::new(),
            alive: Instant::now() + ALIVE,
            joined,
            _place_among_all: permit,
        };
        if is_lost {
            listener.ready.push_back(Said::Gap(None));
        }
        match after {
            Some(_) if listener.joined.place.is_none() => return Err(unread()),
            Some(place) => {
                // Whether the filter can be asked.
                let first = listener.read(place, Patience::Some).await?;
                listener.until = listener.joined.place;
                listener.take(first);
            }
            // The first place, to come back to if nothing happens.
            None => listener.say_place(),
        }
        Ok(listener)
    }

    /// Something has been written.
    pub(super) fn written(&mut self) {
        self.alive = Instant::now() + ALIVE;
    }

    /// What comes next; `None` at the end. Says something at least every 15 s after what was [`Self::written`].
    pub(super) async fn next(&mut self) -> Option<Said> {
        loop {
            if let Some(said) = self.ready.pop_front() {
                if let Said::Place(place) | Said::Event(Some(place), _) = &said {
                    self.said = Some(place.seq);
                }
                return Some(said);
            }
            if Instant::now() >= self.alive {
                if self.place == self.said {
                    return Some(Said::Nothing);
                }
                self.say_place();
                continue;
            }
            if self.until.is_some() {
                let tail = self.read(self.place?, Patience::All).await;
                self.take(tail.ok()?);
                continue;
            }
            match timeout_at(self.alive, self.joined.messages.recv()).await {
                Ok(Ok(message)) => self.hear(message),
                Ok(Err(RecvError::Lagged(_))) => self.rejoin()?,
                Ok(Err(RecvError::Closed)) => return None,
                Err(_) => {}
            }
        }
    }

    fn say_place(&mut self) {
        let place = self.place.map(|seq| Said::Place(self.at(seq)));
        self.ready.extend(place);
    }

    const fn at(&self, seq: i64) -> Place {
        Place {
            generation: self.generation,
            seq,
        }
    }

    fn hear(&mut self, message: Message) {
        match message {
            Message::Live(number, line) => self.tell_live(number, line),
            Message::Stored(seq, line) => {
                if self.place.is_none_or(|place| seq > place) {
                    self.place = Some(seq);
                    if line.is_meant(&self.filter) {
                        self.ready.push_back(Said::Event(Some(self.at(seq)), line));
                    }
                }
            }
            Message::Place { place, live } => {
                let before = self.told.len();
                self.told.retain(|(number, _)| *number > live);
                self.place = self.place.max(Some(place));
                // A client that was told something may come back behind it.
                if self.told.len() < before && self.said < self.place {
                    self.say_place();
                }
            }
            Message::Store(generation) => self.generation = Some(generation),
            Message::Gap(gap) => {
                let gap = gap.map(|gap| (gap.through, gap.at_most));
                self.ready.push_back(Said::Gap(gap));
            }
        }
    }

    fn tell_live(&mut self, number: u64, line: Arc<Line>) {
        if line.is_meant(&self.filter) {
            self.told.push_back((number, line.clone()));
            self.ready.push_back(Said::Event(None, line));
        }
    }

    /// Has fallen behind: the store tells what is missing. `None` if it is another store by now.
    fn rejoin(&mut self) -> Option<()> {
        self.joined = self.relay.join();
        if self.generation.is_some() && self.generation != self.joined.generation {
            return None;
        }
        self.generation = self.joined.generation;
        match (self.place, self.joined.place) {
            (Some(_), Some(relay)) => {
                self.until = Some(relay);
            }
            (_, place) => {
                self.place = place;
                self.ready.push_back(Said::Gap(None));
            }
        }
        Some(())
    }

    async fn read(&self, place: i64, patience: Patience) -> Result<Tail, Problem> {
        let filter = self.filter.clone();
        let generation = self.generation;
        let tail = self.readers.ask(patience, move |reader| {
            if Some(reader.generation()?) != generation {
                return Ok(None);
            }
            reader.after_seq(place, &filter, AT_A_TIME).map(Some)
        });
        tail.await?.ok_or_else(unread)
    }

    /// Tells a part of the store, up to where the relay was when this one joined.
    fn take(&mut self, tail: Tail) {
        let Some(until) = self.until else {
            return;
        };
        if let Some(gap) = tail.gap.filter(|gap| gap.through > self.gap) {
            self.gap = gap.through;
            let gap = Some((gap.through, gap.at_most));
            self.ready.push_back(Said::Gap(gap));
        }
        let is_new = |stored: &Stored| {
            stored.seq <= until && !self.told.iter().any(|(_, line)| line.is_same(stored))
        };
        let events: Vec<_> = tail.events.into_iter().filter(is_new).collect();
        for stored in events {
            let seq = stored.seq;
            let event = Said::Event(Some(self.at(seq)), Arc::new(stored.into()));
            self.ready.push_back(event);
        }
        self.place = self.place.max(Some(tail.through.min(until)));
        if !tail.more || tail.through >= until {
            self.until = None;
            self.catch_up();
        }
    }

    /// The store is read: what was told live to the others, and is not there yet, comes next.
    fn catch_up(&mut self) {
        let ahead = std::mem::take(&mut self.joined.ahead);
        let known: BTreeSet<_> = self.told.drain(..).map(|(number, _)| number).collect();
        if self.said < self.place {
            self.say_place();
        }
        for (number, line) in ahead {
            if known.contains(&number) {
                self.told.push_back((number, line));
            } else {
                self.tell_live(number, line);
            }
        }
    }
}

/// Whether the store that there is has this place: of one that the relay has not told yet nobody can have heard.
fn is_in(joined: &Joined, place: Place) -> bool {
    let is_of_it = place.generation.is_none() || place.generation == joined.generation;
    joined
        .place
        .is_none_or(|last| is_of_it && place.seq <= last)
}

fn unread() -> Problem {
    let detail = "there is no store to go on from, or it cannot be read yet; /v1/status says more";
    Problem::later(detail, Duration::from_secs(5))
}
