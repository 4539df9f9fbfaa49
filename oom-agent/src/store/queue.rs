//! From detection to the store thread, without waiting.
//!
//! Takes [`Entry`]s on the detection threads; emits batches in their order. Three lanes, each with its
//! bound: evidence, events of kills, news of containers, so that no flood of the one costs the others
//! their room. Refuses to hold up detection: evidence without room is a hole in the journal, events
//! without room cost the oldest of their lane; both are counted.

use std::{
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    RingPlace,
    entry::Entry,
    lane::weight,
    lanes::{Lanes, Lost, Observed},
};

/// News of containers are gathered for this long.
const NEWS_WAIT: Duration = Duration::from_millis(100);

/// Positions are written with the next batch, or after this long: reading a little of the log once more
/// costs nothing.
const POSITIONS_WAIT: Duration = Duration::from_secs(5);

/// Lets the ring go up to here: bytes that have gone through it. Never waits.
pub type Release = Box<dyn Fn(u64) + Send + Sync>;

/// Between the threads.
pub(super) struct Shared {
    waiting: Mutex<Waiting>,
    more: Condvar,
    release: Release,
    /// Bytes of the ring that may wait for the disk.
    ring_room: u64,
    snapshot_wanted: AtomicBool,
}

#[derive(Debug)]
struct Waiting {
    lanes: Lanes,
    order: u64,
    /// When what is there must be taken.
    due: Option<Instant>,
    sleep: Sleep,
    closed: bool,
    lost: Lost,
    /// How far the ring has been let go, or was when the first record came.
    released: Option<u64>,
    /// Records that have not, and the number of the last.
    unreleased: u64,
    offered_seq: u64,
}

/// What the store thread does.
#[derive(Clone, Copy, Debug)]
enum Sleep {
    Awake,
    Until(Instant),
    UntilWoken,
}

impl std::fmt::Debug for Shared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Shared").finish_non_exhaustive()
    }
}

