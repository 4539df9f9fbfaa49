//! One record of `/dev/kmsg`, as `read(2)` returns it.
//!
//! Reads `prio,seq,usec,flags[,caller=T<tid>|C<cpu>];message\n`, then ` KEY=value` lines
//! (Documentation/ABI/testing/dev-kmsg). Emits a [`Record`] whose message is raw bytes again.
//! Refuses a record whose header is not of that form. Unknown header fields are skipped, as the ABI
//! asks.

use std::borrow::Cow;

use super::scan::number;

/// A record of the kernel log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Syslog level: 3 is `KERN_ERR`.
    pub level: u8,
    /// Syslog facility: 0 is the kernel, and user space cannot write it.
    pub facility: u32,
    /// Number of the record since boot.
    pub seq: u64,
    /// `local_clock`, from microseconds.
    pub monotonic_ns: u64,
    /// Whether this is a fragment of a line that the kernel printed piecemeal (`pr_cont`).
    pub fragment: bool,
    /// Who printed it (`CONFIG_PRINTK_CALLER`).
    pub caller: Option<Caller>,
    /// The message, unescaped.
    pub message: Cow<'a, [u8]>,
}

/// Who printed a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Caller {
    /// A thread.
    Thread(u32),
    /// A CPU outside of any thread.
    Cpu(u32),
}

/// Why a record was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// No `;` between header and message.
    #[error("no ';' after the header")]
    NoMessage,
    /// A header field is missing or not a number.
    #[error("header field `{0}` is missing or not a number")]
    Field(&'static str),
}

impl<'a> Record<'a> {
    /// Parses what one `read(2)` returned.
    pub fn parse(raw: &'a [u8]) -> Result<Self, RecordError> {
        let semicolon = raw.iter().position(|&b| b == b';');
        let (header, rest) = raw.split_at(semicolon.ok_or(RecordError::NoMessage)?);
        let mut fields = header.split(|&b| b == b',');
        let mut field = |name| fields.next().ok_or(RecordError::Field(name));

        let prio: u32 = number(field("prio")?).ok_or(RecordError::Field("prio"))?;
        let seq = number(field("seq")?).ok_or(RecordError::Field("seq"))?;
        let usec: u64 = number(field("usec")?).ok_or(RecordError::Field("usec"))?;
        let flags = field("flags")?;
        let caller = fields.find_map(|f| caller(f.strip_prefix(b"caller=")?));

        // A newline inside the message is escaped, so the first raw one ends it; the dictionary
        // (SUBSYSTEM=, DEVICE=) that may follow says nothing about OOM.
        let message = &rest[1..];
        let end = message.iter().position(|&b| b == b'\n');
        Ok(Self {
            level: (prio & 7) as u8,
            facility: prio >> 3,
            seq,
            monotonic_ns: usec.saturating_mul(1000),
            fragment: matches!(flags, b"c" | b"+"),
            caller,
            message: unescape(&message[..end.unwrap_or(message.len())]),
        })
    }
}

fn caller(value: &[u8]) -> Option<Caller> {
    match value.split_first()? {
        (b'T', tid) => number(tid).map(Caller::Thread),
        (b'C', cpu) => number(cpu).map(Caller::Cpu),
        _ => None,
    }
}

/// Undoes the kernel's `\xNN`; a backslash that is no such escape stays as it is.
fn unescape(text: &[u8]) -> Cow<'_, [u8]> {
    let Some(first) = text.iter().position(|&b| b == b'\\') else {
        return Cow::Borrowed(text);
    };
    let mut raw = Vec::with_capacity(text.len());
    raw.extend_from_slice(&text[..first]);
    let mut rest = &text[first..];
    while let Some((&byte, tail)) = rest.split_first() {
        if let [b'\\', b'x', high, low, tail @ ..] = rest
            && let (Some(high), Some(low)) = (hex(*high), hex(*low))
        {
            raw.push(high << 4 | low);
            rest = tail;
        } else {
            raw.push(byte);
            rest = tail;
        }
    }
    Cow::Owned(raw)
}

