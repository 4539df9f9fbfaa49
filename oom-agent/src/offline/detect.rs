//! Which form an input has, from its first lines.
//!
//! Reads the beginning of an input; emits the [`Format`] that takes most of its lines. Refuses to guess
//! from less than one line: what nothing takes is [`Format::Plain`].

use super::format::{self, Calendar, Format, Head};

/// Lines that are asked.
const LINES: usize = 256;

pub(super) fn format(beginning: &[u8], calendar: &Calendar) -> Format {
    let mut calendar = calendar.clone();
    let mut votes = [
        (Format::Kmsg, 0),
        (Format::Json, 0),
        (Format::Syslog, 0),
        (Format::Dmesg, 0),
        (Format::Console, 0),
    ];
    for line in beginning.split(|&b| b == b'\n').take(LINES) {
        let vote = vote(line, &mut calendar);
        if let Some((_, count)) = votes.iter_mut().find(|(format, _)| Some(*format) == vote) {
            *count += 1;
        }
    }
    // One line with something before its stamp makes a console of what else looks like dmesg.
    let [kmsg, json, syslog, dmesg, console] = votes.map(|(_, count)| count);
    let stamped = dmesg + console;
    let best = [
        (Format::Kmsg, kmsg),
        (Format::Json, json),
        (Format::Syslog, syslog),
        (
            if console > 0 {
                Format::Console
            } else {
                Format::Dmesg
            },
            stamped,
        ),
    ];
    let most = best.iter().map(|(_, count)| *count).max().unwrap_or(0);
    best.iter()
        .find(|(_, count)| *count == most && most > 0)
        .map_or(Format::Plain, |(format, _)| *format)
}

fn vote(line: &[u8], calendar: &mut Calendar) -> Option<Format> {
    let returned = line.ends_with(b"\r") || line.starts_with(b"\r");
    let line = line.trim_ascii();
    let mut takes = |format| {
        let mut head = Head::default();
        format::parse(format, line, calendar, &mut head).map(|()| head.foreign)
    };
    match line.first()? {
        b'{' | b'"' | b'}' | 0x1e => Some(Format::Json),
        b'0'..=b'9' if takes(Format::Kmsg).is_some() => Some(Format::Kmsg),
        // `[  123.456789] host kernel: text` against `[  123.456789] driver device: text`.
        b'[' if takes(Format::Syslog) == Some(false) => Some(Format::Syslog),
        b'[' => takes(Format::Console).map(|_| {
            if returned {
                Format::Console
            } else {
                Format::Dmesg
            }
        }),
        _ if takes(Format::Syslog).is_some() => Some(Format::Syslog),
        _ if takes(Format::Dmesg).is_some() => Some(Format::Dmesg),
        _ if takes(Format::Console).is_some() => Some(Format::Console),
        _ => None,
    }
}

/// Whether JSON objects stand on several lines each.
pub(super) fn is_pretty(beginning: &[u8]) -> bool {
    let mut lines = beginning.split(|&b| b == b'\n').map(<[u8]>::trim_ascii);
    let first = lines.find(|line| !line.is_empty() && *line != b"\x1e");
    matches!(first, Some(b"{" | b"["))
}
