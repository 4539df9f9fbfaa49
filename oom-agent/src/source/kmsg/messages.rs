//! Messages of the kernel in, evidence out: what every form of a kernel log has in common.
//!
//! Reads [`Message`]s in the order of the log, whoever took them out of their records or lines. Emits
//! [`KmsgEvidence`]. Refuses text that pretends to be the kernel's (`Forged`) and OOM lines that do not
//! parse (`Malformed`), and counts both.

use super::{
    join::Joiner,
    line::{Line, warm_up},
    report::{Assembler, Meta},
};
use crate::evidence::KmsgEvidence;

/// `KERN_ERR`: every kernel prints "Killed process" and "Kill process" with it.
const KILL_LEVEL: u8 = 3;

/// One message of the log, free of what a record or a logger puts around it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Message<'a> {
    /// Where and when.
    pub meta: Meta,
    /// Whether the log says that the kernel wrote it.
    pub by_kernel: bool,
    /// Syslog level, where the log tells it.
    pub level: Option<u8>,
    /// Whether it is a fragment of a line that the kernel printed piecemeal (`pr_cont`).
    pub fragment: bool,
    /// The bytes that were printed.
    pub text: &'a [u8],
}

/// A line is not continued after this long.
const PIECES_NS: u64 = 1_000_000_000;

/// The state between messages.
#[derive(Debug)]
pub struct Messages {
    page_size: u64,
    accept_forged: bool,
    joiner: Joiner,
    assembler: Assembler,
}

impl Messages {
    /// `page_size` in bytes; `accept_forged` takes user space's messages for the kernel's.
    #[must_use]
    pub fn new(page_size: u64, accept_forged: bool) -> Self {
        warm_up();
        Self {
            page_size,
            accept_forged,
            joiner: Joiner::default(),
            assembler: Assembler::new(page_size),
        }
    }

    /// Reports so far that ended without a kill line.
    #[must_use]
    pub fn abandoned_reports(&self) -> u64 {
        self.assembler.abandoned()
    }

    /// Whether a report is open, so that any message may be a part of it.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.assembler.is_open()
    }

    /// The first record without which what follows after that moment would be understood otherwise;
    /// `None` if nothing is under way.
    #[must_use]
    pub fn begun(&self, monotonic_ns: u64) -> Option<u64> {
        let goes_on = |begun: &Meta| monotonic_ns < begun.monotonic_ns + PIECES_NS;
        let piece = self.joiner.begun().filter(goes_on).map(|begun| begun.seq);
        let report = self.assembler.begun(monotonic_ns);
        report.into_iter().chain(piece).min()
    }

    /// Messages are missing here.
    pub fn gap(&mut self, out: &mut Vec<KmsgEvidence>) {
        self.end_line(out);
        self.assembler.gap();
    }

    /// Takes the next message and appends what it tells to `out`. False if it is an ordinary one.
    pub fn push(&mut self, message: Message<'_>, out: &mut Vec<KmsgEvidence>) -> bool {
        let Message { meta, text, .. } = message;
        let by_kernel = message.by_kernel || self.accept_forged;
        if by_kernel
            && self.joiner.is_open()
            && let Some((begun, text)) = self.joiner.extend(meta, text, message.fragment)
        {
            let line = Line::parse(text, self.page_size);
            self.assembler.feed(begun, line, out);
            let whole = is_whole(&line);
            self.joiner.judge(whole);
            return true;
        }
        let line = Line::parse(text, self.page_size);
        let forged = match line {
            Line::Other => return false,
            Line::Killed(_) | Line::Choice { .. } if self.accept_forged => false,
            Line::Killed(killed) if message.level.is_none() => is_anothers(killed.prefix),
            Line::Killed(_) | Line::Choice { .. } => {
                message.level.is_some_and(|level| level != KILL_LEVEL)
            }
            _ => false,
        };
        if !by_kernel || forged {
            if line.is_about_oom() {
                out.push(KmsgEvidence::Forged { seq: meta.seq });
            }
            return true;
        }
        let begins = matches!(
            line,
            Line::Summary(_) | Line::StatsFor { .. } | Line::Fragment
        );
        if begins || self.ends_joined(meta, &line) {
            self.end_line(out);
        }
        if begins {
            self.joiner.begin(meta, text, is_whole(&line));
        }
        self.assembler.feed(meta, line, out);
        true
    }

    /// Whether the line that was printed piecemeal cannot go on after this one: whoever prints the next
    /// line has ended it. The reaper is another task, and prints while others die.
    fn ends_joined(&self, meta: Meta, line: &Line<'_>) -> bool {
        line.is_about_oom()
            && !matches!(line, Line::Reaped { .. })
            && self.joiner.is_of(meta.caller)
    }

    /// Nothing continues the line that was printed piecemeal.
    fn end_line(&mut self, out: &mut Vec<KmsgEvidence>) {
        if let Some(begun) = self.joiner.end() {
            out.push(KmsgEvidence::Malformed {
                seq: Some(begun.seq),
            });
        }
    }
}

/// Whether what stands before a kill is the beginning of somebody else's line, at whose end a user chose
/// the text (`usb 1-1: Product: …`). Where the log tells no level, the words must do: the kernel's own, and
/// those of any policy, are one clause.
fn is_anothers(prefix: &[u8]) -> bool {
    prefix.windows(2).filter(|pair| pair == b": ").count() > 1
}

fn is_whole(line: &Line<'_>) -> bool {
    !matches!(line, Line::Fragment)
}
