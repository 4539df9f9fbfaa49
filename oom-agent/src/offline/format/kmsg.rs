//! Records of `/dev/kmsg`, as a file of them has them: one a line.
//!
//! Reads `3,4242,1169097131,-,caller=T12;text`; what belongs to a record but is not its message (its
//! dictionary, ` KEY=value`) stands on lines of its own and is no record. Refuses everything else.

use super::Head;
use crate::source::kmsg::record::Record;

pub(super) fn parse(line: &[u8]) -> Option<Head<'_>> {
    line.first().filter(|first| first.is_ascii_digit())?;
    let record = Record::parse(line).ok()?;
    Some(Head {
        monotonic_ns: Some(record.monotonic_ns),
        seq: Some(record.seq),
        level: Some(record.level),
        caller: record.caller,
        foreign: record.facility != 0,
        fragment: record.fragment,
        text: record.message,
        ..Head::default()
    })
}
