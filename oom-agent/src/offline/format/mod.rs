//! The forms in which a kernel log is kept: a line, taken out of what a logger put around it.
//!
//! Reads one line (or record) of a [`Format`]; emits a [`Head`]: stamps, host, level, caller, and the
//! kernel's own text with the logger's escapes undone. Refuses a line that is not of that form: another
//! form may take it.

pub mod calendar;
mod dmesg;
mod escape;
mod json;
mod kmsg;
mod scan;
mod stamp;
mod syslog;
#[cfg(test)]
mod tests;

use std::{borrow::Cow, fmt, str::FromStr};

pub use calendar::Calendar;

use crate::source::kmsg::record::Caller;

/// A family of forms. Within one, each line says for itself which member it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Records as `/dev/kmsg` returns them: `6,339,5140900,-;text`.
    Kmsg,
    /// `dmesg` with any option but --json: `[  123.456789] text`.
    Dmesg,
    /// Lines with host and program: syslog files (RFC 3164, ISO 8601, RFC 5424), `journalctl -o short…`.
    Syslog,
    /// `journalctl -o json`, `journalctl -o json-pretty`, `dmesg --json`.
    Json,
    /// A serial console: as dmesg, but anything may stand before the stamp.
    Console,
    /// The kernel's text and nothing else (`dmesg -t`, `journalctl -o cat`, pasted lines).
    Plain,
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Kmsg => "kmsg",
            Self::Dmesg => "dmesg",
            Self::Syslog => "syslog",
            Self::Json => "json",
            Self::Console => "console",
            Self::Plain => "plain",
        })
    }
}

/// A boot, as `/proc/sys/kernel/random/boot_id` names it.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct BootId([u8; 32]);

impl BootId {
    /// From 32 hexadecimal digits, as the journal writes it, with or without dashes.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let mut digits = text.iter().filter(|&&b| b != b'-');
        let mut id = [0; 32];
        for digit in &mut id {
            *digit = digits
                .next()
                .filter(|b| b.is_ascii_hexdigit())?
                .to_ascii_lowercase();
        }
        digits.next().is_none().then_some(Self(id))
    }

    /// The digits alone.
    #[must_use]
    pub fn digits(&self) -> &str {
        std::str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl fmt::Display for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (d, at) = (self.digits(), |from, to| {
            self.digits().get(from..to).unwrap_or_default()
        });
        write!(
            f,
            "{}-{}-{}-{}-{}",
            at(0, 8),
            at(8, 12),
            at(12, 16),
            at(16, 20),
            at(20, d.len())
        )
    }
}

impl fmt::Debug for BootId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for BootId {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        Self::parse(text.as_bytes()).ok_or("a boot id has 32 hexadecimal digits")
    }
}

/// A wall-clock time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wall {
    /// Nanoseconds since the Unix epoch.
    pub unix_ns: i64,
    /// Whether the year or the zone is not from the log.
    pub assumed: bool,
}

/// A line without what a logger put around it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head<'a> {
    /// The kernel's own stamp.
    pub monotonic_ns: Option<u64>,
    /// The logger's.
    pub wall: Option<Wall>,
    /// Which host wrote it.
    pub host: Option<&'a [u8]>,
    /// In which boot.
    pub boot: Option<BootId>,
    /// Number of the record in the kernel's log.
    pub seq: Option<u64>,
    /// Syslog level.
    pub level: Option<u8>,
    /// Who printed it (`CONFIG_PRINTK_CALLER`).
    pub caller: Option<Caller>,
    /// Whether anything says that the kernel did not write it.
    pub foreign: bool,
    /// Whether it may be a fragment of a line that the kernel printed piecemeal.
    pub fragment: bool,
    /// What the kernel printed.
    pub text: Cow<'a, [u8]>,
    /// What the logger has escaped in it.
    pub escapes: Escapes,
    /// Where the text began: a message of several lines goes on in this column.
    pub column: usize,
}

/// How a logger writes what is not printable.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Escapes {
    /// As it is.
    #[default]
    None,
    /// `\\xNN`, as dmesg.
    Hexadecimal,
    /// `#ooo`, as rsyslog.
    Octal,
}

impl Head<'_> {
    /// Joins a further line of the same message, if this is one: it begins in the column of the text.
    pub(super) fn extend(&mut self, line: &[u8]) -> bool {
        /// No stamp is shorter.
        const NARROWEST: usize = 10;
        let Some((indent, text)) = line.split_at_checked(self.column) else {
            return false;
        };
        let goes_on = self.column >= NARROWEST && indent.iter().all(|&b| b == b' ');
        if goes_on {
            let whole = self.text.to_mut();
            whole.push(b'\n');
            whole.extend_from_slice(text);
        }
        goes_on
    }

    /// Undoes the logger's escapes, once all lines are there.
    pub(super) fn unescape(&mut self) {
        let undo = match self.escapes {
            Escapes::None => return,
            Escapes::Hexadecimal => escape::hexadecimal,
            Escapes::Octal => escape::octal,
        };
        self.text = undo(std::mem::take(&mut self.text));
    }
}

/// Takes a line apart into `head`, which must be new. `None` if the line is not of this form; `Plain`
/// takes every line.
pub(super) fn parse<'a>(
    format: Format,
    line: &'a [u8],
    calendar: &mut Calendar,
    head: &mut Head<'a>,
) -> Option<()> {
    match format {
        Format::Kmsg => kmsg::parse(line, head),
        Format::Dmesg => dmesg::parse(line, calendar, head),
        Format::Syslog => syslog::parse(line, calendar, head),
        Format::Json => json::parse(line, calendar, head),
        Format::Console => dmesg::find(line, calendar, head),
        Format::Plain => {
            head.text = Cow::Borrowed(line);
            Some(())
        }
    }
}
