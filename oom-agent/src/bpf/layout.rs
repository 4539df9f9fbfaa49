//! Where the running kernel keeps each field: [`oom_common::Layout`] from its [`Btf`].
//!
//! Reads BTF; emits the layout, the form of the `mark_victim` tracepoint and the list of what this
//! kernel lacks, with what is lost by it. Refuses a kernel that lacks what identifies a victim and
//! its cgroup. Fields that were renamed are asked for by each of their names, never by version.

use std::{cmp::Reverse, collections::HashMap, fmt};

use oom_common::{ABSENT, Layout};
use thiserror::Error;

use super::btf::{Btf, Kind};

#[cfg(test)]
mod tests;

/// The typedef behind the tracepoint `oom:mark_victim`: what a `tp_btf` program attaches to.
pub const MARK_TYPEDEF: &str = "btf_trace_mark_victim";

/// The function that sees the kernel's decision: what `fentry` attaches to.
pub const DECISION_FUNC: &str = "oom_kill_process";

/// The typedefs behind the tracepoints of [`crate::bpf::cgroups`], in the order of its programs.
pub const CGROUP_TYPEDEFS: [&str; 3] = [
    "btf_trace_cgroup_mkdir",
    "btf_trace_cgroup_rmdir",
    "btf_trace_cgroup_rename",
];

/// The typedefs behind the tracepoints of [`crate::bpf::ends`], in the order of its programs.
pub const END_TYPEDEFS: [&str; 4] = [
    "btf_trace_sched_process_exit",
    "btf_trace_exit_mmap",
    "btf_trace_start_task_reaping",
    "btf_trace_finish_task_reaping",
];

/// The enum that says which element of a `subsys` array is the memory controller's.
pub const SUBSYS_ENUM: &str = "cgroup_subsys_id";

/// That enumerator.
pub const MEMORY_ENUMERATOR: &str = "memory_cgrp_id";

/// What one field of [`Layout`] rests on.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// The field of [`Layout`].
    pub name: &'static str,
    /// Where the kernel keeps it, `struct.member.member`: today's name first, older ones after.
    pub paths: &'static [&'static str],
    take: Take,
}

#[derive(Clone, Copy, Debug)]
enum Take {
    /// The member's offset.
    Offset,
    /// From one element of the array to the next.
    Stride,
    /// The offset of the memory controller's element of the array.
    Memory,
}

