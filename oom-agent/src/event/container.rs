//! `ContainerCreation` and `ContainerDeletion`: what the watch of cgroups saw.
//!
//! Reads nothing: a part of the contract.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Cgroup, Owner, SCHEMA, Timestamp};

/// A container's cgroup appeared; that of anything else only if all were asked for.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ContainerCreation {
    /// Version of this contract.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: u32,
    /// Deterministic: boot id, kernfs id and path of the cgroup.
    pub id: Arc<str>,
    /// Wall clock when it was made; if that was not seen, when it was found.
    pub time: Timestamp,
    /// The same moment on `CLOCK_MONOTONIC`.
    pub monotonic_ns: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: Option<Arc<str>>,
    /// Node name.
    pub node: Option<Arc<str>>,
    /// Name of the cluster that the node is of. Absent where the agent was not told one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Arc<str>>,
    /// The cgroup.
    pub cgroup: Cgroup,
    /// Whose it is.
    pub owner: Owner,
    /// The watch had lost events, and a scan found it: it may be older than `time`.
    pub late: bool,
}

/// A container's cgroup was removed; that of anything else only if all were asked for.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct ContainerDeletion {
    /// Version of this contract.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: u32,
    /// Deterministic: boot id, kernfs id and path of the cgroup.
    pub id: Arc<str>,
    /// Wall clock when it was removed; if that was not seen, when it was missed.
    pub time: Timestamp,
    /// The same moment on `CLOCK_MONOTONIC`.
    pub monotonic_ns: u64,
    /// `/proc/sys/kernel/random/boot_id`.
    pub boot_id: Option<Arc<str>>,
    /// Node name.
    pub node: Option<Arc<str>>,
    /// Name of the cluster that the node is of. Absent where the agent was not told one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Arc<str>>,
    /// The cgroup.
    pub cgroup: Cgroup,
    /// Whose it was.
    pub owner: Owner,
    /// When it was made. Null if it is older than the agent.
    pub created: Option<Timestamp>,
    /// Exit code of the container, where its runtime leaves it on disk; else -1, as cAdvisor says it.
    pub exit_code: i32,
    /// The watch had lost events, and a scan missed it: it may have been removed before `time`.
    pub late: bool,
}

#[cfg(test)]
impl ContainerDeletion {
    /// Of which nothing is known.
    pub(crate) fn for_tests() -> Self {
        Self {
            schema: SCHEMA,
            id: "removed".into(),
            time: Timestamp::from_unix_ns(0),
            monotonic_ns: 0,
            boot_id: None,
            node: None,
            cluster: None,
            cgroup: Cgroup {
                path: None,
                id: None,
                version: None,
            },
            owner: Owner::of(super::OwnerKind::System),
            created: None,
            exit_code: -1,
            late: false,
        }
    }
}
