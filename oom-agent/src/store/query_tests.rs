//! Pages, tails and single events, against a model in memory.

use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;
use rusqlite::params;
use tempfile::TempDir;

use super::*;
use crate::{
    clock::Now,
    event::{
        Cgroup, ContainerCreation, ContainerDeletion, Event, Limit, LimitSource, OomInstance,
        OomKill, Owner, OwnerKind, Pod, SCHEMA, Scope, Timestamp,
    },
    store::{Batch, CgroupFilter, Entry, Store},
    text::Comm,
};

const PATHS: [&str; 5] = ["/", "/a", "/a/b", "/a/bc", "/a/b/c"];
const IDS: [&str; 4] = [
    "0123456789abcdef",
    "0123456789ab0000",
    "0123456789ab",
    "web",
];
const NAMES: [&str; 3] = ["web", "0123456789ab", "db"];
const WORDS: [&str; 3] = ["x", "y", "z"];
const SCOPES: [Scope; 2] = [Scope::Memcg, Scope::System];

/// One of these, or none.
fn pick<'a, T: ?Sized>(byte: u8, of: &[&'a T]) -> Option<&'a T> {
    of.get(usize::from(byte) % (of.len() + 1)).copied()
}

fn text(byte: u8, of: &[&str]) -> Option<String> {
    pick(byte, of).map(str::to_owned)
}

fn cgroup(byte: u8) -> Cgroup {
    Cgroup {
        path: text(byte, &PATHS),
        id: None,
        version: None,
    }
}

fn owner(bytes: &[u8]) -> Owner {
    Owner {
        container_id: text(bytes[0], &IDS),
        container_name: text(bytes[1], &NAMES),
        unit: text(bytes[2], &WORDS),
        pod: pick(bytes[3], &WORDS).map(|uid| Pod {
            namespace: text(bytes[4], &WORDS),
            name: text(bytes[5], &WORDS),
            uid: uid.to_owned(),
            qos: None,
        }),
        ..Owner::of(OwnerKind::Container)
    }
}

fn kill(bytes: &[u8], id: &str, time: Timestamp) -> OomKill {
    let mut kill = OomKill::for_tests();
    kill.id = id.into();
    kill.time = Some(time);
    kill.boot_id = pick(bytes[6], &WORDS).map(Into::into);
    kill.victim.comm = Comm::new(pick(bytes[7], &WORDS).unwrap_or_default().as_bytes());
    kill.victim.tid = u32::from(bytes[8] % 3);
    kill.victim.pid = Some(u32::from(bytes[9] % 4)).filter(|pid| *pid > 0);
    kill.cgroup = Some(cgroup(bytes[10]));
    kill.owner = (bytes[11] > 40).then(|| owner(bytes));
    kill.backfill = bytes[11] % 3 == 0;
    kill
}

/// An event of small alphabets, so that things collide.
fn event(bytes: &[u8; 24], id: &str) -> Event {
    let time = Timestamp::from_unix_ns(i128::from(bytes[12] % 4));
    let boot_id = pick(bytes[6], &WORDS).map(Into::into);
    match bytes[13] % 4 {
        0 => Event::OomKill(Box::new(kill(bytes, id, time))),
        1 => {
            let several = bytes.windows(12).take(usize::from(bytes[14] % 4));
            let kills = several.map(|bytes| kill(bytes, id, time)).collect();
            let mut report = OomInstance::for_tests(kills);
            report.id = id.into();
            report.time = Some(time);
            report.boot_id = boot_id;
            report.backfill = bytes[18] % 3 == 0;
            report.scope = SCOPES.get(usize::from(bytes[15] % 3)).copied();
            report.limit = (bytes[16] > 80).then(|| Limit {
                cgroup: cgroup(bytes[17]),
                level: None,
                limit_bytes: None,
                usage_bytes: None,
                failcnt: None,
                source: LimitSource::Kmsg,
            });
            Event::OomInstance(Box::new(report))
        }
        2 => Event::ContainerCreation(Box::new(ContainerCreation {
            schema: SCHEMA,
            id: id.into(),
            time,
            monotonic_ns: 0,
            boot_id,
            node: None,
            cgroup: cgroup(bytes[10]),
            owner: owner(bytes),
            late: false,
        })),
        _ => Event::ContainerDeletion(Box::new(ContainerDeletion {
            id: id.into(),
            time,
            boot_id,
            cgroup: cgroup(bytes[10]),
            owner: owner(bytes),
            ..ContainerDeletion::for_tests()
        })),
    }
}