impl Shared {
    pub(super) fn new(release: Release, ring_room: u64) -> Arc<Self> {
        Arc::new(Self {
            waiting: Mutex::new(Waiting {
                lanes: Lanes::default(),
                order: 0,
                due: None,
                sleep: Sleep::Awake,
                closed: false,
                lost: Lost::default(),
                released: None,
                unreleased: 0,
                offered_seq: 0,
            }),
            more: Condvar::new(),
            release,
            ring_room,
            snapshot_wanted: AtomicBool::new(false),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn lost(&self) -> Lost {
        self.lock().lost
    }

    pub(super) fn offer(&self, entry: Entry) {
        let bytes = weight(&entry);
        let mut waiting = self.lock();
        waiting.order += 1;
        let wait = waiting.put(entry, bytes);
        let due = Instant::now() + wait;
        waiting.due = Some(waiting.due.map_or(due, |before| before.min(due)));
        let early = waiting.release_early(self.ring_room);
        drop(waiting);
        if let Some(end) = early {
            (self.release)(end);
        }
    }

    pub(super) fn wake(&self) {
        let waiting = self.lock();
        let overslept = match (waiting.sleep, waiting.due) {
            (Sleep::UntilWoken, Some(_)) => true,
            (Sleep::Until(until), Some(due)) => due < until,
            _ => false,
        };
        drop(waiting);
        if overslept {
            self.more.notify_one();
        }
    }

    /// What is in the ring up to here is no longer needed there.
    pub(super) fn release(&self, ring: RingPlace) {
        let mut waiting = self.lock();
        if waiting.released.is_none_or(|released| released < ring.end) {
            waiting.released = Some(ring.end);
            waiting.unreleased = waiting.offered_seq.saturating_sub(ring.seq);
        }
        drop(waiting);
        (self.release)(ring.end);
    }

    /// The next quiet moment is to be told, also if nothing has come since the last.
    pub(super) fn want_snapshot(&self) {
        self.snapshot_wanted.store(true, Ordering::Relaxed);
    }

    /// Whether something waits that must be written now.
    pub(super) fn is_due(&self) -> bool {
        let waiting = self.lock();
        waiting.closed || waiting.due.is_some_and(|due| due <= Instant::now())
    }

    /// Waits until something must be written, or for this long at most, and swaps what is there for the
    /// empty lanes it is given. True once detection has ended.
    pub(super) fn take(&self, lanes: &mut Lanes, until: Option<Instant>) -> bool {
        let mut waiting = self.lock();
        loop {
            let now = Instant::now();
            let wake = [waiting.due, until].into_iter().flatten().min();
            if waiting.closed || wake.is_some_and(|wake| wake <= now) {
                break;
            }
            waiting.sleep = wake.map_or(Sleep::UntilWoken, Sleep::Until);
            waiting = match wake {
                None => self
                    .more
                    .wait(waiting)
                    .unwrap_or_else(PoisonError::into_inner),
                Some(wake) => {
                    let woken = self.more.wait_timeout(waiting, wake - now);
                    woken.unwrap_or_else(PoisonError::into_inner).0
                }
            };
            waiting.sleep = Sleep::Awake;
        }
        std::mem::swap(lanes, &mut waiting.lanes);
        waiting.due = None;
        waiting.closed
    }
}

/// Detection's end of the queue.
#[derive(Debug)]
pub struct Offer(pub(super) Arc<Shared>);

impl Offer {
    /// Takes an entry; never waits, and wakes nobody: see [`Offer::wake`].
    pub fn offer(&self, entry: Entry) {
        self.0.offer(entry);
    }

    /// Whether the store has no snapshot that a start could begin with. Says so once for each time that it
    /// finds it has none.
    #[must_use]
    pub fn wants_snapshot(&self) -> bool {
        self.0.snapshot_wanted.swap(false, Ordering::Relaxed)
    }

    /// Wakes the store thread if there is something to do for it. Called once all outputs have what came
    /// of the entries: an alert does not wait for the waking of another thread.
    pub fn wake(&self) {
        self.0.wake();
    }
}

impl Drop for Offer {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.more.notify_one();
    }
}

impl Waiting {
    /// Puts an entry where it belongs; gives the time that it may wait.
    fn put(&mut self, entry: Entry, bytes: usize) -> Duration {
        let order = self.order;
        let lanes = &mut self.lanes;
        let (wait, observed) = match entry {
            Entry::Event(event) => {
                let wait = if event.is_of_kill() {
                    Duration::ZERO
                } else {
                    NEWS_WAIT
                };
                let (kills, news) = lanes.push_event(order, event);
                self.lost.kills += kills;
                self.lost.news += news;
                return wait;
            }
            Entry::LogRead { through } => {
                lanes.log_read = Some(through);
                return POSITIONS_WAIT;
            }
            Entry::Backfilled => {
                lanes.backfilled = true;
                return POSITIONS_WAIT;
            }
            Entry::Delivered(delivered) => {
                lanes.put_delivered(delivered);
                return POSITIONS_WAIT;
            }
            Entry::Evidence {
                evidence,
                now,
                ring,
            } => {
                if let Some(place) = ring {
                    lanes.ring = ring;
                    self.offered_seq = place.seq;
                    self.unreleased += 1;
                }
                (Duration::ZERO, Observed::Evidence(evidence, now, ring))
            }
            Entry::Quiet(snapshot) => (POSITIONS_WAIT, Observed::Quiet(snapshot)),
        };
        let counts = u64::from(matches!(observed, Observed::Evidence(..)));
        if !lanes.push_observed(order, bytes, observed) {
            self.lost.evidence += counts;
        }
        wait
    }

    /// The ring must not overflow because a disk is slow: what has been read of it lives here as well.
    fn release_early(&mut self, room: u64) -> Option<u64> {
        let end = self.lanes.ring?.end;
        let first = *self.released.get_or_insert(end);
        // How much of a ring was read before its first record here is not known; of a ring before it nothing
        // counts, for nobody writes there any more.
        if first / RingPlace::SPAN < end / RingPlace::SPAN {
            self.released = Some(end);
            return None;
        }
        if end.saturating_sub(first) <= room {
            return None;
        }
        self.released = Some(end);
        self.lost.early += std::mem::take(&mut self.unreleased);
        Some(end)
    }
}

#[cfg(test)]
#[path = "queue_tests.rs"]
mod tests;
