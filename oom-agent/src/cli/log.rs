//! What a log does not say itself: the options that `parse` and `explain` share.

use clap::Args;
use jiff::{
    Timestamp as Now,
    tz::{Offset, TimeZone},
};

use crate::{
    event::Timestamp,
    offline::{self, BootId, Options},
};

/// Of the log, not of what becomes of it.
#[derive(Debug, Args)]
pub(super) struct LogArgs {
    /// Form of the lines, instead of finding it out.
    #[arg(long, value_enum)]
    format: Option<offline::Format>,
    /// The boot that the log is of; records of /dev/kmsg then get the ids that the agent gives them.
    #[arg(long, value_name = "ID")]
    boot_id: Option<BootId>,
    /// Name of the node in the events, instead of the host in the lines.
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// Size of a page where the log was written.
    #[arg(long, value_name = "BYTES", default_value_t = 4096, value_parser = page_size)]
    page_size: u64,
    /// Year of the first stamp without one; else the latest year that is not in the future.
    #[arg(long, value_parser = clap::value_parser!(i16).range(1970..=2200))]
    year: Option<i16>,
    /// Zone of stamps without one: a name (Europe/Berlin), an offset (+01:00) or UTC; else the local one.
    #[arg(long, value_name = "ZONE", value_parser = zone)]
    timezone: Option<TimeZone>,
}

impl LogArgs {
    pub(super) fn options(self) -> Options {
        Options {
            format: self.format,
            boot_id: self.boot_id,
            node: self.node,
            page_size: self.page_size,
            year: self.year,
            zone: self.timezone.unwrap_or_else(TimeZone::system),
            now: Timestamp::from_unix_ns(Now::now().as_nanosecond()),
        }
    }
}

fn page_size(text: &str) -> Result<u64, String> {
    let size: u64 = text.parse().map_err(|_| "not a number".to_owned())?;
    let fits = size.is_power_of_two() && (4096..=1 << 20).contains(&size);
    fits.then_some(size)
        .ok_or_else(|| "a page is a power of two from 4096 bytes on".to_owned())
}

fn zone(text: &str) -> Result<TimeZone, String> {
    if let Some(offset) = offset(text) {
        return Ok(TimeZone::fixed(offset));
    }
    TimeZone::get(text).map_err(|error| error.to_string())
}

/// `+01:00`, `-0330`.
fn offset(text: &str) -> Option<Offset> {
    let (sign, digits) = match text.split_at_checked(1)? {
        ("+", digits) => (1, digits),
        ("-", digits) => (-1, digits),
        _ => return None,
    };
    let digits = digits.replace(':', "");
    let number: i32 = digits.parse().ok().filter(|_| digits.len() == 4)?;
    let (hours, minutes) = (number / 100, number % 100);
    (minutes < 60)
        .then(|| Offset::from_seconds(sign * (hours * 3600 + minutes * 60)).ok())
        .flatten()
}
