//! Reading a `task_struct`: identity, memory and memory cgroup.

use oom_common::{ABSENT, COMM_LEN, Record, flags};

use crate::{
    cgroup,
    read::{Reader, layout},
};

/// Fills `record.task` and `record.levels` from a task.
///
/// # Safety
/// `task` must be a `struct task_struct *` that the verifier knows.
#[inline(always)]
pub(crate) unsafe fn fill(record: &mut Record, task: *const u8) {
    let mut reader = Reader::new();
    record.flags |= flags::TASK;
    // SAFETY: every step follows the kernel's own structures from `task`.
    unsafe {
        identity(&mut reader, record, task);
        memory(&mut reader, record, task);
        cgroup::of_task(&mut reader, record, task);
    }
    reader.finish();
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
unsafe fn identity(reader: &mut Reader, record: &mut Record, task: *const u8) {
    // SAFETY: see `fill`.
    unsafe {
        let tid = reader.get(task, layout!(task_pid));
        clear(record, tid);
        let out = &mut record.task;
        out.tgid = reader.get(task, layout!(task_tgid));
        out.comm = comm(reader, task);
        let leader = reader.pointer(task, layout!(task_group_leader));
        out.start_boottime_ns = reader.get(leader, layout!(task_start_boottime));
        let parent = reader.pointer(task, layout!(task_real_parent));
        out.ppid = reader.get(parent, layout!(task_tgid));
        out.parent_comm = comm(reader, parent);
        let signal = reader.pointer(task, layout!(task_signal));
        out.oom_score_adj = i32::from(reader.get::<i16>(signal, layout!(signal_oom_score_adj)));
        out.threads = reader.get(signal, layout!(signal_nr_threads));
        let cred = reader.pointer(task, layout!(task_cred));
        out.uid = reader.get(cred, layout!(cred_uid));
        ns_pid(reader, record, task);
    }
}

/// The pid in the innermost namespace: `pid.numbers[pid.level].nr`, an index that a typed load
/// cannot take.
#[inline(always)]
unsafe fn ns_pid(reader: &mut Reader, record: &mut Record, task: *const u8) {
    let (size, nr) = (layout!(upid_size), layout!(pid_numbers_nr));
    if layout!(probe_read) != 1 || size == ABSENT || nr == ABSENT {
        return;
    }
    // SAFETY: see `fill`.
    unsafe {
        let pid = reader.pointer(task, layout!(task_thread_pid));
        let level: u32 = reader.get(pid, layout!(pid_level));
        // MAX_PID_NS_LEVEL (include/linux/pid_namespace.h).
        if level > 32 {
            return;
        }
        record.task.ns_pid = reader.get(pid, nr + level * size);
    }
    if record.task.ns_pid != 0 {
        record.flags |= flags::NS_PID;
    }
}

#[inline(always)]
unsafe fn memory(reader: &mut Reader, record: &mut Record, task: *const u8) {
    // SAFETY: see `fill`.
    unsafe {
        let mm = reader.pointer(task, layout!(task_mm));
        if mm.is_null() {
            return;
        }
        record.flags |= flags::MM;
        let out = &mut record.task;
        out.total_vm = reader.get(mm, layout!(mm_total_vm));
        out.hiwater_rss = reader.get(mm, layout!(mm_hiwater_rss));
        out.pgtables_bytes = reader.get(mm, layout!(mm_pgtables_bytes));
        let (first, stride) = (layout!(mm_rss_count), layout!(mm_rss_stride));
        if first != ABSENT && stride != ABSENT {
            out.rss[0] = reader.get(mm, first);
            out.rss[1] = reader.get(mm, first + stride);
            out.rss[2] = reader.get(mm, first + 2 * stride);
            out.rss[3] = reader.get(mm, first + 3 * stride);
        }
    }
}

#[inline(always)]
unsafe fn comm(reader: &mut Reader, task: *const u8) -> [u8; COMM_LEN] {
    let offset = layout!(task_comm);
    if offset == ABSENT {
        return [0; COMM_LEN];
    }
    // SAFETY: two reads within `comm[16]`.
    unsafe {
        let low: u64 = reader.get(task, offset);
        let high: u64 = reader.get(task, offset + 8);
        let mut comm = [0; COMM_LEN];
        comm.as_mut_ptr().cast::<u64>().write_unaligned(low);
        comm.as_mut_ptr().add(8).cast::<u64>().write_unaligned(high);
        comm
    }
}
