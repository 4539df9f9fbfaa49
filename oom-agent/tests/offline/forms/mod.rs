//! Every form that a kernel log is kept in, as its tool would write it.
//!
//! Takes records of `/dev/kmsg`; emits the bytes of a log. What tools do to names is theirs: dmesg
//! writes `\xNN`, rsyslog `#ooo`, the journal's JSON an array of bytes.

use std::fmt::Write as _;

use jiff::{Timestamp, fmt::strtime, tz::TimeZone};
use oom_agent::{
    event::TimeSource,
    offline::Format,
    source::kmsg::record::{Caller, Record as Raw},
};

/// 2026-11-20T20:00:00Z.
pub(crate) const BOOTED_S: i64 = 1_795_204_800;
pub(crate) const HOST: &str = "node-7";
pub(crate) const BOOT_ID: &str = "29e1a4ca-7262-404d-97b3-ac4a429d12e6";

pub(crate) const SECOND: u64 = 1_000_000_000;
const LOGGER: TimeSource = TimeSource::Logger;
const ASSUMED: TimeSource = TimeSource::Assumed;

/// A record of `/dev/kmsg`, with its text as it was printed.
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) priority: u32,
    pub(crate) seq: u64,
    pub(crate) us: u64,
    pub(crate) fragment: bool,
    pub(crate) caller: Option<Caller>,
    pub(crate) text: Vec<u8>,
}

impl Record {
    pub(crate) fn parse(raw: &[u8]) -> Option<Self> {
        let record = Raw::parse(raw).ok()?;
        Some(Self {
            priority: record.facility << 3 | u32::from(record.level),
            seq: record.seq,
            us: record.monotonic_ns / 1000,
            fragment: record.fragment,
            caller: record.caller,
            text: record.message.into_owned(),
        })
    }

    fn stamp(&self) -> String {
        format!("{:5}.{:06}", self.us / 1_000_000, self.us % 1_000_000)
    }

    fn caller(&self) -> Option<String> {
        self.caller.map(|caller| match caller {
            Caller::Thread(id) => format!("T{id}"),
            Caller::Cpu(id) => format!("C{id}"),
        })
    }

    /// `strftime` of its time in UTC.
    fn time(&self, format: &str) -> String {
        let ns = i128::from(BOOTED_S) * 1_000_000_000 + i128::from(self.us) * 1000;
        let time = Timestamp::from_nanosecond(ns)
            .unwrap()
            .to_zoned(TimeZone::UTC);
        strtime::format(format, &time).unwrap()
    }

    fn unix_us(&self) -> u64 {
        u64::try_from(BOOTED_S).unwrap() * 1_000_000 + self.us
    }
}

/// A form, and what it tells.
#[expect(clippy::struct_excessive_bools, reason = "each says what a form has")]
pub(crate) struct Form {
    pub(crate) name: &'static str,
    pub(crate) format: Format,
    pub(crate) write: fn(&[Record]) -> Vec<u8>,
    pub(crate) monotonic: bool,
    /// Its smallest digit, and where its time is from.
    pub(crate) wall: Option<(u64, TimeSource)>,
    pub(crate) host: bool,
    pub(crate) boot: bool,
    /// Whether a message of several lines can be told from several messages.
    pub(crate) multi_line: bool,
    pub(crate) callers: bool,
}

const fn form(name: &'static str, format: Format, write: fn(&[Record]) -> Vec<u8>) -> Form {
    Form {
        name,
        format,
        write,
        monotonic: false,
        wall: None,
        host: false,
        boot: false,
        multi_line: true,
        callers: false,
    }
}

const fn dmesg(name: &'static str, write: fn(&[Record]) -> Vec<u8>) -> Form {
    form(name, Format::Dmesg, write)
}

const fn syslog(
    name: &'static str,
    digit_ns: u64,
    source: TimeSource,
    write: fn(&[Record]) -> Vec<u8>,
) -> Form {
    Form {
        wall: Some((digit_ns, source)),
        host: true,
        ..form(name, Format::Syslog, write)
    }
}

