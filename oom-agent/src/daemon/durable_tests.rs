//! What detection begins with, whatever is the matter with the store.

use std::{fs, path::Path};

use super::*;

const BOOT: &str = "b-o-o-t";

fn opened(path: &Path) -> Result<Option<Durable>, RunError> {
    let options = StoreOptions {
        path: Some(path.to_owned()),
        backfill: false,
        retention: Retention::default(),
    };
    let (host, timing) = (Host::new(BOOT, "node"), Timing::default());
    let mut correlator = Correlator::new(host.clone(), timing);
    Durable::open(&options, &host, timing, &mut correlator)
}

#[test]
fn a_store_that_refuses_is_gone_on_from_all_the_same() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.db");
    let mut correlator = Correlator::new(Host::new(BOOT, "node"), Timing::default());
    let mut first = opened(&path).unwrap().unwrap();
    assert!(first.resumed.is_first);
    first.first(&mut correlator, None, Some(77));
    drop(first);
    // What is neither held nor of another: it cannot be written now.
    let lock = directory.path().join("events.db.lock");
    fs::remove_file(&lock).unwrap();
    fs::create_dir(&lock).unwrap();
    let mut next = opened(&path).unwrap().unwrap();
    assert!(next.store.is_none() && !next.resumed.is_first);
    assert!(matches!(next.log_position(), Position::AfterSeq(77)));
    fs::remove_dir(&lock).unwrap();
    next.resumed.is_first = true;
    next.store = Some(Store::open(&path, BOOT, 1).unwrap());
    // There was a start: this one changes nothing, neither there nor here.
    next.first(&mut correlator, None, Some(99));
    assert_eq!(next.resumed.recovery.first_log, Some(77));
}

/// A place that takes no file now.
fn refusing(directory: &Path) -> PathBuf {
    let lock = directory.join("events.db.lock");
    fs::create_dir(&lock).unwrap();
    lock
}

#[test]
fn history_is_not_lost_if_the_store_refuses_at_the_first_start() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.db");
    let lock = refusing(directory.path());
    let mut correlator = Correlator::new(Host::new(BOOT, "node"), Timing::default());
    let mut first = opened(&path).unwrap().unwrap();
    assert!(first.store.is_none());
    first.first(&mut correlator, None, Some(77));
    let run = this_run(None, first.resumed.recovery.first_log);
    assert_eq!(run.first_log, Some(77));
    assert!(run.pid_start_ns > Some(0));

    // Of a boot that has begun it is noted, or nobody knows.
    fs::remove_dir(&lock).unwrap();
    let mut store = Store::open(&path, BOOT, 1).unwrap();
    store
        .begin_run(&run, &Host::new(BOOT, "node"), &Now::read())
        .unwrap();
    drop(store);
    fs::remove_file(&lock).unwrap();
    refusing(directory.path());
    let mut next = opened(&path).unwrap().unwrap();
    assert!(next.store.is_none() && next.resumed.is_first);
    next.first(&mut correlator, None, Some(99));
    assert_eq!(next.resumed.recovery.first_log, Some(77));
    fs::write(&path, "nothing that can be read").unwrap();
    let mut unread = opened(&path).unwrap().unwrap();
    unread.first(&mut correlator, None, Some(99));
    assert_eq!(unread.resumed.recovery.first_log, None);
}

#[test]
fn only_a_running_agent_ends_this_one() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.db");
    let held = opened(&path).unwrap().unwrap();
    assert!(matches!(opened(&path), Err(RunError::Store(_))));
    drop(held);
    assert!(opened(&path).unwrap().is_some());
    let theirs = directory.path().join("theirs.db");
    let other = rusqlite::Connection::open(&theirs).unwrap();
    other.execute_batch("CREATE TABLE theirs (x)").unwrap();
    assert!(opened(&theirs).unwrap().is_none());
}
