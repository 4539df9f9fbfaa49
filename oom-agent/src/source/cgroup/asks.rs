//! Questions to the watch: somebody needs the names of a cgroup now.
//!
//! Whoever asks never waits: a full queue says no.

use std::{
    fmt, io,
    os::fd::{AsFd as _, BorrowedFd},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
};

use crate::source::bell::Bell;

/// Questions that may wait for an answer.
const ROOM: usize = 256;

/// Asks the watch for names.
#[derive(Clone)]
pub struct Asks {
    queue: SyncSender<Ask>,
    shared: Arc<Shared>,
}

impl fmt::Debug for Asks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Asks").finish_non_exhaustive()
    }
}

struct Shared {
    bell: Bell,
    refused: AtomicU64,
}

/// One question.
#[derive(Debug)]
pub(super) struct Ask {
    pub(super) path: Arc<str>,
    pub(super) id: Option<u64>,
}

/// The watch's end.
pub(super) struct Asked {
    queue: Receiver<Ask>,
    shared: Arc<Shared>,
}

/// Both ends.
pub(super) fn channel() -> io::Result<(Asks, Asked)> {
    let (sender, receiver) = sync_channel(ROOM);
    let shared = Arc::new(Shared {
        bell: Bell::new()?,
        refused: AtomicU64::new(0),
    });
    let asks = Asks {
        queue: sender,
        shared: shared.clone(),
    };
    let queue = receiver;
    Ok((asks, Asked { queue, shared }))
}

impl Asks {
    /// Wants [`crate::evidence::KnownCgroup`] for this path, as
    /// [`LookedUp`](crate::evidence::Found::LookedUp), also where nothing is known of it. Never waits;
    /// false if too many questions are open, or the watch has ended.
    #[must_use]
    pub fn ask(&self, path: &Arc<str>, id: Option<u64>) -> bool {
        let path = path.clone();
        if self.queue.try_send(Ask { path, id }).is_err() {
            self.shared.refused.fetch_add(1, Ordering::Relaxed);
            return false;
        }
        self.shared.bell.ring();
        true
    }
}

/// Wakes the watch up, for what is no question.
pub(super) struct Waker(Arc<Shared>);

impl Waker {
    pub(super) fn wake(&self) {
        self.0.bell.ring();
    }
}

impl Asked {
    /// The next question.
    pub(super) fn next(&self) -> Option<Ask> {
        self.queue.try_recv().ok()
    }

    /// Readable when there may be questions.
    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.shared.bell.as_fd()
    }

    /// For whoever has something else for the watch.
    pub(super) fn waker(&self) -> Waker {
        Waker(self.shared.clone())
    }

    /// Takes the wake-up back; to be called before the questions are taken.
    pub(super) fn woken(&self) {
        if let Err(error) = self.shared.bell.heard() {
            tracing::debug!("eventfd: {error}");
        }
    }

    /// Questions for which there was no room.
    pub(super) fn refused(&self) -> u64 {
        self.shared.refused.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_queue_says_no_and_counts() {
        let (asks, asked) = channel().unwrap();
        let path: Arc<str> = "/a".into();
        for _ in 0..ROOM {
            assert!(asks.ask(&path, None));
        }
        assert!(!asks.ask(&path, Some(1)));
        assert_eq!(asked.refused(), 1);
        asked.woken();
        assert_eq!(asked.next().unwrap().id, None);
        assert!(asks.ask(&path, Some(2)));
    }
}
