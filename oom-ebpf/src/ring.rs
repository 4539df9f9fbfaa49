//! The ring to user space, the scratch record that programs fill, and the counters.
//!
//! A record is built in per-CPU scratch memory (a BPF stack holds 512 bytes) and copied to the ring
//! at its true length. `oom_lock` lets one task at a time through the OOM path, so the numbering
//! needs no atomics. A record that finds no room still takes a number: user space sees the gap.

use aya_ebpf::{
    bindings::BPF_RB_FORCE_WAKEUP,
    helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid, generated},
    macros::map,
    maps::{Array, PerCpuArray, RingBuf},
};
use oom_common::{NAMES_LEN, Record, stat};

use crate::read::layout;

/// User space sets the size when it loads the object.
#[map]
static RING: RingBuf = RingBuf::with_byte_size(1 << 20, 0);

#[map]
static SCRATCH: PerCpuArray<Record> = PerCpuArray::with_max_entries(1, 0);

#[map]
static STATS: PerCpuArray<u64> = PerCpuArray::with_max_entries(stat::COUNT, 0);

#[map]
static SEQ: Array<u64> = Array::with_max_entries(1, 0);

/// Adds to a counter of [`stat`].
#[inline(always)]
pub(crate) fn add(which: u32, count: u64) {
    if let Some(counter) = STATS.get_ptr_mut(which) {
        // SAFETY: a per-CPU value that only this program touches on this CPU.
        unsafe { *counter += count };
    }
}

/// The scratch record with its head filled in: who runs, when, and the next number.
#[inline(always)]
pub(crate) fn begin(kind: u16) -> Option<&'static mut Record> {
    add(stat::SEEN, 1);
    let seq = SEQ.get_ptr_mut(0)?;
    // SAFETY: the verifier checked the pointer; `oom_lock` serialises the writers.
    let seq = unsafe {
        *seq += 1;
        *seq
    };
    let record = SCRATCH.get_ptr_mut(0)?;
    // SAFETY: per-CPU memory that no other program uses while this one runs under `oom_lock`.
    let record = unsafe { &mut *record };
    record.version = layout!(wire_version) as u16;
    record.kind = kind;
    record.flags = 0;
    record.seq = seq;
    // SAFETY: no arguments, no side effects.
    record.time_ns = unsafe { generated::bpf_ktime_get_ns() };
    let pid_tgid = bpf_get_current_pid_tgid();
    record.asker.tgid = (pid_tgid >> 32) as u32;
    record.asker.tid = pid_tgid as u32;
    record.asker.comm = bpf_get_current_comm().unwrap_or_default();
    record.asker.cgroup_id = 0;
    record.asker.oom_score_adj = 0;
    record.asker.reserved = 0;
    record.level_count = 0;
    record.asker_level_count = 0;
    record.stack_len = 0;
    record.names_len = 0;
    Some(record)
}

/// Sends the record; one that finds no room is counted.
#[inline(always)]
pub(crate) fn send(record: &mut Record) {
    let mut names_len = record.names_len as usize;
    if names_len > NAMES_LEN {
        names_len = NAMES_LEN;
    }
    let len = (Record::FIXED_LEN + names_len) as u64;
    // SAFETY: `len` bytes of `record` are initialised map memory; the verifier checks the bound.
    let failed = unsafe {
        generated::bpf_ringbuf_output(
            (&raw const RING).cast_mut().cast(),
            (&raw mut *record).cast(),
            len,
            u64::from(BPF_RB_FORCE_WAKEUP),
        )
    };
    if failed != 0 {
        add(stat::DROPPED, 1);
    }
}
