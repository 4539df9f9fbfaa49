//! How long to wait before the next try: twice as long each time, spread, and as the other end asks.
//!
//! Takes the number of tries and a random number; emits a pause. Has no clock.

use std::{
    hash::{BuildHasher as _, Hasher as _, RandomState},
    time::Duration,
};

/// Before the second try, about.
const FIRST: Duration = Duration::from_millis(500);

/// Before any other, at most, unless the other end asks for more.
const MOST: Duration = Duration::from_mins(1);

/// What the other end may ask for: beyond this it is looked at all the same.
const ASKED_AT_MOST: Duration = Duration::from_mins(10);

/// Tries that failed one after the other.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failed: u32,
}

impl Backoff {
    /// It went well.
    pub(super) const fn reset(&mut self) {
        self.failed = 0;
    }

    /// Whether the last try went well.
    pub(super) const fn is_reset(&self) -> bool {
        self.failed == 0
    }

    /// It failed: how long to wait.
    pub(super) fn pause(&mut self, asked: Option<Duration>) -> Duration {
        // Each hasher has random keys of its own.
        let chance = RandomState::new().build_hasher().finish();
        let pause = spread(self.failed, chance);
        self.failed = self.failed.saturating_add(1);
        pause.max(asked.unwrap_or_default().min(ASKED_AT_MOST))
    }
}

/// From half of the full pause to all of it: a thousand nodes must not come back at once.
fn spread(failed: u32, chance: u64) -> Duration {
    let full = FIRST.saturating_mul(1 << failed.min(16)).min(MOST);
    let half = full / 2;
    let thousandths = u32::try_from(chance % 1001).unwrap_or(0);
    half + half * thousandths / 1000
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pauses_grow_and_are_bounded(failed: u32, chance: u64) {
            let pause = spread(failed, chance);
            prop_assert!(pause >= FIRST / 2 && pause <= MOST);
            prop_assert!(spread(failed.saturating_add(1), 1000) >= pause);
        }
    }

    #[test]
    fn what_is_asked_for_is_granted_within_reason() {
        let mut backoff = Backoff::default();
        let asked = Duration::from_secs(90);
        assert_eq!(backoff.pause(Some(asked)), asked);
        assert_eq!(backoff.pause(Some(Duration::MAX)), ASKED_AT_MOST);
        assert!(backoff.pause(None) <= FIRST * 4);
        backoff.reset();
        assert!(backoff.pause(None) <= FIRST);
    }
}
