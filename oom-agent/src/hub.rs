//! From detection to the outputs.
//!
//! Takes events from the detection threads and offers each to every output, which must take it
//! without waiting: at once or into a bounded queue. An output that could not is counted, never
//! waited for.

use std::{
    collections::VecDeque,
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use crate::event::Event;

/// Events of kills that an output may lag behind: some storms' worth.
const QUEUE: usize = 16 * 1024;

/// News of containers that it may lag behind.
const NEWS: usize = 4 * 1024;

/// Where events go. Called on the detection threads: an implementation must never wait.
pub trait Output: Send {
    /// Takes an event. False once the output has gone and wants no more.
    fn offer(&mut self, event: &Arc<Event>) -> bool;
}

/// Hands events to outputs.
#[derive(Default)]
pub struct Hub {
    outputs: Vec<Box<dyn Output>>,
}

impl std::fmt::Debug for Hub {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Hub({} outputs)", self.outputs.len())
    }
}

impl Hub {
    /// Adds an output.
    pub fn add(&mut self, output: impl Output + 'static) {
        self.outputs.push(Box::new(output));
    }

    /// Hands over one event.
    pub fn publish(&mut self, event: Event) {
        let event = Arc::new(event);
        self.outputs.retain_mut(|output| output.offer(&event));
    }
}

/// The detection's end of a bounded queue.
#[derive(Debug)]
pub struct Queue(Arc<Shared>);

/// The output's end of a bounded queue.
#[derive(Debug)]
pub struct Queued(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    waiting: Mutex<Waiting>,
    /// Something is there, or nothing will come any more.
    more: Condvar,
    missed: AtomicU64,
}

/// What waits: kills go before news of containers, of which a flood must not hold up an alert.
#[derive(Debug, Default)]
struct Waiting {
    kills: VecDeque<Arc<Event>>,
    news: VecDeque<Arc<Event>>,
    /// The hub, or the output, has gone.
    closed: bool,
    gone: bool,
}

/// A new queue.
#[must_use]
pub fn queue() -> (Queue, Queued) {
    let shared = Arc::new(Shared {
        waiting: Mutex::default(),
        more: Condvar::new(),
        missed: AtomicU64::new(0),
    });
    (Queue(shared.clone()), Queued(shared))
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queued {
    /// The next event, kills first, each kind in the order of detection; waits for it. `None` once the hub
    /// has gone and nothing is left.
    #[must_use]
    pub fn next(&self) -> Option<Arc<Event>> {
        let nothing = |waiting: &mut Waiting| {
            waiting.kills.is_empty() && waiting.news.is_empty() && !waiting.closed
        };
        let waiting = self.0.more.wait_while(self.0.lock(), nothing);
        let mut waiting = waiting.unwrap_or_else(PoisonError::into_inner);
        let kill = waiting.kills.pop_front();
        kill.or_else(|| waiting.news.pop_front())
    }

    /// Events that found the queue full.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.0.missed.load(Ordering::Relaxed)
    }
}

impl Drop for Queued {
    fn drop(&mut self) {
        self.0.lock().gone = true;
    }
}

impl Drop for Queue {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.more.notify_all();
    }
}

/// What became of an event that was offered to a queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// It is in the queue.
    Taken,
    /// There was no room; counted.
    Missed,
    /// The output has gone; it has said so itself.
    Gone,
}

impl Queue {
    /// Puts an event into the queue, if there is room.
    #[must_use]
    pub fn push(&self, event: &Arc<Event>) -> Pushed {
        let mut waiting = self.0.lock();
        if waiting.gone {
            return Pushed::Gone;
        }
        let (lane, room) = if event.is_of_kill() {
            (&mut waiting.kills, QUEUE)
        } else {
            (&mut waiting.news, NEWS)
        };
        if lane.len() >= room {
            self.0.missed.fetch_add(1, Ordering::Relaxed);
            return Pushed::Missed;
        }
        lane.push_back(event.clone());
        drop(waiting);
        self.0.more.notify_one();
        Pushed::Taken
    }
}

impl Output for Queue {
    fn offer(&mut self, event: &Arc<Event>) -> bool {
        self.push(event) != Pushed::Gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{ContainerDeletion, Event, OomKill};

    #[test]
    fn a_full_queue_is_counted_and_a_gone_output_forgotten() {
        let mut hub = Hub::default();
        let (queue_of_slow, slow) = queue();
        hub.add(queue_of_slow);
        hub.add(queue().0);
        for _ in 0..QUEUE + 3 {
            hub.publish(Event::OomKill(Box::new(OomKill::for_tests())));
        }
        assert_eq!(slow.missed(), 3);
        assert_eq!(hub.outputs.len(), 1);
        drop(hub);
        assert_eq!(std::iter::from_fn(|| slow.next()).count(), QUEUE);
    }

    #[test]
    fn kills_go_before_news_of_containers_and_find_room_beside_them() {
        let (queue, slow) = queue();
        let news = Arc::new(Event::ContainerDeletion(Box::new(
            ContainerDeletion::for_tests(),
        )));
        let kill = Arc::new(Event::OomKill(Box::new(OomKill::for_tests())));
        for _ in 0..NEWS {
            assert_eq!(queue.push(&news), Pushed::Taken);
        }
        assert_eq!(queue.push(&news), Pushed::Missed);
        assert_eq!(queue.push(&kill), Pushed::Taken);
        assert!(slow.next().is_some_and(|event| event.is_of_kill()));
        drop(queue);
        let rest = std::iter::from_fn(|| slow.next());
        assert_eq!((rest.count(), slow.missed()), (NEWS, 1));
    }
}
