//! From detection to the outputs.
//!
//! Takes events from the detection threads and hands each to every output's bounded queue. Never
//! waits: an output whose queue is full misses the event, and that is counted.

use std::sync::{
    Arc,
    atomic::{AtomicU64, Ordering},
    mpsc::{Receiver, SyncSender, TrySendError, sync_channel},
};

use crate::event::Event;

/// Events that an output may lag behind: some storms' worth.
const QUEUE: usize = 16 * 1024;

/// One output's end of the hub.
#[derive(Debug)]
pub struct Subscription {
    /// Events in the order of detection; ends when the hub is dropped.
    pub events: Receiver<Arc<Event>>,
    /// Events that this output missed because it was too slow.
    pub missed: Arc<AtomicU64>,
}

/// Hands events to outputs.
#[derive(Debug, Default)]
pub struct Hub {
    outputs: Vec<(SyncSender<Arc<Event>>, Arc<AtomicU64>)>,
}

impl Hub {
    /// A new output.
    pub fn subscribe(&mut self) -> Subscription {
        let (sender, events) = sync_channel(QUEUE);
        let missed = Arc::new(AtomicU64::new(0));
        self.outputs.push((sender, missed.clone()));
        Subscription { events, missed }
    }

    /// Hands over one event.
    pub fn publish(&mut self, event: Event) {
        let event = Arc::new(event);
        self.outputs
            .retain(|(sender, missed)| match sender.try_send(event.clone()) {
                Ok(()) => true,
                Err(TrySendError::Full(_)) => {
                    missed.fetch_add(1, Ordering::Relaxed);
                    true
                }
                // The output has gone; it has said so itself.
                Err(TrySendError::Disconnected(_)) => false,
            });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, OomKill};

    #[test]
    fn a_full_queue_is_counted_and_a_gone_output_forgotten() {
        let mut hub = Hub::default();
        let slow = hub.subscribe();
        drop(hub.subscribe());
        for _ in 0..QUEUE + 3 {
            hub.publish(Event::OomKill(Box::new(OomKill::for_tests())));
        }
        assert_eq!(slow.missed.load(Ordering::Relaxed), 3);
        assert_eq!(slow.events.try_iter().count(), QUEUE);
        assert_eq!(hub.outputs.len(), 1);
    }
}
