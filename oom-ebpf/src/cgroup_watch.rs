//! `cgroup:cgroup_mkdir`, `cgroup_rmdir` and `cgroup_rename` as BTF tracepoints: which cgroups of one
//! hierarchy come and go.
//!
//! The kernel holds `trace_cgroup_path_lock`, with interrupts off, around each of them
//! (kernel/cgroup/cgroup-internal.h): the writers of the whole machine take turns, and neither the
//! numbering nor the scratch event needs more. Ring and counters are the watch's own, for what is
//! under `oom_lock` must never wait for, or be pushed out by, somebody who makes cgroups. Only loaded
//! where probe reads are allowed.

use aya_ebpf::{
    helpers::generated,
    macros::{btf_tracepoint, map},
    maps::{Array, PerCpuArray, RingBuf},
    programs::BtfTracePointContext,
};
use oom_common::{CGROUP_PATH_LEN, CgroupEvent, WIRE_VERSION, cgroup_kind, cgroup_stat};

use crate::read::{Reader, layout};

/// User space sets the size when it loads the object.
#[map]
static CGROUPS: RingBuf = RingBuf::with_byte_size(1 << 18, 0);

#[map]
static CGROUP_EVENT: PerCpuArray<CgroupEvent> = PerCpuArray::with_max_entries(1, 0);

#[map]
static CGROUP_STATS: Array<u64> = Array::with_max_entries(cgroup_stat::COUNT, 0);

#[btf_tracepoint(function = "cgroup_mkdir")]
pub(crate) fn cgroup_mkdir(ctx: BtfTracePointContext) -> i32 {
    report(&ctx, cgroup_kind::MADE);
    0
}

#[btf_tracepoint(function = "cgroup_rmdir")]
pub(crate) fn cgroup_rmdir(ctx: BtfTracePointContext) -> i32 {
    report(&ctx, cgroup_kind::REMOVED);
    0
}

#[btf_tracepoint(function = "cgroup_rename")]
pub(crate) fn cgroup_rename(ctx: BtfTracePointContext) -> i32 {
    report(&ctx, cgroup_kind::RENAMED);
    0
}

/// `(struct cgroup *cgrp, const char *path)`.
#[inline(always)]
fn report(ctx: &BtfTracePointContext, kind: u16) {
    let cgroup: *const u8 = ctx.arg(0);
    let mut reader = Reader::new();
    // SAFETY: probe reads, which check every address.
    let hierarchy_id = unsafe {
        let root = reader.pointer(cgroup, layout!(cgroup_root));
        reader.get(root, layout!(cgroup_root_hierarchy))
    };
    if hierarchy_id != layout!(watched_hierarchy) {
        return;
    }
    let (Some(seq), Some(event)) = (add(cgroup_stat::SEEN, 1), CGROUP_EVENT.get_ptr_mut(0)) else {
        return;
    };
    // SAFETY: per-CPU memory that no other program uses while this one runs under the lock.
    let event = unsafe { &mut *event };
    event.version = WIRE_VERSION;
    event.kind = kind;
    event.hierarchy_id = hierarchy_id;
    event.seq = seq;
    // SAFETY: no arguments, no side effects.
    event.time_ns = unsafe { generated::bpf_ktime_get_ns() };
    // SAFETY: probe reads, which check every address.
    event.id = unsafe {
        let kn = reader.pointer(cgroup, layout!(cgroup_kn));
        reader.get(kn, layout!(kernfs_id))
    };
    event.reserved = 0;
    let path: *const u8 = ctx.arg(1);
    // SAFETY: the destination has the size that is passed; the helper checks the source.
    let copied = unsafe {
        generated::bpf_probe_read_kernel_str(
            event.path.as_mut_ptr().cast(),
            CGROUP_PATH_LEN as u32,
            path.cast(),
        )
    };
    let mut path_len = usize::try_from(copied).unwrap_or(0);
    if path_len > CGROUP_PATH_LEN {
        path_len = CGROUP_PATH_LEN;
    }
    event.path_len = path_len as u32;
    if reader.failed() > 0 || path_len == 0 {
        add(cgroup_stat::READ_FAILED, 1);
    }
    send(event, path_len);
}

/// One that finds no room is counted. The reader is woken only when it has caught up.
#[inline(always)]
fn send(event: &mut CgroupEvent, path_len: usize) {
    // SAFETY: so many bytes of `event` are initialised map memory; the verifier checks the bound.
    let failed = unsafe {
        generated::bpf_ringbuf_output(
            (&raw const CGROUPS).cast_mut().cast(),
            (&raw mut *event).cast(),
            (CgroupEvent::FIXED_LEN + path_len) as u64,
            0,
        )
    };
    if failed != 0 {
        add(cgroup_stat::DROPPED, 1);
    }
}

/// Adds to a counter of [`cgroup_stat`]; gives its value.
#[inline(always)]
fn add(which: u32, count: u64) -> Option<u64> {
    let counter = CGROUP_STATS.get_ptr_mut(which)?;
    // SAFETY: the verifier checked the pointer; the lock serialises the writers.
    unsafe {
        *counter += count;
        Some(*counter)
    }
}
