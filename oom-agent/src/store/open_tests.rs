//! Whatever is in the place of a store, a store can be opened there, and nothing is deleted.

use std::{
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::Path,
};

use super::*;
use crate::store::{Store, testing::*};

/// A store with events, as a crash leaves it: with a write-ahead log. Its main file holds the events, too.
fn crashed(path: &Path, events: u64) {
    let mut store = store(path);
    for n in 0..events {
        store
            .commit(
                &batch([told(report(n)), told(kill(n))]),
                &crate::clock::Now::default(),
            )
            .unwrap();
    }
    let checkpoint = "PRAGMA wal_checkpoint(TRUNCATE)";
    store.db.query_row(checkpoint, [], |_| Ok(())).unwrap();
    store
        .commit(&batch([told(news(1))]), &crate::clock::Now::default())
        .unwrap();
    // Copies of both, and those of before back: what no process has closed.
    for end in ["", "-wal"] {
        fs::copy(beside(path, end), beside(path, &format!("{end}.copy"))).unwrap();
    }
    drop(store);
    for end in ["", "-wal"] {
        fs::rename(beside(path, &format!("{end}.copy")), beside(path, end)).unwrap();
    }
}

/// What stands beside the store that is not its own.
fn set_aside_in(directory: &Path) -> Vec<String> {
    let names = fs::read_dir(directory).unwrap();
    let mut names: Vec<String> = names
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| name.contains("corrupt"))
        .collect();
    names.sort();
    names
}

#[test]
fn it_is_made_with_its_directory_and_readable_for_few() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a/b/events.db");
    let store = store(&path);
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(path.parent().unwrap()) & !0o750, 0);
    for end in ["", "-wal", "-shm", ".lock"] {
        assert_eq!(mode(&beside(&path, end)) & !0o640, 0, "{end}");
    }
    for (pragma, value) in [
        ("journal_mode", "wal"),
        ("synchronous", "2"),
        ("auto_vacuum", "2"),
        ("temp_store", "2"),
        ("application_id", "1330597217"),
    ] {
        let found = store.db.query_row(&format!("PRAGMA {pragma}"), [], |row| {
            row.get::<_, rusqlite::types::Value>(0)
        });
        let found = match found.unwrap() {
            rusqlite::types::Value::Integer(number) => number.to_string(),
            rusqlite::types::Value::Text(text) => text,
            other => panic!("{other:?}"),
        };
        assert_eq!(found, value, "{pragma}");
    }
}

#[test]
fn a_crashed_store_loses_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.db");
    crashed(&path, 50);
    let store = store(&path);
    assert_eq!(events(&store), 101);
    assert_eq!(store.set_aside(), None);
}

fn garbage(path: &Path) {
    fs::write(path, b"not a database ".repeat(1000)).unwrap();
}

fn truncated(path: &Path) {
    crashed(path, 50);
    fs::remove_file(beside(path, "-wal")).unwrap();
    let file = OpenOptions::new().write(true).open(path).unwrap();
    let size = file.metadata().unwrap().len();
    file.set_len(size / 2 + 100).unwrap();
}

/// A page of a tree, in a store that was not closed.
fn flipped(path: &Path) {
    crashed(path, 50);
    let mut bytes = fs::read(path).unwrap();
    let page = bytes.len() / 4096 / 2 * 4096;
    bytes[page..page + 4096].fill(0x5a);
    fs::write(path, bytes).unwrap();
}

#[test]
fn what_is_no_database_is_moved_aside() {
    for (name, damage) in [
        ("garbage", garbage as fn(&Path)),
        ("truncated", truncated),
        ("flipped", flipped),
    ] {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("events.db");
        damage(&path);
        let before = fs::read(&path).unwrap();
        let store = store(&path);
        assert_eq!(events(&store), 0, "{name}");
        let aside = store
            .set_aside()
            .unwrap_or_else(|| panic!("{name}"))
            .to_owned();
        assert_eq!(fs::read(&aside).unwrap().len(), before.len(), "{name}");
        let names = set_aside_in(directory.path());
        assert!(names[0].starts_with("events.db.corrupt-2"), "{names:?}");
    }
}

#[test]
fn two_damaged_ones_within_a_second_are_both_kept() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.db");
    for _ in 0..3 {
        for end in ["-wal", "-shm", ""] {
            drop(fs::remove_file(beside(&path, end)));
        }
        fs::write(&path, [1; 5000]).unwrap();
        assert!(store(&path).set_aside().is_some());
    }
    assert_eq!(set_aside_in(directory.path()).len(), 3);
}

