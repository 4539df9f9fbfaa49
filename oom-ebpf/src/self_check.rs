//! `oom:oom_score_adj_update`, for the agent's own process only: user space writes its own
//! `oom_score_adj` and compares what comes back with what it knows of itself. This proves offsets,
//! attachment and ring in one go, on the running kernel.

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use oom_common::kind;

use crate::{
    mark,
    read::{layout, load},
    ring, task,
};

#[btf_tracepoint(function = "oom_score_adj_update")]
pub(crate) fn self_check(ctx: BtfTracePointContext) -> i32 {
    let this: *const u8 = ctx.arg(0);
    // SAFETY: the tracepoint's only argument is a `task_struct`.
    let tgid: u32 = unsafe { load(this, layout!(task_tgid)) }.unwrap_or(0);
    if tgid != layout!(self_tgid) {
        return 0;
    }
    let Some(record) = ring::begin(kind::SELF_CHECK) else {
        return 0;
    };
    // SAFETY: as above.
    unsafe { task::fill(record, this) };
    mark::asker(record);
    mark::stack(&ctx, record);
    ring::send(record);
    0
}
