//! Random events, filters and changes, and a store with its model in memory.

use std::{collections::BTreeMap, sync::Arc};

use proptest::prelude::*;
use rusqlite::params;
use tempfile::TempDir;

use super::{Reader, index};
use crate::{
    clock::Now,
    event::{
        Cgroup, ContainerCreation, ContainerDeletion, Event, Kind, Limit, LimitSource, OomInstance,
        OomKill, Owner, OwnerKind, Pod, SCHEMA, Scope, Timestamp,
    },
    store::{Batch, CgroupFilter, Entry, Filter, Store},
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
    kill.backfill = bytes[11].is_multiple_of(3);
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
            report.backfill = bytes[18].is_multiple_of(3);
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
            cluster: None,
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
    pub(super) fn filters()(bytes: [u8; 15], rare in 1_u8..8) -> Filter {
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
            ..Filter::default()
        }
    }
}

/// What is done to a store between two questions.
#[derive(Clone, Debug)]
pub(super) enum Change {
    Add(Box<[u8; 24]>),
    Remove(prop::sample::Index),
}

pub(super) fn changes(most: usize) -> impl Strategy<Value = Vec<Change>> {
    let bytes = any::<[u8; 24]>().prop_map(|bytes| Change::Add(Box::new(bytes)));
    let change =
        prop_oneof![4 => bytes, 1 => any::<prop::sample::Index>().prop_map(Change::Remove)];
    prop::collection::vec(change, 0..most)
}

/// A store, and what is in it.
pub(super) struct Both {
    pub(super) dir: TempDir,
    pub(super) store: Store,
    pub(super) model: BTreeMap<i64, Arc<Event>>,
    made: usize,
}

impl Both {
    pub(super) fn new() -> Self {
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

    pub(super) fn reader(&self) -> Reader {
        Reader::open(&self.dir.path().join("s")).unwrap()
    }

    pub(super) fn change(&mut self, changes: &[Change]) {
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

    pub(super) fn add(&mut self, make: impl FnOnce(&str) -> Event) {
        self.made += 1;
        let event = Arc::new(make(&format!("e{}", self.made)));
        let mut batch = Batch::default();
        batch.push(Entry::Event(event.clone()));
        self.store.commit(&batch, &Now::read()).unwrap();
        let seq = self.reader().last_seq().unwrap();
        assert!(self.model.insert(seq, event).is_none());
    }

    /// As retention does.
    pub(super) fn remove(&mut self, seq: i64) {
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
    pub(super) fn meant(&self, filter: &Filter) -> Vec<(i64, i64)> {
        let meant = self.model.iter().filter(|(_, event)| filter.matches(event));
        let mut keys: Vec<_> = meant
            .map(|(seq, event)| (event.time().unwrap().as_unix_ns().try_into().unwrap(), *seq))
            .collect();
        keys.sort_unstable();
        keys
    }
}
