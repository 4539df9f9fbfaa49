//! The alert: [`OomKill`], and who died.
//!
//! Reads nothing: a part of the contract.

use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Cgroup, End, Memory, Owner, SCHEMA, Source, TimeSource, Timestamp};
use crate::text::Comm;

/// The alert: one per killed process.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct OomKill {
    /// Version of this contract.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: u32,
    /// Deterministic: boot id, tgid and start time; boot id and log sequence if only the log saw it.
    pub id: Arc<str>,
    /// `id` of the report that this kill belongs to.
    pub instance_id: Arc<str>,
    /// Wall clock at the kernel's mark (or log line). Null only for a kill from a log that does not
    /// tell it.
    pub time: Option<Timestamp>,
    /// Where `time` is from; null with it.
    pub time_source: Option<TimeSource>,
    /// The same moment on `CLOCK_MONOTONIC`. Null only for a kill from a log that does not tell it.
    pub monotonic_ns: Option<u64>,
    /// `/proc/sys/kernel/random/boot_id`. Null only for a kill from a log that does not tell it.
    pub boot_id: Option<Arc<str>>,
    /// Node name. Null only for a kill from a log that does not tell it.
    pub node: Option<Arc<str>>,
    /// Name of the cluster that the node is of. Absent where the agent was not told one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cluster: Option<Arc<str>>,
    /// Who died.
    pub victim: Victim,
    /// What the victim held.
    pub memory: Memory,
    /// The cgroup that the victim's memory was charged to.
    pub cgroup: Option<Cgroup>,
    /// Whose cgroup that is.
    pub owner: Option<Owner>,
    /// Why this process died.
    pub role: Role,
    /// The sources that had seen the kill when this event was emitted.
    pub evidence: Vec<Source>,
    /// From the kernel's mark (or log line) until the event was handed to the outputs.
    pub detection_latency_ns: Option<u64>,
    /// What the `oom_reaper` did with the victim's memory. Null if it had not spoken when the event was
    /// made.
    pub reaper: Option<Reaper>,
    /// How it ended. Null in an alert, which does not wait for that, and if nobody could tell.
    pub end: Option<End>,
    /// It happened before the agent first watched this boot, and was read back from the kernel's log:
    /// history, not an alert. Absent if not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub backfill: bool,
}

impl OomKill {
    /// When the victim was started, `CLOCK_BOOTTIME`, as [`Self::id`] tells it: unlike `start_time`, no clock that
    /// is set meanwhile changes it. `None` where the kernel did not say it with the kill.
    #[must_use]
    pub fn start_boottime_ns(&self) -> Option<u64> {
        self.id.rsplit_once('-')?.1.parse().ok()
    }

    pub(super) fn mark_backfill(&mut self) {
        self.backfill = true;
        // The time until somebody read the log says nothing of detection.
        self.detection_latency_ns = None;
    }
}

/// The process that was killed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Victim {
    /// The process (tgid). Null if only the log spoke, which names a thread, or if the tracepoint
    /// carries only a thread and it was gone.
    pub pid: Option<u32>,
    /// The thread that the kernel names: one that still had the memory.
    pub tid: u32,
    /// The pid in the victim's own pid namespace.
    pub ns_pid: Option<u32>,
    /// Parent process (tgid).
    pub ppid: Option<u32>,
    /// Name of the thread; absent where it could not be read, or is empty.
    #[serde(default, skip_serializing_if = "Comm::is_empty")]
    pub comm: Comm,
    /// Name of the parent.
    pub parent_comm: Option<Comm>,
    /// Real user id.
    pub uid: Option<u32>,
    /// When the process started.
    pub start_time: Option<Timestamp>,
    /// Threads when it was killed.
    pub threads: Option<u32>,
    /// `/proc/<pid>/oom_score_adj`, -1000 to 1000.
    pub oom_score_adj: Option<i16>,
    /// Path of the executable.
    pub exe: Option<String>,
    /// Command line; off by default, for it may hold secrets.
    pub cmdline: Option<String>,
}

/// Why a process died.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The kernel chose it.
    Chosen,
    /// It shared a cgroup with `memory.oom.group` set with the chosen one.
    GroupMember,
}

/// What the `oom_reaper` (4.6+) did with the memory of a victim that had not ended yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reaper {
    /// It took the memory back.
    Reaped,
    /// It could not, and gave up.
    Unable,
    /// The victim ended before it came.
    NotNeeded,
}

#[cfg(test)]
impl OomKill {
    /// A kill of which nothing is known.
    pub(crate) fn for_tests() -> Self {
        Self {
            schema: SCHEMA,
            id: "id".into(),
            instance_id: "instance".into(),
            time: Some(Timestamp::from_unix_ns(0)),
            time_source: Some(TimeSource::Kernel),
            monotonic_ns: Some(0),
            boot_id: Some("boot".into()),
            node: Some("node".into()),
            cluster: None,
            victim: Victim::default(),
            memory: Memory::default(),
            cgroup: None,
            owner: None,
            role: Role::Chosen,
            evidence: Vec::new(),
            detection_latency_ns: None,
            reaper: None,
            end: None,
            backfill: false,
        }
    }
}
