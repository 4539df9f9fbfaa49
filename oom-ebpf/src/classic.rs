//! `oom:mark_victim` as a classic tracepoint: for kernels without BTF.
//!
//! Reads the fields that tracefs `format` names; the victim's task is out of reach here, and
//! `current` is the asker.

use aya_ebpf::{EbpfContext, helpers::generated, macros::tracepoint, programs::TracePointContext};
use oom_common::{ABSENT, COMM_LEN, flags, kind};

use crate::{
    mark,
    read::{layout, load},
    ring, task,
};

#[tracepoint(category = "oom", name = "mark_victim")]
pub(crate) fn mark_victim_classic(ctx: TracePointContext) -> u32 {
    let Some(record) = ring::begin(kind::MARK) else {
        return 0;
    };
    let base: *const u8 = ctx.as_ptr().cast();
    // SAFETY: loads from the tracepoint's own record, at the offsets that `format` gives.
    unsafe {
        task::clear(record, load(base, layout!(classic_pid)).unwrap_or(0));
        if layout!(classic_total_vm) != ABSENT {
            record.flags |= flags::CLASSIC;
            let out = &mut record.task;
            out.total_vm = load(base, layout!(classic_total_vm)).unwrap_or(0);
            out.rss[0] = load(base, layout!(classic_file_rss)).unwrap_or(0);
            out.rss[1] = load(base, layout!(classic_anon_rss)).unwrap_or(0);
            out.rss[3] = load(base, layout!(classic_shmem_rss)).unwrap_or(0);
            out.pgtables_bytes = load(base, layout!(classic_pgtables)).unwrap_or(0);
            out.uid = load(base, layout!(classic_uid)).unwrap_or(0);
            let adj: i16 = load(base, layout!(classic_oom_score_adj)).unwrap_or(0);
            out.oom_score_adj = i32::from(adj);
            if layout!(probe_read) == 1 {
                let at: u32 = load(base, layout!(classic_comm)).unwrap_or(0);
                let _ = generated::bpf_probe_read_kernel_str(
                    out.comm.as_mut_ptr().cast(),
                    COMM_LEN as u32,
                    base.wrapping_byte_add((at & 0xffff) as usize).cast(),
                );
            }
        }
    }
    mark::asker(record);
    mark::stack(&ctx, record);
    ring::send(record);
    0
}
