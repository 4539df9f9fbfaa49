//! Lines of every form, one by one.

use jiff::tz::{TimeZone, offset};

use super::{Calendar, Format, Head, Wall, parse};
use crate::{event::Timestamp, offline::Options, source::kmsg::record::Caller};

/// 2026-11-21T04:21:42Z.
const AT_S: i64 = 1_795_234_902;

fn options() -> Options {
    Options::new(Timestamp::from_unix_ns(
        i128::from(AT_S + 3600) * 1_000_000_000,
    ))
}

fn head(format: Format, line: &str) -> Option<Head<'_>> {
    let mut head = Head::default();
    parse(
        format,
        line.as_bytes(),
        &mut Calendar::new(&options()),
        &mut head,
    )?;
    head.unescape();
    Some(head)
}

#[expect(clippy::unnecessary_wraps, reason = "as a head has it")]
const fn wall(ns: i64, assumed: bool) -> Option<Wall> {
    Some(Wall {
        unix_ns: AT_S * 1_000_000_000 + ns,
        assumed,
    })
}

const MONOTONIC: Option<u64> = Some(123_456_789_000);

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn stamps_of_every_form() {
    use Format::{Console, Dmesg, Json, Kmsg, Syslog};
    type Case = (Format, &'static str, Option<u64>, Option<Wall>);
    let cases: &[Case] = &[
        (Kmsg, "3,7,123456789,-;m", MONOTONIC, None),
        (Dmesg, "[  123.456789] m", MONOTONIC, None),
        (Dmesg, "[  123.456789 <    0.000001>] m", MONOTONIC, None),
        (Dmesg, "[Sat Nov 21 04:21:42 2026] m", None, wall(0, true)),
        (
            Dmesg,
            "2026-11-21T04:21:42,500000+00:00 m",
            None,
            wall(500_000_000, false),
        ),
        (
            Dmesg,
            "2026-11-21T05:21:42,500000+01:00 m",
            None,
            wall(500_000_000, false),
        ),
        (
            Dmesg,
            "2026-11-21T04:21:42.500Z stdout F [  123.456789] m",
            MONOTONIC,
            wall(500_000_000, false),
        ),
        (
            Dmesg,
            "2026-11-21T04:21:42.500Z [  123.456789] m",
            MONOTONIC,
            wall(500_000_000, false),
        ),
        (Dmesg, "[  +0.000001] m", None, None),
        (Dmesg, "[Nov21 04:21] m", None, None),
        (Console, "login: [  123.456789] m", MONOTONIC, None),
        (Console, "[x] [ 1.2] [  123.456789] m", MONOTONIC, None),
        (Syslog, "Nov 21 04:21:42 h kernel: m", None, wall(0, true)),
        (Syslog, "Nov 21 04:21:42 kernel: m", None, wall(0, true)),
        (
            Syslog,
            "Nov 21 04:21:42.25 h kernel: [  123.456789] m",
            MONOTONIC,
            wall(250_000_000, true),
        ),
        (
            Syslog,
            "2026-11-21T04:21:42Z h kernel: m",
            None,
            wall(0, false),
        ),
        (
            Syslog,
            "2026-11-20T23:21:42-0500 h kernel: m",
            None,
            wall(0, false),
        ),
        (
            Syslog,
            "2026-11-21 04:21:42 h kernel: m",
            None,
            wall(0, true),
        ),
        (
            Syslog,
            "Sat 2026-11-21 04:21:42 UTC h kernel: m",
            None,
            wall(0, false),
        ),
        (
            Syslog,
            "Sat 2026-11-21 04:21:42 CET h kernel: m",
            None,
            wall(0, true),
        ),
        (
            Syslog,
            "1795234902.000001 h kernel: m",
            None,
            wall(1000, false),
        ),
        (Syslog, "[  123.456789] h kernel: m", MONOTONIC, None),
        (
            Syslog,
            "<3>1 2026-11-21T04:21:42Z h kernel - - - m",
            None,
            wall(0, false),
        ),
        (
            Syslog,
            "<3>1 - h kernel - - [a b=\"]\\\"\"][c] \u{feff}[  123.456789] m",
            MONOTONIC,
            None,
        ),
        (Json, r#"{"time":  123.456789,"msg":"m"}"#, MONOTONIC, None),
        (
            Json,
            r#"{"_TRANSPORT":"kernel","__REALTIME_TIMESTAMP":"1795234902000001","MESSAGE":"m"}"#,
            None,
            wall(1000, false),
        ),
    ];
    for (format, line, monotonic_ns, wall) in cases {
        let head = head(*format, line).expect(line);
        assert_eq!(
            (head.monotonic_ns, head.wall),
            (*monotonic_ns, *wall),
            "{line}"
        );
        assert_eq!((&*head.text, head.foreign), (&b"m"[..], false), "{line}");
    }
}

#[test]
fn what_a_form_does_not_take() {
    use Format::{Console, Dmesg, Json, Kmsg, Syslog};
    let cases = [
        (Kmsg, "[    1.000000] m"),
        (Kmsg, " SUBSYSTEM=pci"),
        (Dmesg, "m"),
        (Dmesg, "[ 123] m"),
        (Dmesg, "[ 1.5] m"),
        (Dmesg, "[99999999999999999999.000000] m"),
        (Dmesg, "[Sat Nov 31 04:21:42 2026] m"),
        (Console, "nothing [here] is a stamp"),
        (Syslog, "Nov 21 24:21:42 h kernel: m"),
        (Syslog, "Nov 21 04:21:42 h"),
        (Syslog, "Foo 21 04:21:42 h kernel: m"),
        (Syslog, "Feb 30 04:21:42 h kernel: m"),
        (Syslog, "2026-11-21T04:21:42,5+00:00 h kernel: m"),
        (Json, "{}"),
        (Json, r#"{"MESSAGE":null}"#),
        (Json, r#"{"MESSAGE":"m""#),
        (Json, r#"{"MESSAGE":[1,2"#),
        (Json, r#"["MESSAGE"]"#),
    ];
    for (format, line) in cases {
        assert_eq!(head(format, line), None, "{line}");
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn levels_callers_and_hosts() {
    use Format::{Dmesg, Json, Syslog};
    type Case = (
        Format,
        &'static str,
        Option<u8>,
        Option<Caller>,
        Option<&'static str>,
        bool,
    );
    let (thread, cpu) = (Some(Caller::Thread(12)), Some(Caller::Cpu(3)));
    let cases: &[Case] = &[
        (Dmesg, "<3>[  123.456789] m", Some(3), None, None, false),
        (Dmesg, "<11>[  123.456789] m", Some(3), None, None, true),
        (
            Dmesg,
            "kern  :err   : [  123.456789] m",
            Some(3),
            None,
            None,
            false,
        ),
        (
            Dmesg,
            "user  :notice: [  123.456789] m",
            Some(5),
            None,
            None,
            true,
        ),
        (Dmesg, "[  123.456789][   T12] m", None, thread, None, false),
        (Dmesg, "[  123.456789] [    C3] m", None, cpu, None, false),
        (
            Syslog,
            "Nov 21 04:21:42 h kernel: [  123.456789][   T12] m",
            None,
            thread,
            Some("h"),
            false,
        ),
        (
            Syslog,
            "Nov 21 04:21:42 h kern.err kernel: m",
            None,
            None,
            Some("h"),
            false,
        ),
        (
            Syslog,
            "Nov 21 04:21:42 h user.err kernel: m",
            None,
            None,
            Some("h"),
            true,
        ),
        (
            Syslog,
            "Nov 21 04:21:42 h sshd[7]: m",
            None,
            None,
            Some("h"),
            true,
        ),
        (
            Syslog,
            "<2>1 - - kernel - - - m",
            Some(2),
            None,
            None,
            false,
        ),
        (Json, r#"{"pri":11,"msg":"m"}"#, Some(3), None, None, true),
        (
            Json,
            r#"{"fac":"kern","pri":"err","caller":"C3","msg":"m"}"#,
            Some(3),
            cpu,
            None,
            false,
        ),
        (
            Json,
            r#"{"_HOSTNAME":"h","_TRANSPORT":"kernel","PRIORITY":"6","MESSAGE":"m"}"#,
            Some(6),
            None,
            Some("h"),
            false,
        ),
        (
            Json,
            r#"{"_TRANSPORT":"syslog","MESSAGE":"m"}"#,
            None,
            None,
            None,
            true,
        ),
    ];
    for (format, line, level, caller, host, foreign) in cases {
        let head = head(*format, line).expect(line);
        let told = (head.level, head.caller, head.host, head.foreign);
        assert_eq!(
            told,
            (*level, *caller, host.map(str::as_bytes), *foreign),
            "{line}"
        );
        assert_eq!(&*head.text, b"m", "{line}");
    }
}

#[test]
fn escapes_are_undone_where_the_logger_makes_them() {
    use Format::{Dmesg, Json, Kmsg, Syslog};
    let cases: &[(Format, &str, &[u8])] = &[
        (Kmsg, "3,7,1,-;a\\x0ab\\x5c", b"a\nb\\"),
        (
            Dmesg,
            "[    1.000000] a\\x1b\\xff\\x41\\x",
            b"a\x1b\xff\\x41\\x",
        ),
        (
            Syslog,
            "Nov 21 04:21:42 h kernel: a#011b#101#9\\x1b",
            b"a\tb#101#9\\x1b",
        ),
        (
            Json,
            r#"{"msg":"a\n\"\\\u001b\u00e9\ud83d\ude00\/"}"#,
            "a\n\"\\\x1bé😀/".as_bytes(),
        ),
        (
            Json,
            r#"{"_TRANSPORT":"kernel","MESSAGE":[97,10,255]}"#,
            b"a\n\xff",
        ),
        (Json, r#"{"_TRANSPORT":"kernel","MESSAGE":["a","b"]}"#, b"a"),
        (
            Json,
            r#"{"_TRANSPORT":"kernel","MESSAGE":[[97,98],"c"]}"#,
            b"ab",
        ),
    ];
    for (format, line, text) in cases {
        let head = head(*format, line).expect(line);
        assert_eq!(
            head.text.escape_ascii().to_string(),
            text.escape_ascii().to_string(),
            "{line}"
        );
    }
}

#[test]
fn a_year_is_the_latest_that_is_not_in_the_future() {
    let years = |year, zone: TimeZone, stamps: &[&str]| -> Vec<i16> {
        let options = Options {
            year,
            zone,
            ..options()
        };
        let mut calendar = Calendar::new(&options);
        let year = |stamp: &&str| {
            let line = format!("{stamp} h kernel: m");
            let mut head = Head::default();
            parse(Format::Syslog, line.as_bytes(), &mut calendar, &mut head).unwrap();
            let at = jiff::Timestamp::from_nanosecond(head.wall.unwrap().unix_ns.into()).unwrap();
            at.to_zoned(TimeZone::UTC).year()
        };
        stamps.iter().map(year).collect()
    };
    let winter = [
        "Dec 30 00:00:00",
        "Dec 31 23:59:59",
        "Jan  1 00:00:00",
        "Dec 31 23:59:59",
    ];
    let utc = TimeZone::UTC;
    assert_eq!(years(None, utc.clone(), &winter), [2025, 2025, 2026, 2025]);
    assert_eq!(
        years(Some(2020), utc.clone(), &winter),
        [2020, 2020, 2021, 2021]
    );
    // A clock that is ahead, or a zone that was assumed wrongly, is no reason for last year.
    assert_eq!(
        years(None, utc.clone(), &["Nov 21 23:00:00", "Nov 23 00:00:00"]),
        [2026, 2025]
    );
    assert_eq!(years(None, utc, &["Feb 29 12:00:00"]), [2024]);
    let east = TimeZone::fixed(offset(9));
    assert_eq!(years(Some(2020), east, &["Jan  1 00:00:00"]), [2019]);
}

#[test]
fn a_boot_id_is_read_with_or_without_dashes() {
    let text = "29e1a4ca-7262-404d-97b3-ac4a429d12e6";
    let id: super::BootId = text.parse().unwrap();
    assert_eq!(id.to_string(), text);
    assert_eq!(text.replace('-', "").parse(), Ok(id));
    for wrong in [
        "",
        "29e1",
        "29e1a4ca7262404d97b3ac4a429d12eg",
        "29e1a4ca7262404d97b3ac4a429d12e60",
    ] {
        assert!(wrong.parse::<super::BootId>().is_err(), "{wrong}");
    }
}
