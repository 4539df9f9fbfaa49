//! The texts of a memory cgroup's files, of either version (Documentation/admin-guide/cgroup-v2.rst,
//! cgroup-v1/memory.rst, accounting/psi.rst).
//!
//! Reads bytes; emits what they say. Pure. Refuses what is no number, or does not fit: it is `None`, and
//! the rest of the text counts.

use crate::{
    event::{MemoryEvents, Pressure, Stall},
    source::{memcg::is_limit, scan::number},
};

/// A file that holds one number.
#[must_use]
pub fn value(text: &[u8]) -> Option<u64> {
    number(text.trim_ascii())
}

/// A limit; `None` where there is none: `max`, and on version 1 the largest number of whole pages.
#[must_use]
pub fn limit(text: &[u8]) -> Option<u64> {
    value(text).filter(|bytes| is_limit(bytes / 1024))
}

/// A line `name value` of a flat-keyed file.
#[must_use]
pub fn keyed(text: &[u8], name: &[u8]) -> Option<u64> {
    text.split(|&byte| byte == b'\n').find_map(|line| {
        let rest = line.strip_prefix(name)?.strip_prefix(b" ")?;
        value(rest)
    })
}

/// `memory.events`; `None` if nothing in it is known.
#[must_use]
pub fn events(text: &[u8]) -> Option<MemoryEvents> {
    let field = |name: &str| keyed(text, name.as_bytes());
    let events = MemoryEvents {
        low: field("low"),
        high: field("high"),
        max: field("max"),
        oom: field("oom"),
        oom_kill: field("oom_kill"),
        oom_group_kill: field("oom_group_kill"),
    };
    (events != MemoryEvents::default()).then_some(events)
}

/// `memory.pressure`. The root of a machine has no `full` line on some kernels: then there is nothing.
#[must_use]
pub fn pressure(text: &[u8]) -> Option<Pressure> {
    let line = |name: &str| {
        let text = std::str::from_utf8(text).ok()?;
        let mut lines = text.lines();
        stall(lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(' '))?)
    };
    Some(Pressure {
        some: line("some")?,
        full: line("full")?,
    })
}

/// `avg10=0.00 avg60=0.00 avg300=0.00 total=0`, the total in microseconds.
fn stall(line: &str) -> Option<Stall> {
    let field = |name: &str| {
        let mut words = line.split_ascii_whitespace();
        words.find_map(|word| word.strip_prefix(name)?.strip_prefix('='))
    };
    let share = |name| {
        let share: f32 = field(name)?.parse().ok()?;
        (0.0..=100.0).contains(&share).then_some(share)
    };
    Some(Stall {
        avg10_percent: share("avg10")?,
        avg60_percent: share("avg60")?,
        avg300_percent: share("avg300")?,
        total_ns: value(field("total")?.as_bytes())?.checked_mul(1000)?,
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn values_and_limits() {
        assert_eq!(value(b"4096\n"), Some(4096));
        for text in [
            "",
            "\n",
            "-1\n",
            "+1",
            "4096 kB",
            "0x10",
            "18446744073709551616",
        ] {
            assert_eq!(value(text.as_bytes()), None, "{text}");
        }
        assert_eq!(limit(b"8388608\n"), Some(8_388_608));
        assert_eq!(limit(b"0\n"), Some(0));
        // Version 2; version 1 with pages of 4 and 64 KiB; before 3.19.
        for none in [
            "max\n",
            "9223372036854771712\n",
            "9223372036854710272\n",
            "9223372036854775807\n",
        ] {
            assert_eq!(limit(none.as_bytes()), None, "{none}");
        }
    }

    #[test]
    fn events_of_all_kernels() {
        let old = b"low 0\nhigh 12\nmax 3\noom 2\noom_kill 1\n";
        let expected = MemoryEvents {
            low: Some(0),
            high: Some(12),
            max: Some(3),
            oom: Some(2),
            oom_kill: Some(1),
            oom_group_kill: None,
        };
        assert_eq!(events(old), Some(expected));
        let new = [&old[..], b"oom_group_kill 7\nsock_throttled 9\n"].concat();
        let expected = MemoryEvents {
            oom_group_kill: Some(7),
            ..expected
        };
        assert_eq!(events(&new), Some(expected));
        assert_eq!(events(b"low many\noom_kill\n\xff"), None);
        let control = b"oom_kill_disable 0\nunder_oom 0\noom_kill 5\n";
        assert_eq!(keyed(control, b"oom_kill"), Some(5));
    }

    #[test]
    fn pressure_of_a_cgroup() {
        let text = b"some avg10=12.34 avg60=3.00 avg300=0.50 total=1234567\n\
            full avg10=1.20 avg60=0.00 avg300=0.00 total=7\n";
        let told = pressure(text).unwrap();
        let some = Stall {
            avg10_percent: 12.34,
            avg60_percent: 3.0,
            avg300_percent: 0.5,
            total_ns: 1_234_567_000,
        };
        assert_eq!(told.some, some);
        assert_eq!(told.full.total_ns, 7000);
        for damaged in [
            &b""[..],
            b"some avg10=0.00 avg60=0.00 avg300=0.00 total=0\n",
            b"some avg10=NaN avg60=0.00 avg300=0.00 total=0\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0",
            b"some avg10=0.00 avg60=0.00 avg300=0.00 total=0\nfull avg10=101 avg60=0.00 avg300=0.00 total=0",
            b"\xff",
        ] {
            assert_eq!(pressure(damaged), None);
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(text: Vec<u8>) {
            let _ = (value(&text), limit(&text), events(&text), pressure(&text));
        }
    }
}