const fn at(name: &'static str, paths: &'static [&'static str]) -> Field {
    let take = Take::Offset;
    Field { name, paths, take }
}

const fn stride(name: &'static str, paths: &'static [&'static str]) -> Field {
    let take = Take::Stride;
    Field { name, paths, take }
}

const fn memory(name: &'static str, paths: &'static [&'static str]) -> Field {
    let take = Take::Memory;
    Field { name, paths, take }
}

/// Without these a kill has no identity or no cgroup, and the log says as much.
pub const REQUIRED: &[Field] = &[
    at("task_pid", &["task_struct.pid"]),
    at("task_tgid", &["task_struct.tgid"]),
    at("task_comm", &["task_struct.comm"]),
    at("task_group_leader", &["task_struct.group_leader"]),
    // Renamed in 5.5.
    at(
        "task_start_boottime",
        &["task_struct.start_boottime", "task_struct.real_start_time"],
    ),
    at("task_cgroups", &["task_struct.cgroups"]),
    at("css_set_dfl_cgrp", &["css_set.dfl_cgrp"]),
    at("cgroup_self_parent", &["cgroup.self.parent"]),
    at("cgroup_kn", &["cgroup.kn"]),
    at("kernfs_id", &["kernfs_node.id"]),
    at("kernfs_name", &["kernfs_node.name"]),
];

/// What the agent can do without, by what it then cannot say.
pub const OPTIONAL: &[(&str, &[Field])] = &[
    (
        "the cgroup that memory is charged to (the v2 leaf stands in for it)",
        &[
            memory("css_set_memory", &["css_set.subsys"]),
            at("css_cgroup", &["cgroup_subsys_state.cgroup"]),
        ],
    ),
    (
        "whether a cgroup belongs to v1 or v2",
        &[at("cgroup_root", &["cgroup.root"])],
    ),
    (
        "in which hierarchy cgroups come and go",
        &[at("cgroup_root_hierarchy", &["cgroup_root.hierarchy_id"])],
    ),
    (
        "the counters and limits of the cgroup levels",
        &[
            memory("cgroup_memory", &["cgroup.subsys"]),
            at("memcg_css", &["mem_cgroup.css"]),
            at("memcg_usage", &["mem_cgroup.memory.usage"]),
            // Renamed in 4.18.
            at(
                "memcg_max",
                &["mem_cgroup.memory.max", "mem_cgroup.memory.limit"],
            ),
        ],
    ),
    (
        "how often a limit was hit",
        &[at("memcg_failcnt", &["mem_cgroup.memory.failcnt"])],
    ),
    (
        "whether a cgroup is killed as a group",
        &[at("memcg_oom_group", &["mem_cgroup.oom_group"])],
    ),
    (
        "the victim's memory sizes",
        &[
            at("task_mm", &["task_struct.mm"]),
            at("mm_total_vm", &["mm_struct.total_vm"]),
            // `struct { atomic_long_t count[4]; }` before 6.2, `struct percpu_counter [4]` since:
            // the same path leads to the first counter of both.
            at("mm_rss_count", &["mm_struct.rss_stat.count"]),
            stride("mm_rss_stride", &["mm_struct.rss_stat.count"]),
        ],
    ),
    (
        "the victim's peak size",
        &[at("mm_hiwater_rss", &["mm_struct.hiwater_rss"])],
    ),
    (
        "the size of the victim's page tables",
        &[at("mm_pgtables_bytes", &["mm_struct.pgtables_bytes"])],
    ),
    (
        "the victim's parent",
        &[at("task_real_parent", &["task_struct.real_parent"])],
    ),
    (
        "the victim's uid",
        &[
            at("task_cred", &["task_struct.cred"]),
            at("cred_uid", &["cred.uid"]),
        ],
    ),
    (
        "the victim's oom_score_adj and number of threads",
        &[
            at("task_signal", &["task_struct.signal"]),
            at("signal_oom_score_adj", &["signal_struct.oom_score_adj"]),
            at("signal_nr_threads", &["signal_struct.nr_threads"]),
        ],
    ),
    (
        "when a victim has ended, but by looking",
        &[
            at("signal_live", &["signal_struct.live"]),
            at("signal_oom_mm", &["signal_struct.oom_mm"]),
        ],
    ),
    (
        "the victim's pid in its own namespace",
        &[
            // pids[PIDTYPE_PID] before 4.19.
            at(
                "task_thread_pid",
                &["task_struct.thread_pid", "task_struct.pids.pid"],
            ),
            at("pid_level", &["pid.level"]),
            at("pid_numbers_nr", &["pid.numbers.nr"]),
            stride("upid_size", &["pid.numbers.nr"]),
        ],
    ),
    (
        "the kernel's own decision: whose limit, what was asked for, how bad the victim was",
        &[
            at("oc_memcg", &["oom_control.memcg"]),
            at("oc_gfp_mask", &["oom_control.gfp_mask"]),
            at("oc_order", &["oom_control.order"]),
            at("oc_totalpages", &["oom_control.totalpages"]),
            at("oc_chosen", &["oom_control.chosen"]),
            at("oc_chosen_points", &["oom_control.chosen_points"]),
            at("oc_constraint", &["oom_control.constraint"]),
        ],
    ),
];

/// The form of the tracepoint `oom:mark_victim`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MarkPrototype {
    /// `(struct task_struct *task, …)`: 6.9, and stable kernels since early 2025.
    Task,
    /// `(int pid)`.
    Pid,
    /// No such tracepoint, or a form that is neither.
    Absent,
}

/// Something that this kernel lacks and the agent can do without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Missing {
    /// The field of [`Layout`], or the hook.
    pub name: &'static str,
    /// What the agent cannot say without it.
    pub lost: &'static str,
}

impl Missing {
    const fn new(name: &'static str, lost: &'static str) -> Self {
        Self { name, lost }
    }
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} is not there; not known: {}", self.name, self.lost)
    }
}

