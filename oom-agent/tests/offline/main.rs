//! The same reports in every form that a log is kept in, and inputs that are no logs.
//!
//! The records of real kernels (`tests/kmsg/*.kmsg`) are written down as each tool would write them
//! (`forms/`), and every form must give the same reports. What the form does not tell must be null.

#![expect(
    clippy::unwrap_used,
    reason = "all of it is tests and what they are made of"
)]

#[path = "../logs/mod.rs"]
#[expect(dead_code, reason = "shared with a test that needs more of it")]
mod logs;

mod broken;
mod command;
mod forms;
mod memory;

use std::{io::Read, path::Path};

use forms::{FORMS, Form, Record, SECOND};
use jiff::tz::TimeZone;
use oom_agent::{
    event::{Event, OomInstance, TimeSource, Timestamp},
    evidence::KmsgEvidence,
    offline::{self, Format, Options, Summary},
};

/// Two days after the boot of [`forms::BOOTED_S`].
fn options() -> Options {
    let now = i128::from(forms::BOOTED_S + 2 * 86_400) * 1_000_000_000;
    Options::new(Timestamp::from_unix_ns(now))
}

fn read(input: impl Read, options: &Options) -> (Vec<Event>, Summary) {
    let mut events = Vec::new();
    let summary = offline::read(input, options, &mut |event| events.push(event)).unwrap();
    (events, summary)
}

fn instances(events: &[Event]) -> Vec<OomInstance> {
    let instance = |event: &Event| match event {
        Event::OomInstance(instance) => Some(OomInstance::clone(instance)),
        _ => None,
    };
    events.iter().filter_map(instance).collect()
}

/// Without what depends on the form: names and times, and without a clock also what the reaper said
/// after a while, for the report may or may not have been closed by then.
fn substance(instance: &OomInstance, timed: bool) -> serde_json::Value {
    fn strip(value: &mut serde_json::Value, timed: bool) {
        let serde_json::Value::Object(fields) = value else {
            return;
        };
        for name in [
            "id",
            "instance_id",
            "time",
            "time_source",
            "monotonic_ns",
            "boot_id",
            "node",
        ] {
            fields.remove(name);
        }
        if !timed {
            fields.remove("reaper");
            fields.remove("end");
        }
        for kill in fields
            .get_mut("kills")
            .and_then(|kills| kills.as_array_mut())
            .into_iter()
            .flatten()
        {
            strip(kill, timed);
        }
    }
    let mut value = serde_json::to_value(instance).unwrap();
    strip(&mut value, timed);
    value
}

/// The kernel's own records of a log; `None` if records are missing in it, for most forms cannot tell.
fn kernel_records(records: &[Vec<u8>]) -> Option<Vec<Record>> {
    let evidence = logs::evidence(records);
    if evidence
        .iter()
        .any(|piece| matches!(piece, KmsgEvidence::Lost { .. }))
    {
        return None;
    }
    let forged = |record: &Record| {
        evidence
            .iter()
            .any(|piece| matches!(piece, KmsgEvidence::Forged { seq } if *seq == record.seq))
    };
    let records = records.iter().filter_map(|raw| Record::parse(raw));
    Some(
        records
            .filter(|record| record.priority >> 3 == 0 && !forged(record))
            .collect(),
    )
}

fn can_tell(form: &Form, records: &[Record]) -> bool {
    let multi_line = records.iter().any(|record| record.text.contains(&b'\n'));
    let callers = records.iter().any(|record| record.caller.is_some());
    (form.multi_line || !multi_line) && (form.callers || !callers)
}

#[test]
fn every_form_gives_the_same_reports() {
    let mut compared = 0;
    for (path, raw) in logs::all().unwrap() {
        let Some(records) = kernel_records(&raw) else {
            continue;
        };
        let (events, summary) = read(&forms::kmsg(&records)[..], &options());
        let expected = instances(&events);
        for form in FORMS.iter().filter(|form| can_tell(form, &records)) {
            compared += expected.len();
            compare(&path, form, &records, &expected, summary.unparsed);
        }
    }
    assert!(compared > 500, "{compared}");
}

fn compare(path: &Path, form: &Form, records: &[Record], expected: &[OomInstance], unparsed: u64) {
    let at = format!("{} as {}", path.display(), form.name);
    let log = (form.write)(records);
    let (events, summary) = read(&log[..], &options());
    let found = instances(&events);
    assert_eq!(summary.format, Some(form.format), "{at}");
    assert_eq!((summary.unparsed, summary.forged), (unparsed, 0), "{at}");
    assert_eq!(found.len(), expected.len(), "{at}:\n{}", log.escape_ascii());
    for (found, expected) in found.iter().zip(expected) {
        let timed = form.monotonic || form.wall.is_some_and(|(digit_ns, _)| digit_ns < SECOND);
        let (found_fields, fields) = (substance(found, timed), substance(expected, timed));
        for (name, value) in fields.as_object().unwrap() {
            assert_eq!(&found_fields[name], value, "{at}: {name}");
        }
        let kernel_ns = expected.monotonic_ns.unwrap();
        assert_eq!(
            found.monotonic_ns,
            form.monotonic.then_some(kernel_ns),
            "{at}"
        );
        let wall_ns = i128::from(forms::BOOTED_S) * 1_000_000_000 + i128::from(kernel_ns);
        let time = form.wall.map(|(digit_ns, source)| {
            let seen = wall_ns - wall_ns % i128::from(digit_ns);
            (Timestamp::from_unix_ns(seen), source)
        });
        assert_eq!(found.time.zip(found.time_source), time, "{at}");
        assert_eq!(
            found.node.as_deref(),
            form.host.then_some(forms::HOST),
            "{at}"
        );
        assert_eq!(
            found.boot_id.as_deref(),
            form.boot.then_some(forms::BOOT_ID),
            "{at}"
        );
        assert_eq!(
            (
                found.open_for_ns,
                found.kills.iter().find_map(|k| k.detection_latency_ns)
            ),
            (None, None)
        );
    }
}

