//! What is let go of, and that no clock makes it more.

use super::*;
use crate::store::testing::*;

const FOREVER: Retention = Retention {
    age: Duration::MAX,
    events: u64::MAX,
    bytes: u64::MAX,
};

/// So many seconds after the start, by all clocks but the wall's, which is set wrong by so many years.
fn at(seconds: u64, years: i64) -> Now {
    Now {
        monotonic_ns: seconds * S,
        wall_offset_ns: (50 + i128::from(years)) * 365 * 24 * 3600 * i128::from(S),
        boot_offset_ns: 0,
    }
}

fn opened(path: &std::path::Path) -> Store {
    let mut store = Store::open(path, BOOT, KEEP).unwrap();
    store.clock = crate::store::age::Mark::begin(BOOT, &at(0, 0));
    store
}

/// All steps; gives how many events went.
fn sweep(store: &mut Store, retention: &Retention, now: &Now) -> u64 {
    let mut gone = 0;
    loop {
        let step = store.retain(retention, now).unwrap();
        assert!(step.removed <= STEP.into());
        gone += step.removed;
        if !step.more {
            return gone;
        }
    }
}

fn left(store: &Store, kind: &str) -> Vec<String> {
    let sql = "SELECT id FROM event WHERE kind = ? ORDER BY seq";
    let mut statement = store.db.prepare(sql).unwrap();
    let rows = statement.query_map([kind], |row| row.get(0)).unwrap();
    rows.collect::<Result<_, _>>().unwrap()
}

#[test]
fn each_kind_has_its_own_number_and_the_first_stored_go_first() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = opened(&directory.path().join("events.db"));
    let all = (0..700).flat_map(|n| [told(news(n)), told(news(1000 + n))]);
    store
        .commit(&batch(all.chain([told(kill(1)), told(kill(2))])), &at(1, 0))
        .unwrap();
    let few = Retention {
        events: 3,
        ..FOREVER
    };
    assert_eq!(sweep(&mut store, &few, &at(2, 0)), 1397);
    assert_eq!(events(&store), 5);
    assert_eq!(left(&store, "OomKill"), ["boot-1", "boot-2"]);
    let news = ["gone-1698", "gone-699", "gone-1699"];
    assert_eq!(left(&store, "ContainerDeletion"), news);
    let removed = "SELECT removed, removed_through FROM usage WHERE kind = 'ContainerDeletion'";
    let removed = store
        .db
        .query_row(removed, [], |row| Ok((row.get(0)?, row.get(1)?)));
    assert_eq!(removed, Ok((1397, 1397)));
}

#[test]
fn bytes_are_a_bound_of_their_own() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = opened(&directory.path().join("events.db"));
    store
        .commit(&batch((0..100).map(|n| told(kill(n)))), &at(1, 0))
        .unwrap();
    let bytes = "SELECT sum(bytes) FROM event WHERE seq > 90";
    let bytes: i64 = store.db.query_row(bytes, [], |row| row.get(0)).unwrap();
    let few = Retention {
        bytes: bytes.unsigned_abs(),
        ..FOREVER
    };
    assert_eq!(sweep(&mut store, &few, &at(2, 0)), 90);
    assert_eq!(events(&store), 10);
}

#[test]
fn age_counts_from_the_storing_and_a_jump_of_the_clock_takes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = opened(&directory.path().join("events.db"));
    let hour = Retention {
        age: Duration::from_hours(1),
        ..FOREVER
    };
    store.commit(&batch([told(kill(1))]), &at(10, 0)).unwrap();
    store.commit(&batch([told(kill(2))]), &at(20, -49)).unwrap();
    store.commit(&batch([told(kill(3))]), &at(30, 40)).unwrap();
    for years in [-49, 0, 40] {
        assert_eq!(sweep(&mut store, &hour, &at(3600, years)), 0);
    }
    assert_eq!(sweep(&mut store, &hour, &at(3615, 40)), 1);
    assert_eq!(sweep(&mut store, &hour, &at(3635, -49)), 2);
}

#[test]
fn space_is_given_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.db");
    let mut store = opened(&path);
    for n in 0..30 {
        let all = (0..1000).map(|m| told(kill(n * 1000 + m)));
        store.commit(&batch(all), &at(1, 0)).unwrap();
    }
    let pages = |store: &Store, what| {
        store
            .db
            .pragma_query_value(None, what, |row| row.get::<_, u32>(0))
            .unwrap()
    };
    let before = pages(&store, "page_count");
    let few = Retention {
        events: 10,
        ..FOREVER
    };
    sweep(&mut store, &few, &at(2, 0));
    let after = pages(&store, "page_count");
    assert!(before > 4 * SPARE_PAGES, "{before}");
    assert!(pages(&store, "freelist_count") <= SPARE_PAGES);
    assert!(after < SPARE_PAGES + 100, "{after}");
    store.end_run(&at(3, 0)).unwrap();
    let size = std::fs::metadata(&path).unwrap().len();
    assert_eq!(size, u64::from(after) * 4096);
}

#[test]
fn what_a_successor_would_tell_again_stays() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = opened(&directory.path().join("events.db"));
    let before = (0..4).map(|n| told(kill(n)));
    let behind = (10..14).map(|n| told(kill(n)));
    let all = before.chain([quiet(S)]).chain(behind);
    store.commit(&batch(all), &at(1, 0)).unwrap();
    let none = Retention {
        events: 0,
        ..FOREVER
    };
    assert_eq!(sweep(&mut store, &none, &at(2, 0)), 4);
    assert_eq!(events(&store), 4);
}