/// What a kernel's BTF says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// All fields but `probe_read`, `self_tgid` and the like, which BTF does not know.
    pub layout: Layout,
    /// The form of `mark_victim`.
    pub mark: MarkPrototype,
    /// BTF id of [`MARK_TYPEDEF`].
    pub mark_id: Option<u32>,
    /// BTF id of [`DECISION_FUNC`], if it takes a `struct oom_control *`.
    pub oom_kill_process: Option<u32>,
    /// BTF ids of [`CGROUP_TYPEDEFS`], where they take a `struct cgroup *` and a path.
    pub cgroup_tracepoints: [Option<u32>; 3],
    /// BTF ids of [`END_TYPEDEFS`], where they take what they should. Before 6.1 there is none for `exit_mmap`.
    pub end_tracepoints: [Option<u32>; 4],
    /// Fields and hooks that are not there.
    pub missing: Vec<Missing>,
}

/// Why a kernel cannot be read through its BTF.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum LayoutError {
    /// Fields of [`REQUIRED`] that are not there.
    #[error("the kernel's BTF lacks {}", .0.join(", "))]
    Missing(Vec<&'static str>),
}

/// Asks a kernel's BTF for everything that the kernel side reads.
pub fn layout(btf: &Btf<'_>) -> Result<Found, LayoutError> {
    let kernel = Kernel::new(btf);
    let mut values = HashMap::new();
    let mut lacking = Vec::new();
    for field in REQUIRED {
        match kernel.read(field) {
            Some(value) => _ = values.insert(field.name, value),
            None => lacking.push(field.paths[0]),
        }
    }
    if !lacking.is_empty() {
        return Err(LayoutError::Missing(lacking));
    }

    let mut missing = Vec::new();
    for &(lost, fields) in OPTIONAL {
        for field in fields {
            match kernel.read(field) {
                Some(value) => _ = values.insert(field.name, value),
                None => missing.push(Missing::new(field.name, lost)),
            }
        }
    }
    let (mark, mark_id) = mark_victim(btf);
    if mark == MarkPrototype::Absent {
        let lost = "the victim at the moment of its kill";
        missing.push(Missing::new("mark_victim", lost));
    }
    let oom_kill_process = oom_kill_process(btf);
    if oom_kill_process.is_none() {
        let lost = "the limit that was hit, as the kernel decided it";
        missing.push(Missing::new("oom_kill_process", lost));
    }
    let cgroup_tracepoints = CGROUP_TYPEDEFS.map(|name| cgroup_tracepoint(btf, name));
    if cgroup_tracepoints.contains(&None) {
        let lost = "which cgroups come and go, at that instant";
        missing.push(Missing::new("cgroup_mkdir", lost));
    }
    let end_tracepoints = END_TYPEDEFS.map(|name| end_tracepoint(btf, name));
    if end_tracepoints[0].is_none() {
        let lost = "when a victim has ended, but by looking";
        missing.push(Missing::new("sched_process_exit", lost));
    }
    values.insert("mark_has_task", u32::from(mark == MarkPrototype::Task));
    let words = Layout::NAMES.map(|name| values.get(name).copied().unwrap_or(ABSENT));
    Ok(Found {
        layout: Layout::from_words(words),
        mark,
        mark_id,
        oom_kill_process,
        cgroup_tracepoints,
        end_tracepoints,
        missing,
    })
}

/// The structs that the fields are in. Where several have one name, the one with most of the fields.
struct Kernel<'a> {
    btf: &'a Btf<'a>,
    structs: HashMap<&'static str, u32>,
    memory_index: Option<u32>,
}

