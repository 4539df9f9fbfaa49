//! Reading a `task_struct`: identity, memory and memory cgroup.

use oom_common::{ABSENT, COMM_LEN, Record, flags};

use crate::{
    cgroup,
    read::{Probe, field, layout, pointer},
};

/// Fills `record.task` and `record.levels` from a task whose pointer the verifier knows.
///
/// # Safety
/// `task` must be a `struct task_struct *`; the verifier checks it.
#[inline(always)]
pub(crate) unsafe fn fill(record: &mut Record, task: *const u8) {
    // SAFETY: all loads follow typed pointers from `task`, at offsets from the kernel's own BTF.
    unsafe {
        record.flags |= flags::TASK;
        identity(record, task);
        memory(record, task);
        cgroup::of_task(record, task);
    }
}

/// Zeroes `record.task`, for records that have no task pointer.
#[inline(always)]
pub(crate) fn clear(record: &mut Record, tid: u32) {
    let out = &mut record.task;
    out.tid = tid;
    out.tgid = 0;
    out.ns_pid = 0;
    out.ppid = 0;
    out.uid = 0;
    out.threads = 0;
    out.oom_score_adj = 0;
    out.reserved = 0;
    out.start_boottime_ns = 0;
    out.comm = [0; COMM_LEN];
    out.parent_comm = [0; COMM_LEN];
    out.total_vm = 0;
    out.rss = [0; 4];
    out.hiwater_rss = 0;
    out.pgtables_bytes = 0;
}

#[inline(always)]
unsafe fn identity(record: &mut Record, task: *const u8) {
    // SAFETY: see `fill`.
    unsafe {
        let tid = field(task, layout!(task_pid)).unwrap_or(0);
        clear(record, tid);
        let out = &mut record.task;
        out.tgid = field(task, layout!(task_tgid)).unwrap_or(0);
        out.comm = comm(task);
        if let Some(leader) = pointer(task, layout!(task_group_leader)) {
            out.start_boottime_ns = field(leader, layout!(task_start_boottime)).unwrap_or(0);
        }
        if let Some(parent) = pointer(task, layout!(task_real_parent)) {
            out.ppid = field(parent, layout!(task_tgid)).unwrap_or(0);
            out.parent_comm = comm(parent);
        }
        if let Some(signal) = pointer(task, layout!(task_signal)) {
            let adj: i16 = field(signal, layout!(signal_oom_score_adj)).unwrap_or(0);
            out.oom_score_adj = i32::from(adj);
            out.threads = field(signal, layout!(signal_nr_threads)).unwrap_or(0);
        }
        if let Some(cred) = pointer(task, layout!(task_cred)) {
            out.uid = field(cred, layout!(cred_uid)).unwrap_or(0);
        }
        if let Some(pid) = pointer(task, layout!(task_thread_pid)) {
            ns_pid(record, pid);
        }
    }
}

/// The pid in the innermost namespace: `pid.numbers[pid.level].nr`, an index that a typed load
/// cannot take.
#[inline(always)]
unsafe fn ns_pid(record: &mut Record, pid: *const u8) {
    let (size, nr) = (layout!(upid_size), layout!(pid_numbers_nr));
    if size == ABSENT || nr == ABSENT {
        return;
    }
    // SAFETY: a typed load of an integer.
    let Some(level) = (unsafe { field::<u32>(pid, layout!(pid_level)) }) else {
        return;
    };
    // MAX_PID_NS_LEVEL (include/linux/pid_namespace.h).
    if level > 32 {
        return;
    }
    let mut probe = Probe::new();
    record.task.ns_pid = probe.get(pid, nr + level * size);
    if record.task.ns_pid != 0 {
        record.flags |= flags::NS_PID;
    }
    probe.finish();
}

#[inline(always)]
unsafe fn memory(record: &mut Record, task: *const u8) {
    // SAFETY: see `fill`.
    unsafe {
        let Some(mm) = pointer(task, layout!(task_mm)) else {
            return;
        };
        record.flags |= flags::MM;
        let out = &mut record.task;
        out.total_vm = field(mm, layout!(mm_total_vm)).unwrap_or(0);
        out.hiwater_rss = field(mm, layout!(mm_hiwater_rss)).unwrap_or(0);
        out.pgtables_bytes = field(mm, layout!(mm_pgtables_bytes)).unwrap_or(0);
        let (first, stride) = (layout!(mm_rss_count), layout!(mm_rss_stride));
        if first == ABSENT || stride == ABSENT {
            return;
        }
        // The verifier of 5.10 does not follow a typed load into an array of `atomic_long_t`.
        if layout!(probe_read) == 1 {
            let mut probe = Probe::new();
            out.rss[0] = probe.get(mm, first);
            out.rss[1] = probe.get(mm, first + stride);
            out.rss[2] = probe.get(mm, first + 2 * stride);
            out.rss[3] = probe.get(mm, first + 3 * stride);
            probe.finish();
        } else {
            out.rss[0] = field(mm, first).unwrap_or(0);
            out.rss[1] = field(mm, first + stride).unwrap_or(0);
            out.rss[2] = field(mm, first + 2 * stride).unwrap_or(0);
            out.rss[3] = field(mm, first + 3 * stride).unwrap_or(0);
        }
    }
}

#[inline(always)]
unsafe fn comm(task: *const u8) -> [u8; COMM_LEN] {
    let offset = layout!(task_comm);
    if offset == ABSENT {
        return [0; COMM_LEN];
    }
    // SAFETY: two loads within `comm[16]`.
    unsafe {
        let low: u64 = field(task, offset).unwrap_or(0);
        let high: u64 = field(task, offset + 8).unwrap_or(0);
        let mut comm = [0; COMM_LEN];
        comm.as_mut_ptr().cast::<u64>().write_unaligned(low);
        comm.as_mut_ptr().add(8).cast::<u64>().write_unaligned(high);
        comm
    }
}
