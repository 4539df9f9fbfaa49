//! What is written is there, once; and what a start goes on from is a suffix of what was told.

use proptest::prelude::*;

use super::*;
use crate::{
    event::{Event, OomInstance},
    store::{Entry, RingPlace, testing::*},
};

fn at(monotonic_ns: u64) -> Now {
    Now {
        monotonic_ns,
        ..Now::default()
    }
}

#[test]
fn a_replay_stores_nothing_twice() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.db");
    let all = || batch([told(kill(1)), told(report(1)), told(news(1)), told(kill(2))]);
    let mut store = store(&path);
    let first = store.commit(&all(), &at(0)).unwrap();
    assert_eq!((first.events, first.duplicates), (4, 0));
    let again = store.commit(&all(), &at(0)).unwrap();
    assert_eq!((again.events, again.duplicates), (0, 4));
    drop(store);
    let mut store = Store::open(&path, BOOT, KEEP).unwrap();
    let mut more = all();
    more.push(told(kill(3)));
    let third = store.commit(&more, &at(0)).unwrap();
    assert_eq!((third.events, third.duplicates), (1, 4));
    assert_eq!(events(&store), 5);
    assert!(store.has_event(Kind::OomKill, "boot-3").unwrap());
    assert!(!store.has_event(Kind::OomInstance, "boot-3").unwrap());
}

#[test]
fn the_body_is_what_was_told_and_the_columns_say_what_is_in_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = store(&directory.path().join("events.db"));
    let mut untimed = crate::event::OomKill::for_tests();
    untimed.time = None;
    let untimed = Event::OomKill(Box::new(untimed));
    let now = Now {
        monotonic_ns: 5,
        wall_offset_ns: 70,
        boot_offset_ns: 0,
    };
    let body = serde_json::to_string(&untimed).unwrap();
    store.commit(&batch([told(untimed)]), &now).unwrap();
    let row = store
        .db
        .query_row(
            "SELECT kind, id, time_ns, boot_id, scope, backfill, body FROM event",
            [],
            |row| {
                Ok((
                    row.get::<_, String>(0)?,
                    row.get::<_, String>(1)?,
                    row.get::<_, i64>(2)?,
                    row.get::<_, Option<String>>(3)?,
                    row.get::<_, Option<String>>(4)?,
                    row.get::<_, bool>(5)?,
                    row.get::<_, String>(6)?,
                ))
            },
        )
        .unwrap();
    let (kind, id) = ("OomKill".to_owned(), "id".to_owned());
    assert_eq!(row, (kind, id, 75, Some("boot".into()), None, false, body));
}

#[test]
fn a_start_goes_on_from_where_the_last_one_was() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.db");
    let mut first = Store::open(&path, BOOT, KEEP).unwrap();
    assert!(first.recovery().unwrap().last_run.is_none());
    first.begin_run(&run(41), &host(), &at(9)).unwrap();
    let mut told = batch([seen(1), seen(2), Entry::LogRead { through: 77 }]);
    told.backfilled = true;
    first.commit(&told, &at(10)).unwrap();
    drop(first);

    let mut killed = Store::open(&path, BOOT, KEEP).unwrap();
    let recovery = killed.recovery().unwrap();
    assert_eq!(recovery.first_start_ns, Some(9));
    assert_eq!((recovery.log_read, recovery.ring_seq), (Some(77), Some(2)));
    assert_eq!(recovery.ring_generation.as_deref(), Some("g"));
    assert!(recovery.backfilled && recovery.last_run_is_of_this_boot);
    assert_eq!(
        (recovery.last_run, recovery.had_clean_end),
        (Some(run(41)), false)
    );
    assert_eq!(replayed(&killed), [1, 2]);
    killed.begin_run(&run(42), &host(), &at(50)).unwrap();
    killed.end_run(&at(60)).unwrap();
    drop(killed);

    let mut ended = Store::open(&path, BOOT, KEEP).unwrap();
    let recovery = ended.recovery().unwrap();
    assert!(recovery.had_clean_end);
    assert_eq!(
        (recovery.first_start_ns, recovery.ring_seq),
        (Some(9), Some(2))
    );
    let other_programs = Run {
        ring_generation: Some("h".into()),
        ..run(43)
    };
    ended.begin_run(&other_programs, &host(), &at(70)).unwrap();
    let recovery = ended.recovery().unwrap();
    assert_eq!((recovery.ring_seq, recovery.log_read), (None, Some(77)));
    drop(ended);

    let rebooted = Store::open(&path, "another", KEEP).unwrap();
    let recovery = rebooted.recovery().unwrap();
    assert_eq!((recovery.first_start_ns, recovery.log_read), (None, None));
    assert!(!recovery.last_run_is_of_this_boot && recovery.last_run.is_some());
    assert!(replayed(&rebooted).is_empty());
}

