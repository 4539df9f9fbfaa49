//! A boot that was over before its agent had told everything.

use std::path::Path;

use super::*;
use crate::{
    clock::Now,
    event::{Outcome, Owner, OwnerKind},
    evidence::{Evidence, Feed, Mark, Verdict, VictimEvidence},
    store::{Batch, Entry, Reader, Snapshot, Store, journal::encode_snapshot, testing::*},
};

const AGAIN: &str = "a-g-a-i-n";

/// The agent of the boot that ends: what it is told goes to the store, and as much of what it tells as it may.
struct Agent {
    correlator: Correlator,
    batch: Batch,
}

impl Agent {
    fn new() -> Self {
        let correlator = Correlator::new(host(), Timing::default());
        let state = encode_snapshot(&correlator.snapshot()).unwrap();
        let quiet = Snapshot {
            monotonic_ns: 1,
            state,
        };
        let mut agent = Self {
            correlator,
            batch: batch([Entry::Quiet(Box::new(quiet))]),
        };
        for source in [Feed::Bpf, Feed::Kmsg, Feed::Memory, Feed::Victims] {
            agent.sees(2, Evidence::SourceState { source, up: true });
        }
        agent
    }

    fn sees(&mut self, at_ns: u64, evidence: Evidence) {
        let now = Now {
            monotonic_ns: at_ns,
            wall_offset_ns: 1_000_000,
            ..Now::default()
        };
        let mut events = Vec::new();
        self.correlator.observe(evidence.clone(), now, &mut events);
        self.batch.push(Entry::Evidence {
            evidence: Box::new(evidence),
            now,
            ring: None,
        });
        for mut event in events {
            for kill in kills(&mut event) {
                kill.owner = Some(Owner {
                    container_name: Some("cart".into()),
                    ..Owner::of(OwnerKind::Container)
                });
            }
            self.batch.push(told(event));
        }
    }

    fn end_in(self, path: &Path) {
        let mut store = store(path);
        store.commit(&self.batch, &Now::default()).unwrap();
    }
}

fn mark(at_ns: u64, tid: u32, verdict: Verdict) -> Evidence {
    let mut mark = Mark {
        monotonic_ns: at_ns,
        start_boottime_ns: Some(u64::from(tid)),
        verdict,
        ..Mark::default()
    };
    mark.victim.tid = tid;
    mark.victim.pid = Some(tid);
    Evidence::Mark(Box::new(mark))
}

/// The first start in another boot, or a later one: how many events that stores, and how many things stay unknown.
fn starts(path: &Path) -> (u64, u64) {
    let mut store = Store::open(path, AGAIN, KEEP).unwrap();
    let other = Host::new(AGAIN, "node");
    let begun = store.begin_run(&run(2), &other, &Now::default()).unwrap();
    events(&store);
    (begun.owed, begun.unknown)
}

fn stored(path: &Path) -> Vec<Event> {
    let reader = Reader::open(path).unwrap();
    let tail = reader.after_seq(0, &crate::store::Filter::default(), 100);
    let tail = tail.unwrap();
    tail.events
        .iter()
        .map(|it| serde_json::from_str(&it.body).unwrap())
        .collect()
}

#[test]
fn what_the_alert_knew_of_a_cgroup_and_what_the_log_did_come_together() {
    let cgroup = |path: Option<&str>, id| Cgroup {
        path: path.map(Into::into),
        id,
        version: id.map(|_| 2),
    };
    for (told, found, truth) in [
        (None, None, None),
        (Some((None, Some(7))), None, Some((None, Some(7)))),
        (None, Some((Some("/b"), None)), Some((Some("/b"), None))),
        (
            Some((None, Some(7))),
            Some((Some("/b"), None)),
            Some((Some("/b"), Some(7))),
        ),
        (
            Some((Some("/a"), Some(7))),
            Some((Some("/b"), Some(8))),
            Some((Some("/a"), Some(7))),
        ),
    ] {
        let [told, found, truth] =
            [told, found, truth].map(|it| it.map(|(path, id)| cgroup(path, id)));
        assert_eq!(both(told, found), truth);
    }
}

