//! What was read: the counts of one input, or of several together.
//!
//! Reads the correlator's counts; emits one line of `name=number` pairs. What is worth a look only when
//! it is not 0 is left out when it is.

use std::fmt;

use super::Format;
use crate::correlate::Counts;

/// The counts of one input, or of several together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// How the lines were read; `None` for several inputs together.
    pub format: Option<Format>,
    /// Bytes, as they came out of the decompressor.
    pub bytes: u64,
    /// Lines.
    pub lines: u64,
    /// `OomInstance` events.
    pub reports: u64,
    /// `OomKill` events.
    pub kills: u64,
    /// Reports that the kernel says it did not print.
    pub suppressed: u64,
    /// Lines that look like the OOM killer's and were not understood.
    pub unparsed: u64,
    /// Lines that look like the OOM killer's and that the kernel did not write.
    pub forged: u64,
    /// Further kills of a victim that was killed already.
    pub repeats: u64,
    /// Reports that end without a kill.
    pub abandoned: u64,
    /// Records that are missing between two that were read; the least that can be missing.
    pub lost: u64,
    /// Lines that stand twice in a row, by two loggers; read once.
    pub doubled: u64,
    /// Lines longer than 64 KiB, of which the beginning was read.
    pub cut_lines: u64,
}

impl Summary {
    /// Adds what a correlator has counted.
    pub(super) fn add(&mut self, counts: Counts, abandoned: u64) {
        self.reports += counts.instances;
        self.kills += counts.kills;
        self.suppressed += counts.suppressed_reports;
        self.unparsed += counts.malformed;
        self.forged += counts.forged;
        self.repeats += counts.repeats;
        self.abandoned += abandoned + counts.abandoned_reports;
        self.lost += counts.kmsg_lost;
    }

    /// Adds the counts of another input.
    pub fn merge(&mut self, other: &Self) {
        let Self {
            format: _,
            bytes,
            lines,
            reports,
            kills,
            suppressed,
            unparsed,
            forged,
            repeats,
            abandoned,
            lost,
            doubled,
            cut_lines,
        } = other;
        self.format = None;
        self.bytes += bytes;
        self.lines += lines;
        self.reports += reports;
        self.kills += kills;
        self.suppressed += suppressed;
        self.unparsed += unparsed;
        self.forged += forged;
        self.repeats += repeats;
        self.abandoned += abandoned;
        self.lost += lost;
        self.doubled += doubled;
        self.cut_lines += cut_lines;
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(format) = self.format {
            write!(f, "format={format} ")?;
        }
        write!(
            f,
            "lines={} reports={} kills={} suppressed={} unparsed={}",
            self.lines, self.reports, self.kills, self.suppressed, self.unparsed
        )?;
        let rare = [
            ("forged", self.forged),
            ("repeats", self.repeats),
            ("abandoned_reports", self.abandoned),
            ("lost", self.lost),
            ("doubled_lines", self.doubled),
            ("cut_lines", self.cut_lines),
        ];
        for (name, count) in rare.into_iter().filter(|(_, count)| *count > 0) {
            write!(f, " {name}={count}")?;
        }
        Ok(())
    }
}
