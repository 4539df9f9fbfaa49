//! Raw records in, evidence out: the whole of this source but its file descriptor.
//!
//! Reads what `read(2)` on `/dev/kmsg` returns, record by record. Emits [`KmsgEvidence`], with gaps in
//! the sequence numbers as `Lost`. Refuses records that are known already or cannot be parsed
//! (`Malformed`); what a message says is for [`Messages`] to tell.

use super::{
    messages::{Message, Messages},
    record::Record,
    report::Meta,
};
use crate::evidence::KmsgEvidence;

/// The state between records.
#[derive(Debug)]
pub struct Decoder {
    messages: Messages,
    /// The number that the next record should have; lower ones are known already.
    next_seq: Option<u64>,
    /// Records since the last numbered one whose number could not be read.
    unnumbered: u64,
    /// How far the log's clock runs ahead of `CLOCK_MONOTONIC` at least: nothing is read before it is
    /// written. The log stamps with the CPU's raw clock, which nobody steers (`local_clock`).
    ahead_ns: u64,
    /// `CLOCK_MONOTONIC` of the last record.
    last_ns: u64,
}

impl Decoder {
    /// `page_size` in bytes; `accept_forged` takes user space's records for the kernel's.
    #[must_use]
    pub fn new(page_size: u64, accept_forged: bool) -> Self {
        Self {
            messages: Messages::new(page_size, accept_forged),
            next_seq: None,
            unnumbered: 0,
            ahead_ns: 0,
            last_ns: 0,
        }
    }

    /// Records up to `seq` are known: skip them, and count what is missing after it.
    pub fn skip_through(&mut self, seq: u64) {
        self.next_seq = Some(seq.saturating_add(1));
    }

    /// The record through which all has become evidence: who begins behind it again misses nothing, and
    /// finds reports from their first line. What was told of since then is told once more. As of `now_ns` on
    /// `CLOCK_MONOTONIC`, for a silence ends what is under way; 0: as of the last record.
    #[must_use]
    pub fn read_through(&self, now_ns: u64) -> Option<u64> {
        let begun = self.messages.begun(self.last_ns.max(now_ns));
        begun.or(self.next_seq)?.checked_sub(1)
    }

    /// Whether something is under way at that moment.
    #[must_use]
    pub fn is_held_back(&self, now_ns: u64) -> bool {
        self.messages.begun(self.last_ns.max(now_ns)).is_some()
    }

    /// Reports so far that ended without a kill line.
    #[must_use]
    pub fn abandoned_reports(&self) -> u64 {
        self.messages.abandoned_reports()
    }

    /// Takes the next record, read at this moment of `CLOCK_MONOTONIC`, and appends what it tells to
    /// `out`.
    pub fn push(&mut self, raw: &[u8], read_ns: u64, out: &mut Vec<KmsgEvidence>) {
        let Ok(record) = Record::parse(raw) else {
            self.unnumbered += 1;
            out.push(KmsgEvidence::Malformed { seq: None });
            return;
        };
        if !self.is_new(record.seq, out) {
            return;
        }
        self.ahead_ns = self
            .ahead_ns
            .max(record.monotonic_ns.saturating_sub(read_ns));
        self.last_ns = record.monotonic_ns.saturating_sub(self.ahead_ns);
        let message = Message {
            meta: Meta {
                seq: record.seq,
                monotonic_ns: self.last_ns,
                caller: record.caller,
            },
            by_kernel: record.facility == 0,
            level: Some(record.level),
            fragment: record.fragment,
            text: &record.message,
        };
        self.messages.push(message, out);
    }

    /// Whether this record has not been seen yet; what is missing before it is counted.
    fn is_new(&mut self, seq: u64, out: &mut Vec<KmsgEvidence>) -> bool {
        let unnumbered = std::mem::take(&mut self.unnumbered);
        let missing = match self.next_seq {
            Some(next) if seq < next => return false,
            Some(next) => seq - next,
            None => 0,
        };
        self.next_seq = Some(seq.saturating_add(1));
        if missing > 0 {
            self.messages.gap(out);
        }
        // The records without a readable number are among the missing ones, but were not lost.
        let records = missing.saturating_sub(unnumbered);
        if records > 0 {
            out.push(KmsgEvidence::Lost { records });
        }
        true
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