#[test]
fn the_report_of_a_kill_is_told_in_the_next_boot_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.db");
    let mut agent = Agent::new();
    agent.sees(5, mark(3, 50, Verdict::Kill));
    agent.end_in(&path);

    // The end of its victim nobody saw.
    assert_eq!(starts(&path), (1, 1));
    assert_eq!(starts(&path), (0, 0));
    let stored = stored(&path);
    let [Event::OomKill(alert), Event::OomInstance(report)] = &stored[..] else {
        panic!("{stored:?}");
    };
    assert_eq!(report.boot_id.as_deref(), Some(BOOT));
    assert_eq!(report.node.as_deref(), Some("node"));
    assert_eq!(report.outcome, Some(Outcome::Killed));
    assert_eq!(report.time, alert.time);
    let [kill] = &report.kills[..] else {
        panic!("{report:?}");
    };
    assert_eq!((&kill.id, &kill.owner), (&alert.id, &alert.owner));
    assert_eq!(kill.detection_latency_ns, alert.detection_latency_ns);
    // What nobody can know: how it ended, what the log said, what its memory did.
    assert_eq!(kill.end, None);
    assert_eq!(report.crosscheck.bpf_kills, Some(1));
    assert_eq!(report.crosscheck.kmsg_kills, None);
    assert!(report.memory_history.is_empty() && report.limit_state.is_none());
    assert!(!report.backfill);
}

#[test]
fn an_alert_that_was_not_stored_is_told_without_how_late_it_is() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.db");
    let mut agent = Agent::new();
    agent.sees(5, mark(3, 50, Verdict::Kill));
    agent.batch.steps.pop();
    agent.end_in(&path);
    assert_eq!(starts(&path), (2, 1));
    let stored = stored(&path);
    let [Event::OomKill(alert), Event::OomInstance(_)] = &stored[..] else {
        panic!("{stored:?}");
    };
    assert_eq!((alert.detection_latency_ns, &alert.end), (None, &None));
}

/// Whether it was a kill nobody can say any more.
#[test]
fn a_mark_that_was_held_is_a_report_without_an_outcome() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.db");
    let mut agent = Agent::new();
    agent.sees(5, mark(3, 50, Verdict::Unknown));
    agent.end_in(&path);
    assert_eq!(starts(&path), (1, 0));
    assert_eq!(starts(&path), (0, 0));
    let stored = stored(&path);
    let [Event::OomInstance(report)] = &stored[..] else {
        panic!("{stored:?}");
    };
    assert_eq!((report.outcome, report.kills.len()), (None, 0));
}

/// A victim that was there still when its report was told, and when the machine was reset.
#[test]
fn a_victim_that_nobody_saw_end_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.db");
    let mut agent = Agent::new();
    agent.sees(5, mark(3, 50, Verdict::Kill));
    let closed = Now {
        monotonic_ns: 9 * S,
        wall_offset_ns: 1_000_000,
        ..Now::default()
    };
    let mut events = Vec::new();
    agent.correlator.tick(closed, &mut events);
    agent.batch.extend(events.into_iter().map(told));
    let [report] = &agent.batch.steps[agent.batch.steps.len() - 1..] else {
        panic!("no report");
    };
    assert!(
        matches!(report, crate::store::Step::Event(event) if event.kind() == Kind::OomInstance)
    );
    let kill = format!("{}-50-50", BOOT.replace('-', ""));
    agent.sees(
        12 * S,
        Evidence::Victim(Box::new(VictimEvidence::Alive {
            kill: kill.into(),
            tid: 50,
            monotonic_ns: 12 * S,
            thread: None,
            threads: None,
            uninterruptible: None,
            held_bytes: None,
        })),
    );
    agent.end_in(&path);
    assert_eq!(stored(&path).len(), 3);
    assert_eq!(starts(&path), (0, 1));
    assert_eq!(stored(&path).len(), 3);
}

#[test]
fn what_cannot_be_read_is_counted() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.db");
    let mut agent = Agent::new();
    agent.sees(5, mark(3, 50, Verdict::Kill));
    agent.end_in(&path);
    let damaged = Connection::open(&path).unwrap();
    let spoil = "UPDATE journal SET evidence = x'c1' WHERE n = (SELECT max(n) FROM journal)";
    damaged.execute_batch(spoil).unwrap();
    drop(damaged);
    assert_eq!(starts(&path), (0, 1));
}
