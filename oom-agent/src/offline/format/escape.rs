//! Escapes that loggers put into a message, undone.
//!
//! Reads text; emits the bytes that the kernel printed. Neither logger escapes its own escape sign, so
//! only a sequence that it would have written is undone: one that stands for a byte that is not
//! printable.

use std::borrow::Cow;

/// `\xNN` of dmesg.
pub(super) fn hexadecimal(text: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    undo(text, b'\\', |escape| match *escape {
        [b'x', high, low, ..] => Some((digit(high, 16)? << 4 | digit(low, 16)?, 3)),
        _ => None,
    })
}

/// `#ooo` of rsyslog, which escapes control characters. Not more than these: the number of a build looks
/// the same (`#177-Ubuntu`).
pub(super) fn octal(text: Cow<'_, [u8]>) -> Cow<'_, [u8]> {
    undo(text, b'#', |escape| match *escape {
        [b'0', b @ b'0'..=b'3', c, ..] => Some((digit(b, 8)? << 3 | digit(c, 8)?, 3)),
        _ => None,
    })
}

fn undo(
    text: Cow<'_, [u8]>,
    sign: u8,
    read: impl Fn(&[u8]) -> Option<(u8, usize)>,
) -> Cow<'_, [u8]> {
    let Some(first) = memchr::memchr(sign, &text) else {
        return text;
    };
    let mut raw = Vec::with_capacity(text.len());
    let (mut rest, mut next) = (&text[..], Some(first));
    while let Some(at) = next {
        let (plain, tail) = (&rest[..at], &rest[at + 1..]);
        let escaped = read(tail).filter(|(byte, _)| !matches!(byte, b' '..=b'~'));
        let (byte, length) = escaped.unwrap_or((sign, 0));
        raw.extend_from_slice(plain);
        raw.push(byte);
        rest = &tail[length..];
        next = memchr::memchr(sign, rest);
    }
    raw.extend_from_slice(rest);
    Cow::Owned(raw)
}

fn digit(byte: u8, radix: u32) -> Option<u8> {
    u8::try_from(char::from(byte).to_digit(radix)?).ok()
}
