//! `oom:mark_victim` as a BTF tracepoint: the victim, its asker, and the kernel stack.
//!
//! Serves both prototypes: `(struct task_struct *, uid_t)` and `(int pid)`. Which one it is, user
//! space reads from BTF; the other branch is pruned by the verifier.

use aya_ebpf::{
    EbpfContext, helpers::generated, macros::btf_tracepoint, programs::BtfTracePointContext,
};
use aya_log_ebpf::info;
use oom_common::{Record, STACK_DEPTH, kind};

use crate::{cgroup, read::layout, ring, task};

#[btf_tracepoint(function = "mark_victim")]
pub(crate) fn mark_victim(ctx: BtfTracePointContext) -> i32 {
    let Some(record) = ring::begin(kind::MARK) else {
        return 0;
    };
    if layout!(mark_has_task) == 1 {
        let victim: *const u8 = ctx.arg(0);
        // SAFETY: with this prototype the argument is the victim's `task_struct`.
        unsafe { task::fill(record, victim) };
    } else {
        let pid: u32 = ctx.arg(0);
        task::clear(record, pid);
    }
    asker(record);
    stack(&ctx, record);
    if layout!(debug_log) == 1 {
        info!(
            &ctx,
            "mark_victim seq {} tid {} levels {}", record.seq, record.task.tid, record.level_count
        );
    }
    ring::send(record);
    0
}

/// The task in whose context the kernel runs, by probe reads from `current`.
#[inline(always)]
pub(crate) fn asker(record: &mut Record) {
    if layout!(probe_read) == 1 {
        // SAFETY: no arguments, no side effects.
        let current = unsafe { generated::bpf_get_current_task() };
        cgroup::of_asker(record, core::ptr::with_exposed_provenance(current as usize));
    }
}

/// The kernel's call chain: how the mark came about.
#[inline(always)]
pub(crate) fn stack<C: EbpfContext>(ctx: &C, record: &mut Record) {
    // SAFETY: the buffer has the size that is passed.
    let len = unsafe {
        generated::bpf_get_stack(
            ctx.as_ptr(),
            record.stack.as_mut_ptr().cast(),
            (STACK_DEPTH * 8) as u32,
            0,
        )
    };
    record.stack_len = len.max(0).cast_unsigned() as u32;
}
