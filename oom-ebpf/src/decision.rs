//! Entry of `oom_kill_process(struct oom_control *oc, const char *message)`: whom the kernel chose,
//! for whom, and which limit was hit. By fentry, or by a kprobe where there is no fentry: the same
//! body, and the same record.

use aya_ebpf::{
    macros::{fentry, kprobe},
    programs::{FEntryContext, ProbeContext},
};
use oom_common::{ABSENT, Record, flags, kind};

use crate::{
    mark,
    read::{Reader, layout},
    ring, task,
};

#[fentry(function = "oom_kill_process")]
pub(crate) fn oom_kill_process(ctx: FEntryContext) -> i32 {
    report(ctx.arg(0));
    0
}

/// Only where probe reads are allowed: to the verifier `oc` is a number. It comes out of `pt_regs`,
/// which makes the object one of its architecture.
#[kprobe(function = "oom_kill_process")]
pub(crate) fn oom_kill_process_kprobe(ctx: ProbeContext) -> u32 {
    if let Some(oc) = ctx.arg(0) {
        report(oc);
    }
    0
}

#[inline(always)]
fn report(oc: *const u8) {
    let Some(record) = ring::begin(kind::DECISION) else {
        return;
    };
    let mut reader = Reader::new();
    // SAFETY: every step follows the kernel's own structures from the function's argument.
    unsafe {
        let chosen = reader.pointer(oc, layout!(oc_chosen));
        if chosen.is_null() {
            task::clear(record, 0);
        } else {
            task::fill(record, chosen);
        }
        decision(&mut reader, record, oc);
    }
    reader.finish();
    mark::asker(record);
    ring::send(record);
}

#[inline(always)]
unsafe fn decision(reader: &mut Reader, record: &mut Record, oc: *const u8) {
    // SAFETY: see the caller.
    unsafe {
        record.flags |= flags::OOM;
        let out = &mut record.oom;
        out.gfp_mask = reader.get(oc, layout!(oc_gfp_mask));
        out.order = reader.get(oc, layout!(oc_order));
        out.totalpages = reader.get(oc, layout!(oc_totalpages));
        out.points = reader.get(oc, layout!(oc_chosen_points));
        out.constraint = reader.get(oc, layout!(oc_constraint));
        out.reserved = 0;
        out.memcg_id = 0;
        out.usage = 0;
        out.max = 0;
        out.failcnt = 0;
        let memcg = reader.pointer(oc, layout!(oc_memcg));
        if memcg.is_null() {
            return;
        }
        record.flags |= flags::OOM_MEMCG;
        out.usage = reader.get(memcg, layout!(memcg_usage));
        out.max = reader.get(memcg, layout!(memcg_max));
        out.failcnt = reader.get(memcg, layout!(memcg_failcnt));
        if layout!(memcg_css) != ABSENT && layout!(css_cgroup) != ABSENT {
            let cgroup = reader.pointer(memcg, layout!(memcg_css) + layout!(css_cgroup));
            let kn = reader.pointer(cgroup, layout!(cgroup_kn));
            out.memcg_id = reader.get(kn, layout!(kernfs_id));
        }
    }
}
