//! Entry of `oom_kill_process(struct oom_control *oc, const char *message)`: whom the kernel chose,
//! for whom, and which limit was hit.

use aya_ebpf::{macros::fentry, programs::FEntryContext};
use oom_common::{Record, flags, kind};

use crate::{
    mark,
    read::{field, layout, pointer},
    ring, task,
};

#[fentry(function = "oom_kill_process")]
pub(crate) fn oom_kill_process(ctx: FEntryContext) -> i32 {
    let Some(record) = ring::begin(kind::DECISION) else {
        return 0;
    };
    let oc: *const u8 = ctx.arg(0);
    // SAFETY: typed loads from the function's own argument.
    unsafe {
        match pointer(oc, layout!(oc_chosen)) {
            Some(chosen) => task::fill(record, chosen),
            None => task::clear(record, 0),
        }
        decision(record, oc);
    }
    mark::asker(record);
    ring::send(record);
    0
}

#[inline(always)]
unsafe fn decision(record: &mut Record, oc: *const u8) {
    // SAFETY: see the caller.
    unsafe {
        record.flags |= flags::OOM;
        let out = &mut record.oom;
        out.gfp_mask = field(oc, layout!(oc_gfp_mask)).unwrap_or(0);
        out.order = field(oc, layout!(oc_order)).unwrap_or(0);
        out.totalpages = field(oc, layout!(oc_totalpages)).unwrap_or(0);
        out.points = field(oc, layout!(oc_chosen_points)).unwrap_or(0);
        out.constraint = field(oc, layout!(oc_constraint)).unwrap_or(0);
        out.reserved = 0;
        out.memcg_id = 0;
        out.usage = 0;
        out.max = 0;
        out.failcnt = 0;
        let Some(memcg) = pointer(oc, layout!(oc_memcg)) else {
            return;
        };
        record.flags |= flags::OOM_MEMCG;
        out.usage = field(memcg, layout!(memcg_usage)).unwrap_or(0);
        out.max = field(memcg, layout!(memcg_max)).unwrap_or(0);
        out.failcnt = field(memcg, layout!(memcg_failcnt)).unwrap_or(0);
        let css_cgroup = layout!(memcg_css).wrapping_add(layout!(css_cgroup));
        if let Some(kn) =
            pointer(memcg, css_cgroup).and_then(|cgroup| pointer(cgroup, layout!(cgroup_kn)))
        {
            out.memcg_id = field(kn, layout!(kernfs_id)).unwrap_or(0);
        }
    }
}
