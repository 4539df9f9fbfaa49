//! What the watch of cgroups saw, and what runtimes have left on disk about them.
//!
//! Emitted by `source::cgroup`; read by `attribute`, and by the flight recorder.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::event::Runtime;

/// One thing that the watch of cgroups saw or found out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum CgroupEvidence {
    /// A cgroup is there, or was when it was looked at.
    Known(KnownCgroup),
    /// A cgroup was removed.
    Removed {
        /// Its path.
        path: Arc<str>,
        /// kernfs id.
        id: Option<u64>,
        /// `CLOCK_MONOTONIC`.
        monotonic_ns: u64,
        /// Of the container that it was, where its runtime leaves that on disk.
        exit_code: Option<i32>,
    },
    /// A cgroup, with all below it, has another name (version 1 only).
    Renamed {
        /// Its path before.
        from: Arc<str>,
        /// Its path now.
        path: Arc<str>,
        /// kernfs id.
        id: Option<u64>,
        /// `CLOCK_MONOTONIC`.
        monotonic_ns: u64,
    },
    /// A scan of the whole tree is complete: what it did not find was removed, if it was known before.
    Scanned {
        /// When the scan began, `CLOCK_MONOTONIC`.
        began_ns: u64,
    },
    /// Events of the watch were lost; a scan follows.
    Lost {
        /// How many; `None` if that is not known either.
        events: Option<u64>,
    },
}

/// A cgroup of the memory controller's hierarchy.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct KnownCgroup {
    /// Path from the root of the hierarchy, as the kernel prints it.
    pub path: Arc<str>,
    /// kernfs id; unknown only where somebody asked for a path that was gone.
    pub id: Option<u64>,
    /// Version of the hierarchy.
    pub version: u8,
    /// `CLOCK_MONOTONIC`: when it was made, or, if that was not seen, looked at.
    pub monotonic_ns: u64,
    /// How it came to be known.
    pub found: Found,
    /// What its runtime has left on disk about it.
    pub lookup: Lookup,
}

/// How a cgroup came to be known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Found {
    /// Its creation was seen.
    Created,
    /// By the scan at the start.
    AtStart,
    /// By a scan after events had been lost.
    Late,
    /// It was known, or asked for, and looked up once more.
    LookedUp,
}

/// What was found on disk about a cgroup's owner.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Lookup {
    /// Not looked for: the path says all.
    NotNeeded,
    /// Nothing there. It may come: some runtimes write only after they have made the cgroup.
    Absent,
    /// Something is there, and cannot be used.
    Unreadable(Unreadable),
    /// Found.
    Found(Arc<Names>),
}

/// Why a runtime's file is not used. Each is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Unreadable {
    /// Permission denied, or an error of the disk.
    Refused,
    /// Not a regular file, or reached through a link that leads out of its place.
    NotAFile,
    /// Larger than any runtime writes.
    TooLarge,
    /// Not JSON, not UTF-8, or not of the form that the runtime writes.
    Malformed,
    /// It speaks of another container or cgroup.
    Mismatch,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Refused => "it cannot be opened",
            Self::NotAFile => "it is no plain file",
            Self::TooLarge => "it is too large",
            Self::Malformed => "it cannot be parsed",
            Self::Mismatch => "it speaks of something else",
        })
    }
}

/// What a runtime calls a container. What it does not say is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Names {
    /// Its id, also where that cannot be told from the cgroup's path.
    pub container_id: Option<String>,
    /// The runtime.
    pub runtime: Option<Runtime>,
    /// Name of the container. `None` for a pod's sandbox.
    pub container_name: Option<String>,
    /// Image, as it was asked for.
    pub image: Option<String>,
    /// Its pod.
    pub pod: Option<PodNames>,
    /// It is the sandbox (the `pause` container) of its pod.
    pub sandbox: bool,
}

/// What a runtime calls a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PodNames {
    /// Namespace.
    pub namespace: Option<String>,
    /// Name.
    pub name: Option<String>,
    /// Uid.
    pub uid: Option<String>,
}
