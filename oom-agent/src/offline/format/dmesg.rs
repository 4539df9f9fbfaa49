//! `dmesg`, and the serial console, whose lines are the same but for what stands before them.
//!
//! Reads `[  123.456789] text`, with the caller behind it, with what `-r`, `-x` put before it, and with
//! what `-T`, `-e`, `-d`, `--time-format iso` put in its place. Refuses a line without a stamp. `-e`
//! tells the time only since the line before: such stamps are passed over.

use std::borrow::Cow;

use super::{Calendar, Escapes, Head, Wall, calendar::Zone, scan::Scan, stamp};

/// A line that begins with its stamp.
pub(super) fn parse<'a>(
    line: &'a [u8],
    calendar: &mut Calendar,
    head: &mut Head<'a>,
) -> Option<()> {
    let mut scan = Scan::new(line);
    let priority = match scan.peek()? {
        b'<' => stamp::priority(&mut scan),
        b'a'..=b'z' => decoded(&mut scan),
        _ => None,
    };
    if let Some((facility, level)) = priority {
        head.level = Some(level);
        head.foreign = facility != 0;
    }
    if let Some(ns) = stamp::kernel(&mut scan) {
        head.monotonic_ns = Some(ns);
    } else if let Some(wall) = iso(&mut scan, calendar) {
        head.wall = Some(wall);
        head.monotonic_ns = wrapped(&mut scan);
    } else if let Some(wall) = ctime(&mut scan, calendar) {
        head.wall = Some(wall);
    } else {
        relative(&mut scan)?;
    }
    finish(line, scan, head);
    Some(())
}

/// `2026-11-21T04:32:40,808386+00:00` of `--time-format iso`; container runtimes and `kubectl logs
/// --timestamps` write the same with a point.
fn iso(scan: &mut Scan<'_>, calendar: &mut Calendar) -> Option<Wall> {
    b",.".iter().find_map(|&point| {
        let mut copy = *scan;
        let wall = stamp::iso(&mut copy, calendar, point)?;
        (copy.peek() == Some(b' ')).then(|| {
            *scan = copy;
            wall
        })
    })
}

/// The kernel's stamp behind that of whoever passed its log on: a container runtime puts the name of a
/// stream and a flag before it (`stdout F `).
fn wrapped(scan: &mut Scan<'_>) -> Option<u64> {
    const STREAMS: [&[u8]; 4] = [b" stdout F", b" stdout P", b" stderr F", b" stderr P"];
    for stream in STREAMS {
        if let Some(rest) = scan.rest.strip_prefix(stream) {
            scan.rest = rest;
        }
    }
    let mut copy = *scan;
    copy.byte(b' ')?;
    let ns = stamp::kernel(&mut copy)?;
    *scan = copy;
    Some(ns)
}

/// A line with a stamp of the kernel's anywhere in it: on a console the kernel does not wait for a
/// program to end its line.
pub(super) fn find<'a>(line: &'a [u8], calendar: &mut Calendar, head: &mut Head<'a>) -> Option<()> {
    if parse(line, calendar, head).is_some() {
        return Some(());
    }
    let (ns, scan) = memchr::memchr_iter(b'[', line).find_map(|at| {
        let mut scan = Scan::new(&line[at..]);
        Some((stamp::kernel(&mut scan)?, scan))
    })?;
    *head = Head {
        monotonic_ns: Some(ns),
        ..Head::default()
    };
    finish(line, scan, head);
    Some(())
}

/// Behind the stamp.
fn finish<'a>(line: &[u8], mut scan: Scan<'a>, head: &mut Head<'a>) {
    head.caller = stamp::caller(&mut scan);
    let _ = scan.byte(b' ');
    head.column = line.len() - scan.rest.len();
    head.escapes = Escapes::Hexadecimal;
    head.text = Cow::Borrowed(scan.rest);
}

/// `kern  :err   : ` of `dmesg -x`.
fn decoded(scan: &mut Scan<'_>) -> Option<(u32, u8)> {
    /// Names are padded to six.
    const WIDEST: usize = 9;
    let mut copy = *scan;
    if !copy.peek()?.is_ascii_lowercase() {
        return None;
    }
    let facility = copy.until(b':').filter(|name| name.len() < WIDEST)?;
    let level = copy.until(b':')?.trim_ascii_end();
    copy.byte(b' ')?;
    let level = stamp::level(level)?;
    *scan = copy;
    // Which one it is does not matter, unless it is the kernel's.
    Some((u32::from(facility.trim_ascii_end() != b"kern"), level))
}

/// `[Sat Nov 21 04:32:40 2026]` of `dmesg -T`.
fn ctime(scan: &mut Scan<'_>, calendar: &mut Calendar) -> Option<Wall> {
    let mut copy = *scan;
    copy.byte(b'[')?;
    stamp::weekday(&mut copy)?;
    copy.byte(b' ')?;
    let month = stamp::month(&mut copy)?;
    let day = stamp::day(&mut copy)?;
    copy.byte(b' ')?;
    // The year stands last.
    let mut year = Scan::new(copy.rest.get(9..)?);
    let civil = stamp::time(&mut copy, [year.digits(4), Some(month), Some(day)], b'.')?;
    copy.take(5)?;
    copy.byte(b']')?;
    let wall = calendar.wall(civil, Zone::Unknown)?;
    *scan = copy;
    Some(wall)
}

/// `[Nov21 04:32]` and `[  +0.000015]` of `dmesg -e`.
fn relative(scan: &mut Scan<'_>) -> Option<()> {
    let mut copy = *scan;
    copy.byte(b'[')?;
    if stamp::month(&mut copy).is_some() {
        copy.digits(2)?;
        copy.byte(b' ')?;
        copy.digits(2)?;
        copy.byte(b':')?;
        copy.digits(2)?;
    } else {
        copy.spaces();
        copy.one_of(b"+-")?;
        stamp::seconds(&mut copy)?;
    }
    copy.byte(b']')?;
    *scan = copy;
    Some(())
}
