//! Inputs that are no logs, or not whole, and lines that look like the OOM killer's and are not.

use std::{
    io::{self, Read, Write},
    ops::ControlFlow,
    path::Path,
};

use flate2::{Compression, write::GzEncoder};
use oom_agent::{
    event::Event,
    offline::{self, Format, Input, InputError, OddLine, Oddity, Sink},
};
use proptest::prelude::*;

use super::{forms, instances, kernel_records, logs, options, read};

const KILLED: &str = "Memory cgroup out of memory: Killed process 7 (hog) total-vm:1kB, anon-rss:1kB, file-rss:1kB, shmem-rss:0kB, UID:0 pgtables:92kB oom_score_adj:0";

/// A real report, as dmesg writes it.
fn report() -> Vec<u8> {
    let logs = logs::all().unwrap();
    let (_, raw) = logs
        .iter()
        .find(|(path, _)| path.ends_with("6.18-single.kmsg"))
        .unwrap();
    let dmesg = forms::FORMS
        .iter()
        .find(|form| form.name == "dmesg")
        .unwrap();
    (dmesg.write)(&kernel_records(raw).unwrap())
}

fn gzip(text: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(text).unwrap();
    encoder.finish().unwrap()
}

fn input(bytes: Vec<u8>) -> Result<Input, InputError> {
    Input::new(io::Cursor::new(bytes), None, Path::new("x.log"))
}

#[test]
fn a_line_that_two_loggers_wrote_is_read_once() {
    let log = report();
    let doubled: Vec<u8> = log
        .split_inclusive(|&b| b == b'\n')
        .flat_map(|line| [line, line].concat())
        .collect();
    let (events, summary) = read(&doubled[..], &options());
    let (expected, _) = read(&log[..], &options());
    assert_eq!(instances(&events).len(), instances(&expected).len());
    assert_eq!(summary.doubled, summary.lines / 2);
    assert_eq!((summary.kills, summary.unparsed), (1, 0));
}

#[test]
fn the_end_of_somebody_elses_line_is_no_kill() {
    for before in ["usb 1-1: Product: ", "input: Out of memory: "] {
        let log = format!("[  123.456789] {before}{KILLED}\n");
        let (_, summary) = read(log.as_bytes(), &options());
        assert_eq!((summary.kills, summary.forged), (0, 1), "{before}");
    }
    for before in ["", "Some policy: "] {
        let log = format!(
            "[  123.456789] {before}{}\n",
            &KILLED["Memory cgroup out of memory: ".len()..]
        );
        let (_, summary) = read(log.as_bytes(), &options());
        assert_eq!((summary.kills, summary.forged), (1, 0), "{before}");
    }
}

#[test]
fn compressed_input_is_read_and_its_members_together() {
    let log = report();
    let (first, rest) = log.split_at(1000);
    let members = [gzip(first), gzip(rest)].concat();
    for compressed in [gzip(&log), members] {
        let (events, summary) = read(input(compressed).unwrap(), &options());
        assert_eq!(instances(&events).len(), 1);
        assert_eq!(summary.bytes, log.len() as u64);
    }
}

