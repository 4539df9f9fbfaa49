//! What detection hands to the store, so that a replay comes to what it came to.

use std::{fs, path::Path, sync::Arc, time::Duration};

use super::*;
use crate::{
    attribute::ContainerEvents,
    correlate::{Host, Timing},
    detect::journal::Told,
    evidence::{Feed, Mark, Verdict},
    store::{self, Options, Retention, Run, Store, journal::Decoder},
};

const BOOT: &str = "b007";
const KEEP_NS: u64 = 60_000_000_000;

fn counter(path: &Path, kills: u64) -> OomKillCounter {
    fs::write(path, format!("oom_kill {kills}\n")).unwrap();
    OomKillCounter::open(path).unwrap()
}

fn options(path: &Path) -> Options {
    let run = Run {
        pid: 1,
        pid_start_ns: None,
        started: crate::event::Timestamp::from_unix_ns(5),
        version: "1".into(),
        ring_generation: None,
        first_log: None,
    };
    Options {
        path: path.to_owned(),
        host: Host::new(BOOT, "node"),
        keep_ns: KEEP_NS,
        timing: Timing::default(),
        retention: Retention::default(),
        run,
        ring_room: u64::MAX,
    }
}

/// No symbols, and no log: the counter alone says that a mark was a kill.
#[test]
fn what_the_counter_judged_is_judged_so_by_a_replay() {
    let directory = tempfile::tempdir().unwrap();
    let (path, vmstat) = (
        directory.path().join("events.db"),
        directory.path().join("vmstat"),
    );
    let (offer, storing) = store::start(None, options(&path), Box::new(drop)).unwrap();
    let offer = Arc::new(offer);
    let correlator = || Correlator::new(Host::new(BOOT, "node"), Timing::default());
    let mut core = Core::new(
        correlator(),
        None,
        Some(counter(&vmstat, 5)),
        Desk::new(Host::new(BOOT, "node"), ContainerEvents::Containers),
        Hub::default(),
    );
    core.keep(
        Journal::new(offer.clone(), Told::default(), KEEP_NS, false),
        Vec::new(),
        &[],
    );
    let up = |source, up| Evidence::SourceState { source, up };
    core.begin([up(Feed::Bpf, true), up(Feed::Kmsg, false)]);
    core.audit();
    let start = core.correlator.snapshot();

    drop(counter(&vmstat, 6));
    let now = Now::read();
    let mut mark = Mark {
        monotonic_ns: now.monotonic_ns,
        start_boottime_ns: Some(7),
        verdict: Verdict::Unknown,
        ..Mark::default()
    };
    (mark.victim.tid, mark.victim.pid) = (50, Some(50));
    core.observe(Evidence::Mark(Box::new(mark)), None);
    assert_eq!(core.correlator.counts().kills, 1);

    core.journal = Journal::default();
    drop(core);
    drop(offer);
    let _ = storing.finish(Duration::from_mins(1));
    let left = Store::open(&path, BOOT, KEEP_NS).unwrap().left().unwrap();
    let mut decoder = Decoder::default();
    let rows: Vec<(Now, Evidence)> = left
        .recovery
        .evidence
        .iter()
        .map(|(now, row)| (*now, decoder.decode(row).unwrap()))
        .collect();
    let mut next = correlator();
    next.restore(&start);
    next.replay(rows, Now::read(), &mut Vec::new());
    assert_eq!(next.counts().kills, 1);
    assert_eq!(next.counts().bare_marks, 0);
}
