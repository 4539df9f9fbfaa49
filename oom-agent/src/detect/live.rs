//! What has been counted so far, while detection runs.
//!
//! Reads what a detection thread lays down when it is asked; emits a [`Tally`], or nothing if none of them
//! turns. Refuses to hold them up: the lock is only tried there, and what costs something is done only for
//! whoever asks.

use std::{
    sync::{
        Arc, Condvar, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering::Relaxed},
    },
    time::{Duration, Instant},
};

use super::{Shared, Tally, signal};

/// Detection is asked again after this long.
const AGAIN: Duration = Duration::from_millis(50);

/// Asks detection what it has counted. Clones ask the same.
#[derive(Clone, Debug)]
pub struct Live(pub(super) Arc<Shared>);

/// Where the answer is laid down.
#[derive(Debug, Default)]
pub(super) struct Desk {
    asked: AtomicBool,
    answer: Mutex<Answer>,
    answered: Condvar,
}

#[derive(Debug, Default)]
struct Answer {
    number: u64,
    tally: Tally,
}

impl Live {
    /// What has been counted up to now; `None` if detection does not turn in time.
    #[must_use]
    pub fn tally(&self, at_most: Duration) -> Option<Tally> {
        let deadline = Instant::now() + at_most;
        let desk = &self.0.desk;
        let answer = || desk.answer.lock().unwrap_or_else(PoisonError::into_inner);
        let before = answer().number;
        loop {
            // Not under the lock: who is woken by it runs at once, and would find it taken.
            desk.asked.store(true, Relaxed);
            signal(&self.0.wake);
            let left = deadline.checked_duration_since(Instant::now())?;
            let none = |answer: &mut Answer| answer.number == before;
            let waited = (desk.answered).wait_timeout_while(answer(), AGAIN.min(left), none);
            let (answer, _) = waited.unwrap_or_else(PoisonError::into_inner);
            if answer.number != before {
                return Some(answer.tally);
            }
        }
    }
}

impl Desk {
    /// Whether somebody wants to know; to be answered then.
    pub(super) fn is_asked(&self) -> bool {
        self.asked.swap(false, Relaxed)
    }

    pub(super) fn answer(&self, tally: &Tally) {
        // Who asks holds it for a moment, and asks again.
        if let Ok(mut answer) = self.answer.try_lock() {
            answer.number += 1;
            answer.tally = *tally;
            drop(answer);
            self.answered.notify_all();
        }
    }
}
