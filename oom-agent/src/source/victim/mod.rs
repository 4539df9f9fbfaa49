//! Waiting for victims to end: by pidfd wherever the kernel has them (5.3+), and by BPF where that can be had.
//!
//! Reads the ring of [`crate::bpf::ends`], a pidfd for each victim, and `/proc` of those that do not end
//! in time; emits [`crate::evidence::VictimEvidence`]. Refuses to watch a process that only has the number of the
//! victim.

mod process;
mod thread;

pub use process::own_start_ns;
pub use thread::{Counters, VictimThread, Watcher};
