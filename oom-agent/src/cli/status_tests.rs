//! How a status reads, and what makes it unhealthy.

use super::*;
use crate::{confine::Guard, sink::text::TextStyle};

fn status() -> Status {
    let source = |name: &str, up, reason: Option<&str>| Source {
        name: name.into(),
        up,
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
        losses: [("forged".into(), 2), ("malformed".into(), 0)].into(),
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
oom-agent 0.1.0 on node-7 (pid 7), running for 1 min 30 s: every kill is told
  tier      bpf, full
  sources   bpf      up
            kmsg     down: Operation not permitted
  audit     1,002 kills told, 1,000 reports; the kernel counts 1,003, 1 of them a repeat: none
            unexplained
  lost      forged=2
  store     /var/lib/oom-agent/events.db: 2,002 stored since the start, 5 removed with age
  sink      kubernetes: 10 delivered, 3 stored behind that, 1 refused, 4 failed tries; failing for
            1 min 0 s: connection\\x1b[2J refused
  watching  1 live subscriber
  confined  by seccomp
            not by oom-score: Permission denied
";
    assert_eq!(text(&status()), expected);
}

#[test]
fn what_is_wrong_comes_first() {
    let mut unwell = status();
    unwell.audit.unexplained = Some(2);
    unwell.ready = false;
    let told = text(&unwell);
    let first = told.lines().next().unwrap();
    assert!(
        first.contains("it is starting or ending; 2 kills that"),
        "{told}"
    );
    assert_eq!(wrong(&unwell).len(), 2);
    // A probe does not ask for what was missed once.
    assert_eq!(not_ready(&unwell), ["it is starting or ending"]);
    unwell.ready = true;
    assert_eq!((wrong(&unwell).len(), not_ready(&unwell).len()), (1, 0));
    // Counted by somebody else before: nothing is missing.
    unwell = status();
    unwell.audit.unexplained = Some(-3);
    assert!(wrong(&unwell).is_empty());
    unwell.detecting = false;
    assert_eq!(wrong(&unwell), ["detection does not answer"]);
    assert!(text(&unwell).contains("audit     unknown"));
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
