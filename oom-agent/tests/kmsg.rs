//! Logs of real kernels (`tests/kmsg/*.kmsg`, the records as `/dev/kmsg` returns them) and what they
//! tell (`*.expected`, one piece of evidence a line, absent fields left out).
//!
//! The 6.18 logs are recorded, the others are written after the formats of their kernels.
//! `UPDATE_EXPECTED=1 cargo test --test kmsg` writes what is told now; the diff is for a person to judge.

use std::{fmt::Write, fs, path::Path};

use oom_agent::source::kmsg::Decoder;
use regex::Regex;

/// Records begin at the margin; the lines of a dictionary do not.
fn records(log: &[u8]) -> Vec<Vec<u8>> {
    let mut records: Vec<Vec<u8>> = Vec::new();
    for line in log.split_inclusive(|&b| b == b'\n') {
        match records.last_mut() {
            Some(record) if line.starts_with(b" ") => record.extend_from_slice(line),
            _ => records.push(line.to_vec()),
        }
    }
    records
}

#[test]
fn every_log_tells_what_is_expected() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kmsg");
    let absent = Regex::new(r"(, )?\b\w+: None\b").unwrap();
    let mut logs = 0;
    for entry in fs::read_dir(&dir).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|extension| extension != "kmsg") {
            continue;
        }
        logs += 1;
        let mut decoder = Decoder::new(4096, false);
        let mut evidence = Vec::new();
        for record in records(&fs::read(&path).unwrap()) {
            decoder.push(&record, u64::MAX, &mut evidence);
        }
        let mut told = String::new();
        for piece in evidence {
            told += &absent.replace_all(&format!("{piece:?}\n"), "");
        }
        let abandoned = decoder.abandoned_reports();
        writeln!(told, "abandoned reports: {abandoned}").unwrap();
        let expected = path.with_extension("expected");
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            fs::write(&expected, &told).unwrap();
        }
        assert_eq!(
            told,
            fs::read_to_string(&expected).unwrap(),
            "{}",
            path.display()
        );
    }
    assert!(logs > 0);
}
