//! JSON objects: `journalctl -o json` and `-o json-pretty`, `dmesg --json`.
//!
//! Reads one object of text; emits its message with the stamps of the journal (`__REALTIME_TIMESTAMP`,
//! `_SOURCE_MONOTONIC_TIMESTAMP`) or of dmesg (`time`). dmesg writes bytes that are not UTF-8 as they
//! are, so this is no strict reader. What did not come to the journal from the kernel (`_TRANSPORT`,
//! `SYSLOG_FACILITY`) is foreign. Refuses an object without a message.

use std::borrow::Cow;

use super::{BootId, Calendar, Head, Wall, scan::Scan, stamp};
use crate::source::kmsg::record::Caller;

/// An object holds no objects in either log; this is what is put up with.
const MAX_DEPTH: u32 = 8;

pub(super) fn parse<'a>(
    text: &'a [u8],
    calendar: &mut Calendar,
    head: &mut Head<'a>,
) -> Option<()> {
    let mut scan = Scan::new(text);
    // Of `-o json-seq` and `-o json-sse`.
    let _ = scan.byte(0x1e);
    let _ = scan.text(b"data: ");
    blank(&mut scan);
    scan.byte(b'{')?;
    let mut fields = Fields {
        head,
        message: None,
        transport: None,
        from_dmesg: false,
    };
    blank(&mut scan);
    if scan.byte(b'}').is_some() {
        return None;
    }
    loop {
        blank(&mut scan);
        let key = string(&mut scan)?;
        blank(&mut scan);
        scan.byte(b':')?;
        blank(&mut scan);
        fields.take(&key, &mut scan, calendar)?;
        blank(&mut scan);
        match scan.one_of(b",}")? {
            b',' => {}
            _ => return fields.finish(),
        }
    }
}

/// What the fields tell.
struct Fields<'h, 'a> {
    head: &'h mut Head<'a>,
    message: Option<Cow<'a, [u8]>>,
    /// Of the journal; dmesg has none.
    transport: Option<bool>,
    from_dmesg: bool,
}

impl<'a> Fields<'_, 'a> {
    /// Takes the value of a field. `None` if the text is no JSON.
    fn take(&mut self, key: &[u8], scan: &mut Scan<'a>, calendar: &mut Calendar) -> Option<()> {
        let head = &mut *self.head;
        match key {
            b"MESSAGE" => self.message = message(scan)?,
            b"_TRANSPORT" => self.transport = scalar(scan)?.map(|name| *name == b"kernel"[..]),
            // What user space writes to /dev/kmsg comes over the same transport.
            b"SYSLOG_FACILITY" => head.foreign |= number(scan)? != Some(0),
            b"_HOSTNAME" => {
                if let Some(Cow::Borrowed(host)) = scalar(scan)? {
                    head.host = Some(host);
                }
            }
            b"_BOOT_ID" => head.boot = scalar(scan)?.and_then(|id| BootId::parse(&id)),
            b"PRIORITY" => head.level = number(scan)?.and_then(|n| u8::try_from(n).ok()),
            b"__REALTIME_TIMESTAMP" => {
                let unix_ns =
                    number(scan)?.and_then(|us| i64::try_from(us.checked_mul(1000)?).ok());
                head.wall = unix_ns.map(|unix_ns| Wall {
                    unix_ns,
                    assumed: false,
                });
            }
            b"_SOURCE_MONOTONIC_TIMESTAMP" => {
                head.monotonic_ns = number(scan)?.and_then(|us| us.checked_mul(1000));
            }
            b"msg" => {
                self.from_dmesg = true;
                self.message = message(scan)?;
            }
            b"time" => {
                let value = scalar(scan)?.unwrap_or_default();
                let mut value = Scan::new(&value);
                head.monotonic_ns = stamp::seconds(&mut value);
                if head.monotonic_ns.is_none() {
                    head.wall = stamp::iso(&mut value, calendar, b',');
                }
            }
            b"pri" => {
                let value = scalar(scan)?.unwrap_or_default();
                if let Some(priority) = Scan::new(&value).number() {
                    head.level = Some((priority & 7) as u8);
                    head.foreign |= priority >> 3 != 0;
                } else {
                    head.level = stamp::level(&value);
                }
            }
            b"fac" => head.foreign |= scalar(scan)?.is_some_and(|name| *name != b"kern"[..]),
            b"caller" => {
                let value = scalar(scan)?.unwrap_or_default();
                head.caller = caller(&value);
            }
            _ => skip(scan, MAX_DEPTH)?,
        }
        Some(())
    }

    fn finish(self) -> Option<()> {
        self.head.foreign |= !self.from_dmesg && self.transport != Some(true);
        self.head.text = self.message?;
        Some(())
    }
}

fn caller(text: &[u8]) -> Option<Caller> {
    let (kind, id) = text.split_first()?;
    let id = u32::try_from(Scan::new(id).number()?).ok()?;
    match kind {
        b'T' => Some(Caller::Thread(id)),
        b'C' => Some(Caller::Cpu(id)),
        _ => None,
    }
}

fn blank(scan: &mut Scan<'_>) {
    while scan.one_of(b" \t\r\n").is_some() {}
}

