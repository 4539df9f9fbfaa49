//! From detection to the disk and to the ring, also where the disk refuses for a while.

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use super::*;
use crate::store::testing::*;

const DEADLINE: Duration = Duration::from_secs(20);

struct Running {
    offer: Offer,
    storing: Storing,
    released: Arc<AtomicU64>,
}

fn running(path: &Path) -> Running {
    let released = Arc::<AtomicU64>::default();
    let to = released.clone();
    let options = Options {
        path: path.to_owned(),
        host: host(),
        keep_ns: KEEP,
        timing: Timing::default(),
        retention: Retention::default(),
        run: run(1),
        ring_room: u64::MAX,
    };
    let release = Box::new(move |end| {
        to.fetch_max(end, Ordering::Relaxed);
    });
    let (offer, storing) = start(None, options, release).unwrap();
    Running {
        offer,
        storing,
        released,
    }
}

impl Running {
    fn tell(&self, entries: impl IntoIterator<Item = super::super::Entry>) {
        for entry in entries {
            self.offer.offer(entry);
        }
        self.offer.wake();
    }

    fn wait(&self, what: &str, mut until: impl FnMut(&Counts) -> bool) {
        let deadline = Instant::now() + DEADLINE;
        while !until(&self.storing.counts()) {
            assert!(
                Instant::now() < deadline,
                "{what}: {:?}",
                self.storing.counts()
            );
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn end(self) -> Counts {
        drop(self.offer);
        self.storing.finish(DEADLINE)
    }
}

#[test]
fn what_is_told_is_stored_and_the_ring_let_go() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.db");
    let running = running(&path);
    running.tell([seen(1), told(kill(1)), told(report(1))]);
    running.wait("stored", |counts| counts.events == 2);
    let released = running.released.clone();
    running.wait("released", |_| released.load(Ordering::Relaxed) == 100);
    running.tell((2..3000).flat_map(|n| [seen(n), told(kill(n))]));
    // Not woken for it, and stored all the same.
    running.offer.offer(told(news(1)));
    let counts = running.end();
    let expected = Counts {
        events: 3001,
        journaled: 2999,
        ..Counts::default()
    };
    assert_eq!(counts, expected);
    assert_eq!(released.load(Ordering::Relaxed), 299_900);
    let wal = open::beside(&path, "-wal");
    assert!(!wal.exists(), "it was closed");
    let store = Store::open(&path, BOOT, KEEP).unwrap();
    assert_eq!(events(&store), 3001);
    assert!(store.recovery().unwrap().had_clean_end);
}

#[test]
fn a_disk_that_comes_late_costs_nothing() {
    let directory = tempfile::tempdir().unwrap();
    // A file where the store's directory should be.
    let parent = directory.path().join("store");
    fs::write(&parent, "").unwrap();
    let path = parent.join("events.db");
    let running = running(&path);
    running.tell([quiet(1), seen(1), told(kill(1)), told(news(1))]);
    running.wait("held", |counts| counts.waiting == 2);
    let counts = running.storing.counts();
    assert_eq!((counts.undurable, counts.events), (0, 0));
    assert!(counts.failed_commits > 0);
    // Until it is durable, the ring has it.
    assert_eq!(running.released.load(Ordering::Relaxed), 0);

    fs::remove_file(&parent).unwrap();
    running.wait("back", |counts| counts.events == 2);
    running.tell([seen(2), told(kill(2)), quiet(9), seen(10)]);
    running.wait("journaled", |counts| counts.journaled == 3);
    let released = running.released.clone();
    let counts = running.end();
    assert_eq!(
        (counts.undurable, counts.waiting, counts.unstored_kills),
        (0, 0, 0)
    );
    assert_eq!(released.load(Ordering::Relaxed), 1000);
    let store = Store::open(&path, BOOT, KEEP).unwrap();
    assert_eq!(events(&store), 3);
    assert_eq!(replayed(&store), [1, 2, 10]);
}

#[test]
fn a_commit_that_fails_costs_neither_the_journal_nor_the_lock() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.db");
    let running = running(&path);
    running.tell([quiet(1), seen(2), told(kill(2))]);
    running.wait("stored", |counts| counts.events == 1);
    let other = rusqlite::Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    running.tell([seen(3), told(kill(3))]);
    running.wait("refused", |counts| counts.failed_commits > 0);
    let second = Store::open(&path, BOOT, KEEP);
    assert!(matches!(second, Err(StoreError::Held { .. })), "{second:?}");
    running.tell([seen(4), told(kill(4))]);
    other.execute_batch("ROLLBACK").unwrap();
    running.wait("stored late", |counts| counts.events == 3);
    assert_eq!(running.end().undurable, 0);
    let store = Store::open(&path, BOOT, KEEP).unwrap();
    assert_eq!(store.recovery().unwrap().snapshot.unwrap().monotonic_ns, 1);
    assert_eq!(replayed(&store), [2, 3, 4]);
}

