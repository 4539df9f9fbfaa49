//! A record of `/dev/kmsg`, and what tools say of it: its time since the boot and of the day, its caller.

use jiff::{Timestamp, fmt::strtime, tz::TimeZone};
use oom_agent::source::kmsg::record::{Caller, Record as Raw};

/// 2026-11-20T20:00:00Z.
pub(crate) const BOOTED_S: i64 = 1_795_204_800;

/// A record of `/dev/kmsg`, with its text as it was printed.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) priority: u32,
    pub(crate) seq: u64,
    pub(crate) us: u64,
    pub(crate) fragment: bool,
    pub(crate) caller: Option<Caller>,
    pub(crate) text: Vec<u8>,
}

impl Record {
    pub(crate) fn parse(raw: &[u8]) -> Option<Self> {
        let record = Raw::parse(raw).ok()?;
        Some(Self {
            priority: record.facility << 3 | u32::from(record.level),
            seq: record.seq,
            us: record.monotonic_ns / 1000,
            fragment: record.fragment,
            caller: record.caller,
            text: record.message.into_owned(),
        })
    }

    pub(super) fn stamp(&self) -> String {
        format!("{:5}.{:06}", self.us / 1_000_000, self.us % 1_000_000)
    }

    pub(super) fn caller(&self) -> Option<String> {
        self.caller.map(|caller| match caller {
            Caller::Thread(id) => format!("T{id}"),
            Caller::Cpu(id) => format!("C{id}"),
        })
    }

    /// `strftime` of its time in UTC.
    pub(super) fn time(&self, format: &str) -> String {
        let ns = i128::from(BOOTED_S) * 1_000_000_000 + i128::from(self.us) * 1000;
        let time = Timestamp::from_nanosecond(ns)
            .unwrap()
            .to_zoned(TimeZone::UTC);
        strtime::format(format, &time).unwrap()
    }

    pub(super) fn unix_us(&self) -> u64 {
        u64::try_from(BOOTED_S).unwrap() * 1_000_000 + self.us
    }
}
