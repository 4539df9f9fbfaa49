//! What each source said of one decision, and where they differ.
//!
//! Reads nothing: a part of the contract.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What each source said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Crosscheck {
    /// Kills of this instance that BPF saw; null when that source was down.
    pub bpf_kills: Option<u32>,
    /// Distinct kills of this instance that the log named; null when that source was down.
    pub kmsg_kills: Option<u32>,
    /// Further log lines for victims already killed (group kills name the first victim twice).
    pub repeats: u32,
    /// How much of its report the kernel wrote to the log.
    pub kmsg_report: KmsgReportState,
    /// Fields on which the sources disagree.
    pub mismatches: Vec<Mismatch>,
}

/// How much of its report the kernel wrote to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KmsgReportState {
    /// Header, summary and kill line.
    Full,
    /// A part of it: the rest was lost on the way, or is not in the log that was read.
    Partial,
    /// The kill line alone, as where the kernel's rate limit (10 reports in 5 s) swallows the rest.
    Suppressed,
    /// Nothing: not readable, or lost before it was read.
    Absent,
}

/// A field on which the sources disagree; the BPF value is kept.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Mismatch {
    /// Dotted name of the field.
    pub field: String,
    /// What BPF read.
    pub bpf: serde_json::Value,
    /// What the log said.
    pub kmsg: serde_json::Value,
}