/// A string or a bare word or number; `None` inside for anything else, which is passed over.
#[expect(
    clippy::option_option,
    reason = "no JSON, and no such value, are two things"
)]
fn scalar<'a>(scan: &mut Scan<'a>) -> Option<Option<Cow<'a, [u8]>>> {
    match scan.peek()? {
        b'"' => string(scan).map(Some),
        b'[' | b'{' => skip(scan, MAX_DEPTH).map(|()| None),
        _ => word(scan).map(|word| Some(Cow::Borrowed(word)).filter(|word| **word != b"null"[..])),
    }
}

/// A number, or a string of one.
#[expect(
    clippy::option_option,
    reason = "no JSON, and no such value, are two things"
)]
fn number(scan: &mut Scan<'_>) -> Option<Option<u64>> {
    Some(scalar(scan)?.and_then(|text| Scan::new(&text).number()))
}

/// The journal writes what is not UTF-8 as an array of bytes, and a field that an entry has several
/// times as an array of values, of which the first is taken.
#[expect(
    clippy::option_option,
    reason = "no JSON, and no such value, are two things"
)]
fn message<'a>(scan: &mut Scan<'a>) -> Option<Option<Cow<'a, [u8]>>> {
    if scan.byte(b'[').is_none() {
        return scalar(scan);
    }
    blank(scan);
    if scan.byte(b']').is_some() {
        return Some(None);
    }
    let mut first = None;
    let mut bytes = Vec::new();
    loop {
        blank(scan);
        if scan.peek()?.is_ascii_digit() {
            bytes.push(u8::try_from(Scan::new(word(scan)?).number()?).ok()?);
        } else {
            let value = message_part(scan)?;
            first = first.or(value);
        }
        blank(scan);
        if scan.one_of(b",]")? == b']' {
            return Some(first.or(Some(Cow::Owned(bytes))));
        }
    }
}

#[expect(
    clippy::option_option,
    reason = "no JSON, and no such value, are two things"
)]
fn message_part<'a>(scan: &mut Scan<'a>) -> Option<Option<Cow<'a, [u8]>>> {
    if scan.peek() != Some(b'[') {
        return scalar(scan);
    }
    let before = scan.rest;
    skip(scan, MAX_DEPTH)?;
    let array = &before[..before.len() - scan.rest.len()];
    let bytes = array
        .split(|b| !b.is_ascii_digit())
        .filter(|digits| !digits.is_empty())
        .map(|digits| u8::try_from(Scan::new(digits).number()?).ok())
        .collect::<Option<Vec<u8>>>();
    Some(bytes.map(Cow::Owned))
}

/// A number, `true`, `false` or `null`. dmesg pads its numbers with spaces.
fn word<'a>(scan: &mut Scan<'a>) -> Option<&'a [u8]> {
    let end = scan
        .rest
        .iter()
        .position(|b| !b.is_ascii_alphanumeric() && !matches!(b, b'.' | b'-' | b'+'))?;
    (end > 0).then(|| scan.take(end)).flatten()
}

fn string<'a>(scan: &mut Scan<'a>) -> Option<Cow<'a, [u8]>> {
    scan.byte(b'"')?;
    let end = memchr::memchr2(b'"', b'\\', scan.rest)?;
    let plain = scan.take(end)?;
    if scan.byte(b'"').is_some() {
        return Some(Cow::Borrowed(plain));
    }
    let mut text = plain.to_vec();
    loop {
        match scan.take(1)?[0] {
            b'"' => return Some(Cow::Owned(text)),
            b'\\' => escaped(scan, &mut text)?,
            byte => {
                text.push(byte);
                let end = memchr::memchr2(b'"', b'\\', scan.rest)?;
                text.extend_from_slice(scan.take(end)?);
            }
        }
    }
}

fn escaped(scan: &mut Scan<'_>, text: &mut Vec<u8>) -> Option<()> {
    let byte = match scan.take(1)?[0] {
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        b'b' => 8,
        b'f' => 12,
        b'u' => {
            let mut code = unit(scan)?;
            if (0xd800..0xdc00).contains(&code) && scan.text(b"\\u").is_some() {
                code = 0x1_0000 + ((code - 0xd800) << 10) + unit(scan)?.checked_sub(0xdc00)?;
            }
            let character = char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER);
            text.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            return Some(());
        }
        other => other,
    };
    text.push(byte);
    Some(())
}

/// Four hexadecimal digits.
fn unit(scan: &mut Scan<'_>) -> Option<u32> {
    let digits = std::str::from_utf8(scan.take(4)?).ok()?;
    u32::from_str_radix(digits, 16).ok()
}

/// Passes over any value.
fn skip(scan: &mut Scan<'_>, depth: u32) -> Option<()> {
    let close = match scan.peek()? {
        b'"' => return string(scan).map(drop),
        b'[' => b']',
        b'{' => b'}',
        _ => return word(scan).map(drop),
    };
    let depth = depth.checked_sub(1)?;
    scan.take(1)?;
    blank(scan);
    if scan.byte(close).is_some() {
        return Some(());
    }
    loop {
        blank(scan);
        skip(scan, depth)?;
        blank(scan);
        if close == b'}' {
            scan.byte(b':')?;
            blank(scan);
            skip(scan, depth)?;
            blank(scan);
        }
        if scan.one_of(&[b',', close])? == close {
            return Some(());
        }
    }
}