impl<'a> Kernel<'a> {
    fn new(btf: &'a Btf<'a>) -> Self {
        let mut members: HashMap<_, Vec<_>> = HashMap::new();
        for (of, member) in paths() {
            members.entry(of).or_default().push(member);
        }
        let most = |of: &str, members: &[&str]| {
            btf.ids(Kind::Struct, of).max_by_key(|&id| {
                let has = |path: &&&str| btf.member(id, path).is_some();
                // Of equals the first.
                (members.iter().filter(has).count(), Reverse(id))
            })
        };
        let structs = members
            .into_iter()
            .filter_map(|(of, members)| Some((of, most(of, &members)?)))
            .collect();
        let memory_index = btf
            .enum_value(SUBSYS_ENUM, MEMORY_ENUMERATOR)
            .and_then(|index| u32::try_from(index).ok());
        Self {
            btf,
            structs,
            memory_index,
        }
    }

    fn read(&self, field: &Field) -> Option<u32> {
        field.paths.iter().find_map(|path| {
            let (of, member) = path.split_once('.')?;
            let member = self.btf.member(*self.structs.get(of)?, member)?;
            match field.take {
                Take::Offset => member.offset(),
                Take::Stride => member.stride,
                Take::Memory => {
                    let element = member.stride?.checked_mul(self.memory_index?)?;
                    member.offset()?.checked_add(element)
                }
            }
        })
    }
}

/// Every struct and member path that is asked for.
pub fn paths() -> impl Iterator<Item = (&'static str, &'static str)> {
    let optional = OPTIONAL.iter().flat_map(|(_, fields)| *fields);
    REQUIRED
        .iter()
        .chain(optional)
        .flat_map(|field| field.paths)
        .filter_map(|path| path.split_once('.'))
}

/// The prototype behind the typedef that a `tp_btf` program attaches to. Its first parameter is the
/// tracepoint's own data; the victim is the second.
fn mark_victim(btf: &Btf<'_>) -> (MarkPrototype, Option<u32>) {
    for id in btf.ids(Kind::Typedef, MARK_TYPEDEF) {
        let Some(&victim) = btf.params(id).as_deref().and_then(|params| params.get(1)) else {
            continue;
        };
        if points_to(btf, victim, "task_struct") {
            return (MarkPrototype::Task, Some(id));
        }
        let pid = btf.strip(victim).and_then(|id| btf.get(id));
        if pid.is_some_and(|ty| ty.kind == Kind::Int) {
            return (MarkPrototype::Pid, Some(id));
        }
    }
    (MarkPrototype::Absent, None)
}

fn oom_kill_process(btf: &Btf<'_>) -> Option<u32> {
    btf.ids(Kind::Func, DECISION_FUNC).find(|&id| {
        let first = btf.params(id).and_then(|params| params.first().copied());
        first.is_some_and(|first| points_to(btf, first, "oom_control"))
    })
}

/// `(void *, struct cgroup *cgrp, const char *path)`: the first is the tracepoint's own.
fn cgroup_tracepoint(btf: &Btf<'_>, name: &str) -> Option<u32> {
    btf.ids(Kind::Typedef, name).find(|&id| {
        let params = btf.params(id).unwrap_or_default();
        matches!(params[..], [_, cgroup, _path] if points_to(btf, cgroup, "cgroup"))
    })
}

/// `(void *, struct task_struct *, …)`, `(void *, struct mm_struct *)` or `(void *, int pid)`.
fn end_tracepoint(btf: &Btf<'_>, name: &str) -> Option<u32> {
    btf.ids(Kind::Typedef, name).find(|&id| {
        let Some(&of) = btf.params(id).as_deref().and_then(|params| params.get(1)) else {
            return false;
        };
        match name {
            "btf_trace_sched_process_exit" => points_to(btf, of, "task_struct"),
            "btf_trace_exit_mmap" => points_to(btf, of, "mm_struct"),
            _ => {
                let pid = btf.strip(of).and_then(|id| btf.get(id));
                pid.is_some_and(|ty| ty.kind == Kind::Int)
            }
        }
    })
}

fn points_to(btf: &Btf<'_>, id: u32, of: &str) -> bool {
    btf.pointee(id)
        .is_some_and(|ty| matches!(ty.kind, Kind::Struct | Kind::Fwd) && ty.name == of.as_bytes())
}