#[test]
fn a_store_without_a_base_asks_for_one() {
    let directory = tempfile::tempdir().unwrap();
    let running = running(&directory.path().join("events.db"));
    running.tell([seen(1)]);
    running.wait("journaled", |counts| counts.journaled == 1);
    assert!(running.offer.wants_snapshot());
    running.tell([quiet(2), seen(3)]);
    running.wait("journaled", |counts| counts.journaled == 2);
    let _ = running.offer.wants_snapshot();
    running.tell([seen(4)]);
    running.wait("journaled", |counts| counts.journaled == 3);
    assert!(!running.offer.wants_snapshot());
    running.end();
}

#[test]
fn what_a_disk_never_took_is_counted_at_the_end() {
    let directory = tempfile::tempdir().unwrap();
    let parent = directory.path().join("store");
    fs::write(&parent, "").unwrap();
    let running = running(&parent.join("events.db"));
    let kills = 20_000;
    running.tell((0..kills).map(|n| told(kill(n))));
    running.tell((0..5).map(|n| told(news(n))));
    let counts = running.end();
    assert_eq!((counts.unstored_kills, counts.unstored_news), (kills, 5));
    assert_eq!(counts.waiting, 0);
}

#[test]
fn a_store_that_is_damaged_while_it_is_written_is_begun_anew() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.db");
    let running = running(&path);
    // More than the cache holds.
    let all = 5000;
    running.tell((0..all).map(|n| told(kill(n))));
    running.wait("stored", |counts| counts.events == all);
    let size = fs::metadata(&path).unwrap().len();
    let noise = vec![0x5a; usize::try_from(size.max(1 << 20)).unwrap()];
    fs::write(&path, &noise).unwrap();
    fs::write(open::beside(&path, "-wal"), &noise).unwrap();
    // Told once more: for that it looks where it has not looked lately.
    let mut told_so_far = all;
    running.wait("anew", |counts| {
        if counts.events + counts.duplicates + counts.waiting >= told_so_far {
            running.tell([told(kill(told_so_far * 37 % 4000))]);
            told_so_far += 1;
        }
        counts.moved_aside > 0 && counts.waiting == 0 && counts.events > all
    });
    let counts = running.end();
    assert_eq!(counts.unstored_kills, 0);
    assert_eq!(counts.events + counts.duplicates, told_so_far);
    let store = Store::open(&path, BOOT, KEEP).unwrap();
    assert!(events(&store) > 0);
}

#[test]
fn retention_keeps_up_with_a_storm() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.db");
    let mut running = running(&path);
    drop(running.offer);
    let _ = running.storing.finish(DEADLINE);
    let options = Options {
        path: path.clone(),
        host: host(),
        keep_ns: KEEP,
        timing: Timing::default(),
        retention: Retention {
            events: 100,
            ..Retention::default()
        },
        run: run(2),
        ring_room: u64::MAX,
    };
    let (offer, storing) = start(None, options, Box::new(drop)).unwrap();
    running = Running {
        offer,
        storing,
        released: Arc::default(),
    };
    for round in 0..10 {
        running.tell((0..1000).map(|n| told(kill(round * 1000 + n))));
        running.wait("stored", |counts| counts.events == (round + 1) * 1000);
    }
    running.wait("removed", |counts| counts.removed == 9900);
    running.end();
    assert_eq!(events(&Store::open(&path, BOOT, KEEP).unwrap()), 100);
}
