//! What becomes evidence of what was seen, with runtimes that the test makes up.

use std::sync::{Mutex, PoisonError};

use super::*;
use crate::evidence::Unreadable;

const MS: u64 = 1_000_000;

/// What is on disk for every path; how a container ended that has names.
#[derive(Clone)]
struct Disk(Arc<Mutex<(Lookup, Ended)>>);

impl Lookups for Disk {
    fn lookup(&mut self, _: &str) -> Lookup {
        let disk = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        disk.0.clone()
    }

    fn ended(&mut self, _: &str, names: Option<&Names>) -> Ended {
        let disk = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        names.map_or(Ended::Untold, |_| disk.1)
    }

    fn misses(&self) -> Misses {
        Misses {
            absent: 1,
            cut_listings: 2,
            settings: 3,
        }
    }
}

struct Rig {
    core: Core,
    disk: Disk,
    out: Vec<Evidence>,
}

impl Rig {
    fn new(lookup: Lookup) -> Self {
        let disk = Disk(Arc::new(Mutex::new((lookup, Ended::With(137)))));
        Self {
            core: Core::new(Box::new(disk.clone()), 1),
            disk,
            out: Vec::new(),
        }
    }

    fn set(&self, lookup: Lookup) {
        self.disk.0.lock().unwrap().0 = lookup;
    }

    fn ends(&self, ended: Ended) {
        self.disk.0.lock().unwrap().1 = ended;
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
        gone("/never-seen", 2, None),
    ];
    assert_eq!(rig.take(), wanted);
}

#[test]
fn what_lookups_did_not_find_is_counted_with_all_else() {
    let rig = Rig::new(web());
    let misses = rig.core.counts().misses;
    assert_eq!(
        (misses.absent, misses.cut_listings, misses.settings),
        (1, 2, 3)
    );
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
    rig.core.answer(ask(Some(1)), 3, &mut rig.out);
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

#[test]
fn what_its_runtime_writes_down_after_the_removal_is_waited_for() {
    let mut rig = Rig::new(web());
    rig.change(made("/a", 1));
    rig.take();
    rig.ends(Ended::NotYet);
    rig.change(removed("/a", 1));
    assert_eq!(rig.take(), []);
    let due = rig.core.next_ns().unwrap();
    assert!(rig.core.look_at_one_due(due, &mut rig.out));
    assert_eq!(rig.take(), []);
    rig.ends(Ended::With(137));
    let due = rig.core.next_ns().unwrap();
    assert!(rig.core.look_at_one_due(due, &mut rig.out));
    assert_eq!(rig.take(), [gone("/a", 1, Some(137))]);
    assert_eq!(rig.core.next_ns(), None);
    // Never written: told all the same, after 300 ms.
    rig.change(made("/a", 2));
    rig.ends(Ended::NotYet);
    rig.take();
    rig.change(removed("/a", 2));
    let mut last = 0;
    while let Some(due) = rig.core.next_ns() {
        assert_eq!(rig.take(), []);
        assert!(rig.core.look_at_one_due(due, &mut rig.out));
        last = due;
    }
    assert_eq!(rig.take(), [gone("/a", 2, None)]);
    assert_eq!(last, 300 * MS);
}

#[test]
fn a_removal_that_waits_is_told_before_what_follows_it() {
    let rig = || {
        let mut rig = Rig::new(web());
        rig.change(made("/a", 1));
        rig.ends(Ended::NotYet);
        rig.change(removed("/a", 1));
        rig.take();
        rig
    };
    // Another life of the path, and what is asked of it.
    let mut again = rig();
    again.change(made("/b", 3));
    again.change(made("/a", 2));
    let wanted = [
        known("/b", 3, 5, Found::Created, web()),
        gone("/a", 1, None),
        known("/a", 2, 5, Found::Created, web()),
    ];
    assert_eq!(again.take(), wanted);
    let mut asked = rig();
    for id in [1, 2] {
        let (path, id) = ("/a".into(), Some(id));
        asked.core.answer(Ask { path, id }, 3, &mut asked.out);
    }
    let wanted = [
        known("/a", 1, 3, Found::LookedUp, web()),
        gone("/a", 1, None),
        known("/a", 2, 3, Found::LookedUp, web()),
    ];
    assert_eq!(asked.take(), wanted);
    // A complete scan would say that it was missed.
    let mut scanned = rig();
    scanned.core.scan_begins();
    scanned.core.scanned(7, &mut scanned.out);
    let wanted = [gone("/a", 1, None), CgroupEvidence::Scanned { began_ns: 7 }];
    assert_eq!(scanned.take(), wanted);
    // The end of the watch; by then it may be there.
    let mut stopped = rig();
    stopped.ends(Ended::With(9));
    stopped.core.finish(&mut stopped.out);
    assert_eq!(stopped.take(), [gone("/a", 1, Some(9))]);
    assert_eq!(stopped.core.next_ns(), None);
}
