//! Records of `/dev/kmsg`, as a file of them has them: one a line.
//!
//! Reads `3,4242,1169097131,-,caller=T12;text`; what belongs to a record but is not its message (its
//! dictionary, ` KEY=value`) stands on lines of its own and is no record. Refuses everything else.

use super::Head;
use crate::source::kmsg::record::Record;

pub(super) fn parse<'a>(line: &'a [u8], head: &mut Head<'a>) -> Option<()> {
    line.first().filter(|first| first.is_ascii_digit())?;
    let record = Record::parse(line).ok()?;
    head.monotonic_ns = Some(record.monotonic_ns);
    head.seq = Some(record.seq);
    head.level = Some(record.level);
    head.caller = record.caller;
    head.foreign = record.facility != 0;
    head.fragment = record.fragment;
    head.text = record.message;
    Some(())
}
