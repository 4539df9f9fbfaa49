//! What becomes of a victim: `sched:sched_process_exit`, `mmap:exit_mmap`, `oom:start_task_reaping` and
//! `oom:finish_task_reaping` as BTF tracepoints.
//!
//! The first two run for every thread and process of the machine: two reads tell whether it is a victim
//! (`signal->oom_mm`, which `mark_oom_victim` sets and nothing takes back). They hold no lock, so ring and
//! counters are their own, records are built on the stack, and nothing is numbered. Only loaded where
//! probe reads are allowed.

use core::ptr;

use aya_ebpf::{
    helpers::generated,
    macros::{btf_tracepoint, map},
    maps::{PerCpuArray, RingBuf},
    programs::BtfTracePointContext,
};
use oom_common::{ABSENT, EndRecord, WIRE_VERSION, end_kind, end_stat};

use crate::read::{Reader, layout};

/// User space sets the size when it loads the object.
#[map]
static ENDS: RingBuf = RingBuf::with_byte_size(1 << 16, 0);

#[map]
static END_STATS: PerCpuArray<u64> = PerCpuArray::with_max_entries(end_stat::COUNT, 0);

/// `(struct task_struct *p, …)`. Of the threads that end at once more than one may find that none is left.
#[btf_tracepoint(function = "sched_process_exit")]
pub(crate) fn sched_process_exit(ctx: BtfTracePointContext) -> i32 {
    let task: *const u8 = ctx.arg(0);
    let mut reader = Reader::new();
    // SAFETY: probe reads, which check every address.
    unsafe {
        let signal = reader.pointer(task, layout!(task_signal));
        let memory = reader.pointer(signal, layout!(signal_oom_mm));
        if !memory.is_null() && reader.get::<u32>(signal, layout!(signal_live)) == 0 {
            let gone = reader.pointer(task, layout!(task_mm)).is_null();
            let record = of_task(&mut reader, task, memory, end_kind::EXITED);
            send(&EndRecord {
                mm_gone: u32::from(gone),
                ..record
            });
        }
    }
    finish(&reader);
    0
}

/// `(struct mm_struct *mm)`: all of it is unmapped. Whoever drops the last reference does it; that is the
/// victim, unless somebody else was just looking at its memory.
#[btf_tracepoint(function = "exit_mmap")]
pub(crate) fn exit_mmap(ctx: BtfTracePointContext) -> i32 {
    let memory: *const u8 = ctx.arg(0);
    // SAFETY: no arguments, no side effects.
    let task = unsafe { generated::bpf_get_current_task() };
    let task = ptr::with_exposed_provenance(task as usize);
    let mut reader = Reader::new();
    // SAFETY: probe reads, which check every address.
    unsafe {
        let signal = reader.pointer(task, layout!(task_signal));
        let marked = reader.pointer(signal, layout!(signal_oom_mm));
        if !marked.is_null() && ptr::addr_eq(marked, memory) {
            send(&of_task(&mut reader, task, memory, end_kind::FREED));
        }
    }
    finish(&reader);
    0
}

/// `(int pid)`.
#[btf_tracepoint(function = "start_task_reaping")]
pub(crate) fn start_task_reaping(ctx: BtfTracePointContext) -> i32 {
    send(&empty(ctx.arg(0), end_kind::REAPING));
    0
}

/// `(int pid)`.
#[btf_tracepoint(function = "finish_task_reaping")]
pub(crate) fn finish_task_reaping(ctx: BtfTracePointContext) -> i32 {
    send(&empty(ctx.arg(0), end_kind::REAPED));
    0
}

#[inline(always)]
fn empty(tid: u32, kind: u16) -> EndRecord {
    EndRecord {
        version: WIRE_VERSION,
        kind,
        tid,
        tgid: 0,
        mm_gone: 0,
        // SAFETY: no arguments, no side effects.
        time_ns: unsafe { generated::bpf_ktime_get_ns() },
        start_boottime_ns: 0,
        rss: [0; 4],
    }
}

/// # Safety
/// `task` and `memory` must point to what their names say.
#[inline(always)]
unsafe fn of_task(reader: &mut Reader, task: *const u8, memory: *const u8, kind: u16) -> EndRecord {
    // SAFETY: probe reads, which check every address.
    unsafe {
        let mut record = empty(reader.get(task, layout!(task_pid)), kind);
        record.tgid = reader.get(task, layout!(task_tgid));
        let leader = reader.pointer(task, layout!(task_group_leader));
        record.start_boottime_ns = reader.get(leader, layout!(task_start_boottime));
        let (first, stride) = (layout!(mm_rss_count), layout!(mm_rss_stride));
        if first != ABSENT && stride != ABSENT {
            record.rss[0] = reader.get(memory, first);
            record.rss[1] = reader.get(memory, first + stride);
            record.rss[2] = reader.get(memory, first + 2 * stride);
            record.rss[3] = reader.get(memory, first + 3 * stride);
        }
        record
    }
}

/// One that finds no room is counted.
#[inline(always)]
fn send(record: &EndRecord) {
    // SAFETY: all bytes of `record` are initialised; the verifier checks the bound.
    let failed = unsafe {
        generated::bpf_ringbuf_output(
            (&raw const ENDS).cast_mut().cast(),
            ptr::from_ref(record).cast_mut().cast(),
            size_of::<EndRecord>() as u64,
            0,
        )
    };
    if failed != 0 {
        add(end_stat::DROPPED, 1);
    }
}

#[inline(always)]
fn finish(reader: &Reader) {
    if reader.failed() > 0 {
        add(end_stat::READ_FAILED, reader.failed());
    }
}

#[inline(always)]
fn add(which: u32, count: u64) {
    if let Some(counter) = END_STATS.get_ptr_mut(which) {
        // SAFETY: a per-CPU value; a program that interrupts another one on this CPU may lose a count.
        unsafe { *counter += count };
    }
}
