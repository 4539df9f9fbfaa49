//! The ring as a source: records → evidence, gaps in their numbers → losses.
//!
//! What older programs have recorded comes before what ours have. Emits evidence, with its [`RingPlace`]; what
//! stands there stays in the kernel until [`Release`] lets go of it.

use std::{
    collections::VecDeque,
    os::fd::{AsFd as _, BorrowedFd},
    path::{Path, PathBuf},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, Ordering},
    },
};

use aya::{Ebpf, programs::links::FdLink};

use super::{complete::Completer, stack::Symbols};
pub use crate::bpf::generation::KernelStats;
use crate::{
    bpf::{
        decode::Decoded,
        generation::{Generation, Next},
        load::Tier,
        open::{Loaded, Retired},
        pinned,
        pins::Pins,
        ring_map,
    },
    error::chain,
    evidence::{Evidence, RingPlace},
};

const SPAN: u64 = RingPlace::SPAN;

/// The attached programs and their ring, and what others have left.
#[expect(missing_debug_implementations, reason = "aya's maps have none")]
pub struct BpfSource {
    /// Dropping these detaches programs that are not pinned.
    _held: (Option<Ebpf>, Vec<FdLink>),
    /// Dropping it unlocks the pins.
    pins: Option<Pins>,
    generation: Option<String>,
    /// Programs that record no more, the oldest first.
    retired: VecDeque<Generation>,
    own: Generation,
    /// Rings that have been read to their end.
    done: u64,
    release: Release,
    symbols: Arc<OnceLock<Symbols>>,
    completer: Completer,
    /// Whether marks carry nothing but a thread id.
    pid_only: bool,
    page_size: u64,
    overlap: bool,
    /// There were records of before this process.
    inherits: bool,
    /// Records that nobody can read, to be told as lost.
    unreadable: u64,
    /// Of rings that have been read to their end.
    refused: u64,
}

/// Lets go of what has been read, on any thread.
#[derive(Clone, Debug)]
pub struct Release {
    retired: Arc<[RetiredRing]>,
    own: ring_map::Release,
    /// Up to there our own ring may hold what theirs held, too.
    doubled: u64,
}

#[derive(Debug)]
struct RetiredRing {
    release: ring_map::Release,
    dir: PathBuf,
    removed: AtomicBool,
}

impl Release {
    /// Lets go of everything up to this place ([`RingPlace::end`]). Never goes back. An old ring stays until all is
    /// let go of that ours recorded beside it: as long as it is there, a next agent knows that there were two.
    pub fn release(&self, end: u64) {
        let ring = end / SPAN;
        for (number, retired) in (0..).zip(&*self.retired) {
            if number == ring {
                return retired.release.release(end % SPAN);
            }
            retired.release.release(u64::MAX);
        }
        self.own.release(end % SPAN);
        if end % SPAN >= self.doubled {
            self.retired.iter().for_each(RetiredRing::remove);
        }
    }
}

impl RetiredRing {
    fn remove(&self) {
        if self.removed.swap(true, Ordering::Relaxed) {
            return;
        }
        if let Err(error) = pinned::remove(&self.dir) {
            // The next start does it.
            tracing::warn!("{}", chain(&error));
        }
    }
}

impl BpfSource {
    /// Takes over what was loaded. Waits for the symbols: from here on an alert waits for nothing.
    #[must_use]
    pub fn new(loaded: Loaded, symbols: Arc<OnceLock<Symbols>>) -> Self {
        if !symbols.wait().usable() {
            tracing::warn!(
                "kernel symbols are hidden (needs CAP_SYSLOG and kernel.kptr_restrict < 2): a mark \
                 is alerted only when the log or the counter says that it is a kill"
            );
        }
        let own_before = loaded.taken_over && loaded.own.ring.used() > 0;
        let mut others = loaded.retired.iter();
        let inherits = own_before || others.any(|it| it.generation.ring.used() > 0);
        let retired_ring = |retired: &Retired| RetiredRing {
            release: retired.generation.ring.release(),
            dir: retired.dir.clone(),
            removed: AtomicBool::new(false),
        };
        let release = Release {
            retired: loaded.retired.iter().map(retired_ring).collect(),
            own: loaded.own.ring.release(),
            doubled: loaded.own.ring.written(),
        };
        let retired = loaded.retired.into_iter().map(|it| it.generation);
        Self {
            _held: (loaded.ebpf, loaded.links),
            pins: loaded.pins,
            generation: loaded.generation,
            retired: retired.collect(),
            own: loaded.own,
            done: 0,
            release,
            symbols,
            completer: Completer::new(),
            pid_only: matches!(loaded.tier, Tier::Pid(_)),
            page_size: rustix::param::page_size() as u64,
            overlap: loaded.overlap,
            inherits,
            unreadable: loaded.unreadable,
            refused: 0,
        }
    }