#[test]
fn the_same_start_is_noted_down_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.db");
    drop(store(&path));
    let again = store(&path);
    let runs = again
        .db
        .query_row("SELECT count(*) FROM run", [], |row| row.get(0));
    assert_eq!(runs, Ok(1));
}

#[test]
fn across_a_hole_nothing_is_replayed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.db");
    let mut store = store(&path);
    store.commit(&batch([quiet(0), seen(1)]), &at(1)).unwrap();
    assert_eq!(replayed(&store), [1]);
    let mut broken = batch([seen(2), told(kill(1)), quiet(1)]);
    broken.hole = true;
    let done = store.commit(&broken, &at(2)).unwrap();
    assert_eq!((done.events, done.journaled, done.unjournaled), (1, 0, 1));
    store.commit(&batch([seen(3)]), &at(3)).unwrap();
    let recovery = store.recovery().unwrap();
    // The audit of the last quiet moment before it is known, and that it is not the newest.
    assert_eq!(recovery.snapshot.unwrap().monotonic_ns, 1);
    assert!(recovery.evidence.is_empty() && store.wants_snapshot());
    // What the ring and the log were read to is known all the same.
    assert_eq!(recovery.ring_seq, Some(3));
    store
        .commit(&batch([seen(4), quiet(5), seen(6)]), &at(6))
        .unwrap();
    assert_eq!(store.recovery().unwrap().snapshot.unwrap().monotonic_ns, 5);
    assert!(!store.wants_snapshot());
    assert_eq!(replayed(&store), [6]);
    drop(store);
    assert_eq!(replayed(&Store::open(&path, BOOT, KEEP).unwrap()), [6]);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever was told and when it was quiet: what is replayed is all that came after the snapshot it
    /// begins with, that snapshot is old enough, and none that is newer is.
    #[test]
    fn what_is_replayed_is_enough_and_no_more(steps in prop::collection::vec((1..30 * S, any::<bool>()), 0..60)) {
        let directory = tempfile::tempdir().unwrap();
        let mut store = store(&directory.path().join("events.db"));
        store.db.pragma_update(None, "synchronous", "OFF").unwrap();
        let (mut now, mut all, mut moments) = (0, Vec::new(), Vec::new());
        for (passed, is_quiet) in steps {
            now += passed;
            let step = if is_quiet { quiet(now) } else { seen(now) };
            if is_quiet { moments.push(now) } else { all.push(now) }
            store.commit(&batch([step]), &at(now)).unwrap();
        }
        let begin = store.recovery().unwrap().snapshot.map_or(0, |snapshot| snapshot.monotonic_ns);
        let expected: Vec<u64> = all.iter().copied().filter(|&at| at > begin).collect();
        prop_assert_eq!(replayed(&store), expected);
        let last = moments.last().copied().unwrap_or(0);
        prop_assert!(begin == 0 || moments.contains(&begin));
        prop_assert!(begin <= last.saturating_sub(KEEP) || moments.first() == Some(&begin));
        // What is kept longer than needed is little: an eighth of the time, between two snapshots.
        let needless = all.iter().find(|&&at| at > begin);
        let newest_old = moments.iter().copied().filter(|&at| at + KEEP + KEEP / 8 < last).max();
        if let (Some(&first), Some(old)) = (needless, newest_old) {
            prop_assert!(first + KEEP / 8 > old, "{first} is replayed though {old} was quiet");
        }
    }
}

#[test]
fn positions_of_a_ring_survive_the_widest_numbers() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = store(&directory.path().join("events.db"));
    let mut batch = batch([Entry::LogRead { through: u64::MAX }]);
    batch.ring = Some(RingPlace {
        end: 0,
        seq: u64::MAX - 1,
    });
    store.commit(&batch, &at(0)).unwrap();
    let recovery = store.recovery().unwrap();
    assert_eq!(recovery.log_read, Some(u64::MAX));
    assert_eq!(recovery.ring_seq, Some(u64::MAX - 1));
}

/// A kill of this boot.
fn kill_here(n: u64) -> Event {
    let mut event = kill(n);
    if let Event::OomKill(kill) = &mut event {
        kill.boot_id = Some(BOOT.into());
        kill.victim.tid = 7;
        kill.monotonic_ns = Some(n);
    }
    event
}

