//! Pages, tails and single events, against a model in memory.

use proptest::prelude::*;

use super::{
    super::query_model::{Both, changes, filters},
    *,
};
use crate::{
    clock::Now,
    event::{
        ContainerDeletion, Event, OomInstance, OomKill, Owner, OwnerKind, Scope, Timestamp,
        VictimEnd,
    },
    text::Comm,
};

fn keys(events: &[Stored]) -> Vec<(i64, i64)> {
    events
        .iter()
        .map(|event| (event.time_ns, event.seq))
        .collect()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn pages_are_what_matches_at_that_moment(
        first in changes(48),
        filter in filters(),
        newest_first: bool,
        pages in prop::collection::vec((1_usize..6, changes(4)), 1..8),
    ) {
        let mut both = Both::new();
        both.change(&first);
        let reader = both.reader();
        let order = if newest_first { Order::NewestFirst } else { Order::OldestFirst };
        let mut place: Option<Cursor> = None;
        for (limit, changes) in pages {
            let mut expected = both.meant(&filter);
            let key = place.map(|cursor| (cursor.time_ns, cursor.seq));
            if newest_first {
                expected.reverse();
                expected.retain(|at| key.is_none_or(|key| *at < key));
            } else {
                expected.retain(|at| key.is_none_or(|key| *at > key));
            }
            let more = expected.len() > limit;
            expected.truncate(limit);
            let page = reader.page(&filter, order, place, limit).unwrap();
            prop_assert_eq!(keys(&page.events), expected);
            prop_assert_eq!(page.next.is_some(), more);
            place = page.events.last().map(|event| event.cursor).or(place);
            both.change(&changes);
        }
    }

    #[test]
    fn a_tail_is_all_that_matches_in_the_order_of_storing(
        first in changes(48),
        filter in filters(),
        limit in 1_usize..6,
        reads in prop::collection::vec(changes(4), 1..8),
    ) {
        let mut both = Both::new();
        both.change(&first);
        let reader = both.reader();
        let mut place = 0;
        for changes in reads {
            let mut expected: Vec<_> = both.meant(&filter).iter().map(|(_, seq)| *seq).collect();
            expected.sort_unstable();
            expected.retain(|seq| *seq > place);
            let more = expected.len() > limit;
            expected.truncate(limit);
            let tail = reader.after_seq(place, &filter, limit).unwrap();
            let seqs: Vec<_> = tail.events.iter().map(|event| event.seq).collect();
            prop_assert_eq!(seqs, expected);
            prop_assert!(tail.more || !more);
            prop_assert!(tail.through >= place);
            place = tail.through;
            both.change(&changes);
        }
    }

    /// Nothing is left of what was removed.
    #[test]
    fn the_index_holds_what_is_stored_and_no_more(changes in changes(24)) {
        let mut both = Both::new();
        both.change(&changes);
        let seqs: Vec<_> = both.model.keys().copied().collect();
        for seq in seqs {
            both.remove(seq);
        }
        for table in ["term", "posting", "indexed"] {
            let sql = format!("SELECT count(*) FROM {table}");
            let rows: i64 = both.store.db.query_row(&sql, [], |row| row.get(0)).unwrap();
            prop_assert_eq!((table, rows), (table, 0));
        }
    }
}

fn alert(id: &str, time: i128) -> Event {
    let mut kill = OomKill::for_tests();
    kill.id = id.into();
    kill.time = Some(Timestamp::from_unix_ns(time));
    Event::OomKill(Box::new(kill))
}

#[test]
fn an_event_is_found_by_its_id() {
    let mut both = Both::new();
    both.add(|_| alert("same", 5));
    both.add(|_| {
        Event::OomInstance(Box::new(OomInstance {
            id: "same".into(),
            ..OomInstance::for_tests(Vec::new())
        }))
    });
    let reader = both.reader();
    let kind = |kind| reader.get(kind, "same").unwrap().map(|event| event.kind);
    assert_eq!(kind(None), Some(Kind::OomKill));
    assert_eq!(kind(Some(Kind::OomInstance)), Some(Kind::OomInstance));
    assert_eq!(kind(Some(Kind::ContainerCreation)), None);
    let event = reader.get(None, "same").unwrap().unwrap();
    assert_eq!(
        event.body,
        serde_json::to_string(&alert("same", 5)).unwrap()
    );
    assert_eq!(event.cursor.to_string(), "1.5.1");
}

#[test]
fn what_was_removed_unread_is_a_gap_of_its_kind() {
    let mut both = Both::new();
    for n in 0..5 {
        both.add(|id| alert(id, n));
    }
    both.remove(1);
    both.remove(2);
    let reader = both.reader();
    let all = Filter::default();
    let tail = |seq, filter: &Filter| reader.after_seq(seq, filter, 10).unwrap();
    assert_eq!(
        tail(0, &all).gap,
        Some(Gap {
            through: 2,
            at_most: 2
        })
    );
    assert_eq!(
        tail(1, &all).gap,
        Some(Gap {
            through: 2,
            at_most: 1
        })
    );
    assert_eq!((tail(2, &all).gap, tail(2, &all).removed), (None, 2));
    let reports = Filter {
        kinds: vec![Kind::OomInstance],
        ..Filter::default()
    };
    assert_eq!(tail(0, &reports).gap, None);
    // All are gone: the place moves on all the same.
    let mut both = both;
    (3..=5).for_each(|seq| both.remove(seq));
    let tail = both.reader().after_seq(0, &all, 10).unwrap();
    assert_eq!((tail.events.len(), tail.through, tail.more), (0, 5, false));
}

