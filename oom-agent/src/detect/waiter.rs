//! One thread that waits for the ring, and what it waits with.

use std::{
    io,
    os::fd::OwnedFd,
    sync::{PoisonError, TryLockError, atomic::Ordering::Relaxed},
};

use rustix::{
    event::epoll,
    time::{
        Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create,
        timerfd_settime,
    },
};

use super::Shared;
use crate::evidence::Evidence;

const RING: u64 = 0;
const INBOX: u64 = 1;
const TIMER: u64 = 2;
const STOP: u64 = 3;

/// An epoll of its own on the shared descriptors.
#[derive(Debug)]
pub(super) struct Waiter {
    epoll: OwnedFd,
    /// Only one waiter minds inbox and deadlines: nobody else need wake up for them.
    timer: Option<OwnedFd>,
}

impl Waiter {
    pub(super) fn new(shared: &Shared, minds_time: bool) -> io::Result<Self> {
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let add = |fd: &dyn std::os::fd::AsFd, token: u64, flags| {
            epoll::add(&epoll, fd.as_fd(), epoll::EventData::new_u64(token), flags)
        };
        // Edge-triggered: whoever finds the ring empty goes back to sleep without another round.
        let edge = epoll::EventFlags::IN | epoll::EventFlags::ET;
        {
            let core = shared.core.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(bpf) = core.ring() {
                add(&bpf.fd(), RING, edge)?;
            }
        }
        add(&shared.stop, STOP, epoll::EventFlags::IN)?;
        let timer = if minds_time {
            let flags = TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK;
            let timer = timerfd_create(TimerfdClockId::Monotonic, flags)?;
            add(&timer, TIMER, edge)?;
            add(&shared.wake, INBOX, edge)?;
            Some(timer)
        } else {
            None
        };
        Ok(Self { epoll, timer })
    }

    pub(super) fn run(self, shared: &Shared) {
        let mut events = Vec::with_capacity(8);
        let mut armed_for = u64::MAX;
        loop {
            armed_for = self.work(shared, armed_for);
            events.clear();
            match epoll::wait(
                &self.epoll,
                rustix::buffer::spare_capacity(&mut events),
                None,
            ) {
                Ok(_) | Err(rustix::io::Errno::INTR) => {}
                Err(error) => {
                    tracing::error!("epoll: {error}; this detection thread ends");
                    return;
                }
            }
            if events.iter().any(|event| event.data.u64() == STOP) {
                return;
            }
        }
    }

    /// Takes what there is. The waiter that minds time also takes the inbox and sets the timer.
    fn work(&self, shared: &Shared, armed_for: u64) -> u64 {
        let mut core = shared.core.lock().unwrap_or_else(PoisonError::into_inner);
        core.drain_ring();
        let Some(timer) = &self.timer else {
            // A mark may have opened an instance: the other waiter must learn of its deadline.
            let pending = !core.is_quiet();
            drop(core);
            if pending {
                super::signal(&shared.wake);
            }
            return armed_for;
        };
        core.take(shared.inbox());
        let next = core.turn();
        let tally = shared.desk.is_asked().then(|| core.tally_now());
        drop(core);
        if let Some(tally) = tally {
            shared.desk.answer(&tally);
        }
        shared.turns.fetch_add(1, Relaxed);
        if next != armed_for
            && let Err(error) = arm(timer, next)
        {
            tracing::error!("timer: {error}");
        }
        next
    }
}

impl Shared {
    /// What other sources have put there. Nothing if one of them is at it: its thread may have lost its CPU
    /// to a killer, and it wakes us once it is done.
    fn inbox(&self) -> Vec<Evidence> {
        let mut inbox = match self.inbox.try_lock() {
            Ok(inbox) => inbox,
            Err(TryLockError::Poisoned(inbox)) => inbox.into_inner(),
            Err(TryLockError::WouldBlock) => return Vec::new(),
        };
        std::mem::take(&mut *inbox)
    }
}

fn arm(timer: &OwnedFd, at_ns: u64) -> rustix::io::Result<()> {
    let at = Timespec {
        tv_sec: i64::try_from(at_ns / 1_000_000_000).unwrap_or(i64::MAX),
        // Zero would disarm the timer.
        tv_nsec: i64::try_from(at_ns % 1_000_000_000).unwrap_or(0).max(1),
    };
    let once = Itimerspec {
        it_interval: Timespec::default(),
        it_value: at,
    };
    timerfd_settime(timer, TimerfdTimerFlags::ABSTIME, &once).map(drop)
}
