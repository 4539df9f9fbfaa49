//! Lives of cgroups: paths and ids that come again, what is forgotten, and that nothing grows for ever.

use std::sync::Arc;

use proptest::prelude::*;

use super::roster::{MAX_LIVES, RETENTION_NS, Roster};
use crate::evidence::{Found, KnownCgroup, Lookup, Names, PodNames};

const UID: &str = "6b1f0c2e-7d3a-4f55-9a61-0b7f4c1de911";

fn known(path: &str, id: u64, at_ns: u64, found: Found, name: Option<&str>) -> KnownCgroup {
    let names = |name: &str| Names {
        container_name: Some(name.to_owned()),
        pod: Some(PodNames {
            namespace: Some("shop".to_owned()),
            name: Some("cart".to_owned()),
            uid: Some(UID.to_owned()),
        }),
        ..Names::default()
    };
    KnownCgroup {
        path: path.into(),
        id: (id > 0).then_some(id),
        version: 2,
        monotonic_ns: at_ns,
        found,
        lookup: name.map_or(Lookup::Absent, |name| Lookup::Found(Arc::new(names(name)))),
    }
}

fn made(path: &str, id: u64, at_ns: u64, name: Option<&str>) -> KnownCgroup {
    known(path, id, at_ns, Found::Created, name)
}

/// What a scan did not find.
fn swept(roster: &mut Roster, began_ns: u64) -> Vec<Arc<str>> {
    roster.sweep(began_ns);
    let mut gone = Vec::new();
    while let Some(some) = roster.sweep_some() {
        gone.extend(some.into_iter().map(|(path, _)| path));
    }
    gone
}

fn name_of(roster: &Roster, path: &str, id: Option<u64>, at_ns: u64) -> Option<String> {
    let names = roster.life(path, id, at_ns)?.names.as_ref()?;
    names.container_name.clone()
}

#[test]
fn a_path_that_is_made_again_is_another_cgroup() {
    let mut roster = Roster::default();
    let path: Arc<str> = "/a".into();
    roster.know(&made("/a", 10, 100, Some("first")));
    roster.remove(&path, Some(10), 200);
    roster.know(&made("/a", 11, 300, Some("second")));
    for (id, at_ns, expected) in [
        (Some(10), 150, "first"),
        (None, 150, "first"),
        (None, 350, "second"),
        (Some(11), 350, "second"),
        // A log's clock that is behind: the id tells.
        (Some(11), 250, "second"),
        (Some(10), 350, "first"),
    ] {
        let name = name_of(&roster, "/a", id, at_ns);
        assert_eq!(name.as_deref(), Some(expected), "{id:?} at {at_ns}");
    }
    assert_eq!(name_of(&roster, "/a", Some(12), 350), None);
}

#[test]
fn an_id_that_is_used_again_stands_for_its_newest_path() {
    let mut roster = Roster::default();
    roster.know(&made("/a", 10, 100, Some("a")));
    roster.remove(&"/a".into(), Some(10), 200);
    roster.know(&made("/b", 10, 300, Some("b")));
    assert_eq!(roster.path_of(10).map(|path| &**path), Some("/b"));
    assert_eq!(name_of(&roster, "/a", Some(10), 150).as_deref(), Some("a"));
    assert_eq!(name_of(&roster, "/b", Some(10), 350).as_deref(), Some("b"));
    roster.tick(200 + RETENTION_NS + 1);
    assert_eq!(roster.path_of(10).map(|path| &**path), Some("/b"));
}

#[test]
fn a_removal_that_was_not_seen_is_told_by_the_next_life() {
    let mut roster = Roster::default();
    roster.know(&made("/a", 10, 100, Some("first")));
    let (_, ended) = roster.know(&made("/a", 11, 300, Some("second")));
    assert_eq!(ended.and_then(|life| life.died_ns), Some(300));
    // A late word of the removal of the first is not of the second.
    assert!(roster.remove(&"/a".into(), Some(10), 310).is_none());
    assert!(roster.life("/a", Some(11), 400).unwrap().died_ns.is_none());
}

#[test]
fn what_was_looked_at_before_its_removal_is_no_new_life() {
    let mut roster = Roster::default();
    roster.know(&made("/a", 10, 100, None));
    roster.remove(&"/a".into(), Some(10), 200);
    roster.know(&known("/a", 10, 190, Found::Late, Some("late")));
    assert_eq!(roster.len(), 1);
    assert!(roster.life("/a", Some(10), 150).unwrap().died_ns.is_some());
    assert_eq!(
        name_of(&roster, "/a", Some(10), 150).as_deref(),
        Some("late")
    );
    // An id can be used again.
    roster.know(&made("/a", 10, 300, None));
    assert_eq!(roster.len(), 2);
}

