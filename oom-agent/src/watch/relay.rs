//! One follower of everything, for any number of listeners: the store is read once, and an event is
//! rendered once, however many listen.
//!
//! Reads what [`Follow`] tells, on a thread of its own; emits it to all in one order, through a bounded ring.
//! Refuses to keep anything for one who is slow: a listener that has fallen behind joins anew, and reads
//! from the store what is between its place and that of the relay.
//!
//! What one who joins is told ([`Joined`]) is of one moment: everything stored up to `place` is to be read
//! from the store, `ahead` was told live and is not there yet, and all else is still to come.

use std::{
    collections::VecDeque,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use tokio::sync::broadcast::{self, Receiver, Sender};

use super::{Follow, Item, Line, Listening, Next, Polled, Subscription, Told, Watchers, lock};
use crate::{
    error::chain,
    store::{Filter, Gap, Generation, Reader},
};

/// Messages that a listener may lag behind; in tests it often does.
const ROOM: usize = if cfg!(test) { 4 } else { 1024 };

/// How often a store that cannot be read is tried again, and one that can is looked at: whether it is still
/// the same file.
const LOOK: Duration = Duration::from_secs(5);

/// After an error of the store.
const PAUSE: Duration = Duration::from_millis(100);

/// What listeners are told.
#[derive(Clone, Debug)]
pub enum Message {
    /// An event that the store may not have yet, and its number among these.
    Live(u64, Arc<Line>),
    /// An event from the store, and its number there.
    Stored(i64, Arc<Line>),
    /// Everything stored up to `place` has been told, and all live events up to number `live` are among it.
    Place {
        /// The number in the store.
        place: i64,
        /// The number among live events.
        live: u64,
    },
    /// There is a store from now on, and this one it is.
    Store(Generation),
    /// Here some are missing; how many is not known without a store.
    Gap(Option<Gap>),
}

/// The relay. A handle: its clones are the same.
#[derive(Clone, Debug)]
pub struct Relay {
    standing: Arc<Mutex<Standing>>,
    watchers: Watchers,
}

/// Where a listener begins.
#[derive(Debug)]
pub struct Joined {
    /// Everything stored up to this was told before; `None` without a store.
    pub place: Option<i64>,
    /// Which store that is of.
    pub generation: Option<Generation>,
    /// What was told live and is not yet stored up to there, with its numbers.
    pub ahead: Vec<(u64, Arc<Line>)>,
    /// What comes. It ends when the agent stops, or the store was begun anew.
    pub messages: Receiver<Message>,
    _listening: Listening,
}

#[derive(Debug)]
struct Standing {
    place: Option<i64>,
    generation: Option<Generation>,
    ahead: VecDeque<(u64, Arc<Line>)>,
    /// Live events told so far.
    told: u64,
    /// `None`: nothing will come any more.
    sender: Option<Sender<Message>>,
}

/// Which file it is: device and inode.
pub(crate) fn identity(path: &Path) -> Option<(u64, u64)> {
    let about = fs::metadata(path).ok()?;
    Some((about.dev(), about.ino()))
}

impl Relay {
    /// Starts the thread; reads the store first. It ends when the watchers' thread has.
    pub fn start(watchers: &Watchers, store: Option<PathBuf>) -> io::Result<Self> {
        let standing = Standing {
            place: None,
            generation: None,
            ahead: VecDeque::new(),
            told: 0,
            sender: Some(broadcast::channel(ROOM).0),
        };
        let relay = Self {
            standing: Arc::new(Mutex::new(standing)),
            watchers: watchers.clone(),
        };
        let subscription = watchers.subscribe(Filter::default());
        let mut source = Some(relay.open(store.as_deref(), subscription));
        let of_thread = relay.clone();
        let relays = &watchers.0.relays;
        relays.fetch_add(1, Ordering::Relaxed);
        let started = thread::Builder::new().name("relay".into()).spawn(move || {
            while let Some(opened) = source {
                let left = match opened {
                    Ok(followed) => of_thread.follow(followed, store.as_deref()),
                    Err(subscription) => {
                        let retry = store.as_ref().map(|_| Instant::now() + LOOK);
                        of_thread.without_store(subscription, retry)
                    }
                };
                source = left.map(|left| of_thread.open(store.as_deref(), left));
            }
            of_thread.standing().sender = None;
            let relays = &of_thread.watchers.0.relays;
            relays.fetch_sub(1, Ordering::Relaxed);
        });
        if let Err(error) = started {
            relays.fetch_sub(1, Ordering::Relaxed);
            return Err(error);
        }
        Ok(relay)
    }

    fn standing(&self) -> MutexGuard<'_, Standing> {
        lock(&self.standing)
    }

    /// Begins to listen. If nothing will come any more, the messages end at once.
    #[must_use]
    pub fn join(&self) -> Joined {
        let standing = self.standing();
        let sender = standing.sender.as_ref();
        Joined {
            place: standing.place,
            generation: standing.generation,
            ahead: standing.ahead.iter().cloned().collect(),
            messages: sender.map_or_else(|| broadcast::channel(1).1, Sender::subscribe),
            _listening: self.watchers.listen(),
        }
    }

    /// Follows from now on, or gives the subscription back.
    fn open(
        &self,
        path: Option<&Path>,
        subscription: Subscription,
    ) -> Result<Followed, Subscription> {
        let Some(path) = path else {
            return Err(subscription);
        };
        let opened = Reader::open(path)
            .and_then(|reader| Ok((reader.generation()?, reader.last_seq()?, reader)));
        let (generation, last, reader) = match opened {
            Ok(opened) => opened,
            Err(error) => {
                tracing::debug!("the relay goes without the store: {}", chain(&error));
                return Err(subscription);
            }
        };
        let identity = identity(path);
        let follow = Follow::from_place(subscription, last, Instant::now());
        let mut standing = self.standing();
        standing.place = Some(last);
        standing.generation = Some(generation);
        if let Some(sender) = &standing.sender {
            drop(sender.send(Message::Store(generation)));
        }
        drop(standing);
        Ok(Followed {
            follow,
            reader,
            identity,
        })
    }

    /// Until nothing comes any more (`None`) or another file stands where the store was.
    fn follow(&self, followed: Followed, path: Option<&Path>) -> Option<Subscription> {
        let Followed {
            mut follow,
            reader,
            identity: of_file,
        } = followed;
        let mut messages = Vec::new();
        let mut look = Instant::now() + LOOK;
        loop {
            let now = Instant::now();
            if now >= look {
                look = now + LOOK;
                if path.and_then(identity) != of_file {
                    self.begin_anew();
                    return Some(follow.into_subscription());
                }
            }
            match follow.poll(&reader, now) {
                Ok(Next::Told(told)) => {
                    messages.push(told);
                    if follow.is_settled() {
                        self.publish(messages.drain(..), Some((follow.place(), follow.ahead())));
                    }
                }
                Ok(Next::Wait(until)) => follow.subscription().wait(Some(until.min(look))),
                Ok(Next::Hold(until)) => {
                    thread::sleep(until.min(look).saturating_duration_since(now));
                }
                Ok(Next::Closed) => return None,
                Err(error) => {
                    tracing::debug!("the relay cannot read the store: {}", chain(&error));
                    thread::sleep(PAUSE);
                }
            }
        }
    }

    /// Live alone, until nothing comes any more (`None`) or that moment.
    fn without_store(
        &self,
        subscription: Subscription,
        until: Option<Instant>,
    ) -> Option<Subscription> {
        loop {
            subscription.wait(until);
            match subscription.poll() {
                Polled::Item(Item::Event(live)) => {
                    self.publish([Told::Live(live.event)], None);
                }
                Polled::Item(Item::Missed(_)) => self.send_gap(),
                Polled::Nothing => return Some(subscription),
                Polled::Closed => return None,
            }
        }
    }

    /// Hands out what is of one moment; `settled` is where the follower stands after it.
    fn publish(&self, told: impl IntoIterator<Item = Told>, settled: Option<(i64, usize)>) {
        let mut standing = self.standing();
        let standing = &mut *standing;
        let Some(sender) = &standing.sender else {
            return;
        };
        // Without listeners there is nobody to send to, and that is no error.
        let send = |message| drop(sender.send(message));
        for told in told {
            match told {
                Told::Live(event) => {
                    standing.told += 1;
                    let line = Arc::new(Line::from(event));
                    if settled.is_some() {
                        standing.ahead.push_back((standing.told, line.clone()));
                    }
                    send(Message::Live(standing.told, line));
                }
                Told::Stored(stored) => send(Message::Stored(stored.seq, Arc::new(stored.into()))),
                Told::Gap(gap) => send(Message::Gap(Some(gap))),
                Told::Place(_) => {}
            }
        }
        let Some((place, ahead)) = settled else {
            return;
        };
        let known = standing.ahead.len().saturating_sub(ahead);
        standing.ahead.drain(..known);
        if standing.place != Some(place) {
            standing.place = Some(place);
            let live = standing
                .ahead
                .front()
                .map_or(standing.told, |(first, _)| first - 1);
            send(Message::Place { place, live });
        }
    }

    fn send_gap(&self) {
        if let Some(sender) = &self.standing().sender {
            drop(sender.send(Message::Gap(None)));
        }
    }

    /// All who listen are dismissed: numbers of the old store mean nothing in the new one.
    fn begin_anew(&self) {
        let mut standing = self.standing();
        standing.place = None;
        standing.generation = None;
        standing.ahead.clear();
        standing.sender = Some(broadcast::channel(ROOM).0);
    }
}

struct Followed {
    follow: Follow,
    reader: Reader,
    identity: Option<(u64, u64)>,
}
