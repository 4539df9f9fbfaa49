//! The tree of memory cgroups: which come and go, and what their runtimes call them.
//!
//! `thread` runs it: changes come (`watch`) from the kernel's tracepoints (`bpf::cgroups`), else from
//! `inotify`, else nothing but scans is left. `walk` finds what is there when `schedule` says so, `core` makes evidence of
//! it all, `pending` says when to look for names once more, `endings` for exit codes, `asks` takes the questions of others.
//! `names` knows what runtimes leave on disk. Emits [`crate::evidence::CgroupEvidence`]. Refuses to
//! read memory counters, and to say whose a path is.

mod asks;
mod core;
mod endings;
mod inotify;
pub mod names;
mod pending;
mod schedule;
mod thread;
mod tree;
mod walk;
mod watch;

pub use crate::evidence::Change;
pub use asks::Asks;
pub use core::{Counts, Ended, Lookups, Misses};
pub use thread::{CgroupThread, Options};
pub use watch::{Watched, attach};
