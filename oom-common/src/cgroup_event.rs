//! [`CgroupEvent`]: a cgroup was made, removed or renamed. `repr(C)`, no implicit padding.

/// What happened: [`CgroupEvent::kind`].
pub mod cgroup_kind {
    /// `cgroup:cgroup_mkdir`.
    pub const MADE: u16 = 1;
    /// `cgroup:cgroup_rmdir`.
    pub const REMOVED: u16 = 2;
    /// `cgroup:cgroup_rename` (version 1 only): the path is the new one.
    pub const RENAMED: u16 = 3;
}

/// Indices of the counters of the watch.
pub mod cgroup_stat {
    /// Events of the watched hierarchy: the last one's number.
    pub const SEEN: u32 = 0;
    /// Events that the ring had no room for.
    pub const DROPPED: u32 = 1;
    /// Events whose id or path could not be read whole.
    pub const READ_FAILED: u32 = 2;
    /// How many counters there are.
    pub const COUNT: u32 = 3;
}

/// `TRACE_CGROUP_PATH_LEN` (kernel/cgroup/cgroup-internal.h): the kernel cuts longer paths.
pub const CGROUP_PATH_LEN: usize = 1024;

/// One event. Only the first `path_len` bytes of `path` are sent.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct CgroupEvent {
    /// [`crate::WIRE_VERSION`].
    pub version: u16,
    /// See [`cgroup_kind`].
    pub kind: u16,
    /// `cgroup_root.hierarchy_id`.
    pub hierarchy_id: u32,
    /// Numbers every event of the hierarchy, those that found no room too: a gap is a loss.
    pub seq: u64,
    /// `CLOCK_MONOTONIC`, ns.
    pub time_ns: u64,
    /// kernfs id.
    pub id: u64,
    /// Bytes of `path`, with its NUL; 0 if it could not be read.
    pub path_len: u32,
    /// Always 0.
    pub reserved: u32,
    /// From the root of the hierarchy, NUL-terminated.
    pub path: [u8; CGROUP_PATH_LEN],
}

impl CgroupEvent {
    /// Bytes of an event without its path: the least that is ever sent.
    pub const FIXED_LEN: usize = core::mem::offset_of!(Self, path);
}

const _: () = {
    assert!(CgroupEvent::FIXED_LEN == 40);
    assert!(size_of::<CgroupEvent>() == CgroupEvent::FIXED_LEN + CGROUP_PATH_LEN);
};
