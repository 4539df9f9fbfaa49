//! The public events: `OomKill` (the alert), `OomInstance` (the report), victims that end late (`VictimEnd`)
//! or not at all (`OomStuck`), and containers that came and went; schema version 1.
//!
//! Reads nothing; these types *are* the contract. Serialised as `snake_case` JSON, one object per
//! line. Sizes are bytes, durations nanoseconds, times RFC 3339 UTC. A value that is not known is
//! `null`, or left out where its field says so, never 0 or a guess; a value that was inferred says so. Within a schema version fields are
//! only added.

mod container;
mod crosscheck;
mod end;
mod instance;
mod kill;
mod kind;
mod limit;
mod memory;
mod owner;
mod trigger;
mod workload;

use std::{fmt, sync::Arc};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    container::{ContainerCreation, ContainerDeletion},
    crosscheck::{Crosscheck, KmsgReportState, Mismatch},
    end::{End, EndSource, OomStuck, StuckThread, VictimEnd},
    instance::{Constraint, OomInstance, Outcome, Scope},
    kill::{OomKill, Reaper, Role, Victim},
    kind::Kind,
    limit::{CgroupLevel, Limit, LimitSource},
    memory::{
        CgroupMemory, CgroupState, Counter, FiguresSource, GrowthOf, Memory, MemoryEvents,
        MemorySample, MemoryStat, MemoryTrend, Pressure, Stall, SystemMemory, TaskRow, TopCgroup,
        Zone,
    },
    owner::{LimitLevel, Owner, OwnerKind, Pod, Qos, Runtime},
    trigger::{Allocation, Trigger},
    workload::workload,
};
pub use crate::timestamp::Timestamp;

/// Version of this contract, in every event as `schema`.
pub const SCHEMA: u32 = 1;

/// One event as it leaves the agent. `kind` tells which.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "kind")]
pub enum Event {
    /// One process was killed: emitted at the first trustworthy evidence.
    OomKill(Box<OomKill>),
    /// One decision of the kernel, closed and cross-checked.
    OomInstance(Box<OomInstance>),
    /// A container came.
    ContainerCreation(Box<ContainerCreation>),
    /// A container went.
    ContainerDeletion(Box<ContainerDeletion>),
    /// A victim ended after its report had been told.
    VictimEnd(Box<VictimEnd>),
    /// A victim has not ended in time.
    OomStuck(Box<OomStuck>),
}

impl Event {
    /// Whether it tells of a kill, of what became of its victim, or of what the kernel decided instead.
    #[must_use]
    pub const fn is_of_kill(&self) -> bool {
        !matches!(
            self,
            Self::ContainerCreation(_) | Self::ContainerDeletion(_)
        )
    }

    /// Makes it history: read back from the log of before the agent watched.
    pub fn mark_backfill(&mut self) {
        match self {
            Self::OomKill(kill) => kill.mark_backfill(),
            Self::OomInstance(instance) => {
                instance.backfill = true;
                instance.open_for_ns = None;
                instance.kills.iter_mut().for_each(OomKill::mark_backfill);
            }
            Self::VictimEnd(end) => end.kill.mark_backfill(),
            Self::OomStuck(stuck) => stuck.kill.mark_backfill(),
            Self::ContainerCreation(_) | Self::ContainerDeletion(_) => {}
        }
    }

    /// The decision that it is of.
    #[must_use]
    pub fn instance_id(&self) -> Option<&Arc<str>> {
        match self {
            Self::OomKill(kill) => Some(&kill.instance_id),
            Self::OomInstance(instance) => Some(&instance.id),
            Self::VictimEnd(end) => Some(&end.kill.instance_id),
            Self::OomStuck(stuck) => Some(&stuck.kill.instance_id),
            Self::ContainerCreation(_) | Self::ContainerDeletion(_) => None,
        }
    }
}

/// Where the wall-clock time of an event is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimeSource {
    /// The kernel's own clock, converted on the node while it ran.
    Kernel,
    /// Whoever wrote the log noted it: later than the kill, and as exact as that logger writes.
    Logger,
    /// The log leaves out the year or the time zone; they were assumed.
    Assumed,
}

/// A memory cgroup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Cgroup {
    /// Path from the root of its hierarchy, as `/proc/<pid>/cgroup` shows it on the host.
    pub path: Option<String>,
    /// kernfs id: the inode number of the cgroup's directory.
    pub id: Option<u64>,
    /// Hierarchy version, 1 or 2.
    pub version: Option<u8>,
}

/// A source of evidence.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The eBPF programs.
    Bpf,
    /// The kernel log.
    Kmsg,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bpf => "bpf",
            Self::Kmsg => "kmsg",
        })
    }
}

/// The JSON Schema of [`Event`], generated from these types.
#[must_use]
pub fn json_schema() -> schemars::Schema {
    schemars::schema_for!(Event)
}
