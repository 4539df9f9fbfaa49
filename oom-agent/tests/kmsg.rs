//! Logs of real kernels (`tests/kmsg/*.kmsg`, the records as `/dev/kmsg` returns them) and what they
//! tell (`*.expected`, one piece of evidence a line, absent fields left out).
//!
//! The 6.18 logs are recorded, the others are written after the formats of their kernels.
//! `UPDATE_EXPECTED=1 cargo test --test kmsg` writes what is told now; the diff is for a person to judge.

mod logs;

use std::{fmt::Write, fs};

use oom_agent::source::kmsg::Decoder;
use regex::Regex;

#[test]
fn every_log_tells_what_is_expected() {
    let absent = Regex::new(r"(?-u)(, )?\b\w+: None\b").unwrap();
    let logs = logs::all().unwrap();
    assert!(!logs.is_empty());
    for (path, records) in logs {
        let mut decoder = Decoder::new(4096, false);
        let mut evidence = Vec::new();
        for record in records {
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
}