#[test]
fn removed_ones_are_kept_for_a_time_and_pods_as_long_as_one_of_their_cgroups() {
    let mut roster = Roster::default();
    let path = format!("/kubepods/burstable/pod{UID}/{}", "4f".repeat(32));
    roster.know(&made(&path, 10, 100, Some("app")));
    let inner = format!("{path}/inner");
    assert_eq!(roster.pod(&inner).unwrap().name.as_deref(), Some("cart"));
    roster.remove(&path.as_str().into(), Some(10), 200);
    roster.tick(200 + RETENTION_NS);
    assert!(roster.life(&path, Some(10), 150).is_some());
    roster.tick(201 + RETENTION_NS);
    assert!(roster.is_empty() && roster.pod(&path).is_none() && roster.path_of(10).is_none());
}

#[test]
fn names_that_come_late_are_added_even_when_the_cgroup_is_gone() {
    let mut roster = Roster::default();
    roster.know(&made("/a", 10, 100, None));
    roster.remove(&"/a".into(), Some(10), 200);
    roster.know(&known("/a", 0, 300, Found::LookedUp, Some("late")));
    assert_eq!(
        name_of(&roster, "/a", Some(10), 150).as_deref(),
        Some("late")
    );
    // One that was never seen is remembered as gone.
    roster.know(&known("/b", 0, 300, Found::LookedUp, Some("other")));
    assert_eq!(
        name_of(&roster, "/b", Some(4), 150).as_deref(),
        Some("other")
    );
    assert!(roster.life("/b", None, 300).unwrap().died_ns.is_some());
}

#[test]
fn what_a_scan_does_not_find_was_removed() {
    let mut roster = Roster::default();
    for (path, id) in [("/a", 1), ("/b", 2), ("/c", 3)] {
        roster.know(&made(path, id, 100, None));
    }
    roster.know(&known("/b", 2, 510, Found::Late, None));
    roster.know(&made("/d", 4, 505, None));
    let mut gone = swept(&mut roster, 500);
    gone.sort();
    assert_eq!(gone, ["/a".into(), "/c".into()] as [Arc<str>; 2]);
}

#[test]
fn a_rename_takes_along_what_is_below() {
    let mut roster = Roster::default();
    roster.know(&made("/a", 1, 100, Some("a")));
    roster.know(&made("/a/b", 2, 100, Some("b")));
    roster.know(&made("/ab", 3, 100, Some("ab")));
    roster.rename("/a", "/z");
    assert_eq!(name_of(&roster, "/z/b", Some(2), 200).as_deref(), Some("b"));
    assert_eq!(roster.path_of(1).map(|path| &**path), Some("/z"));
    assert!(roster.life("/a", None, 200).is_none() && roster.life("/ab", None, 200).is_some());
}

#[test]
fn one_path_over_and_over_fills_nothing_and_makes_nothing_else_forgotten() {
    let mut roster = Roster::default();
    let (mine, other): (Arc<str>, Arc<str>) = ("/a".into(), "/b".into());
    for id in 1..=10_000 {
        roster.know(&made("/a", id, id * 2, None));
        roster.remove(&mine, Some(id), id * 2 + 1);
    }
    assert_eq!((roster.len(), roster.gone()), (8, 8));
    let late = RETENTION_NS - 1_000;
    roster.know(&made("/b", 20_000, late, Some("app")));
    roster.remove(&other, Some(20_000), late + 1);
    while roster.tick(RETENTION_NS + 30_000) {}
    assert_eq!((roster.len(), roster.gone()), (1, 1));
    assert_eq!(name_of(&roster, "/b", None, late).as_deref(), Some("app"));
}

#[test]
fn beyond_its_room_the_longest_gone_are_forgotten_and_living_ones_never() {
    let mut roster = Roster::default();
    roster.know(&made("/keep", 1, 1, Some("keep")));
    for number in 0..MAX_LIVES as u64 {
        let path = format!("/churn-{number}");
        roster.know(&made(&path, number + 2, number, None));
        roster.remove(&path.as_str().into(), Some(number + 2), number);
    }
    roster.know(&made("/one-more", 1_000_000, 9, None));
    assert_eq!((roster.len(), roster.untracked()), (MAX_LIVES + 1, 0));
    assert!(roster.life("/keep", Some(1), 5).is_some());
    assert!(roster.life("/churn-0", None, 0).is_none());
}

