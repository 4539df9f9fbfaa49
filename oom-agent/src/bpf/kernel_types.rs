//! What of the running kernel's BTF is needed; the rest of it, tens of megabytes, is not kept.
//!
//! Reads [`KERNEL_BTF`]; emits offsets, what can be attached to, and the [`stand_in`] that aya takes for the whole.

use std::fs;

use aya::Endianness;
use oom_common::Layout;

use super::{
    btf::{Btf, Kind},
    layout,
    refusal::LoadError,
    stand_in::{Target, TargetKind, stand_in},
};

/// Path of the running kernel's BTF.
pub const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

/// What of the running kernel's BTF is needed; the rest of it is not kept.
pub(super) struct KernelTypes {
    pub(super) layout: Layout,
    pub(super) has_task: bool,
    pub(super) stand_in: aya::Btf,
    pub(super) can_self_check: bool,
    pub(super) has_decision: bool,
    pub(super) cgroup_tracepoints: [Option<u32>; 3],
    pub(super) end_tracepoints: [Option<u32>; 4],
    pub(super) notes: Vec<String>,
}

impl KernelTypes {
    pub(super) fn read() -> Result<Self, LoadError> {
        let bytes = fs::read(KERNEL_BTF).map_err(LoadError::NoBtf)?;
        let btf = Btf::parse(&bytes)?;
        let found = layout::layout(&btf)?;
        let check_id = btf
            .ids(Kind::Typedef, "btf_trace_oom_score_adj_update")
            .next();
        let targets: Vec<Target<'_>> = [
            found
                .mark_id
                .map(|id| ("btf_trace_mark_victim", TargetKind::Typedef, id)),
            check_id.map(|id| ("btf_trace_oom_score_adj_update", TargetKind::Typedef, id)),
            found
                .oom_kill_process
                .map(|id| ("oom_kill_process", TargetKind::Func, id)),
        ]
        .into_iter()
        .flatten()
        .map(|(name, kind, id)| Target { name, kind, id })
        .collect();
        let stand_in = parsed_stand_in(&targets)?;
        Ok(Self {
            has_task: found.mark == layout::MarkPrototype::Task,
            layout: found.layout,
            stand_in,
            can_self_check: check_id.is_some(),
            has_decision: found.oom_kill_process.is_some(),
            cgroup_tracepoints: found.cgroup_tracepoints,
            end_tracepoints: found.end_tracepoints,
            notes: found
                .missing
                .iter()
                .map(|missing| {
                    format!(
                        "{} is not in this kernel: no {}",
                        missing.name, missing.lost
                    )
                })
                .collect(),
        })
    }
}

/// What aya takes for the kernel's BTF.
pub(super) fn parsed_stand_in(targets: &[Target<'_>]) -> Result<aya::Btf, LoadError> {
    aya::Btf::parse(&stand_in(targets), Endianness::default())
        .map_err(|error| LoadError::StandIn(Box::new(error)))
}