    /// Whether there were records of before this process.
    #[must_use]
    pub fn inherits(&self) -> bool {
        self.inherits
    }

    /// What there is to wait on.
    #[must_use]
    pub fn fd(&self) -> BorrowedFd<'_> {
        self.own.ring.as_fd()
    }

    /// The next observation, if there is one.
    pub fn next(&mut self, out: &mut Vec<Evidence>) -> bool {
        let unreadable = std::mem::take(&mut self.unreadable);
        if unreadable > 0 {
            out.push(Evidence::RingGap { lost: unreadable });
            return true;
        }
        while let Some(retired) = self.retired.front_mut() {
            if let Some(next) = retired.next(self.page_size) {
                self.tell(next, out);
                return true;
            }
            let lost = retired.settle();
            self.refused += retired.refused();
            self.done += 1;
            self.retired.pop_front();
            if lost > 0 {
                out.push(Evidence::RingGap { lost });
                return true;
            }
        }
        let Some(next) = self.own.next(self.page_size) else {
            return false;
        };
        self.tell(next, out);
        true
    }

    fn tell(&mut self, next: Next, out: &mut Vec<Evidence>) {
        if next.lost > 0 {
            out.push(Evidence::RingGap { lost: next.lost });
        }
        match next.record {
            Some(Decoded::Mark(mut mark, stack)) => {
                self.symbols.wait().classify(stack.addresses(), &mut mark);
                self.completer.mark(&mut mark);
                out.push(Evidence::Mark(mark));
            }
            Some(Decoded::Decision(mut decision)) => {
                self.completer.decision(&mut decision, self.pid_only);
                out.push(Evidence::Decision(decision));
            }
            // One that was refused has been counted.
            Some(Decoded::SelfCheck(_)) | None => {}
        }
    }

    /// Where the last record was that [`Self::next`] took; its number is that of our own ring's.
    #[must_use]
    pub fn place(&self) -> RingPlace {
        let ring = self.retired.front().unwrap_or(&self.own);
        RingPlace {
            end: self.done * SPAN + ring.ring.end(),
            seq: self.own.last_seq(),
        }
    }

    /// What lets go of records: until then they stay in the kernel, and whoever comes next takes them again.
    #[must_use]
    pub fn release(&self) -> Release {
        self.release.clone()
    }

    /// Bytes of the ring that nobody has let go of.
    #[must_use]
    pub fn used(&self) -> u64 {
        self.own.ring.used()
    }

    /// Bytes that the ring has room for.
    #[must_use]
    pub fn capacity(&self) -> u64 {
        self.own.ring.capacity()
    }

    /// Which pinned programs it reads; `None` without pins.
    #[must_use]
    pub fn generation(&self) -> Option<&str> {
        self.generation.as_deref()
    }

    /// Where the programs are pinned, and so go on recording without this process.
    #[must_use]
    pub fn pinned(&self) -> Option<&Path> {
        let pins = self.pins.as_ref().filter(|_| self.generation.is_some());
        pins.map(Pins::dir)
    }

    /// Whether programs of two generations may have recorded the same.
    #[must_use]
    pub fn overlap(&self) -> bool {
        self.overlap
    }

    /// Losses at the end of the numbering, which no later record has shown yet.
    pub fn settle(&mut self, out: &mut Vec<Evidence>) {
        let lost = self.own.settle();
        if lost > 0 {
            out.push(Evidence::RingGap { lost });
        }
    }

    /// The kernel side's counters, of our own programs.
    #[must_use]
    pub fn kernel_stats(&self) -> KernelStats {
        self.own.kernel_stats()
    }

    /// Records that could not be decoded.
    #[must_use]
    pub fn refused(&self) -> u64 {
        self.refused + self.own.refused()
    }
}
