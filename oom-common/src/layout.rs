//! [`Layout`]: where the running kernel keeps each field that the kernel side reads.
//!
//! User space fills it from the kernel's BTF and hands it down as frozen read-only data, so that the
//! verifier treats every offset as a constant and prunes the branches of a field that is absent.

/// An offset that the running kernel does not have.
pub const ABSENT: u32 = u32::MAX;

macro_rules! layout {
    ($($(#[$doc:meta])* $field:ident,)*) => {
        /// Byte offsets and switches, all `u32`; [`ABSENT`] where the kernel has no such field.
        #[repr(C)]
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub struct Layout { $($(#[$doc])* pub $field: u32,)* }

        impl Layout {
            /// How many words the layout has.
            pub const WORDS: usize = [$(stringify!($field)),*].len();

            /// Names of the fields, in order.
            pub const NAMES: [&'static str; Self::WORDS] = [$(stringify!($field)),*];

            /// Nothing known: what the object carries until user space fills it in.
            pub const UNKNOWN: Self = Self { $($field: ABSENT,)* };

            /// The fields in order, as they stand in the object's read-only data.
            #[must_use]
            pub const fn words(&self) -> [u32; Self::WORDS] {
                [$(self.$field),*]
            }

            /// The layout whose [`words`](Self::words) these are.
            #[must_use]
            pub const fn from_words(words: [u32; Self::WORDS]) -> Self {
                let [$($field),*] = words;
                Self { $($field),* }
            }
        }
    };
}

layout! {
    /// 1 if `mark_victim` carries the task, 0 if only a pid.
    mark_has_task,
    /// 1 if `bpf_probe_read_kernel` may be used (not under `lockdown=confidentiality`).
    probe_read,
    /// Process id of the agent: the only task that the self-check reports.
    self_tgid,
    /// What records carry as their version: [`crate::WIRE_VERSION`], or what a test plays.
    wire_version,
    /// 1 if the kernel side may write debug lines for aya-log.
    debug_log,
    /// `cgroup_root.hierarchy_id` of the hierarchy whose cgroups are watched.
    watched_hierarchy,
    /// Classic tracepoint: offset of `pid`, as tracefs `events/oom/mark_victim/format` gives it.
    classic_pid,
    /// Classic tracepoint: offset of the `__data_loc` word of `comm`.
    classic_comm,
    /// Classic tracepoint: `total_vm`, kB.
    classic_total_vm,
    /// Classic tracepoint: `anon_rss`, kB.
    classic_anon_rss,
    /// Classic tracepoint: `file_rss`, kB.
    classic_file_rss,
    /// Classic tracepoint: `shmem_rss`, kB.
    classic_shmem_rss,
    /// Classic tracepoint: `uid`.
    classic_uid,
    /// Classic tracepoint: `pgtables`, kB.
    classic_pgtables,
    /// Classic tracepoint: `oom_score_adj`.
    classic_oom_score_adj,
    /// `task_struct.pid`.
    task_pid,
    /// `task_struct.tgid`.
    task_tgid,
    /// `task_struct.comm`.
    task_comm,
    /// `task_struct.mm`.
    task_mm,
    /// `task_struct.signal`.
    task_signal,
    /// `task_struct.cgroups`.
    task_cgroups,
    /// `task_struct.real_parent`.
    task_real_parent,
    /// `task_struct.group_leader`.
    task_group_leader,
    /// `task_struct.thread_pid`.
    task_thread_pid,
    /// `task_struct.cred`.
    task_cred,
    /// `task_struct.start_boottime`, `real_start_time` before 5.5.
    task_start_boottime,
    /// `signal_struct.oom_score_adj`.
    signal_oom_score_adj,
    /// `signal_struct.nr_threads`.
    signal_nr_threads,
    /// `signal_struct.live`: threads that have not ended.
    signal_live,
    /// `signal_struct.oom_mm`: set by `mark_oom_victim`.
    signal_oom_mm,
    /// `cred.uid`.
    cred_uid,
    /// `mm_struct.total_vm`.
    mm_total_vm,
    /// `mm_struct.hiwater_rss`.
    mm_hiwater_rss,
    /// `mm_struct.pgtables_bytes`.
    mm_pgtables_bytes,
    /// The first counter's value in `mm_struct.rss_stat`.
    mm_rss_count,
    /// From one counter of `rss_stat` to the next: 8, or the size of a `percpu_counter` (6.2+).
    mm_rss_stride,
    /// `pid.level`.
    pid_level,
    /// `pid.numbers[0].nr`.
    pid_numbers_nr,
    /// Size of `struct upid`.
    upid_size,
    /// `css_set.subsys[memory_cgrp_id]`.
    css_set_memory,
    /// `css_set.dfl_cgrp`.
    css_set_dfl_cgrp,
    /// `cgroup_subsys_state.cgroup`.
    css_cgroup,
    /// `cgroup.self.parent`.
    cgroup_self_parent,
    /// `cgroup.kn`.
    cgroup_kn,
    /// `cgroup.root`.
    cgroup_root,
    /// `cgroup_root.hierarchy_id`.
    cgroup_root_hierarchy,
    /// `cgroup.subsys[memory_cgrp_id]`.
    cgroup_memory,
    /// `kernfs_node.id`.
    kernfs_id,
    /// `kernfs_node.name`.
    kernfs_name,
    /// `mem_cgroup.css`.
    memcg_css,
    /// `mem_cgroup.memory.usage`.
    memcg_usage,
    /// `mem_cgroup.memory.max`.
    memcg_max,
    /// `mem_cgroup.memory.failcnt`.
    memcg_failcnt,
    /// `mem_cgroup.oom_group`.
    memcg_oom_group,
    /// `oom_control.memcg`.
    oc_memcg,
    /// `oom_control.gfp_mask`.
    oc_gfp_mask,
    /// `oom_control.order`.
    oc_order,
    /// `oom_control.totalpages`.
    oc_totalpages,
    /// `oom_control.chosen`.
    oc_chosen,
    /// `oom_control.chosen_points`.
    oc_chosen_points,
    /// `oom_control.constraint`.
    oc_constraint,
}

const _: () = assert!(size_of::<Layout>() == 4 * Layout::WORDS);
