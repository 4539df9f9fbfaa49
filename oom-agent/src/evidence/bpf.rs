//! What the programs in the kernel read at the mark and at the decision.
//!
//! Emitted by `source::bpf`; read by `correlate`.

use serde::{Deserialize, Serialize};

use crate::{
    event::{Allocation, Cgroup, Constraint, Memory, Role, Scope, Victim},
    text::Comm,
};

/// `oom:mark_victim`, as the kernel side read it at that instant.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Mark {
    /// Number among all records of the kernel side.
    pub seq: u64,
    /// `CLOCK_MONOTONIC` of the mark.
    pub monotonic_ns: u64,
    /// Who was marked. Only `tid` is certain where the tracepoint carries nothing else.
    pub victim: Victim,
    /// `task_struct.start_boottime`: with the pid, the identity of a process within one boot.
    pub start_boottime_ns: Option<u64>,
    /// What it held.
    pub memory: Memory,
    /// The victim's cgroups, its own first, the root last.
    pub levels: Vec<Level>,
    /// The tree is deeper than `levels`: what is above them is not known.
    pub levels_cut: bool,
    /// Version of the hierarchy that `levels` is from.
    pub cgroup_version: Option<u8>,
    /// The task in whose context the kernel did it.
    pub asker: Asker,
    /// Whether the mark is a kill.
    pub verdict: Verdict,
    /// Scope, as far as the stack tells.
    pub scope: Option<Scope>,
    /// Role, as far as the stack tells.
    pub role: Option<Role>,
    /// What was being allocated, as far as the stack tells.
    pub allocation: Option<Allocation>,
}

impl Mark {
    /// The memory cgroup that the victim was charged to.
    #[must_use]
    pub fn memcg(&self) -> Option<&Level> {
        self.levels.iter().find(|level| level.memcg)
    }
}

/// What the kernel stack at the mark says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Verdict {
    /// `__oom_kill_process` is on the stack.
    Kill,
    /// The task was exiting already; nothing was killed.
    MarkOnly,
    /// No stack, no symbols, or the function was inlined.
    #[default]
    Unknown,
}

/// One level of the victim's cgroup path.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Level {
    /// kernfs id.
    pub id: u64,
    /// Path from the root of the hierarchy; `None` if its name could not be read.
    pub path: Option<String>,
    /// Whether the memory controller is enabled on this level.
    pub memcg: bool,
    /// Its counters; `None` where it is not enabled or they could not be read.
    pub charge: Option<Charge>,
}

/// `struct page_counter` of one memory cgroup, in bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Charge {
    /// Charged now.
    pub usage_bytes: u64,
    /// Limit; `None` where there is none.
    pub limit_bytes: Option<u64>,
    /// Times the limit was hit.
    pub failcnt: u64,
    /// `memory.oom.group`.
    pub oom_group: Option<bool>,
}

/// The task that asked for memory.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Asker {
    /// Process.
    pub pid: u32,
    /// Thread.
    pub tid: u32,
    /// Name.
    pub comm: Comm,
    /// `oom_score_adj`.
    pub oom_score_adj: Option<i16>,
    /// Memory cgroup path.
    pub cgroup: Option<String>,
}

/// `struct oom_control` at the entry of `oom_kill_process`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Decision {
    /// Number among all records of the kernel side.
    pub seq: u64,
    /// `CLOCK_MONOTONIC`.
    pub monotonic_ns: u64,
    /// The task that asked.
    pub asker: Asker,
    /// Why the choice was constrained.
    pub constraint: Option<Constraint>,
    /// `gfp_t`.
    pub gfp_mask: u32,
    /// Allocation order; -1 is sysrq.
    pub order: i32,
    /// `oom_control.totalpages` in bytes: the limit (or RAM and swap), never the usage.
    pub total_bytes: u64,
    /// Badness of the chosen task, in pages.
    pub points: i64,
    /// The cgroup whose limit was hit and its counters; `None` for the whole machine.
    pub limit: Option<(Cgroup, Charge)>,
    /// Thread and process of the chosen task.
    pub chosen: (u32, u32),
    /// The chosen task in full, as a mark would describe it.
    pub chosen_task: Option<Box<Mark>>,
}