pub(crate) const FORMS: &[Form] = &[
    Form {
        monotonic: true,
        callers: true,
        ..form("/dev/kmsg", Format::Kmsg, kmsg)
    },
    Form {
        monotonic: true,
        ..dmesg("dmesg", |all| {
            lines(all, |r| format!("[{}] ", r.stamp()), hexadecimal)
        })
    },
    Form {
        monotonic: true,
        callers: true,
        ..dmesg("dmesg with callers", |all| {
            lines(
                all,
                |r| {
                    format!(
                        "[{}] [{:>8}] ",
                        r.stamp(),
                        r.caller().unwrap_or("T1".into())
                    )
                },
                hexadecimal,
            )
        })
    },
    Form {
        monotonic: true,
        ..dmesg("dmesg -r", |all| {
            lines(
                all,
                |r| format!("<{}>[{}] ", r.priority, r.stamp()),
                hexadecimal,
            )
        })
    },
    Form {
        monotonic: true,
        ..dmesg("dmesg -x", |all| {
            lines(
                all,
                |r| format!("{:6}:{:6}: [{}] ", "kern", level(r), r.stamp()),
                hexadecimal,
            )
        })
    },
    Form {
        monotonic: true,
        ..dmesg("dmesg -d", |all| {
            lines(
                all,
                |r| format!("[{} <    0.000012>] ", r.stamp()),
                hexadecimal,
            )
        })
    },
    dmesg("dmesg -e", |all| {
        lines(all, |_| "[  +0.000012] ".into(), hexadecimal)
    }),
    Form {
        wall: Some((SECOND, ASSUMED)),
        ..dmesg("dmesg -T", |all| {
            lines(all, |r| r.time("[%a %b %e %H:%M:%S %Y] "), hexadecimal)
        })
    },
    Form {
        wall: Some((1000, LOGGER)),
        ..dmesg("dmesg --time-format iso", |all| {
            lines(all, |r| r.time("%Y-%m-%dT%H:%M:%S,%6f+00:00 "), hexadecimal)
        })
    },
    Form {
        monotonic: true,
        callers: true,
        ..form("dmesg --json", Format::Json, dmesg_json)
    },
    Form {
        multi_line: false,
        ..form("dmesg -t", Format::Plain, |all| {
            lines(all, |_| String::new(), hexadecimal)
        })
    },
    Form {
        monotonic: true,
        multi_line: false,
        callers: true,
        ..form("a serial console", Format::Console, console)
    },
    syslog("journalctl", SECOND, ASSUMED, |all| {
        lines(all, |r| r.time("%b %d %H:%M:%S node-7 kernel: "), raw)
    }),
    syslog("journalctl -o short-precise", 1000, ASSUMED, |all| {
        lines(all, |r| r.time("%b %d %H:%M:%S.%6f node-7 kernel: "), raw)
    }),
    syslog("journalctl -o short-iso", SECOND, LOGGER, |all| {
        lines(
            all,
            |r| r.time("%Y-%m-%dT%H:%M:%S+0000 node-7 kernel: "),
            raw,
        )
    }),
    syslog("journalctl -o short-iso-precise", 1000, LOGGER, |all| {
        lines(
            all,
            |r| r.time("%Y-%m-%dT%H:%M:%S.%6f+00:00 node-7 kernel: "),
            raw,
        )
    }),
    syslog("journalctl -o short-full", SECOND, LOGGER, |all| {
        lines(
            all,
            |r| r.time("%a %Y-%m-%d %H:%M:%S UTC node-7 kernel: "),
            raw,
        )
    }),
    syslog("journalctl -o short-unix", 1000, LOGGER, |all| {
        lines(
            all,
            |r| {
                format!(
                    "{}.{:06} node-7 kernel: ",
                    r.unix_us() / 1_000_000,
                    r.us % 1_000_000
                )
            },
            raw,
        )
    }),
    Form {
        monotonic: true,
        wall: None,
        ..syslog("journalctl -o short-monotonic", 1, LOGGER, |all| {
            lines(all, |r| format!("[{}] node-7 kernel: ", r.stamp()), raw)
        })
    },
    Form {
        monotonic: true,
        boot: true,
        ..journal("journalctl -o json", |all| journal_json(all, "", ""))
    },
    Form {
        monotonic: true,
        boot: true,
        ..journal("journalctl -o json-pretty", |all| {
            journal_json(all, "\n\t", "\n")
        })
    },
    Form {
        monotonic: true,
        ..syslog("rsyslog, traditional", SECOND, ASSUMED, |all| {
            lines(
                all,
                |r| {
                    format!(
                        "{}[{}] ",
                        r.time("%b %e %H:%M:%S node-7 kernel: "),
                        r.stamp()
                    )
                },
                octal,
            )
        })
    },
    Form {
        monotonic: true,
        callers: true,
        ..syslog("rsyslog, ISO", 1000, LOGGER, |all| {
            lines(
                all,
                |r| {
                    let caller = r.caller().map(|caller| format!("[{caller:>5}]"));
                    let caller = caller.unwrap_or_default();
                    format!(
                        "{}[{}]{caller} ",
                        r.time("%Y-%m-%dT%H:%M:%S.%6f+00:00 node-7 kernel: "),
                        r.stamp()
                    )
                },
                octal,
            )
        })
    },
    Form {
        monotonic: true,
        ..syslog("RFC 5424", 1000, LOGGER, |all| {
            lines(
                all,
                |r| {
                    let time = r.time("%Y-%m-%dT%H:%M:%S.%6fZ");
                    format!(
                        "<{}>1 {time} node-7 kernel - - - [{}] ",
                        r.priority,
                        r.stamp()
                    )
                },
                octal,
            )
        })
    },
    Form {
        monotonic: true,
        ..syslog("busybox syslogd", SECOND, ASSUMED, |all| {
            lines(
                all,
                |r| {
                    let time = r.time("%b %e %H:%M:%S node-7 kern.");
                    format!("{time}{} kernel: [{}] ", level(r).trim(), r.stamp())
                },
                octal,
            )
        })
    },
];