fn hex(digit: u8) -> Option<u8> {
    match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        b'A'..=b'F' => Some(digit - b'A' + 10),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn record(raw: &[u8]) -> Record<'_> {
        Record::parse(raw).unwrap()
    }

    #[test]
    fn reads_every_field() {
        assert_eq!(
            record(b"30,339,5140900,-,caller=T17;NET: done\n SUBSYSTEM=pci\n DEVICE=+pci:1\n"),
            Record {
                level: 6,
                facility: 3,
                seq: 339,
                monotonic_ns: 5_140_900_000,
                fragment: false,
                caller: Some(Caller::Thread(17)),
                message: Cow::Borrowed(b"NET: done"),
            }
        );
    }

    #[test]
    fn reads_callers_flags_and_fields_of_later_kernels() {
        let cases: &[(&[u8], Option<Caller>, bool)] = &[
            (b"4,1,2,-;m\n", None, false),
            (b"4,1,2,c;m\n", None, true),
            (b"4,1,2,+;m\n", None, true),
            (b"4,1,2,-,caller=C3;m\n", Some(Caller::Cpu(3)), false),
            (
                b"4,1,2,-,new=1,caller=T3;m\n",
                Some(Caller::Thread(3)),
                false,
            ),
            (b"4,1,2,-,caller=X3;m\n", None, false),
            (b"4,1,2,-,caller=;m\n", None, false),
            (b"4,1,2,;m", None, false),
        ];
        for (raw, caller, fragment) in cases {
            let record = record(raw);
            assert_eq!((record.caller, record.fragment), (*caller, *fragment));
            assert_eq!(&*record.message, b"m");
        }
    }

    #[test]
    fn unescapes_to_the_bytes_that_were_printed() {
        let message = |raw| record(raw).message.into_owned();
        assert_eq!(message(b"3,1,2,-;x\\x0a\"\\x5c\\xff)\n"), b"x\n\"\\\xff)");
        assert_eq!(
            message(b"3,1,2,-;\\x5cx41 \\q \\x4 \\\n"),
            b"\\x41 \\q \\x4 \\"
        );
        assert_eq!(message(b"3,1,2,-;a;b\n"), b"a;b");
        assert_eq!(message(b"3,1,2,-;\n"), b"");
    }

    #[test]
    fn refuses_what_is_no_record() {
        let cases: &[(&[u8], RecordError)] = &[
            (b"", RecordError::NoMessage),
            (b"no record\n", RecordError::NoMessage),
            (b";", RecordError::Field("prio")),
            (b"6;m", RecordError::Field("seq")),
            (b"6,1;m", RecordError::Field("usec")),
            (b"6,1,2;m", RecordError::Field("flags")),
            (b"-6,1,2,-;m", RecordError::Field("prio")),
            (b"6,99999999999999999999,2,-;m", RecordError::Field("seq")),
        ];
        for (raw, error) in cases {
            assert_eq!(Record::parse(raw), Err(*error), "{}", raw.escape_ascii());
        }
    }

    /// `msg_add_ext_text` (kernel/printk/printk.c).
    fn escape(message: &[u8]) -> Vec<u8> {
        let escape = |&b: &u8| match b {
            b'\\' | 0..32 | 127.. => format!("\\x{b:02x}").into_bytes(),
            _ => vec![b],
        };
        message.iter().flat_map(escape).collect()
    }

    proptest! {
        #[test]
        fn any_message_survives(message: Vec<u8>, seq: u64) {
            let mut raw = format!("3,{seq},7,-;").into_bytes();
            raw.extend(escape(&message));
            raw.push(b'\n');
            let record = Record::parse(&raw).unwrap();
            prop_assert_eq!(record.seq, seq);
            prop_assert_eq!(&*record.message, &message[..]);
        }

        #[test]
        fn no_bytes_make_it_panic(raw: Vec<u8>) {
            let _ = Record::parse(&raw);
        }
    }
}
