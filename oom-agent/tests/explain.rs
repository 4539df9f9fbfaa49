//! The story of every report in the logs of real kernels, as a person reads it (`tests/explained/*.txt`).
//!
//! `UPDATE_EXPECTED=1 cargo test --test explain` writes what is told now; the diff is for a person to
//! judge.

use std::{fs, path::Path};

use oom_agent::{
    event::{Event, Timestamp},
    explain::explain,
    offline::{self, Format, Options},
    render::text::TextStyle,
};

/// Logs, each for what it shows.
const LOGS: [&str; 11] = [
    // The limit is the victim's own; that of an ancestor; another process asked.
    "6.12-single",
    "6.12-ancestor-limit",
    "5.10.223-v1-victim-is-not-trigger",
    // A whole cgroup; the whole machine; its memory nodes.
    "6.1-group",
    "6.1-system",
    "5.10.223-cpuset",
    // Asked for; nobody to kill.
    "5.10.223-sysrq",
    "6.12-no-killable-process",
    // Kinds of memory.
    "6.1-tmpfs",
    "6.1-v1-page-cache",
    // The kernel did not print its report.
    "6.18-suppressed",
];

#[test]
fn every_story_is_as_expected() {
    let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests");
    let mut options = Options::new(Timestamp::from_unix_ns(0));
    options.format = Some(Format::Kmsg);
    for name in LOGS {
        let log = tests.join(format!("kmsg/{name}.kmsg"));
        let mut stories = Vec::new();
        let mut tell = |event| {
            if let Event::OomInstance(report) = event {
                let mut story = String::new();
                explain(&report, TextStyle::default(), &mut story);
                stories.push(story);
            }
        };
        let log = fs::read(&log).unwrap_or_else(|error| panic!("{}: {error}", log.display()));
        offline::read(&log[..], &options, &mut tell).unwrap();
        let told = stories.last().unwrap();
        let expected = tests.join(format!("explained/{name}.txt"));
        if std::env::var_os("UPDATE_EXPECTED").is_some() {
            fs::create_dir_all(expected.parent().unwrap()).unwrap();
            fs::write(&expected, told).unwrap();
        }
        assert_eq!(
            *told,
            fs::read_to_string(&expected).unwrap_or_default(),
            "{name}"
        );
    }
}
