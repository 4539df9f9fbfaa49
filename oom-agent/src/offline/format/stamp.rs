//! Stamps that more than one form has.
//!
//! Reads the kernel's `[  123.456789]` with its caller, ISO 8601 and calendar dates; emits nanoseconds
//! and [`Wall`]s. Refuses months, hours and zones that do not exist.

use super::{
    Calendar, Wall,
    calendar::{Civil, Zone},
    scan::Scan,
};
use crate::source::kmsg::record::Caller;

/// `123.456789` with any spaces before it, in nanoseconds.
pub(super) fn seconds(scan: &mut Scan<'_>) -> Option<u64> {
    let mut copy = *scan;
    copy.spaces();
    let seconds = copy.number()?;
    copy.byte(b'.')?;
    let before = copy.rest.len();
    let ns = copy.fraction()?;
    // The kernel, dmesg and the journal all write microseconds: fewer digits are something else.
    (before - copy.rest.len() >= 6).then_some(())?;
    *scan = copy;
    seconds.checked_mul(1_000_000_000)?.checked_add(ns.into())
}

/// `[  123.456789]`, with `dmesg -d` `[  123.456789 <    0.000014>]`.
pub(super) fn kernel(scan: &mut Scan<'_>) -> Option<u64> {
    let mut copy = *scan;
    copy.byte(b'[')?;
    let ns = seconds(&mut copy)?;
    if copy.text(b" <").is_some() {
        seconds(&mut copy)?;
        copy.byte(b'>')?;
    }
    copy.byte(b']')?;
    *scan = copy;
    Some(ns)
}

/// `[   T12]` or `[   C0]`, with or without a space before it.
pub(super) fn caller(scan: &mut Scan<'_>) -> Option<Caller> {
    let mut copy = *scan;
    if copy.peek() == Some(b' ') {
        copy.byte(b' ')?;
    }
    copy.byte(b'[')?;
    copy.spaces();
    let kind = copy.one_of(b"TC")?;
    let id = u32::try_from(copy.number()?).ok()?;
    copy.byte(b']')?;
    *scan = copy;
    Some(if kind == b'T' {
        Caller::Thread(id)
    } else {
        Caller::Cpu(id)
    })
}

/// `<3>`: facility and level.
pub(super) fn priority(scan: &mut Scan<'_>) -> Option<(u32, u8)> {
    let mut copy = *scan;
    copy.byte(b'<')?;
    let priority = u32::try_from(copy.number()?).ok()?;
    copy.byte(b'>')?;
    *scan = copy;
    Some((priority >> 3, (priority & 7) as u8))
}

/// `2026-11-21T04:32:40.808386+00:00`: `T` or a space, any zone or none. `point` stands before the
/// fraction: it is what tells dmesg, which writes a comma, from all others.
pub(super) fn iso(scan: &mut Scan<'_>, calendar: &mut Calendar, point: u8) -> Option<Wall> {
    let mut copy = *scan;
    let year = copy.digits(4)?;
    copy.byte(b'-')?;
    let month = copy.digits(2)?;
    copy.byte(b'-')?;
    let day = copy.digits(2)?;
    copy.one_of(b"T ")?;
    let civil = time(&mut copy, [Some(year), Some(month), Some(day)], point)?;
    let zone = zone(&mut copy)?;
    let wall = calendar.wall(civil, zone)?;
    *scan = copy;
    Some(wall)
}

/// `04:32:40.808386` of a year (where it is known), month and day.
pub(super) fn time(scan: &mut Scan<'_>, date: [Option<u32>; 3], point: u8) -> Option<Civil> {
    let [year, month, day] = date;
    let hour = scan.digits(2)?;
    scan.byte(b':')?;
    let minute = scan.digits(2)?;
    scan.byte(b':')?;
    let second = scan.digits(2)?;
    let nanosecond = match scan.byte(point) {
        Some(()) => scan.fraction()?,
        None => 0,
    };
    Civil::new(year, [month?, day?, hour, minute, second], nanosecond)
}

/// `Z`, `+01:00`, `+0100` or nothing.
fn zone(scan: &mut Scan<'_>) -> Option<Zone> {
    let sign = match scan.one_of(b"Z+-") {
        None => return Some(Zone::Unknown),
        Some(b'Z') => return Some(Zone::Offset(0)),
        Some(sign) => sign,
    };
    let hours = scan.digits(2)?;
    let _ = scan.byte(b':');
    let minutes = scan.digits(2)?;
    let seconds = i32::try_from(hours * 3600 + minutes * 60).ok()?;
    (hours < 24 && minutes < 60).then_some(Zone::Offset(if sign == b'-' {
        -seconds
    } else {
        seconds
    }))
}

/// `Nov`, from 1.
pub(super) fn month(scan: &mut Scan<'_>) -> Option<u32> {
    const MONTHS: &[u8; 36] = b"JanFebMarAprMayJunJulAugSepOctNovDec";
    let mut copy = *scan;
    let name = copy.take(3)?;
    let at = MONTHS.chunks_exact(3).position(|month| month == name)?;
    *scan = copy;
    u32::try_from(at + 1).ok()
}

/// `Sat`.
pub(super) fn weekday(scan: &mut Scan<'_>) -> Option<()> {
    let mut copy = *scan;
    let day: [u8; 3] = copy.take(3)?.try_into().ok()?;
    let known = [b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun"].contains(&&day);
    known.then(|| *scan = copy)
}

/// `21` or ` 1`: a day of the month.
pub(super) fn day(scan: &mut Scan<'_>) -> Option<u32> {
    scan.spaces();
    u32::try_from(scan.number()?).ok()
}

/// `err`: a syslog level by its name.
pub(super) fn level(name: &[u8]) -> Option<u8> {
    const LEVELS: [&[u8]; 8] = [
        b"emerg", b"alert", b"crit", b"err", b"warn", b"notice", b"info", b"debug",
    ];
    let at = LEVELS.iter().position(|known| *known == name)?;
    u8::try_from(at).ok()
}
