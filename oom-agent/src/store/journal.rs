//! Evidence as the journal keeps it, to be told to a correlator once more.
//!
//! Reads and emits [`Evidence`] as MessagePack with the names of fields: a later build reads what an
//! earlier one wrote, and process names come back byte by byte. The lines of a group kill share one
//! report, which may be large: it is written with the first of them.

use std::{collections::VecDeque, sync::Arc};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::{
    correlate::Snapshot,
    evidence::{Evidence, KmsgEvidence, KmsgReport},
};

/// Reports that later lines may still share.
const REPORTS: usize = 16;

/// Why a row cannot be written or read.
#[derive(Debug, Error)]
pub enum JournalError {
    /// A fault of ours.
    #[error("evidence cannot be encoded")]
    Encode(#[from] rmp_serde::encode::Error),
    /// Not written by an agent, or by a later one.
    #[error("a row of the journal cannot be read")]
    Decode(#[from] rmp_serde::decode::Error),
}

/// One row.
#[derive(Serialize, Deserialize)]
struct Row<E> {
    evidence: E,
    /// The report of this record, which was written before, belongs to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    report: Option<u64>,
}

/// Writes rows, in the order of the evidence.
#[derive(Debug, Default)]
pub struct Encoder {
    written: VecDeque<Arc<KmsgReport>>,
}

impl Encoder {
    /// One row.
    pub fn encode(&mut self, evidence: &Evidence) -> Result<Vec<u8>, JournalError> {
        if let Evidence::Kmsg(KmsgEvidence::Killed(kill)) = evidence
            && let Some(report) = &kill.report
        {
            if self.written.iter().any(|known| Arc::ptr_eq(known, report)) {
                let mut kill = kill.clone();
                kill.report = None;
                return encode(&Row {
                    evidence: &Evidence::Kmsg(KmsgEvidence::Killed(kill)),
                    report: Some(report.seq),
                });
            }
            if self.written.len() >= REPORTS {
                self.written.pop_front();
            }
            self.written.push_back(report.clone());
        }
        let report = None;
        encode(&Row { evidence, report })
    }

    /// What was written will not be there any more: nothing may refer to it.
    pub fn forget(&mut self) {
        self.written.clear();
    }
}

fn encode(row: &impl Serialize) -> Result<Vec<u8>, JournalError> {
    Ok(rmp_serde::to_vec_named(row)?)
}

/// Reads rows, in the order in which they were written.
#[derive(Debug, Default)]
pub struct Decoder {
    read: VecDeque<Arc<KmsgReport>>,
}

impl Decoder {
    /// One row.
    pub fn decode(&mut self, row: &[u8]) -> Result<Evidence, JournalError> {
        let mut row: Row<Evidence> = rmp_serde::from_slice(row)?;
        if let Evidence::Kmsg(KmsgEvidence::Killed(kill)) = &mut row.evidence {
            if let Some(seq) = row.report {
                kill.report = self.read.iter().find(|it| it.seq == seq).cloned();
            } else if let Some(report) = &kill.report {
                if self.read.len() >= REPORTS {
                    self.read.pop_front();
                }
                self.read.push_back(report.clone());
            }
        }
        Ok(row.evidence)
    }
}

/// A quiet moment.
pub fn encode_snapshot(snapshot: &Snapshot) -> Result<Vec<u8>, JournalError> {
    encode(snapshot)
}

/// A quiet moment.
pub fn decode_snapshot(bytes: &[u8]) -> Result<Snapshot, JournalError> {
    Ok(rmp_serde::from_slice(bytes)?)
}

#[cfg(test)]
#[path = "journal_tests.rs"]
mod tests;
