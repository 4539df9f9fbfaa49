//! The tree of memory cgroups: which come and go, and what their runtimes call them.
//!
//! `thread` runs it: changes come (`watch`) from the kernel's tracepoints (`source::bpf::cgroups`), else from
//! `inotify`, else nothing but scans is left. `walk` finds what is there when `schedule` says so, `core` makes evidence of
//! it all, `pending` says when to look for names once more, `asks` takes the questions of others.
//! `names` knows what runtimes leave on disk. Emits [`crate::evidence::CgroupEvidence`]. Refuses to
//! read memory counters, and to say whose a path is.

mod asks;
mod core;
mod inotify;
pub mod names;
mod pending;
mod schedule;
mod thread;
mod tree;
mod walk;
mod watch;

use std::sync::Arc;

pub use asks::Asks;
pub use core::{Counts, Lookups};
pub use thread::{CgroupThread, Options};
pub use watch::attach;

/// Something that happened to the tree.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Change {
    /// A cgroup was made.
    Made {
        /// Path from the root of the hierarchy.
        path: Arc<str>,
        /// kernfs id.
        id: u64,
        /// `CLOCK_MONOTONIC`.
        monotonic_ns: u64,
    },
    /// A cgroup was removed.
    Removed {
        /// Its path.
        path: Arc<str>,
        /// kernfs id.
        id: u64,
        /// `CLOCK_MONOTONIC`.
        monotonic_ns: u64,
    },
    /// A cgroup has another name.
    Renamed {
        /// Its path before, where the watch knows it.
        from: Option<Arc<str>>,
        /// Its path now.
        path: Arc<str>,
        /// kernfs id.
        id: u64,
        /// `CLOCK_MONOTONIC`.
        monotonic_ns: u64,
    },
    /// Changes were lost, or cannot be told.
    Lost {
        /// How many, where that is known.
        events: Option<u64>,
    },
}
