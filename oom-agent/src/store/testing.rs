//! Entries for tests.

use std::{path::Path, sync::Arc};

use super::{Batch, Entry, RingPlace, Run, Snapshot, Store, journal::Decoder};
use crate::{
    clock::Now,
    correlate::Host,
    event::{ContainerDeletion, Event, OomInstance, OomKill, Timestamp},
    evidence::Evidence,
};

/// A second.
pub(super) const S: u64 = 1_000_000_000;

/// How long snapshots are kept in tests.
pub(super) const KEEP: u64 = 60 * S;

/// The boot of tests.
pub(super) const BOOT: &str = "b-o-o-t";

/// A node in that boot.
pub(super) fn host() -> Host {
    Host::new(BOOT, "node")
}

/// Opens a store.
pub(super) fn store(path: &Path) -> Store {
    let mut store = Store::open(path, BOOT, KEEP).unwrap();
    store.begin_run(&run(1), &host(), &Now::default()).unwrap();
    store
}

/// A start.
pub(super) fn run(pid: u32) -> Run {
    Run {
        pid,
        pid_start_ns: Some(7),
        started: Timestamp::from_unix_ns(5),
        version: "1".into(),
        ring_generation: Some("g".into()),
        first_log: None,
    }
}

/// A kill.
pub(super) fn kill(n: u64) -> Event {
    let mut kill = OomKill::for_tests();
    kill.id = format!("boot-{n}").into();
    Event::OomKill(Box::new(kill))
}

/// A report.
pub(super) fn report(n: u64) -> Event {
    let mut report = OomInstance::for_tests(Vec::new());
    report.id = format!("oom-boot-{n}").into();
    Event::OomInstance(Box::new(report))
}

/// News of a container.
pub(super) fn news(n: u64) -> Event {
    let mut gone = ContainerDeletion::for_tests();
    gone.id = format!("gone-{n}").into();
    Event::ContainerDeletion(Box::new(gone))
}

/// An event on its way.
pub(super) fn told(event: Event) -> Entry {
    Entry::Event(Arc::new(event))
}

/// Evidence with a number in it, from the ring.
pub(super) fn seen(n: u64) -> Entry {
    Entry::Evidence {
        evidence: Box::new(Evidence::RingGap { lost: n }),
        now: Now {
            monotonic_ns: n,
            ..Now::default()
        },
        ring: Some(RingPlace {
            end: n * 100,
            seq: n,
        }),
    }
}

/// A quiet moment.
pub(super) fn quiet(at_ns: u64) -> Entry {
    Entry::Quiet(Box::new(Snapshot {
        monotonic_ns: at_ns,
        state: at_ns.to_le_bytes().into(),
    }))
}

/// All of these at once.
pub(super) fn batch(entries: impl IntoIterator<Item = Entry>) -> Batch {
    let mut batch = Batch::default();
    batch.extend(entries);
    batch
}

/// The numbers of the evidence that is told again.
pub(super) fn replayed(store: &Store) -> Vec<u64> {
    let mut decoder = Decoder::default();
    let numbers = store
        .recovery()
        .unwrap()
        .evidence
        .into_iter()
        .map(|(now, row)| {
            let Evidence::RingGap { lost } = decoder.decode(&row).unwrap() else {
                panic!("another evidence");
            };
            assert_eq!(now.monotonic_ns, lost);
            lost
        });
    numbers.collect()
}

/// How many events are there, by its own count and by counting.
pub(super) fn events(store: &Store) -> i64 {
    let count = |sql| store.db.query_row(sql, [], |row| row.get::<_, i64>(0));
    let rows = count("SELECT count(*) FROM event").unwrap();
    let usage = count("SELECT coalesce(sum(events), 0) FROM usage").unwrap();
    let (bytes, counted) = (
        count("SELECT coalesce(sum(bytes), 0) FROM event").unwrap(),
        count("SELECT coalesce(sum(bytes), 0) FROM usage").unwrap(),
    );
    assert_eq!((rows, bytes), (usage, counted));
    rows
}
