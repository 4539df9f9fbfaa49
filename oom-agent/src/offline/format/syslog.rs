//! Lines with a time, a host and a program: syslog files and `journalctl -o short…`.
//!
//! Reads `Nov 21 04:21:42 host kernel: [  123.456789] text` and its kin: ISO 8601, RFC 5424, Unix time,
//! the kernel's clock, with `<3>` or `kern.err` where a logger writes it. A line of a program other than
//! the kernel is foreign, whatever it says. Refuses a line without a program.

use std::borrow::Cow;

use super::{Calendar, Escapes, Head, Wall, calendar::Zone, scan::Scan, stamp};

/// Facility of the kernel's messages, and how loggers name it.
const KERNEL: &[u8] = b"kern";

pub(super) fn parse<'a>(
    line: &'a [u8],
    calendar: &mut Calendar,
    head: &mut Head<'a>,
) -> Option<()> {
    let mut scan = Scan::new(line);
    if let Some((facility, level)) = stamp::priority(&mut scan) {
        head.level = Some(level);
        head.foreign = facility != 0;
        if scan.text(b"1 ").is_some() {
            return rfc5424(line, scan, calendar, head);
        }
    }
    match scan.peek()? {
        // With a priority it is `dmesg -r`.
        b'[' if head.level.is_none() => head.monotonic_ns = Some(stamp::kernel(&mut scan)?),
        b'A'..=b'Z' => head.wall = Some(named(&mut scan, calendar)?),
        b'0'..=b'9' => head.wall = Some(numeric(&mut scan, calendar)?),
        _ => return None,
    }
    scan.byte(b' ')?;
    head.foreign |= program(head, &mut scan)?;
    finish(line, scan, head);
    Some(())
}

/// Takes the host and the program up to its colon. The host may be missing, and some loggers write
/// `kern.err` between them. Leaves the scan behind the colon, and tells whether the program is not the
/// kernel.
fn program<'a>(head: &mut Head<'a>, scan: &mut Scan<'a>) -> Option<bool> {
    for part in 0..4 {
        if scan.text(b"kernel:").is_some() {
            return Some(false);
        }
        let end = memchr::memchr(b' ', scan.rest).unwrap_or(scan.rest.len());
        let word = scan.take(end)?;
        if word.ends_with(b":") {
            return Some(true);
        }
        if part == 0 {
            head.host = Some(word);
        } else if let Some(dot) = memchr::memchr(b'.', word) {
            head.foreign |= &word[..dot] != KERNEL;
        }
        scan.byte(b' ')?;
    }
    None
}

/// `2026-11-21T04:21:42.123456+00:00 host program procid msgid [data] text`.
fn rfc5424<'a>(
    line: &[u8],
    mut scan: Scan<'a>,
    calendar: &mut Calendar,
    head: &mut Head<'a>,
) -> Option<()> {
    if scan.text(b"-").is_none() {
        head.wall = Some(stamp::iso(&mut scan, calendar, b'.')?);
    }
    scan.byte(b' ')?;
    head.host = Some(scan.until(b' ')?).filter(|host| host != b"-");
    head.foreign |= scan.until(b' ')? != b"kernel";
    scan.until(b' ')?;
    scan.until(b' ')?;
    if scan.byte(b'-').is_none() {
        structured_data(&mut scan)?;
    }
    let _ = scan.text(b" \xef\xbb\xbf");
    finish(line, scan, head);
    Some(())
}

/// `[id name="value" …]…`; a value may hold anything, with `\` before `"`, `]` and itself.
fn structured_data(scan: &mut Scan<'_>) -> Option<()> {
    while scan.byte(b'[').is_some() {
        let mut quoted = false;
        loop {
            match scan.take(1)?[0] {
                b'"' => quoted = !quoted,
                b'\\' if quoted => drop(scan.take(1)?),
                b']' if !quoted => break,
                _ => {}
            }
        }
    }
    Some(())
}

/// Behind the program: the kernel's own stamp, unless the logger has taken it away.
fn finish<'a>(line: &[u8], mut scan: Scan<'a>, head: &mut Head<'a>) {
    let _ = scan.byte(b' ');
    head.column = line.len() - scan.rest.len();
    if !head.foreign
        && let Some(ns) = stamp::kernel(&mut scan)
    {
        head.monotonic_ns = Some(ns);
        head.caller = stamp::caller(&mut scan);
        let _ = scan.byte(b' ');
    }
    head.escapes = Escapes::Octal;
    head.text = Cow::Borrowed(scan.rest);
}

/// `Nov 21 04:21:42` (with a fraction or not), or `Sat 2026-11-21 04:21:42 UTC`.
fn named(scan: &mut Scan<'_>, calendar: &mut Calendar) -> Option<Wall> {
    if let Some(month) = stamp::month(scan) {
        scan.byte(b' ')?;
        let day = stamp::day(scan)?;
        scan.byte(b' ')?;
        let civil = stamp::time(scan, [None, Some(month), Some(day)], b'.')?;
        return calendar.wall(civil, Zone::Unknown);
    }
    stamp::weekday(scan)?;
    scan.byte(b' ')?;
    let date = scan.take(10)?;
    let mut date = Scan::new(date);
    let year = date.digits(4)?;
    date.byte(b'-')?;
    let month = date.digits(2)?;
    date.byte(b'-')?;
    let day = date.digits(2)?;
    scan.byte(b' ')?;
    let civil = stamp::time(scan, [Some(year), Some(month), Some(day)], b'.')?;
    scan.byte(b' ')?;
    let end = scan.rest.iter().position(|&b| b == b' ')?;
    // Only one abbreviation means the same everywhere.
    let zone = match scan.take(end)? {
        b"UTC" | b"GMT" => Zone::Offset(0),
        _ => Zone::Unknown,
    };
    calendar.wall(civil, zone)
}

/// ISO 8601, or seconds since 1970.
fn numeric(scan: &mut Scan<'_>, calendar: &mut Calendar) -> Option<Wall> {
    if let Some(wall) = stamp::iso(scan, calendar, b'.') {
        return Some(wall);
    }
    Some(Wall {
        unix_ns: i64::try_from(stamp::seconds(scan)?).ok()?,
        assumed: false,
    })
}
