//! Logs that are read afterwards: `dmesg`, the journal, syslog files, serial consoles.
//!
//! Reads bytes of any origin through [`read`]; emits the same [`Event`]s as the agent, without BPF and
//! without a clock. What the input does not tell (the wall clock, the boot, the node) is null. Refuses
//! nothing but an input that cannot be read: a line that looks like the OOM killer's and cannot be
//! understood is counted and handed to the sink.
//!
//! ```text
//!  input ─▶ blocks ─▶ reader ─┬─ candidates   which lines are looked at
//!  (I/O,    (whole            ├─ format/*     a line without what a logger put around it
//!   gzip)    lines)           └─ streams ─▶ stream   one host, one boot: source::kmsg and correlate
//! ```

mod blocks;
mod candidates;
mod clock;
mod detect;
pub mod format;
pub mod input;
mod reader;
mod stream;
mod streams;
pub mod summary;

use std::{
    io::{self, Read},
    ops::ControlFlow,
};

use jiff::tz::TimeZone;

pub use format::{BootId, Format};
pub use input::{Input, InputError};
pub use summary::Summary;

use crate::event::{Event, Timestamp};

/// What the input does not say itself.
#[derive(Clone, Debug)]
pub struct Options {
    /// The form of the lines; else it is found out from the first ones.
    pub format: Option<Format>,
    /// The boot that the log is of.
    pub boot_id: Option<BootId>,
    /// Node name, instead of the one that the lines carry.
    pub node: Option<String>,
    /// Size of a page where the log was written, in bytes.
    pub page_size: u64,
    /// Year of the first stamp that has none; else the latest that is not in the future.
    pub year: Option<i16>,
    /// Zone of stamps that have none.
    pub zone: TimeZone,
    /// What "the future" is.
    pub now: Timestamp,
}

impl Options {
    /// Nothing is known; `now` is for stamps without a year.
    #[must_use]
    pub fn new(now: Timestamp) -> Self {
        Self {
            format: None,
            boot_id: None,
            node: None,
            page_size: 4096,
            year: None,
            zone: TimeZone::UTC,
            now,
        }
    }
}

/// Takes what a log tells. A closure that takes an [`Event`] is one.
pub trait Sink {
    /// The next event; `Break` ends the reading.
    fn event(&mut self, event: Event) -> ControlFlow<()>;

    /// A line that looks like the OOM killer's and made no event.
    fn odd(&mut self, _line: OddLine<'_>) {}
}

impl<F: FnMut(Event)> Sink for F {
    fn event(&mut self, event: Event) -> ControlFlow<()> {
        self(event);
        ControlFlow::Continue(())
    }
}

/// A line that looks like the OOM killer's and made no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OddLine<'a> {
    /// Its number, from 1.
    pub number: u64,
    /// As it stands in the input.
    pub text: &'a [u8],
    /// Why it made no event.
    pub why: Oddity,
}

/// Why a line that looks like the OOM killer's made no event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Oddity {
    /// Its form, or the form of what it says, is not known.
    Unparsed,
    /// The log says that the kernel did not write it, or not like this.
    Forged,
}

/// An input that could not be read to its end. What was read has been handed over.
#[derive(Debug, thiserror::Error)]
#[error("cannot read on after line {}", summary.lines)]
pub struct ReadError {
    /// What was read until then.
    pub summary: Box<Summary>,
    /// Why not further.
    pub source: io::Error,
}

/// Reads a log to its end and hands what it tells to `sink`.
pub fn read(
    input: impl Read,
    options: &Options,
    sink: &mut impl Sink,
) -> Result<Summary, ReadError> {
    reader::read(input, options, sink)
}
