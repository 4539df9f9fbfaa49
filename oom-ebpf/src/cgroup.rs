//! Walking cgroups from a task upwards: kernfs id, name and memory counters of each level.
//!
//! The id of the memory cgroup is read by typed loads and so always known. Names and counters need
//! probe reads: a name is a `char *` and a `mem_cgroup` hides behind its embedded css.

use oom_common::{ABSENT, Level, MAX_LEVELS, NAME_LEN, NAMES_LEN, Record, flags, level_flags};

use crate::read::{Probe, field, layout, pointer};

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
    let mut probe = Probe::new();
    let mut cgroup = leaf;
    let mut names = 0usize;
    record.flags |= flags::LEVELS_CUT;
    for index in 0..MAX_LEVELS {
        let level = &mut record.levels[index];
        let kn = probe.pointer(cgroup, layout!(cgroup_kn));
        level.id = probe.get(kn, layout!(kernfs_id));
        counters(&mut probe, level, cgroup);
        record.level_count = index as u32 + 1;
        let Some(end) = name(&mut probe, record, kn, names) else {
            record.flags |= flags::NAMES_CUT;
            break;
        };
        names = end;
        let css = probe.pointer(cgroup, layout!(cgroup_self_parent));
        if css.is_null() {
            record.flags &= !flags::LEVELS_CUT;
            break;
        }
        cgroup = probe.pointer(css, layout!(css_cgroup));
    }
    record.names_len = names as u32;
    probe.finish();
}

/// The asker's memory cgroup: its id, and its names after the victim's.
#[inline(always)]
pub(crate) fn of_asker(record: &mut Record, task: *const u8) {
    let mut probe = Probe::new();
    let signal = probe.pointer(task, layout!(task_signal));
    record.asker.oom_score_adj = i32::from(probe.get::<i16>(signal, layout!(signal_oom_score_adj)));
    let set = probe.pointer(task, layout!(task_cgroups));
    let css = probe.pointer(set, layout!(css_set_memory));
    let mut cgroup = probe.pointer(css, layout!(css_cgroup));
    let kn = probe.pointer(cgroup, layout!(cgroup_kn));
    record.asker.cgroup_id = probe.get(kn, layout!(kernfs_id));
    record.flags |= flags::ASKER_TASK;
    let mut names = record.names_len as usize;
    record.flags |= flags::ASKER_NAMES_CUT;
    for index in 0..MAX_LEVELS {
        let kn = probe.pointer(cgroup, layout!(cgroup_kn));
        let Some(end) = name(&mut probe, record, kn, names) else {
            break;
        };
        names = end;
        record.asker_level_count = index as u32 + 1;
        let css = probe.pointer(cgroup, layout!(cgroup_self_parent));
        if css.is_null() {
            record.flags &= !flags::ASKER_NAMES_CUT;
            break;
        }
        cgroup = probe.pointer(css, layout!(css_cgroup));
    }
    record.names_len = names as u32;
    probe.finish();
}

/// The memory controller's counters of a cgroup, where it is enabled.
#[inline(always)]
fn counters(probe: &mut Probe, level: &mut Level, cgroup: *const u8) {
    level.flags = 0;
    level.usage = 0;
    level.max = 0;
    level.failcnt = 0;
    let css = probe.pointer(cgroup, layout!(cgroup_memory));
    if css.is_null() || layout!(memcg_css) == ABSENT {
        return;
    }
    let memcg = css.wrapping_byte_sub(layout!(memcg_css) as usize);
    level.usage = probe.get(memcg, layout!(memcg_usage));
    level.max = probe.get(memcg, layout!(memcg_max));
    level.failcnt = probe.get(memcg, layout!(memcg_failcnt));
    level.flags = level_flags::MEMCG;
    if layout!(memcg_oom_group) != ABSENT {
        let group: u8 = probe.get(memcg, layout!(memcg_oom_group));
        level.flags |= level_flags::OOM_GROUP_KNOWN | u64::from(group & 1) << 1;
    }
}

/// Appends the name of `kn` at `at`; gives the offset behind its NUL.
#[inline(always)]
fn name(probe: &mut Probe, record: &mut Record, kn: *const u8, at: usize) -> Option<usize> {
    let from = probe.pointer(kn, layout!(kernfs_name));
    if at > NAMES_LEN - NAME_LEN {
        return None;
    }
    // SAFETY: `NAME_LEN` bytes from `at` lie within `names`.
    let copied = unsafe { probe.name(record.names.as_mut_ptr().add(at), from) };
    if copied == 0 { None } else { Some(at + copied) }
}

const _: () = assert!(level_flags::OOM_GROUP == 1 << 1);