#[test]
fn records_of_a_known_boot_have_the_agents_own_ids() {
    for (path, raw) in logs::all().unwrap() {
        let options = Options {
            boot_id: Some(forms::BOOT_ID.parse().unwrap()),
            ..options()
        };
        let (events, _) = read(&raw.concat()[..], &options);
        let boot = forms::BOOT_ID.replace('-', "");
        let known = raw
            .iter()
            .filter_map(|raw| Record::parse(raw))
            .map(|record| record.seq);
        let known: Vec<u64> = known.collect();
        for event in &events {
            let id = match event {
                Event::OomKill(kill) => &kill.id,
                Event::OomInstance(instance) => &instance.id,
                other => panic!("a log does not tell of {other:?}"),
            };
            let seq = id
                .trim_start_matches("oom-")
                .strip_prefix(&format!("{boot}-kmsg"));
            let seq: u64 = seq.expect("the boot's prefix").parse().unwrap();
            assert!(known.contains(&seq), "{}: {id}", path.display());
        }
    }
}

#[test]
fn ids_are_the_same_for_the_same_input_and_others_for_another() {
    let all = logs::all().unwrap();
    let ids = |log: &[u8]| -> Vec<String> {
        let (events, _) = read(log, &options());
        instances(&events)
            .iter()
            .map(|instance| instance.id.to_string())
            .collect()
    };
    let mut seen = std::collections::HashSet::new();
    for (path, raw) in all {
        let log = raw.concat();
        assert_eq!(ids(&log), ids(&log));
        for id in ids(&log) {
            assert!(seen.insert(id), "{}", path.display());
        }
    }
}

#[test]
fn stamps_without_year_and_zone_are_taken_as_told() {
    let line = "Nov 21 04:21:42 host kernel: Memory cgroup out of memory: Killed process 7 (x) total-vm:1kB, anon-rss:1kB, file-rss:1kB\n";
    let berlin = TimeZone::fixed(jiff::tz::offset(1));
    let cases = [
        (None, TimeZone::UTC, "2026-11-21T04:21:42.000000000Z"),
        (None, berlin.clone(), "2026-11-21T03:21:42.000000000Z"),
        (Some(2019), berlin, "2019-11-21T03:21:42.000000000Z"),
    ];
    for (year, zone, expected) in cases {
        let options = Options {
            year,
            zone,
            ..options()
        };
        let (events, _) = read(line.as_bytes(), &options);
        let instance = &instances(&events)[0];
        assert_eq!(instance.time.unwrap().to_string(), expected);
        assert_eq!(instance.time_source, Some(TimeSource::Assumed));
    }
    let december = line.replace("Nov 21", "Dec 31");
    let (events, _) = read(december.as_bytes(), &options());
    let time = instances(&events)[0].time.unwrap().to_string();
    assert!(time.starts_with("2025-12-31"), "not in the future: {time}");
}

/// Serial consoles of real kernels, with the lines of a program between the kernel's.
#[test]
fn consoles_of_real_kernels() {
    let cases: &[(&str, &[&[&str]])] = &[
        ("5.10.223-v1", &[&["hog"]]),
        (
            "6.12",
            &[
                &["leaderless"],
                &[
                    "chosen", "member-a", "member-b", "member-c", "member-d", "member-e",
                ],
            ],
        ),
    ];
    for (kernel, expected) in cases {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/console");
        let log = std::fs::read(dir.join(format!("{kernel}.console"))).unwrap();
        let (events, summary) = read(&log[..], &options());
        assert_eq!(summary.format, Some(Format::Console), "{kernel}");
        assert_eq!((summary.unparsed, summary.abandoned), (0, 0), "{kernel}");
        let instances = instances(&events);
        let names = instances.iter().map(|instance| {
            let names = instance
                .kills
                .iter()
                .map(|kill| kill.victim.comm.to_string());
            names.collect::<Vec<_>>()
        });
        assert_eq!(names.collect::<Vec<_>>(), *expected, "{kernel}");
        for instance in instances {
            assert!(instance.limit.unwrap().limit_bytes.is_some(), "{kernel}");
            assert!(instance.trigger.unwrap().tid.is_some(), "{kernel}");
            assert!(!instance.tasks.is_empty(), "{kernel}");
            assert!(
                instance.monotonic_ns.is_some() && instance.time.is_none(),
                "{kernel}"
            );
        }
    }
}
