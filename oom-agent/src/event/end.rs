//! How a victim ended: [`End`] in the kills of a report, [`VictimEnd`] where it came after the report, and
//! [`OomStuck`] where it did not come in time.
//!
//! Reads nothing: a part of the contract.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{OomKill, SCHEMA, Timestamp};
use crate::call_trace::CallTrace;

/// What became of a victim after its mark. All durations count from the mark (from the log line, if only the
/// log spoke).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct End {
    /// It was still there when this was told.
    pub still_alive: bool,
    /// Until its last thread ended. Null while it is there, and if nobody could tell.
    pub exit_after_ns: Option<u64>,
    /// Who told that; null with it.
    pub exit_source: Option<EndSource>,
    /// It had gone when it was first looked for: `exit_after_ns` is the most that it can have been.
    pub at_most: bool,
    /// Until its memory was taken apart. Null if the kernel did not tell, or it is not yet.
    pub freed_after_ns: Option<u64>,
    /// What was resident at the mark less what was left then. Pages of files and shared memory among it may
    /// still be in caches. Null with `freed_after_ns`, or if the size at the mark is not known.
    pub freed_bytes: Option<u64>,
    /// Until the `oom_reaper` first began to take its memory.
    pub reaping_started_after_ns: Option<u64>,
    /// Until it last stopped; whether it was done then is in `reaper`.
    pub reaping_finished_after_ns: Option<u64>,
    /// What the reaper left of it, by the kernel's log.
    pub reaping_left_bytes: Option<u64>,
}

/// Who saw a victim end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum EndSource {
    /// The kernel's tracepoint `sched:sched_process_exit`. Since 6.16 it comes before the process lets go of
    /// its memory, in older kernels after.
    Bpf,
    /// A pidfd: the process had let go of everything, and a thread of the agent's had woken up.
    Pidfd,
}

/// A victim ended after its report had been told.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct VictimEnd {
    /// Version of this contract.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: u32,
    /// Deterministic: the id of the kill, with `-end`.
    pub id: Arc<str>,
    /// Wall clock of the end.
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
    /// The kill, as in its report, with its end.
    pub kill: OomKill,
}

/// A victim has not ended a good while after its mark: what it holds stays held. An alert, once for each kill.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct OomStuck {
    /// Version of this contract.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: u32,
    /// Deterministic: the id of the kill, with `-stuck`.
    pub id: Arc<str>,
    /// Wall clock when it was looked at.
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
    /// From the mark until then.
    pub stuck_for_ns: u64,
    /// The thread that looks most stuck: in an uninterruptible sleep, if one is. Null if none could be read.
    pub thread: Option<StuckThread>,
    /// Threads that are left. Null if they could not be counted.
    pub threads: Option<u32>,
    /// Threads in an uninterruptible sleep (`D`). Null with `threads`.
    pub uninterruptible: Option<u32>,
    /// What it still has resident. Null if it has let go of its memory already, or it could not be read.
    pub held_bytes: Option<u64>,
    /// The kill, as in its report, with what is known of its end.
    pub kill: OomKill,
}

/// Where a thread of a victim is stuck.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StuckThread {
    /// Thread.
    pub tid: u32,
    /// Its state as `/proc/<pid>/stat` has it: `D`, `R`, `S`, `t`, `Z` and so on.
    pub state: String,
    /// The kernel function that it sleeps in. Null if it does not sleep, or it may not be read.
    pub wchan: Option<String>,
    /// Its kernel stack, the innermost function first; empty where it may not be read.
    pub kernel_stack: CallTrace,
}

#[cfg(test)]
impl VictimEnd {
    /// The end of a kill of which nothing is known.
    pub(crate) fn for_tests() -> Self {
        Self {
            schema: SCHEMA,
            id: "id-end".into(),
            time: Timestamp::from_unix_ns(0),
            monotonic_ns: 0,
            boot_id: Some("boot".into()),
            node: Some("node".into()),
            cluster: None,
            kill: OomKill::for_tests(),
        }
    }
}

#[cfg(test)]
impl OomStuck {
    /// A victim of which nothing is known.
    pub(crate) fn for_tests() -> Self {
        let of = VictimEnd::for_tests();
        Self {
            schema: of.schema,
            id: "id-stuck".into(),
            time: of.time,
            monotonic_ns: of.monotonic_ns,
            boot_id: of.boot_id,
            node: of.node,
            cluster: of.cluster,
            stuck_for_ns: 10_000_000_000,
            thread: None,
            threads: None,
            uninterruptible: None,
            held_bytes: None,
            kill: of.kill,
        }
    }
}
