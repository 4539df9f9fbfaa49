//! Logs of lines: what stands before a message, and how each tool writes what cannot be printed.

use super::Record;

/// One message a line; what follows a newline in it stands in the column of the text.
pub(super) fn lines(
    records: &[Record],
    head: impl Fn(&Record) -> String,
    escape: fn(&[u8]) -> Vec<u8>,
) -> Vec<u8> {
    let mut log = Vec::new();
    for record in records {
        let head = head(record);
        log.extend_from_slice(head.as_bytes());
        for (number, line) in record.text.split(|&b| b == b'\n').enumerate() {
            if number > 0 && escape(b"\n") == b"\n" {
                log.push(b'\n');
                log.extend(std::iter::repeat_n(b' ', head.len()));
            } else if number > 0 {
                log.extend(escape(b"\n"));
            }
            log.extend(escape(line));
        }
        log.push(b'\n');
    }
    log
}

pub(super) fn raw(text: &[u8]) -> Vec<u8> {
    text.to_vec()
}

pub(super) fn escaped(text: &[u8], is_odd: fn(u8) -> bool, write: fn(u8) -> String) -> Vec<u8> {
    let byte = |&b: &u8| {
        if is_odd(b) {
            write(b).into_bytes()
        } else {
            vec![b]
        }
    };
    text.iter().flat_map(byte).collect()
}

/// dmesg: the newline has its own way.
pub(super) fn hexadecimal(text: &[u8]) -> Vec<u8> {
    escaped(
        text,
        |b| b != b'\n' && !matches!(b, b' '..=b'~'),
        |b| format!("\\x{b:02x}"),
    )
}

/// rsyslog.
pub(super) fn octal(text: &[u8]) -> Vec<u8> {
    escaped(text, |b| b < b' ' || b == 0x7f, |b| format!("#{b:03o}"))
}

pub(super) fn level(record: &Record) -> &'static str {
    let levels = [
        "emerg", "alert", "crit", "err", "warn", "notice", "info", "debug",
    ];
    levels[(record.priority & 7) as usize]
}
