//! What a correlator hands to its successor.
//!
//! Reads its state at a quiet moment; emits a [`Snapshot`], which is stored: fields are only added.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{Audit, Correlator, victim::Living};

/// What a correlator hands to its successor at a quiet moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    audit: Audit,
    /// BPF, the log, the flight recorder.
    up: [bool; 3],
    /// Whether somebody waits for victims to end.
    #[serde(default)]
    victims_up: bool,
    /// Those that have outlived their reports.
    #[serde(default)]
    living: VecDeque<Living>,
}

impl Correlator {
    /// What of its state outlives a quiet moment, but for its memory of closed kills: for a successor,
    /// which is told all evidence since then once more.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            audit: self.audit,
            up: [self.bpf_up, self.kmsg_up, self.memory_up],
            victims_up: self.victims_up,
            living: self.victims.living.clone(),
        }
    }

    /// Goes on from a predecessor's quiet moment.
    pub fn restore(&mut self, snapshot: &Snapshot) {
        self.audit = snapshot.audit;
        [self.bpf_up, self.kmsg_up, self.memory_up] = snapshot.up;
        self.victims_up = snapshot.victims_up;
        self.victims.living.clone_from(&snapshot.living);
    }
}