#[test]
fn a_later_version_and_a_stranger_are_left_as_they_are() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.db");
    let made = store(&path);
    made.db.pragma_update(None, "user_version", 99).unwrap();
    drop(made);
    let before = fs::read(&path).unwrap();
    let refused = Store::open(&path, BOOT, KEEP).unwrap_err();
    assert!(refused.is_lasting(), "{refused}");
    assert!(refused.to_string().contains("schema 99"), "{refused}");
    assert_eq!(fs::read(&path).unwrap(), before);

    let theirs = directory.path().join("theirs.db");
    let db = Connection::open(&theirs).unwrap();
    db.execute_batch("CREATE TABLE t (x)").unwrap();
    drop(db);
    let before = fs::read(&theirs).unwrap();
    let refused = Store::open(&theirs, BOOT, KEEP).unwrap_err();
    assert!(matches!(refused, StoreError::Foreign { .. }), "{refused}");
    assert_eq!(fs::read(&theirs).unwrap(), before);
    assert_eq!(set_aside_in(directory.path()).len(), 0);
}

#[test]
fn a_second_agent_is_refused_by_the_pid_of_the_first() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.db");
    let _first = store(&path);
    let refused = Store::open(&path, BOOT, KEEP).unwrap_err();
    let pid = format!("the agent with pid {}", std::process::id());
    assert!(refused.to_string().contains(&pid), "{refused}");
}

/// POSIX locks are the process's: closing any descriptor of the file lets go of all.
#[test]
fn opening_it_again_lets_go_of_no_lock() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.db");
    drop(store(&path));
    let file = fs::File::options().append(true).open(&path).unwrap();
    let locked = || {
        let locks = fs::read_to_string("/proc/locks").unwrap();
        let inode = format!(":{} ", file.metadata().unwrap().ino());
        let ours = format!(" {} ", std::process::id());
        let is_it = |line: &&str| line.contains(&inode) && line.contains(&ours);
        locks.lines().filter(is_it).count()
    };
    rustix::fs::fcntl_lock(&file, rustix::fs::FlockOperation::NonBlockingLockExclusive).unwrap();
    assert_eq!(locked(), 1);
    made(&path).unwrap();
    assert_eq!(locked(), 1);
}

#[test]
fn what_is_no_file_is_refused() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.db");
    fs::create_dir(&path).unwrap();
    assert_eq!(
        made(&path).unwrap_err().raw_os_error(),
        Some(Errno::ISDIR.raw_os_error())
    );
}

#[test]
fn a_symbolic_link_is_not_followed() {
    let directory = tempfile::tempdir().unwrap();
    let victim = directory.path().join("victim");
    let made = directory.path().join("made");
    fs::write(&victim, "not to be changed").unwrap();
    for (number, end) in [".lock", ""].into_iter().enumerate() {
        for (to, target) in [("there", &victim), ("nowhere", &made)] {
            let path = directory.path().join(format!("{to}-{number}/events.db"));
            fs::create_dir(path.parent().unwrap()).unwrap();
            std::os::unix::fs::symlink(target, beside(&path, end)).unwrap();
            let Err(StoreError::Io { path: at, source }) = open(&path, &mut None) else {
                panic!("{to} by {end:?}");
            };
            assert_eq!(at, beside(&path, end));
            let errno = source.raw_os_error();
            assert_eq!(errno, Some(Errno::LOOP.raw_os_error()));
        }
    }
    assert_eq!(fs::read_to_string(&victim).unwrap(), "not to be changed");
    assert!(!made.exists());
}

#[test]
fn what_an_earlier_version_stored_is_found_by_what_it_did_not_know() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.db");
    let mut before = store(&path);
    let events = batch([told(report(1)), told(kill(1)), told(kill(2))]);
    before
        .commit(&events, &crate::clock::Now::default())
        .unwrap();
    // As it left them.
    for sql in [
        "DELETE FROM posting WHERE term IN (SELECT id FROM term WHERE field >= 14)",
        "UPDATE indexed SET terms = (SELECT json_group_array(value) FROM json_each(terms)
           JOIN term ON term.id = value WHERE field < 14)",
        "DELETE FROM term WHERE field >= 14",
        "PRAGMA user_version = 4",
    ] {
        before.db.execute_batch(sql).unwrap();
    }
    drop(before);
    drop(store(&path));
    let filter = crate::store::Filter {
        node: Some("node".to_owned()),
        ..crate::store::Filter::default()
    };
    let reader = crate::store::Reader::open(&path).unwrap();
    assert_eq!(reader.after_seq(0, &filter, 10).unwrap().events.len(), 3);
    let order = crate::store::Order::NewestFirst;
    let page = reader.page(&filter, order, None, 10).unwrap();
    assert_eq!(page.events.len(), 3);
}
