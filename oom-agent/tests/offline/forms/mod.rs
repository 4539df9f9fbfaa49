//! Every form that a kernel log is kept in, as its tool would write it.
//!
//! Takes records of `/dev/kmsg`; emits the bytes of a log. What tools do to names is theirs: dmesg
//! writes `\xNN`, rsyslog `#ooo`, the journal's JSON an array of bytes.

mod json;
mod printk;
mod record;
mod text;

use oom_agent::{event::TimeSource, offline::Format};

use json::{dmesg_json, journal_json};
use printk::console;
use text::{hexadecimal, level, lines, octal, raw};

pub(crate) use printk::kmsg;
pub(crate) use record::{BOOTED_S, Record};

pub(crate) const HOST: &str = "node-7";
pub(crate) const BOOT_ID: &str = "29e1a4ca-7262-404d-97b3-ac4a429d12e6";

pub(crate) const SECOND: u64 = 1_000_000_000;
const LOGGER: TimeSource = TimeSource::Logger;
const ASSUMED: TimeSource = TimeSource::Assumed;

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
