//! The limit that was hit, and the levels of the tree above the victim.
//!
//! Reads nothing: a part of the contract.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Cgroup, LimitLevel};

/// The limit that was hit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Limit {
    /// The cgroup whose limit it is: the victim's own or one above it.
    pub cgroup: Cgroup,
    /// Which level of the tree that is, by its path. Null if the path is not known.
    pub level: Option<LimitLevel>,
    /// The limit.
    pub limit_bytes: Option<u64>,
    /// What was charged to it at that moment.
    pub usage_bytes: Option<u64>,
    /// How often the limit had been hit.
    pub failcnt: Option<u64>,
    /// How this is known.
    pub source: LimitSource,
}

/// How the limit is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LimitSource {
    /// Read from the kernel's decision.
    OomControl,
    /// Named by the kernel log.
    Kmsg,
    /// The level whose usage stood at its limit.
    Inferred,
}

/// One level of the tree above a victim.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CgroupLevel {
    /// Which cgroup.
    pub cgroup: Cgroup,
    /// Which level of the tree that is, by its path. Null if the path is not known.
    pub level: Option<LimitLevel>,
    /// Charged to it and all below it. Null, as what follows, where the memory controller is not enabled or nothing
    /// could be read.
    pub usage_bytes: Option<u64>,
    /// Its limit; null also where there is none.
    pub limit_bytes: Option<u64>,
    /// How often the limit had been hit.
    pub failcnt: Option<u64>,
    /// `memory.oom.group`; absent where it is not known, and in a hierarchy of version 1, which has none.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub oom_group: Option<bool>,
}
