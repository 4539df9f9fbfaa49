//! What a watch of the tree of memory cgroups tells, whatever it watches with, before anybody has looked on disk.

use std::sync::Arc;

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
