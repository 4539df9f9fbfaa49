//! The wire: what crosses the ring buffer between `oom-ebpf` and `oom-agent`.
//!
//! [`Record`], [`CgroupEvent`] and [`EndRecord`] go up, [`layout::Layout`] goes down. Both sides compile this file; every size is
//! asserted here, and [`WIRE_VERSION`] stands in every record. User space decodes records field by
//! field with `offset_of!`, never by a cast. Refuses to know anything that only one side needs.
#![no_std]
#![forbid(unsafe_code)]

pub mod cgroup_event;
pub mod end_record;
pub mod layout;
pub mod record;

pub use cgroup_event::{CGROUP_PATH_LEN, CgroupEvent, cgroup_kind, cgroup_stat};
pub use end_record::{EndRecord, end_kind, end_stat};
pub use layout::{ABSENT, Layout};
pub use record::{Asker, Level, Oom, Record, Task, flags, kind, level_flags, stat};

/// Version of the wire format. A record or event with another version is refused.
pub const WIRE_VERSION: u16 = 1;

/// `TASK_COMM_LEN` (include/linux/sched.h).
pub const COMM_LEN: usize = 16;

/// Levels of the cgroup tree that are walked, from the victim's own upwards.
pub const MAX_LEVELS: usize = 16;

/// Longest cgroup name copied, with its NUL: `NAME_MAX` + 1.
pub const NAME_LEN: usize = 256;

/// Room for all names of one record.
pub const NAMES_LEN: usize = 4096;

/// Kernel stack entries taken at the mark.
pub const STACK_DEPTH: usize = 48;
