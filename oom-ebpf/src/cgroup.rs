//! Walking cgroups from a task upwards: kernfs id, name and memory counters of each level.
//!
//! The id of the memory cgroup can always be read. Names and counters need probe reads: a name is a
//! `char *`, and a `mem_cgroup` hides behind its embedded css.

use oom_common::{ABSENT, Level, MAX_LEVELS, NAME_LEN, NAMES_LEN, Record, flags, level_flags};

use crate::read::{Reader, layout};

/// The victim's levels: ids, counters, names.
///
/// # Safety
/// `task` must be a `struct task_struct *` that the verifier knows.
#[inline(always)]
pub(crate) unsafe fn of_task(reader: &mut Reader, record: &mut Record, task: *const u8) {
    // SAFETY: every step follows the kernel's own structures from `task`.
    unsafe {
        let set = reader.pointer(task, layout!(task_cgroups));
        let css = reader.pointer(set, layout!(css_set_memory));
        let charged = reader.pointer(css, layout!(css_cgroup));
        if charged.is_null() {
            return;
        }
        let default = reader.pointer(set, layout!(css_set_dfl_cgrp));
        let root: usize = reader.get(charged, layout!(cgroup_root));
        let v2 = !default.is_null() && root == reader.get(default, layout!(cgroup_root));
        if v2 {
            record.flags |= flags::CGROUP_V2;
        }
        if layout!(probe_read) == 1 {
            // On v2 the controller may end above the task's own cgroup: start at the latter.
            walk(reader, record, if v2 { default } else { charged });
            return;
        }
        let kn = reader.pointer(charged, layout!(cgroup_kn));
        let own = &mut record.levels[0];
        own.id = reader.get(kn, layout!(kernfs_id));
        own.usage = 0;
        own.max = 0;
        own.failcnt = 0;
        own.flags = level_flags::MEMCG | level_flags::COUNTERS_UNKNOWN;
        record.level_count = 1;
        record.flags |= flags::NAMES_CUT;
    }
}

#[inline(always)]
fn walk(reader: &mut Reader, record: &mut Record, leaf: *const u8) {
    let mut cgroup = leaf;
    let mut names = 0usize;
    record.flags |= flags::LEVELS_CUT;
    for index in 0..MAX_LEVELS {
        let level = &mut record.levels[index];
        // SAFETY: probe reads, which check every address.
        unsafe {
            let kn = reader.pointer(cgroup, layout!(cgroup_kn));
            level.id = reader.get(kn, layout!(kernfs_id));
            counters(reader, level, cgroup);
            record.level_count = index as u32 + 1;
            let Some(end) = name(reader, record, kn, names) else {
                record.flags |= flags::NAMES_CUT;
                break;
            };
            names = end;
            let css = reader.pointer(cgroup, layout!(cgroup_self_parent));
            if css.is_null() {
                record.flags &= !flags::LEVELS_CUT;
                break;
            }
            cgroup = reader.pointer(css, layout!(css_cgroup));
        }
    }
    record.names_len = names as u32;
}

/// The asker's memory cgroup: its id, and its names after the victim's. Only where probe reads are
/// allowed: `current` is an address without a type.
#[inline(always)]
pub(crate) fn of_asker(record: &mut Record, task: *const u8) {
    let mut reader = Reader::new();
    record.flags |= flags::ASKER_TASK | flags::ASKER_NAMES_CUT;
    // SAFETY: probe reads, which check every address.
    unsafe {
        let signal = reader.pointer(task, layout!(task_signal));
        let adj: i16 = reader.get(signal, layout!(signal_oom_score_adj));
        record.asker.oom_score_adj = i32::from(adj);
        let set = reader.pointer(task, layout!(task_cgroups));
        let css = reader.pointer(set, layout!(css_set_memory));
        let mut cgroup = reader.pointer(css, layout!(css_cgroup));
        let kn = reader.pointer(cgroup, layout!(cgroup_kn));
        record.asker.cgroup_id = reader.get(kn, layout!(kernfs_id));
        let mut names = record.names_len as usize;
        for index in 0..MAX_LEVELS {
            let kn = reader.pointer(cgroup, layout!(cgroup_kn));
            let Some(end) = name(&mut reader, record, kn, names) else {
                break;
            };
            names = end;
            record.asker_level_count = index as u32 + 1;
            let css = reader.pointer(cgroup, layout!(cgroup_self_parent));
            if css.is_null() {
                record.flags &= !flags::ASKER_NAMES_CUT;
                break;
            }
            cgroup = reader.pointer(css, layout!(css_cgroup));
        }
        record.names_len = names as u32;
    }
    reader.finish();
}

/// The memory controller's counters of a cgroup, where it is enabled.
///
/// # Safety
/// Only where probe reads are allowed, which check every address.
#[inline(always)]
unsafe fn counters(reader: &mut Reader, level: &mut Level, cgroup: *const u8) {
    level.flags = 0;
    level.usage = 0;
    level.max = 0;
    level.failcnt = 0;
    // SAFETY: the caller's promise.
    unsafe {
        let css = reader.pointer(cgroup, layout!(cgroup_memory));
        if css.is_null() || layout!(memcg_css) == ABSENT {
            return;
        }
        let memcg = css.wrapping_byte_sub(layout!(memcg_css) as usize);
        level.usage = reader.get(memcg, layout!(memcg_usage));
        level.max = reader.get(memcg, layout!(memcg_max));
        level.failcnt = reader.get(memcg, layout!(memcg_failcnt));
        level.flags = level_flags::MEMCG;
        if layout!(memcg_oom_group) != ABSENT {
            let group: u8 = reader.get(memcg, layout!(memcg_oom_group));
            level.flags |= level_flags::OOM_GROUP_KNOWN | u64::from(group & 1) << 1;
        }
    }
}

/// Appends the name of `kn` at `at`; gives the offset behind its NUL.
///
/// # Safety
/// Only where probe reads are allowed, which check every address.
#[inline(always)]
unsafe fn name(
    reader: &mut Reader,
    record: &mut Record,
    kn: *const u8,
    at: usize,
) -> Option<usize> {
    // SAFETY: the caller's promise.
    let from = unsafe { reader.pointer(kn, layout!(kernfs_name)) };
    if at > NAMES_LEN - NAME_LEN {
        return None;
    }
    // SAFETY: `NAME_LEN` bytes from `at` lie within `names`.
    let copied = unsafe { reader.name(record.names.as_mut_ptr().add(at), from) };
    if copied == 0 { None } else { Some(at + copied) }
}

const _: () = assert!(level_flags::OOM_GROUP == 1 << 1);
