//! What becomes evidence of what was seen, with runtimes that the test makes up.

use std::sync::{Mutex, PoisonError};

use super::*;
use crate::evidence::Unreadable;

const MS: u64 = 1_000_000;

/// What is on disk for every path.
#[derive(Clone)]
struct Disk(Arc<Mutex<Lookup>>);

impl Lookups for Disk {
    fn lookup(&mut self, _: &str) -> Lookup {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()
    }

    fn exit_code(&mut self, _: &str, names: Option<&Names>) -> Option<i32> {
        Some(if names.is_some() { 137 } else { 1 })
    }
}

struct Rig {
    core: Core,
    disk: Disk,
    out: Vec<Evidence>,
}

impl Rig {
    fn new(lookup: Lookup) -> Self {
        let disk = Disk(Arc::new(Mutex::new(lookup)));
        Self {
            core: Core::new(Box::new(disk.clone()), 1),
            disk,
            out: Vec::new(),
        }
    }

    fn set(&self, lookup: Lookup) {
        *self.disk.0.lock().unwrap() = lookup;
    }

    fn change(&mut self, change: Change) -> bool {
        let gone = ShortLived::default();
        self.core.change(change, 0, &gone, &mut self.out)
    }

    fn take(&mut self) -> Vec<CgroupEvidence> {
        let out = self.out.drain(..).map(|evidence| match evidence {
            Evidence::Cgroup(evidence) => *evidence,
            other => panic!("{other:?}"),
        });
        out.collect()
    }
}

fn made(path: &str, id: u64) -> Change {
    Change::Made {
        path: path.into(),
        id,
        monotonic_ns: 5,
    }
}

fn removed(path: &str, id: u64) -> Change {
    Change::Removed {
        path: path.into(),
        id,
        monotonic_ns: 6,
    }
}

fn renamed(path: &str, id: u64) -> Change {
    Change::Renamed {
        from: None,
        path: path.into(),
        id,
        monotonic_ns: 7,
    }
}

fn known(path: &str, id: u64, at: u64, found: Found, lookup: Lookup) -> CgroupEvidence {
    CgroupEvidence::Known(KnownCgroup {
        path: path.into(),
        id: Some(id),
        version: 1,
        monotonic_ns: at,
        found,
        lookup,
    })
}

fn gone(path: &str, id: u64, exit_code: Option<i32>) -> CgroupEvidence {
    CgroupEvidence::Removed {
        path: path.into(),
        id: Some(id),
        monotonic_ns: 6,
        exit_code,
    }
}

fn web() -> Lookup {
    let container_name = Some("web".to_owned());
    Lookup::Found(Arc::new(Names {
        container_name,
        ..Names::default()
    }))
}

#[test]
fn what_is_made_is_looked_up_and_what_is_removed_asked_for_its_exit_code() {
    let mut rig = Rig::new(web());
    rig.change(made("/a", 1));
    rig.change(removed("/a", 1));
    rig.change(removed("/never-seen", 2));
    let wanted = [
        known("/a", 1, 5, Found::Created, web()),
        gone("/a", 1, Some(137)),
        gone("/never-seen", 2, Some(1)),
    ];
    assert_eq!(rig.take(), wanted);
}

#[test]
fn names_that_are_not_there_yet_are_looked_for_again() {
    let mut rig = Rig::new(Lookup::Absent);
    rig.change(made("/a", 1));
    let due = rig.core.next_ns().unwrap();
    assert_eq!(due, 4 * MS);
    assert!(rig.core.look_at_one_due(due, &mut rig.out));
    rig.set(web());
    let due = rig.core.next_ns().unwrap();
    assert!(rig.core.look_at_one_due(due, &mut rig.out));
    let wanted = [
        known("/a", 1, 5, Found::Created, Lookup::Absent),
        known("/a", 1, 9 * MS, Found::LookedUp, web()),
    ];
    assert_eq!(rig.take(), wanted);
    assert_eq!(rig.core.next_ns(), None);
}

