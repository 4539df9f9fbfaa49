//! What the flight recorder knows of a decision's cgroup.
//!
//! Emitted by `source::memory`; read by `correlate`.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::{
    CgroupMemory, CgroupState, MemorySample, MemoryTrend, SystemMemory, TaskRow, TopCgroup,
};

/// The answer to a wish ([`super::Wish`]).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct MemoryEvidence {
    /// Id of the instance that it was asked for.
    pub instance: Arc<str>,
    /// Readings of before the kill, oldest first, with what they say in short.
    pub history: Option<(Vec<MemorySample>, MemoryTrend)>,
    /// Of the limit's cgroup, or the victim's.
    pub state: Option<CgroupState>,
    /// What the limit's cgroup held.
    pub limit_memory: Option<CgroupMemory>,
    /// What the machine held; only if it ran out.
    pub system_memory: Option<SystemMemory>,
    /// Who held the most; only if the machine ran out.
    pub top: Vec<TopCgroup>,
    /// Processes of the cgroup (of the machine).
    pub tasks: Vec<TaskRow>,
    /// Of them not kept.
    pub tasks_dropped: u32,
}
