//! What wakes up a thread of a source that sleeps until there is something to do.
//!
//! Emits readiness of a descriptor (eventfd(2)), which [`poll`](rustix::event::poll) and epoll wait for. Who rings never
//! waits.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use rustix::{
    event::{EventfdFlags, Timespec, eventfd},
    io::Errno,
};

/// Readable once it has been rung, until it is [`Bell::heard`].
#[derive(Debug)]
pub(super) struct Bell(OwnedFd);

impl Bell {
    pub(super) fn new() -> io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Self(eventfd(0, flags)?))
    }

    pub(super) fn ring(&self) {
        // Fails only if the counter is full: then it is readable anyway.
        let _ = rustix::io::write(&self.0, &1_u64.to_ne_bytes());
    }

    /// Takes it back; to be called before what it was rung for is taken.
    pub(super) fn heard(&self) -> rustix::io::Result<()> {
        match rustix::io::read(&self.0, &mut [0_u8; 8]) {
            Ok(_) | Err(Errno::AGAIN | Errno::INTR) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

impl AsFd for Bell {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// So many nanoseconds, as system calls want them.
pub(super) fn timespec(ns: u64) -> Timespec {
    Timespec {
        tv_sec: i64::try_from(ns / 1_000_000_000).unwrap_or(i64::MAX),
        tv_nsec: i64::try_from(ns % 1_000_000_000).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use rustix::event::{PollFd, PollFlags, poll};

    use super::*;

    #[test]
    fn it_is_readable_until_it_is_heard() {
        let bell = Bell::new().unwrap();
        let is_rung = || {
            let mut fds = [PollFd::new(&bell, PollFlags::IN)];
            poll(&mut fds, Some(&timespec(0))).unwrap() == 1
        };
        assert!(!is_rung());
        bell.ring();
        bell.ring();
        assert!(is_rung());
        bell.heard().unwrap();
        assert!(!is_rung());
        bell.heard().unwrap();
    }
}