#[test]
fn nobodys_cgroups_take_the_room_of_containers() {
    let user = "/user.slice/user-1000.slice/user@1000.service";
    let mut roster = Roster::default();
    for number in 0..MAX_LIVES as u64 + 5 {
        let path = format!("{user}/libpod-{number:064x}.scope");
        roster.know(&made(&path, number + 2, number, None));
    }
    assert_eq!((roster.len(), roster.untracked()), (MAX_LIVES, 5));
    let path = format!("/kubepods/burstable/pod{UID}/{}", "4f".repeat(32));
    roster.know(&made(&path, 1, 100, Some("app")));
    assert_eq!(
        name_of(&roster, &path, Some(1), 200).as_deref(),
        Some("app")
    );
}

#[test]
fn what_is_long_goes_in_steps() {
    let mut roster = Roster::default();
    for number in 0..1000 {
        roster.know(&made(&format!("/{number}"), number + 1, 10, None));
    }
    roster.sweep(20);
    let first = roster.sweep_some().map(|gone| gone.len());
    assert!(first < Some(100) && roster.tick(30), "{first:?}");
    while roster.sweep_some().is_some() {}
    assert!(!roster.tick(30));
    let old = 20 + RETENTION_NS + 1;
    assert!(roster.tick(old) && roster.len() > 900);
    while roster.tick(old) {}
    assert!(roster.is_empty());
}

#[test]
fn a_pod_within_a_container_has_not_the_names_of_the_nodes() {
    let mut roster = Roster::default();
    let pod = format!("/kubepods/burstable/pod{UID}");
    roster.know(&made(
        &format!("{pod}/{}", "4f".repeat(32)),
        1,
        100,
        Some("app"),
    ));
    assert!(roster.pod(&pod).is_some());
    let inner = format!(
        "/docker/{}/kubepods/pod{UID}/{}",
        "5f".repeat(32),
        "6f".repeat(32)
    );
    assert!(roster.pod(&inner).is_none());
}

#[derive(Clone, Debug)]
enum Step {
    Make(u8, u8, bool),
    Remove(u8, u8),
    LookUp(u8, bool),
    Rename(u8, u8),
    Sweep,
    Tick,
}

fn step() -> impl Strategy<Value = Step> {
    let (path, id) = (0u8..5, 1u8..6);
    prop_oneof![
        (path.clone(), id.clone(), any::<bool>()).prop_map(|(p, i, n)| Step::Make(p, i, n)),
        (path.clone(), id).prop_map(|(p, i)| Step::Remove(p, i)),
        (path.clone(), any::<bool>()).prop_map(|(p, n)| Step::LookUp(p, n)),
        (path.clone(), path).prop_map(|(a, b)| Step::Rename(a, b)),
        Just(Step::Sweep),
        Just(Step::Tick),
    ]
}

proptest! {
    /// Whatever the watch says, in whatever order: no panic, and when all is gone nothing is left.
    #[test]
    fn nothing_stays_for_ever(steps in prop::collection::vec(step(), 0..60)) {
        let path = |number: u8| match number {
            0 => format!("/kubepods/pod{UID}"),
            1 => format!("/kubepods/pod{UID}/{}", "4f".repeat(32)),
            other => format!("/p{other}"),
        };
        let mut roster = Roster::default();
        let mut at_ns = 1_000;
        for step in steps {
            at_ns += 10;
            match step {
                Step::Make(p, id, named) => {
                    roster.know(&made(&path(p), id.into(), at_ns, named.then_some("n")));
                }
                Step::Remove(p, id) => {
                    roster.remove(&path(p).as_str().into(), Some(id.into()), at_ns);
                }
                Step::LookUp(p, named) => {
                    let name = named.then_some("n");
                    roster.know(&known(&path(p), 0, at_ns, Found::LookedUp, name));
                }
                Step::Rename(a, b) => roster.rename(&path(a), &path(b)),
                Step::Sweep => drop(swept(&mut roster, at_ns)),
                Step::Tick => drop(roster.tick(at_ns)),
            }
        }
        swept(&mut roster, at_ns + 1);
        while roster.tick(u64::MAX) {}
        prop_assert_eq!(roster.len(), 0);
        prop_assert!((0..10).all(|id| roster.path_of(id).is_none()));
    }
}
