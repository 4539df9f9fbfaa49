//! Evidence: what one source saw, before anyone compares it with the other.
//!
//! Emitted by `source::{bpf,kmsg,audit,memory,victim}` and read by `correlate`; by `source::cgroup` and read by
//! `attribute`. A source turns bytes into these values and knows nothing of other sources; what it
//! could not read is `None`. Here too is what a source is asked for ([`Wish`], [`Watch`], [`Lookup`]), for it must not
//! know who asks.

mod bpf;
mod cgroup;
mod change;
mod kmsg;
mod memory;
mod place;
mod victim;
mod wish;

use serde::{Deserialize, Serialize};

pub use self::{
    bpf::{Asker, Charge, Decision, Level, Mark, Verdict},
    cgroup::{CgroupEvidence, Found, KnownCgroup, Lookup, Names, PodNames, Unreadable},
    change::Change,
    kmsg::{KmsgEnd, KmsgEvidence, KmsgKill, KmsgReport},
    memory::MemoryEvidence,
    place::RingPlace,
    victim::VictimEvidence,
    wish::{Watch, Wish},
};

/// One observation of one source.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub enum Evidence {
    /// BPF: the kernel decided on a victim (entry of `oom_kill_process`).
    Decision(Box<Decision>),
    /// BPF: the kernel marked a task as an OOM victim (`oom:mark_victim`).
    Mark(Box<Mark>),
    /// BPF: records that the ring had no room for, known from a gap in their numbers.
    RingGap {
        /// How many.
        lost: u64,
    },
    /// The kernel log.
    Kmsg(KmsgEvidence),
    /// The kernel log: its records up to this one have become evidence, or said nothing.
    LogRead {
        /// Its number.
        through: u64,
    },
    /// `/proc/vmstat oom_kill`: all kills since boot.
    Counter {
        /// Its value.
        oom_kill: u64,
        /// When it was read, `CLOCK_MONOTONIC`.
        read_ns: u64,
    },
    /// A source came up, went down or never was.
    SourceState {
        /// Which.
        source: Feed,
        /// Whether it delivers now.
        up: bool,
    },
    /// The tree of memory cgroups, and whose they are.
    Cgroup(Box<CgroupEvidence>),
    /// What the memory of a decision's cgroup did, and was right after it.
    Memory(Box<MemoryEvidence>),
    /// What becomes of a victim.
    Victim(Box<VictimEvidence>),
    /// Of a journal alone: an agent went on here with what was pending, and gave it all its time again.
    Resumed,
}

/// What reports wait for, as long as it is up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Feed {
    /// The eBPF programs.
    Bpf,
    /// The kernel log.
    Kmsg,
    /// The flight recorder.
    Memory,
    /// Who waits for victims to end.
    Victims,
}