#[test]
fn a_file_that_stays_unreadable_is_told_of_in_the_end() {
    let bad = Lookup::Unreadable(Unreadable::Malformed);
    let mut rig = Rig::new(Lookup::Absent);
    rig.change(made("/a", 1));
    rig.take();
    rig.set(bad.clone());
    while let Some(due) = rig.core.next_ns() {
        assert!(rig.core.look_at_one_due(due, &mut rig.out));
    }
    let wanted = [known("/a", 1, 6_000 * MS, Found::LookedUp, bad)];
    assert_eq!(rig.take(), wanted);
}

#[test]
fn nobody_looks_for_what_is_removed() {
    let mut rig = Rig::new(Lookup::Absent);
    rig.change(made("/a", 1));
    rig.change(removed("/a", 1));
    assert_eq!(rig.core.next_ns(), None);
}

#[test]
fn what_lived_for_a_moment_is_not_looked_up() {
    let mut rig = Rig::new(web());
    let changes = [made("/a", 1), removed("/a", 1), made("/a", 2)];
    let short = ShortLived::of(&changes);
    for change in changes {
        rig.core.change(change, 0, &short, &mut rig.out);
    }
    let wanted = [
        known("/a", 1, 5, Found::Created, Lookup::Absent),
        gone("/a", 1, None),
        known("/a", 2, 5, Found::Created, web()),
    ];
    assert_eq!(rig.take(), wanted);
    assert_eq!(rig.core.counts.lookups, 1);
}

#[test]
fn a_rename_is_told_with_the_path_before() {
    let mut rig = Rig::new(Lookup::NotNeeded);
    rig.change(made("/s/a", 1));
    rig.take();
    assert!(!rig.change(renamed("/s/b", 1)));
    assert!(!rig.change(renamed("/s/c", 1)));
    // A name that is nowhere known needs a scan.
    assert!(rig.change(renamed("/s/x", 9)));
    let rename = |from: &str, path: &str| CgroupEvidence::Renamed {
        from: from.into(),
        path: path.into(),
        id: Some(1),
        monotonic_ns: 7,
    };
    let wanted = [
        rename("/s/a", "/s/b"),
        rename("/s/b", "/s/c"),
        known("/s/x", 9, 7, Found::Late, Lookup::NotNeeded),
    ];
    assert_eq!(rig.take(), wanted);
}

#[test]
fn a_question_is_answered_also_with_nothing() {
    let mut rig = Rig::new(Lookup::Absent);
    let ask = |id| Ask {
        path: "/a".into(),
        id,
    };
    let answer = rig.core.answer(ask(Some(1)), 3);
    rig.out.push(answer);
    let wanted = [known("/a", 1, 3, Found::LookedUp, Lookup::Absent)];
    assert_eq!(rig.take(), wanted);
    // It may come, and then is told.
    rig.set(web());
    let due = rig.core.next_ns().unwrap();
    rig.core.look_at_one_due(due, &mut rig.out);
    assert_eq!(rig.take(), [known("/a", 1, due, Found::LookedUp, web())]);
}

#[test]
fn a_loss_asks_for_a_scan_and_a_scan_forgets_what_it_does_not_see() {
    let mut rig = Rig::new(web());
    rig.change(made("/a", 1));
    rig.change(made("/b", 2));
    assert!(rig.change(Change::Lost { events: Some(3) }));
    rig.take();
    rig.core.scan_begins();
    let seen = Seen {
        path: "/a".into(),
        id: 1,
        monotonic_ns: 8,
        found: Found::Late,
    };
    rig.core.seen(seen, 8, &mut rig.out);
    rig.core.scanned(7, &mut rig.out);
    let wanted = [
        known("/a", 1, 8, Found::Late, web()),
        CgroupEvidence::Scanned { began_ns: 7 },
    ];
    assert_eq!(rig.take(), wanted);
    assert_eq!(rig.core.containers.len(), 1);
    assert_eq!(rig.core.last_names.len(), 1);
    assert_eq!(rig.core.counts.lost, 3);
}