prop_compose! {
    /// Mostly few conditions.
    fn filters()(bytes: [u8; 15], rare in 1_u8..8) -> Filter {
        let given = |at: usize| bytes[at] / 8 % 8 < rare;
        let some = |at: usize, of: &[&str]| text(bytes[at], of).filter(|_| given(at));
        Filter {
            since: given(0).then_some(i64::from(bytes[0] % 5)),
            until: given(1).then_some(i64::from(bytes[1] % 5)),
            kinds: Kind::ALL.into_iter().filter(|kind| bytes[2] >> (*kind as u8) & 1 == 1).collect(),
            cgroup: some(3, &PATHS).map(|path| CgroupFilter { path, subtree: bytes[4] % 2 == 0 }),
            container: if bytes[5] % 2 == 0 { some(6, &IDS) } else { some(6, &NAMES) },
            pod: some(7, &WORDS),
            namespace: some(8, &WORDS),
            unit: some(9, &WORDS),
            comm: some(10, &WORDS),
            pid: given(11).then_some(u32::from(bytes[11] % 4)),
            scope: SCOPES.get(usize::from(bytes[12] % 3)).copied().filter(|_| given(12)),
            boot: some(13, &WORDS),
            backfill: given(14).then_some(bytes[14] % 2 == 0),
        }
    }
}

/// What is done to a store between two questions.
#[derive(Clone, Debug)]
enum Change {
    Add(Box<[u8; 24]>),
    Remove(prop::sample::Index),
}

fn changes(most: usize) -> impl Strategy<Value = Vec<Change>> {
    let bytes = any::<[u8; 24]>().prop_map(|bytes| Change::Add(Box::new(bytes)));
    let change =
        prop_oneof![4 => bytes, 1 => any::<prop::sample::Index>().prop_map(Change::Remove)];
    prop::collection::vec(change, 0..most)
}

/// A store, and what is in it.
struct Both {
    dir: TempDir,
    store: Store,
    model: BTreeMap<i64, Arc<Event>>,
    made: usize,
}

impl Both {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("s"), "boot", 0).unwrap();
        store.db.pragma_update(None, "synchronous", "OFF").unwrap();
        Self {
            dir,
            store,
            model: BTreeMap::new(),
            made: 0,
        }
    }

    fn reader(&self) -> Reader {
        Reader::open(&self.dir.path().join("s")).unwrap()
    }

    fn change(&mut self, changes: &[Change]) {
        for change in changes {
            match change {
                Change::Add(bytes) => self.add(|id| event(bytes, id)),
                Change::Remove(_) if self.model.is_empty() => {}
                Change::Remove(at) => {
                    let seq = *self.model.keys().nth(at.index(self.model.len())).unwrap();
                    self.remove(seq);
                }
            }
        }
    }

    fn add(&mut self, make: impl FnOnce(&str) -> Event) {
        self.made += 1;
        let event = Arc::new(make(&format!("e{}", self.made)));
        let mut batch = Batch::default();
        batch.push(Entry::Event(event.clone()));
        self.store.commit(&batch, &Now::read()).unwrap();
        let seq = self.reader().last_seq().unwrap();
        assert!(self.model.insert(seq, event).is_none());
    }

    /// As retention does.
    fn remove(&mut self, seq: i64) {
        let event = self.model.remove(&seq).unwrap();
        let tx = self.store.db.transaction().unwrap();
        index::remove(&tx, seq).unwrap();
        tx.execute("DELETE FROM event WHERE seq = ?", [seq])
            .unwrap();
        tx.execute(
            "UPDATE usage SET removed = removed + 1, removed_through = max(removed_through, ?1)
               WHERE kind = ?2",
            params![seq, event.kind().as_str()],
        )
        .unwrap();
        tx.commit().unwrap();
    }

    /// Those that a filter means, as (time, seq), in the order of time.
    fn meant(&self, filter: &Filter) -> Vec<(i64, i64)> {
        let meant = self.model.iter().filter(|(_, event)| filter.matches(event));
        let mut keys: Vec<_> = meant
            .map(|(seq, event)| (event.time().unwrap().as_unix_ns().try_into().unwrap(), *seq))
            .collect();
        keys.sort_unstable();
        keys
    }
}

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
    assert_eq!(tail(2, &all).gap, None);
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