const fn journal(name: &'static str, write: fn(&[Record]) -> Vec<u8>) -> Form {
    Form {
        wall: Some((1000, LOGGER)),
        host: true,
        ..form(name, Format::Json, write)
    }
}

/// One message a line; what follows a newline in it stands in the column of the text.
fn lines(
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

fn raw(text: &[u8]) -> Vec<u8> {
    text.to_vec()
}

fn escaped(text: &[u8], is_odd: fn(u8) -> bool, write: fn(u8) -> String) -> Vec<u8> {
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
fn hexadecimal(text: &[u8]) -> Vec<u8> {
    escaped(
        text,
        |b| b != b'\n' && !matches!(b, b' '..=b'~'),
        |b| format!("\\x{b:02x}"),
    )
}

/// rsyslog.
fn octal(text: &[u8]) -> Vec<u8> {
    escaped(text, |b| b < b' ' || b == 0x7f, |b| format!("#{b:03o}"))
}

fn level(record: &Record) -> &'static str {
    let levels = [
        "emerg", "alert", "crit", "err", "warn", "notice", "info", "debug",
    ];
    levels[(record.priority & 7) as usize]
}

/// `msg_print_ext_header` and `msg_add_ext_text` (`kernel/printk/printk.c`).
pub(crate) fn kmsg(records: &[Record]) -> Vec<u8> {
    let mut log = Vec::new();
    for record in records {
        let caller = record.caller().map(|caller| format!(",caller={caller}"));
        let (flag, caller) = (
            if record.fragment { 'c' } else { '-' },
            caller.unwrap_or_default(),
        );
        let Record {
            priority, seq, us, ..
        } = record;
        log.extend(format!("{priority},{seq},{us},{flag}{caller};").into_bytes());
        let odd = |b| b == b'\\' || !matches!(b, b' '..=b'~');
        log.extend(escaped(&record.text, odd, |b| format!("\\x{b:02x}")));
        log.extend(b"\n SUBSYSTEM=memory\n");
    }
    log
}

/// Bytes that are not UTF-8 stay as they are.
fn json_string(text: &[u8]) -> Vec<u8> {
    let inner = escaped(
        text,
        |b| b < b' ' || matches!(b, b'"' | b'\\'),
        |b| match b {
            b'\n' => "\\n".into(),
            b'"' | b'\\' => format!("\\{}", char::from(b)),
            _ => format!("\\u{b:04x}"),
        },
    );
    [b"\"", &inner[..], b"\""].concat()
}

fn dmesg_json(records: &[Record]) -> Vec<u8> {
    let objects = records.iter().map(|record| {
        let mut object = format!(
            "\n         \"pri\": {},\n         \"time\": {},",
            record.priority,
            record.stamp()
        );
        if let Some(caller) = record.caller() {
            write!(object, "\n         \"caller\": \"{caller}\",").unwrap();
        }
        object += "\n         \"msg\": ";
        [
            object.into_bytes(),
            json_string(&record.text),
            b"\n      }".to_vec(),
        ]
        .concat()
    });
    let objects: Vec<Vec<u8>> = objects.collect();
    let objects = objects.join(&b",{"[..]);
    [b"{\n   \"dmesg\": [\n      {", &objects[..], b"\n   ]\n}\n"].concat()
}

/// What is not UTF-8, or holds controls, is an array of bytes.
fn journal_json(records: &[Record], indent: &str, end: &str) -> Vec<u8> {
    let mut log = Vec::new();
    for record in records {
        let printable = |&b: &u8| b >= b' ' || b == b'\n';
        let plain = std::str::from_utf8(&record.text).is_ok() && record.text.iter().all(printable);
        let message = if plain {
            json_string(&record.text)
        } else {
            serde_json::to_vec(&record.text).unwrap()
        };
        let id = BOOT_ID.replace('-', "");
        let (unix_us, us, level) = (record.unix_us(), record.us, record.priority & 7);
        let fields = [
            format!("\"__CURSOR\":\"s=1;b={id}\""),
            format!("\"__REALTIME_TIMESTAMP\":\"{unix_us}\""),
            format!("\"__MONOTONIC_TIMESTAMP\":\"{}\"", us + 17),
            format!("\"_BOOT_ID\":\"{id}\""),
            format!("\"_SOURCE_MONOTONIC_TIMESTAMP\":\"{us}\""),
            "\"_UDEV_DEVLINK\":[\"/dev/a\",\"/dev/b\"]".into(),
            format!("\"PRIORITY\":\"{level}\""),
            "\"_TRANSPORT\":\"kernel\"".into(),
            "\"SYSLOG_FACILITY\":\"0\"".into(),
            format!("\"_HOSTNAME\":\"{HOST}\""),
        ];
        log.push(b'{');
        for field in fields {
            log.extend(format!("{indent}{field},").into_bytes());
        }
        log.extend(format!("{indent}\"MESSAGE\":").into_bytes());
        log.extend(message);
        log.extend(format!("{end}}}\n").into_bytes());
    }
    log
}

/// Lines end with CR LF; a program that waits for input has not ended its own.
fn console(records: &[Record]) -> Vec<u8> {
    let mut log = b"SeaBIOS (version 1.16.2)\r\n\r\n\x1b[2JBooting from ROM..\r\n".to_vec();
    for (number, record) in records.iter().enumerate() {
        if number % 7 == 3 {
            log.extend(b"node-7 login: ");
        }
        if number % 11 == 5 {
            log.extend(b"test 3: 1.2s ok\r\n\r\n");
        }
        let caller = record.caller().map(|caller| format!("[{caller:>5}]"));
        log.extend(format!("[{}]{} ", record.stamp(), caller.unwrap_or_default()).into_bytes());
        log.extend_from_slice(&record.text);
        log.extend(b"\r\n");
    }
    log
}
