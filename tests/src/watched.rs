//! What another thread changes and a test waits for.
//!
//! Refuses to wait without a deadline.

use std::{
    sync::{Condvar, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

/// A value, and who waits for it to be so.
#[derive(Debug, Default)]
pub(crate) struct Watched<T> {
    value: Mutex<T>,
    changed: Condvar,
}

impl<T> Watched<T> {
    /// To look at it, or to change what nobody waits for.
    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes it, and wakes who waits.
    pub(crate) fn change<R>(&self, change: impl FnOnce(&mut T) -> R) -> R {
        let changed = change(&mut self.lock());
        self.changed.notify_all();
        changed
    }

    /// Waits until it is so; what it is then, and whether it is so.
    pub(crate) fn wait(
        &self,
        timeout: Duration,
        mut is_so: impl FnMut(&T) -> bool,
    ) -> (MutexGuard<'_, T>, bool) {
        let waited = self
            .changed
            .wait_timeout_while(self.lock(), timeout, |value| !is_so(value));
        let (value, result) = waited.unwrap_or_else(PoisonError::into_inner);
        (value, !result.timed_out())
    }
}
