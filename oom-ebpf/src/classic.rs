//! `oom:mark_victim` as a classic tracepoint: for kernels without BTF.
//!
//! Reads the fields that tracefs `format` names; the victim's task is out of reach here, and
//! `current` is the asker.

use aya_ebpf::{EbpfContext, helpers::generated, macros::tracepoint, programs::TracePointContext};
use oom_common::{ABSENT, COMM_LEN, flags, kind};

use crate::{
    mark,
    read::{Reader, layout},
    ring, task,
};

#[tracepoint(category = "oom", name = "mark_victim")]
pub(crate) fn mark_victim_classic(ctx: TracePointContext) -> u32 {
    let Some(record) = ring::begin(kind::MARK) else {
        return 0;
    };
    let base: *const u8 = ctx.as_ptr().cast();
    // By the helper, for the verifier refuses a load through a context pointer that was moved.
    let mut reader = Reader::new();
    // SAFETY: reads of the tracepoint's own record, at the offsets that `format` gives.
    unsafe {
        task::clear(record, reader.get(base, layout!(classic_pid)));
        if layout!(classic_total_vm) != ABSENT {
            record.flags |= flags::CLASSIC;
            let out = &mut record.task;
            out.total_vm = reader.get(base, layout!(classic_total_vm));
            out.rss[0] = reader.get(base, layout!(classic_file_rss));
            out.rss[1] = reader.get(base, layout!(classic_anon_rss));
            out.rss[3] = reader.get(base, layout!(classic_shmem_rss));
            out.pgtables_bytes = reader.get(base, layout!(classic_pgtables));
            out.uid = reader.get(base, layout!(classic_uid));
            let adj: i16 = reader.get(base, layout!(classic_oom_score_adj));
            out.oom_score_adj = i32::from(adj);
            let at: u32 = reader.get(base, layout!(classic_comm));
            let _ = generated::bpf_probe_read_kernel_str(
                out.comm.as_mut_ptr().cast(),
                COMM_LEN as u32,
                base.wrapping_byte_add((at & 0xffff) as usize).cast(),
            );
        }
    }
    reader.finish();
    mark::stack(&ctx, record);
    ring::send(record);
    0
}