#[test]
fn what_comes_before_a_failure_is_reported() {
    let log = [report(), b"[ 9999.000000] more\n".repeat(10_000)].concat();
    let compressed = gzip(&log);
    let mut found = Vec::new();
    let cut = input(compressed[..compressed.len() - 9].to_vec()).unwrap();
    let error = offline::read(cut, &options(), &mut |event| found.push(event)).unwrap_err();
    assert_eq!(instances(&found).len(), 1);
    assert_eq!((error.summary.reports, error.summary.kills), (1, 1));
    assert_eq!(error.source.kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn what_is_no_text_is_refused_with_what_to_do() {
    let cases: &[(&[u8], &str)] = &[
        (b"\xfd7zXZ\0\0\x04", "xz -dc"),
        (b"\x28\xb5\x2f\xfd\x04\0\0\0", "zstd -dc"),
        (b"BZh91AY&SY", "bzip2 -dc"),
        (b"\xff\xfe[\0 \0 \0", "iconv -f UTF-16"),
        (b"\xfe\xff\0[\0 \0", "iconv -f UTF-16"),
        (b"LPKSHHRH\0\0\0\0", "journalctl"),
    ];
    for (bytes, hint) in cases {
        let error = input(bytes.to_vec()).err().unwrap().to_string();
        assert!(error.contains(hint), "{error}");
    }
    let directory = Input::open(Path::new("/")).err().unwrap();
    assert!(
        matches!(directory, InputError::Open { source, .. } if source.kind() == io::ErrorKind::IsADirectory)
    );
    assert!(Input::open(Path::new("/nonexistent")).is_err());
}

#[test]
fn odd_inputs_are_read_as_far_as_they_go() {
    let report = String::from_utf8(report()).unwrap();
    let cases: &[(&str, Vec<u8>, u64)] = &[
        ("empty", vec![], 0),
        ("one newline", b"\n".to_vec(), 0),
        ("no newline at the end", report.trim_end().into(), 1),
        ("a byte order mark", format!("\u{feff}{report}").into(), 1),
        ("NUL bytes", format!("\0\0\0\n{report}\0\0").into(), 1),
        ("not UTF-8", [b"\xff\xfe[\n", report.as_bytes()].concat(), 1),
        ("carriage returns", report.replace('\n', "\r\n").into(), 1),
        (
            "two at once",
            [report.as_bytes(), report.as_bytes()].concat(),
            2,
        ),
        (
            "a line without end",
            [&vec![b'x'; 3 << 20], &b"\n"[..], report.as_bytes()].concat(),
            1,
        ),
    ];
    for (what, log, reports) in cases {
        let (events, summary) = read(input(log.clone()).unwrap(), &options());
        assert_eq!(instances(&events).len() as u64, *reports, "{what}");
        assert_eq!((summary.reports, summary.unparsed), (*reports, 0), "{what}");
        let mut lines = log.split(|&b| b == b'\n').count() as u64;
        lines -= u64::from(log.is_empty() || log.ends_with(b"\n"));
        assert_eq!(summary.lines, lines, "{what}");
    }
}

/// What a sink is told of.
#[derive(Default)]
struct Told {
    events: u64,
    odd: Vec<(u64, Oddity)>,
    enough: u64,
}

impl Sink for Told {
    fn event(&mut self, _: Event) -> ControlFlow<()> {
        self.events += 1;
        if self.events == self.enough {
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    fn odd(&mut self, line: OddLine<'_>) {
        self.odd.push((line.number, line.why));
    }
}

fn told(log: &str, format: Option<Format>) -> (Told, offline::Summary) {
    let mut told = Told::default();
    let options = offline::Options {
        format,
        ..options()
    };
    let summary = offline::read(log.as_bytes(), &options, &mut told).unwrap();
    (told, summary)
}

#[test]
fn a_line_that_is_not_the_kernels_is_forged() {
    use Oddity::Forged;
    let cases: &[(String, &[(u64, Oddity)])] = &[
        (
            format!("Nov 21 04:21:42 host sshd[12]: {KILLED}"),
            &[(1, Forged)],
        ),
        (
            format!("Nov 21 04:21:42 host user.err kernel: {KILLED}"),
            &[(1, Forged)],
        ),
        (
            format!("<11>1 2026-11-21T04:21:42Z host kernel - - - {KILLED}"),
            &[(1, Forged)],
        ),
        (
            format!("<3>1 2026-11-21T04:21:42Z host app - - - {KILLED}"),
            &[(1, Forged)],
        ),
        (
            format!("user  :err   : [   12.345678] {KILLED}"),
            &[(1, Forged)],
        ),
        (
            format!("kern  :info  : [   12.345678] {KILLED}"),
            &[(1, Forged)],
        ),
        (format!("<11>[   12.345678] {KILLED}"), &[(1, Forged)]),
        (format!("11,5,12345678,-;{KILLED}"), &[(1, Forged)]),
        (
            format!("{{\"_TRANSPORT\":\"syslog\",\"MESSAGE\":\"{KILLED}\"}}"),
            &[(1, Forged)],
        ),
        // What root writes to /dev/kmsg.
        (
            format!(
                "{{\"_TRANSPORT\":\"kernel\",\"SYSLOG_FACILITY\":\"1\",\"MESSAGE\":\"{KILLED}\"}}"
            ),
            &[(1, Forged)],
        ),
        (format!("{{\"MESSAGE\":\"{KILLED}\"}}"), &[(1, Forged)]),
    ];
    for (line, odd) in cases {
        let (told, summary) = told(line, None);
        assert_eq!((told.events, &told.odd[..]), (0, *odd), "{line}");
        assert_eq!(summary.forged, 1, "{line}");
    }
}

#[test]
fn a_line_that_looks_like_oom_is_never_silent() {
    let cases = [
        "[   12.345678] Killed process 7 (hog) in an unknown way",
        "[   12.345678] hog invoked oom-killer: politely",
        "a form of 2031 | kernel | Killed process 7 (hog)",
        "{\"_TRANSPORT\":\"kernel\",\"MESSAGE\":\"Killed process 7\"",
    ];
    for line in cases {
        let (told, summary) = told(&format!("[    1.000000] x\n{line}\n"), None);
        assert_eq!(told.odd, [(2, Oddity::Unparsed)], "{line}");
        assert_eq!((summary.reports, summary.unparsed), (0, 1), "{line}");
    }
}

#[test]
fn forms_may_be_mixed_in_one_input() {
    let log = format!(
        "[    1.000000] first\n[    2.000000] {KILLED}\nNov 21 04:21:42 host kernel: [    3.000000] {KILLED}\n\
         garbage\n3,5,4000000,-;{KILLED}\n{{\"_TRANSPORT\":\"kernel\",\"MESSAGE\":\"{KILLED}\"}}\n"
    );
    let (told, summary) = told(&log, None);
    assert_eq!((told.events, summary.kills, summary.unparsed), (8, 4, 0));
}

#[test]
fn hosts_and_boots_do_not_mix() {
    let report = String::from_utf8(report()).unwrap();
    let on = |host: &str| -> Vec<String> {
        let head = format!("2026-11-21T04:21:42Z {host} kernel: ");
        report
            .lines()
            .map(|line| format!("{head}{line}\n"))
            .collect()
    };
    // Line by line, one of each.
    let (a, b) = (on("a"), on("b"));
    let woven: String = a
        .iter()
        .zip(&b)
        .flat_map(|(a, b)| [a.as_str(), b])
        .collect();
    let (events, summary) = read(woven.as_bytes(), &options());
    let nodes: Vec<_> = instances(&events)
        .iter()
        .map(|i| i.node.clone().unwrap().to_string())
        .collect();
    assert_eq!(nodes, ["a", "b"]);
    assert_eq!((summary.kills, summary.abandoned), (2, 0));

    // A report that a reboot has cut off does not find the kill of the next boot.
    let lines: Vec<&str> = report.lines().collect();
    let begun = lines[..lines.len() - 1].join("\n");
    let killed = "[    5.000000] Memory cgroup out of memory: Killed process 9392 (hog) total-vm:1kB, anon-rss:1kB, file-rss:1kB";
    for between in ["", "[    0.000000] Linux version 6.1\n", "-- Reboot --\n"] {
        let (events, summary) = read(
            format!("{begun}\n{between}{killed}\n").as_bytes(),
            &options(),
        );
        let found = instances(&events);
        assert_eq!(found.len(), 1, "{between}");
        assert!(found[0].limit.is_none(), "{between}");
        assert_eq!(summary.abandoned, 1, "{between}");
    }
}

#[test]
fn the_journal_names_the_boots_of_its_text() {
    let boot = forms::BOOT_ID.replace('-', "");
    let log = format!(
        "-- Boot {boot} --\nNov 21 04:21:42 host kernel: {KILLED}\n\
         -- Boot 00000000000000000000000000000001 --\nNov 21 04:21:43 host kernel: {KILLED}\n"
    );
    let (events, _) = read(log.as_bytes(), &options());
    let boots: Vec<_> = instances(&events)
        .iter()
        .map(|i| i.boot_id.clone().unwrap().to_string())
        .collect();
    assert_eq!(
        boots,
        [forms::BOOT_ID, "00000000-0000-0000-0000-000000000001"]
    );
}

#[test]
fn a_sink_that_has_enough_ends_the_reading() {
    let mut sink = Told {
        enough: 1,
        ..Told::default()
    };
    let log = format!("[    2.000000] {KILLED}\n").repeat(100);
    offline::read(log.as_bytes(), &options(), &mut sink).unwrap();
    assert_eq!(sink.events, 1);
}

/// Gives so many bytes at a time.
struct Pieces<'a>(&'a [u8], usize);

impl Read for Pieces<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.1.min(self.0.len()).min(buffer.len());
        buffer[..count].copy_from_slice(&self.0[..count]);
        self.0 = &self.0[count..];
        Ok(count)
    }
}

fn json(input: impl Read) -> (Vec<String>, offline::Summary) {
    let (events, summary) = read(input, &options());
    let events = events
        .iter()
        .map(|event| serde_json::to_string(event).unwrap());
    (events.collect(), summary)
}

#[test]
fn any_pieces_of_a_log_give_the_same_events() {
    let logs = logs::all().unwrap();
    let records = logs.iter().filter_map(|(_, raw)| kernel_records(raw));
    let records: Vec<_> = records.take(6).collect();
    for form in forms::FORMS {
        // More than is read at once, with noise between the reports.
        let noise = (form.write)(&records[0][..1]).repeat(4000);
        let mut log = Vec::new();
        for records in &records {
            log.extend((form.write)(records));
        }
        log.extend(&noise);
        log.extend_from_within(..);
        let whole = json(&log[..]);
        for piece in [4093, 65_537] {
            assert_eq!(json(Pieces(&log, piece)), whole, "{}", form.name);
        }
    }
}

/// Lines of every kind, and bytes that are none.
fn fragment() -> impl Strategy<Value = Vec<u8>> {
    let pieces: Vec<Vec<u8>> = forms::FORMS
        .iter()
        .flat_map(|form| {
            let records = kernel_records(&logs::all().unwrap()[0].1).unwrap();
            (form.write)(&records)
                .chunks(70)
                .map(<[u8]>::to_vec)
                .collect::<Vec<_>>()
        })
        .collect();
    prop_oneof![
        4 => proptest::sample::select(pieces),
        1 => Just(KILLED.as_bytes().to_vec()),
        1 => Just(b"\n".to_vec()),
        1 => Just(b"\n      ".to_vec()),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn no_bytes_make_it_panic_and_pieces_do_not_matter(
        fragments in proptest::collection::vec(fragment(), 0..60),
        piece in 1_usize..100,
    ) {
        let log = fragments.concat();
        prop_assert_eq!(json(Pieces(&log, piece)), json(&log[..]));
    }
}
