//! How a status reads, and what makes it unhealthy.

use super::*;
use crate::{confine::Guard, render::text::TextStyle};

fn status() -> Status {
    let source = |name: &str, up, reason: Option<&str>| Source {
        name: name.into(),
        up,
        wanted: true,
        reason: reason.map(Into::into),
    };
    Status {
        version: "0.1.0".into(),
        wire_version: 1,
        pid: 7,
        started: Timestamp::from_unix_ns(0),
        node: Some("node-7".into()),
        boot_id: None,
        tier: "bpf, full".into(),
        not_better: Vec::new(),
        ready: true,
        detecting: true,
        sources: vec![
            source("bpf", true, None),
            source("kmsg", false, Some("Operation not permitted")),
        ],
        audit: AuditStatus {
            kernel: Some(1003),
            kills: 1002,
            instances: 1000,
            repeats: 1,
            unexplained: Some(0),
        },
        losses: [
            ("forged".into(), 2),
            ("bare_marks".into(), 1),
            ("names_late".into(), 3),
            ("malformed".into(), 0),
        ]
        .into(),
        store: Some(StoreStatus {
            path: "/var/lib/oom-agent/events.db".into(),
            stored: 2002,
            waiting: 0,
            removed: 5,
        }),
        sinks: vec![SinkStatus {
            sink: "kubernetes".into(),
            up: Some(false),
            since: Timestamp::from_unix_ns(30_000_000_000),
            last_error: Some("connection\x1b[2J refused".into()),
            delivered: 10,
            refused: 1,
            lost: 0,
            retries: 4,
            through: 1999,
            behind: 3,
        }],
        subscribers: 1,
        protections: vec![
            Protection {
                name: Guard::Seccomp,
                state: State::On,
            },
            Protection {
                name: Guard::OomScore,
                state: State::Off("Permission denied".into()),
            },
        ],
        troubles: Vec::new(),
    }
}

fn text(status: &Status) -> String {
    let now = Timestamp::from_unix_ns(90_000_000_000);
    let mut text = String::new();
    lines(status, now).render(TextStyle::default(), &mut text);
    text
}

#[test]
fn all_of_it_in_words() {
    let expected = "\
oom-agent 0.1.0 on node-7 (pid 7), running for 1 min 30 s: every kill is told; kubernetes is away;
    kmsg cannot be used here
  tier      bpf, full
  sources   bpf      up
            kmsg     down: Operation not permitted
  audit     1,002 kills told, 1,000 reports; the kernel counts 1,003, 1 of them a repeat: none
            unexplained
  lost      nothing
  made up   names_late=3
  noted     bare_marks=1 forged=2
  store     /var/lib/oom-agent/events.db: 2,002 stored since the start, 5 removed with age
  sink      kubernetes: 10 delivered, 3 stored behind that, 1 refused, 4 failed tries; failing for
            1 min 0 s: connection\\x1b[2J refused
  watching  1 live subscriber
  confined  by seccomp
            not by oom-score: Permission denied
";
    assert_eq!(text(&status()), expected);
}

fn headline_of(status: &Status) -> String {
    let now = Timestamp::from_unix_ns(90_000_000_000);
    let mut lines = Lines::default();
    headline(lines.head(), status, now);
    let mut text = String::new();
    lines.render(TextStyle::default(), &mut text);
    let words: Vec<_> = text.split_whitespace().collect();
    let words = words.join(" ");
    let (_, said) = words.split_once("30 s: ").unwrap();
    said.to_owned()
}

fn well() -> Status {
    let mut well = status();
    well.sources[1].up = true;
    well.sinks.clear();
    well
}

/// What the headline says, and whether the exit code says that kills are missed: all of it, and as a probe.
#[test]
fn what_is_wrong_comes_first() {
    type Change = fn(&mut Status);
    let rows: [(Change, &str, [bool; 2]); 10] = [
        (|_| {}, "every kill is told", [false, false]),
        // Told before it was counted, or counted before the audit began.
        (
            |it| it.audit.unexplained = Some(-3),
            "every kill is told",
            [false, false],
        ),
        (
            |it| {
                (it.audit.unexplained, it.ready) = (Some(2), false);
            },
            "it is starting or ending; 2 kills that the kernel has counted, no source showed",
            [true, true],
        ),
        // A probe does not ask for what was missed once.
        (
            |it| it.audit.unexplained = Some(2),
            "2 kills that the kernel has counted, no source showed",
            [true, false],
        ),
        (
            |it| it.detecting = false,
            "detection does not answer",
            [true, true],
        ),
        (
            |it| {
                (it.audit.kernel, it.audit.unexplained) = (None, None);
            },
            "nothing can prove that every kill is told: the kernel's count is not known",
            [false, false],
        ),
        (
            |it| {
                it.sources[0].up = false;
                it.sources[0].wanted = false;
                it.sources[1].up = false;
            },
            "no source that can see a kill is up; kmsg is down: Operation not permitted",
            [true, false],
        ),
        (
            |it| {
                it.sources[0].up = false;
                it.sources[0].wanted = false;
            },
            "every kill is told",
            [false, false],
        ),
        (
            |it| {
                it.losses = [("suppressed_reports".into(), 9), ("late_lines".into(), 4)].into();
            },
            "every kill is told",
            [false, false],
        ),
        (
            |it| it.losses = [("ring_dropped".into(), 9), ("unstored".into(), 2)].into(),
            "every kill is told; unstored: 2",
            [false, false],
        ),
    ];
    for (change, said, [is_wrong, is_not_ready]) in rows {
        let mut status = well();
        change(&mut status);
        assert_eq!(headline_of(&status), said);
        assert_eq!(status.judge().iter().any(misses), is_wrong, "{said}");
        assert_eq!(status.not_ready().is_some(), is_not_ready, "{said}");
    }
    let mut silent = well();
    (silent.detecting, silent.audit.unexplained) = (false, None);
    assert!(text(&silent).contains("audit     unknown"));
}

#[test]
fn what_nobody_wanted_is_not_down() {
    let mut chosen = well();
    (chosen.sources[0].up, chosen.sources[0].wanted) = (false, false);
    assert!(text(&chosen).contains("bpf      not used"));
}

#[test]
fn nothing_is_said_to_be_nothing() {
    let mut bare = status();
    bare.losses.clear();
    bare.store = None;
    bare.sinks.clear();
    bare.protections.clear();
    let told = text(&bare);
    for words in [
        "lost      nothing",
        "store     none",
        "confined  by nothing",
    ] {
        assert!(told.contains(words), "{told}");
    }
}
