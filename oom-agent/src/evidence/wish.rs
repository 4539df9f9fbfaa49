//! What the correlator would like to know and nobody has told it.
//!
//! Values: whoever may wait reads them and answers with evidence.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::event::CgroupLevel;

/// What the correlator would like to know of a decision's cgroup while that is still there; the answer
/// is [`super::Evidence::Memory`]. Where nobody grants wishes ([`super::Feed::Memory`] down) none are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Id of the instance.
    pub instance: Arc<str>,
    /// When it happened, `CLOCK_MONOTONIC`. Of what only the log told: when its line was read, for the log's clock
    /// may lag.
    pub monotonic_ns: u64,
    /// Path of the cgroup whose limit was hit, as far as is known; `None` too if the machine ran out.
    pub limit: Option<String>,
    /// Path of the victim's cgroup.
    pub victim: Option<String>,
    /// The machine ran out, or some of its nodes.
    pub machine: bool,
    /// What the victim's cgroups held when it was marked; empty if only the log told, or a limit was hit.
    pub levels: Vec<CgroupLevel>,
}

/// A victim whose end the correlator would like to be told; the answer is [`super::Evidence::Victim`]. Where nobody
/// waits ([`super::Feed::Victims`] down) none are made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// Id of the kill.
    pub kill: Arc<str>,
    /// The process; where only a thread is known, that.
    pub pid: u32,
    /// `start_boottime` of its leader, as far as is known.
    pub start_boottime_ns: Option<u64>,
    /// When it was marked, `CLOCK_MONOTONIC`.
    pub monotonic_ns: u64,
}
