//! The flight recorder, and readings right after a kill.
//!
//! Reads the memory cgroups' files and `/proc`; emits [`MemoryEvidence`](crate::evidence::MemoryEvidence)
//! when asked ([`Wish`](crate::evidence::Wish)). Refuses more than it has room for, and counts that.
//!
//! ```text
//!  watch of cgroups ─ news ──▶ thread ─▶ roster     which cgroups are recorded     (pure)
//!  correlator ─────── wish ──▶ (queues)  recording  reads what is due              (I/O)
//!                                │         schedule   when, and how much           (pure)
//!                                │         history    the last two minutes         (pure)
//!                                ◀─ answer ── crate::trend, files, processes, meminfo, top
//! ```

mod answer;
mod files;
pub mod history;
pub mod meminfo;
pub mod parse;
pub mod probe;
pub mod processes;
mod recording;
pub mod roster;
pub mod schedule;
#[cfg(test)]
mod tests;
pub mod thread;
mod top;

pub use thread::{Counters, MemoryThread, Recorder};
