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