#[test]
fn a_place_that_the_store_has_not_reached_is_of_another() {
    let mut both = Both::new();
    both.add(|id| alert(id, 0));
    let refused = both.reader().after_seq(2, &Filter::default(), 1);
    assert!(matches!(
        refused,
        Err(QueryError::NoSuchPlace { place: 2, last: 1 })
    ));
}

#[test]
fn the_beginning_of_very_many_ids_is_refused() {
    let mut both = Both::new();
    let news = |digit: usize| ContainerDeletion {
        id: digit.to_string().into(),
        owner: Owner {
            container_id: Some(format!("0123456789abcdef{digit:04x}")),
            ..Owner::of(OwnerKind::Container)
        },
        ..ContainerDeletion::for_tests()
    };
    for digit in 0..65 {
        both.add(|_| Event::ContainerDeletion(Box::new(news(digit))));
    }
    let filter = |id: &str| Filter {
        container: Some(id.into()),
        ..Filter::default()
    };
    let ask = |id| {
        both.reader()
            .page(&filter(id), Order::OldestFirst, None, 100)
    };
    assert!(matches!(ask("0123456789ab"), Err(QueryError::Ambiguous(_))));
    assert_eq!(ask("0123456789abcdef000").unwrap().events.len(), 16);
}

#[test]
fn what_is_no_store_is_refused_and_none_is_made() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    assert!(matches!(Reader::open(&path), Err(QueryError::Missing(_))));
    assert!(!path.exists());
    std::fs::write(&path, "").unwrap();
    assert!(matches!(Reader::open(&path), Err(QueryError::Missing(_))));
    std::fs::write(
        &path,
        "no database, but long enough for the header of one".repeat(9),
    )
    .unwrap();
    let refused = Reader::open(&path);
    assert!(refused.is_err_and(|error| !matches!(error, QueryError::Missing(_))));
}

#[test]
fn a_store_is_read_while_it_is_written_and_after_its_agent_has_gone() {
    let mut both = Both::new();
    let reader = both.reader();
    let count = |reader: &Reader| {
        let page = reader.page(&Filter::default(), Order::NewestFirst, None, 10);
        page.unwrap().events.len()
    };
    assert_eq!(count(&reader), 0);
    both.add(|id| alert(id, 0));
    assert_eq!(count(&reader), 1);
    drop(reader);
    let Both { dir, mut store, .. } = both;
    store.end_run(&Now::read()).unwrap();
    drop(store);
    let before = std::fs::read(dir.path().join("s")).unwrap();
    assert_eq!(count(&Reader::open(&dir.path().join("s")).unwrap()), 1);
    assert!(before == std::fs::read(dir.path().join("s")).unwrap());
    // Without a place for the files beside it.
    let db = Connection::open_with_flags(
        immutable(&dir.path().join("s")),
        OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_URI,
    );
    assert_eq!(count(&Reader::of(db.unwrap(), dir.path()).unwrap()), 1);
}

#[test]
fn the_view_names_things_for_people() {
    let mut both = Both::new();
    both.add(|id| {
        let Event::OomKill(mut kill) = alert(id, 1_700_000_000_000_000_000) else {
            unreachable!()
        };
        kill.victim.comm = Comm::new(b"hog");
        kill.victim.pid = Some(7);
        let report = OomInstance {
            id: id.into(),
            scope: Some(Scope::Memcg),
            ..OomInstance::for_tests(vec![*kill.clone(), *kill])
        };
        Event::OomInstance(Box::new(report))
    });
    let row: (String, String, String, i64, String, i64) = both
        .store
        .db
        .query_row(
            "SELECT kind, scope, outcome, victims, comm, pid FROM events",
            [],
            |row| row.try_into(),
        )
        .unwrap();
    let expected = ("OomInstance", "memcg", "killed", 2, "hog", 7);
    let (kind, scope, outcome, victims, comm, pid) = &row;
    assert_eq!(
        (&**kind, &**scope, &**outcome, *victims, &**comm, *pid),
        expected
    );
    // An end, as its kill.
    both.add(|id| {
        let Event::OomKill(mut kill) = alert(id, 1) else {
            unreachable!()
        };
        kill.victim.comm = Comm::new(b"hog");
        kill.victim.pid = Some(7);
        Event::VictimEnd(Box::new(VictimEnd {
            schema: 1,
            id: id.into(),
            time: Timestamp::from_unix_ns(1),
            monotonic_ns: 0,
            boot_id: None,
            node: None,
            cluster: None,
            kill: *kill,
        }))
    });
    let end = "SELECT comm, pid FROM events WHERE kind = 'VictimEnd'";
    let end: (String, i64) = (both.store.db)
        .query_row(end, [], |row| row.try_into())
        .unwrap();
    assert_eq!(end, ("hog".to_owned(), 7));
}

#[test]
fn no_statement_sorts_or_searches_a_table() {
    let both = Both::new();
    let mut statements: Vec<String> = super::super::lists::statements();
    statements.extend([AFTER, BY_SEQ, BY_ID].map(str::to_owned));
    for statement in statements {
        let plan = format!("EXPLAIN QUERY PLAN {statement}");
        let mut plan = both.store.db.prepare(&plan).unwrap();
        let nothing = rusqlite::params_from_iter(std::iter::repeat_n(0, plan.parameter_count()));
        let steps = plan
            .query_map(nothing, |row| row.get::<_, String>(3))
            .unwrap();
        for step in steps {
            let step = step.unwrap();
            let is_lookup = step.starts_with("SEARCH ");
            // Of what a lookup has found.
            let is_inner = step.starts_with("CORRELATED SCALAR SUBQUERY")
                || step.starts_with("CO-ROUTINE")
                || step.starts_with("SCAN (subquery");
            assert!(is_lookup || is_inner, "{statement}\n{step}");
        }
    }
}