/// Whatever the clocks say: the order of storing tells what came after the quiet moment.
#[test]
fn what_was_told_since_the_quiet_moment_is_known() {
    let directory = tempfile::tempdir().unwrap();
    let mut store = store(&directory.path().join("events.db"));
    let mut of_before = kill_here(3);
    of_before.mark_backfill();
    let steps = [
        told(kill_here(1)),
        quiet(1),
        seen(2),
        told(kill_here(2)),
        told(of_before),
        told(news(4)),
    ];
    store.commit(&batch(steps), &at(2)).unwrap();
    let left = store.left().unwrap();
    assert_eq!(left.recovery.event_seq, 1);
    let expected = (Kind::OomKill, "boot-2".into());
    assert_eq!(left.told.into_iter().collect::<Vec<_>>(), [expected]);
    let alerts: Vec<_> = left.alerts.iter().map(|kill| &*kill.id).collect();
    assert_eq!(alerts, ["boot-2"]);
    // Its report has been told, too.
    let mut report = OomInstance::for_tests(Vec::new());
    report.id = left.alerts[0].instance_id.clone();
    report.boot_id = left.alerts[0].boot_id.clone();
    let report = Event::OomInstance(Box::new(report));
    store.commit(&batch([told(report)]), &at(3)).unwrap();
    assert!(store.left().unwrap().alerts.is_empty());
    assert_eq!(store.told_since(0).unwrap().len(), 3);
    assert_eq!(
        store.told_since(99).unwrap(),
        crate::store::ToldLately::default()
    );
}

#[test]
fn what_is_left_is_read_while_somebody_else_writes() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.db");
    let missing = Store::read_back(&path, BOOT);
    assert!(matches!(missing, Err(crate::store::QueryError::Missing(_))));
    let mut first = store(&path);
    let steps = [
        quiet(1),
        seen(2),
        told(kill_here(2)),
        Entry::LogRead { through: 5 },
    ];
    first.commit(&batch(steps), &at(2)).unwrap();
    drop(first);
    let other = Connection::open(&path).unwrap();
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    // Neither asks for the right to write.
    let written = Store::open(&path, BOOT, KEEP).unwrap().left().unwrap();
    for left in [written, Store::read_back(&path, BOOT).unwrap()] {
        assert_eq!(left.recovery.log_read, Some(5));
        assert_eq!(left.recovery.evidence.len(), 1);
        assert_eq!(left.recovery.snapshot.unwrap().monotonic_ns, 1);
        assert_eq!(left.told.len(), 1);
    }
}

#[test]
fn a_boot_begins_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.db");
    let mut store = Store::open(&path, BOOT, KEEP).unwrap();
    let snapshot = Snapshot {
        monotonic_ns: 1,
        state: vec![1],
    };
    assert!(store.wants_snapshot());
    assert!(store.first_start(&snapshot, Some(4), &at(1)).unwrap());
    assert!(!store.first_start(&snapshot, Some(9), &at(2)).unwrap());
    assert!(!store.wants_snapshot());
    assert_eq!(store.recovery().unwrap().first_log, Some(4));
}

/// The first start of a boot could not be noted down before it began.
#[test]
fn a_boot_that_is_noted_down_late_knows_where_history_ends() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.db");
    let mut store = Store::open(&path, BOOT, KEEP).unwrap();
    let start = |pid, first_log| Run {
        first_log,
        ..run(pid)
    };
    store
        .begin_run(&start(41, Some(4)), &host(), &at(1))
        .unwrap();
    store
        .begin_run(&start(42, Some(9)), &host(), &at(2))
        .unwrap();
    let recovery = store.recovery().unwrap();
    assert_eq!((recovery.first_log, recovery.log_read), (Some(4), None));
    assert!(!recovery.backfilled);
}

#[test]
fn starts_that_did_not_end_by_themselves_are_known() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("events.db");
    let mut store = Store::open(&path, BOOT, KEEP).unwrap();
    for (pid, ends) in [(41, false), (42, true), (43, false)] {
        let started = crate::event::Timestamp::from_unix_ns(pid.into());
        let run = Run {
            started,
            ..run(pid)
        };
        store.begin_run(&run, &host(), &at(1)).unwrap();
        if ends {
            store.end_run(&at(2)).unwrap();
        }
    }
    let cut_off = store.recovery().unwrap().cut_off;
    let pids: Vec<u32> = cut_off.iter().map(|run| run.pid).collect();
    assert_eq!(pids, [43, 41]);
    drop(store);
    let rebooted = Store::open(&path, "another", KEEP).unwrap();
    assert!(rebooted.recovery().unwrap().cut_off.is_empty());
}
