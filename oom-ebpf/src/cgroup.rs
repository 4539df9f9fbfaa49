//! Walking cgroups from a task upwards: kernfs id, name and memory counters of each level.
//!
//! The id of the memory cgroup is read by typed loads and so always known. Names and counters need
//! probe reads: a name is a `char *` and a `mem_cgroup` hides behind its embedded css.

use aya_ebpf::helpers::generated::bpf_probe_read_kernel_str;
use oom_common::{ABSENT, MAX_LEVELS, NAME_LEN, NAMES_LEN, Record, flags, level_flags, stat};

use crate::{
    read::{field, layout, pointer, probe, probe_pointer},
    ring,
};

/// The victim's levels: ids, counters, names.
///
/// # Safety
/// `task` must be a `struct task_struct *` that the verifier knows.
#[inline(always)]
pub(crate) unsafe fn of_task(record: &mut Record, task: *const u8) {
    // SAFETY: typed loads, see the caller.
    let (leaf, v2) = unsafe {
        let Some(set) = pointer(task, layout!(task_cgroups)) else {
            return;
        };
        let Some(css) = pointer(set, layout!(css_set_memory)) else {
            return;
        };
        let Some(charged) = pointer(css, layout!(css_cgroup)) else {
            return;
        };
        let default = pointer(set, layout!(css_set_dfl_cgrp)).unwrap_or(core::ptr::null());
        let root: usize = field(charged, layout!(cgroup_root)).unwrap_or(0);
        let default_root: usize = field(default, layout!(cgroup_root)).unwrap_or(1);
        record.levels[0].id = 0;
        if let Some(kn) = pointer(charged, layout!(cgroup_kn)) {
            record.levels[0].id = field(kn, layout!(kernfs_id)).unwrap_or(0);
        }
        let v2 = root == default_root;
        // On v2 the controller may end above the task's own cgroup: start at the latter.
        (if v2 { default } else { charged }, v2)
    };
    if v2 {
        record.flags |= flags::CGROUP_V2;
    }
    record.levels[0].flags = level_flags::MEMCG;
    record.levels[0].usage = 0;
    record.levels[0].max = 0;
    record.levels[0].failcnt = 0;
    record.level_count = 1;
    if layout!(probe_read) == 0 {
        record.flags |= flags::NAMES_CUT;
        return;
    }
    walk(record, leaf);
}

#[inline(always)]
fn walk(record: &mut Record, leaf: *const u8) {
    let mut cgroup = leaf;
    let mut names = 0usize;
    let mut done = false;
    for index in 0..MAX_LEVELS {
        let kn = probe_pointer(cgroup, layout!(cgroup_kn));
        let level = &mut record.levels[index];
        level.id = kn.and_then(|kn| probe(kn, layout!(kernfs_id))).unwrap_or(0);
        level.flags = 0;
        level.usage = 0;
        level.max = 0;
        level.failcnt = 0;
        if let Some(css) = probe_pointer(cgroup, layout!(cgroup_memory)) {
            counters(level, css);
        }
        record.level_count = index as u32 + 1;
        if record.flags & flags::NAMES_CUT == 0 {
            match kn.and_then(|kn| name(record, kn, names)) {
                Some(end) => names = end,
                None => record.flags |= flags::NAMES_CUT,
            }
        }
        match parent(cgroup) {
            Some(up) => cgroup = up,
            None => {
                done = true;
                break;
            }
        }
    }
    if !done {
        record.flags |= flags::LEVELS_CUT;
    }
    record.names_len = names as u32;
}

/// The asker's memory cgroup: its id, and its names after the victim's.
#[inline(always)]
pub(crate) fn of_asker(record: &mut Record, task: *const u8) {
    let Some(signal) = probe_pointer(task, layout!(task_signal)) else {
        return;
    };
    let Some(adj) = probe::<i16>(signal, layout!(signal_oom_score_adj)) else {
        return;
    };
    record.asker.oom_score_adj = i32::from(adj);
    let cgroup = probe_pointer(task, layout!(task_cgroups))
        .and_then(|set| probe_pointer(set, layout!(css_set_memory)))
        .and_then(|css| probe_pointer(css, layout!(css_cgroup)));
    let Some(mut cgroup) = cgroup else { return };
    let Some(kn) = probe_pointer(cgroup, layout!(cgroup_kn)) else {
        return;
    };
    record.asker.cgroup_id = probe(kn, layout!(kernfs_id)).unwrap_or(0);
    record.flags |= flags::ASKER_TASK;
    if record.level_count > 0 && record.levels[0].id == record.asker.cgroup_id {
        record.flags |= flags::ASKER_SAME_CGROUP;
        return;
    }
    let mut names = record.names_len as usize;
    let mut done = false;
    for index in 0..MAX_LEVELS {
        let end = probe_pointer(cgroup, layout!(cgroup_kn)).and_then(|kn| name(record, kn, names));
        let Some(end) = end else { break };
        names = end;
        record.asker_level_count = index as u32 + 1;
        match parent(cgroup) {
            Some(up) => cgroup = up,
            None => {
                done = true;
                break;
            }
        }
    }
    if !done {
        record.flags |= flags::ASKER_NAMES_CUT;
    }
    record.names_len = names as u32;
}

#[inline(always)]
fn parent(cgroup: *const u8) -> Option<*const u8> {
    let css = probe_pointer(cgroup, layout!(cgroup_self_parent))?;
    probe_pointer(css, layout!(css_cgroup))
}

#[inline(always)]
fn counters(level: &mut oom_common::Level, css: *const u8) {
    if layout!(memcg_css) == ABSENT {
        return;
    }
    let memcg = css.wrapping_byte_sub(layout!(memcg_css) as usize);
    let Some(usage) = probe(memcg, layout!(memcg_usage)) else {
        return;
    };
    level.usage = usage;
    level.max = probe(memcg, layout!(memcg_max)).unwrap_or(0);
    level.failcnt = probe(memcg, layout!(memcg_failcnt)).unwrap_or(0);
    level.flags = level_flags::MEMCG;
    if let Some(group) = probe::<u8>(memcg, layout!(memcg_oom_group)) {
        level.flags |= level_flags::OOM_GROUP_KNOWN;
        if group != 0 {
            level.flags |= level_flags::OOM_GROUP;
        }
    }
}

/// Appends the name of `kn` at `at`; gives the offset behind its NUL.
#[inline(always)]
fn name(record: &mut Record, kn: *const u8, at: usize) -> Option<usize> {
    let source = probe_pointer(kn, layout!(kernfs_name))?;
    if at > NAMES_LEN - NAME_LEN {
        return None;
    }
    // SAFETY: `NAME_LEN` bytes from `at` lie within `names`; the helper checks the source.
    let copied = unsafe {
        bpf_probe_read_kernel_str(
            record.names.as_mut_ptr().add(at).cast(),
            NAME_LEN as u32,
            source.cast(),
        )
    };
    if copied <= 0 || copied > NAME_LEN as i64 {
        ring::count(stat::READ_FAILED);
        return None;
    }
    Some(at + copied as usize)
}
