//! Raw records in, evidence out: the whole of this source but its file descriptor.
//!
//! Reads what `read(2)` on `/dev/kmsg` returns, record by record. Emits [`KmsgEvidence`], with gaps in
//! the sequence numbers as `Lost`. Refuses text that pretends to be the kernel's (`Forged`) and what
//! does not parse (`Malformed`), and counts both.

use super::{
    join::Joiner,
    line::{Line, warm_up},
    record::Record,
    report::{Assembler, Meta},
    summary::Summary,
};
use crate::evidence::KmsgEvidence;

/// `KERN_ERR`: every kernel prints "Killed process" and "Kill process" with it.
const KILL_LEVEL: u8 = 3;

/// The state between records.
#[derive(Debug)]
pub struct Decoder {
    page_size: u64,
    accept_forged: bool,
    /// The number that the next record should have; lower ones are known already.
    next_seq: Option<u64>,
    /// Records since the last numbered one whose number could not be read.
    unnumbered: u64,
    /// How far the log's clock runs ahead of `CLOCK_MONOTONIC` at least: nothing is read before it is
    /// written. The log stamps with the CPU's raw clock, which nobody steers (`local_clock`).
    ahead_ns: u64,
    joiner: Joiner,
    assembler: Assembler,
}

impl Decoder {
    /// `page_size` in bytes; `accept_forged` takes user space's records for the kernel's.
    #[must_use]
    pub fn new(page_size: u64, accept_forged: bool) -> Self {
        warm_up();
        Self {
            page_size,
            accept_forged,
            next_seq: None,
            unnumbered: 0,
            ahead_ns: 0,
            joiner: Joiner::default(),
            assembler: Assembler::new(page_size),
        }
    }

    /// Records up to `seq` are known: skip them, and count what is missing after it.
    pub fn skip_through(&mut self, seq: u64) {
        self.next_seq = Some(seq.saturating_add(1));
    }

    /// Reports so far that ended without a kill line.
    #[must_use]
    pub fn abandoned_reports(&self) -> u64 {
        self.assembler.abandoned()
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
        let kernel = record.facility == 0 || self.accept_forged;
        let meta = Meta {
            seq: record.seq,
            monotonic_ns: record.monotonic_ns.saturating_sub(self.ahead_ns),
            caller: record.caller,
        };
        if kernel
            && record.fragment
            && let Some((begun, text)) = self.joiner.extend(meta, &record.message)
        {
            self.assembler
                .feed(begun, Line::parse(text, self.page_size), out);
            return;
        }
        let line = Line::parse(&record.message, self.page_size);
        let forged = match line {
            Line::Other => return,
            Line::Killed(_) | Line::Choice { .. } => {
                !self.accept_forged && record.level != KILL_LEVEL
            }
            _ => false,
        };
        if !kernel || forged {
            if line.is_about_oom() {
                out.push(KmsgEvidence::Forged { seq: record.seq });
            }
            return;
        }
        if line.is_about_oom() {
            self.end_summary(out);
        }
        if matches!(line, Line::Summary(_) | Line::SummaryFragment) {
            self.joiner.begin(meta, &record.message);
        }
        self.assembler.feed(meta, line, out);
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
            self.end_summary(out);
            self.assembler.gap();
        }
        // The records without a readable number are among the missing ones, but were not lost.
        let records = missing.saturating_sub(unnumbered);
        if records > 0 {
            out.push(KmsgEvidence::Lost { records });
        }
        true
    }

    fn end_summary(&mut self, out: &mut Vec<KmsgEvidence>) {
        if let Some((begun, text)) = self.joiner.end()
            && Summary::parse(text).is_none()
        {
            out.push(KmsgEvidence::Malformed {
                seq: Some(begun.seq),
            });
        }
    }
}

#[cfg(test)]
#[path = "decode_tests.rs"]
mod tests;
