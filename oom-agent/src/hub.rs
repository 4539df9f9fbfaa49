//! From detection to the outputs.
//!
//! Takes events from the detection threads and offers each to every output, which must take it
//! without waiting: at once or into a bounded queue. An output that could not is counted, never
//! waited for.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
    mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
};

use crate::event::Event;

/// Events that an output may lag behind: some storms' worth.
pub(crate) const QUEUE: usize = 16 * 1024;

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
pub struct Queue {
    sender: SyncSender<Arc<Event>>,
    missed: Arc<AtomicU64>,
}

/// The output's end of a bounded queue.
#[derive(Debug)]
pub struct Queued {
    /// Events in the order of detection; ends when the hub is dropped.
    pub events: Receiver<Arc<Event>>,
    missed: Arc<AtomicU64>,
}

impl Queued {
    /// Events that found the queue full.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}

/// A new queue.
#[must_use]
pub fn queue() -> (Queue, Queued) {
    let (sender, events) = sync_channel(QUEUE);
    let missed = Arc::new(AtomicU64::new(0));
    (
        Queue {
            sender,
            missed: missed.clone(),
        },
        Queued { events, missed },
    )
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
        match self.sender.try_send(event.clone()) {
            Ok(()) => Pushed::Taken,
            Err(TrySendError::Full(_)) => {
                self.missed.fetch_add(1, Ordering::Relaxed);
                Pushed::Missed
            }
            Err(TrySendError::Disconnected(_)) => Pushed::Gone,
        }
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
    use crate::event::{Event, OomKill};

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
        assert_eq!(slow.events.try_iter().count(), QUEUE);
        assert_eq!(hub.outputs.len(), 1);
    }
}
