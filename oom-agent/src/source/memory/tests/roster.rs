//! Which cgroups are recorded, and which make room for others.

use super::{S, docker, known, removed};
use crate::{
    evidence::{CgroupEvidence, Found, KnownCgroup, Lookup, Names},
    source::memory::{
        history::Reading,
        roster::{KEEP_NS, MAX_GONE, MAX_RECORDED, MAX_WATCHED, Roster},
    },
};

const POD: &str = "/kubepods/burstable/pod0e5b1d52-1111-2222-3333-444455556666";

fn paths(roster: &Roster) -> Vec<&str> {
    roster.live.keys().map(|path| &**path).collect()
}

fn read(roster: &mut Roster, path: &str, at_ns: u64) {
    roster.live.get_mut(path).unwrap().history.push(&Reading {
        monotonic_ns: at_ns,
        usage_bytes: 4096,
        detail: None,
    });
}

#[test]
fn containers_and_pods_are_recorded_others_watched() {
    let mut roster = Roster::default();
    let container = format!("{POD}/{:064x}", 7);
    let nested = format!("{}/init.scope", docker(1));
    for path in [
        POD,
        &container,
        &docker(1),
        &nested,
        "/system.slice/a.service",
        "/",
    ] {
        roster.take(&known(path, Some(1), S));
    }
    assert_eq!(paths(&roster), [&docker(1), POD, &container]);
    let watched: Vec<&str> = roster.watched.keys().map(|path| &**path).collect();
    assert_eq!(watched, [&nested, "/system.slice/a.service"]);
    // A second after it was made its limit is looked for.
    assert_eq!(roster.watched_due_ns, Some(2 * S));
    // What its path does not tell, its runtime may.
    let names = Names {
        container_id: Some("web".into()),
        ..Names::default()
    };
    roster.take(&CgroupEvidence::Known(KnownCgroup {
        path: "/system.slice/a.service".into(),
        id: Some(1),
        version: 2,
        monotonic_ns: 2 * S,
        found: Found::LookedUp,
        lookup: Lookup::Found(names.into()),
    }));
    assert_eq!((roster.live.len(), roster.watched.len()), (4, 1));
}

#[test]
fn containers_come_first() {
    let mut roster = Roster::default();
    roster.take(&known(POD, None, S));
    for number in 1..MAX_RECORDED {
        roster.take(&known(&docker(number), None, S));
    }
    assert_eq!((roster.live.len(), roster.no_room), (MAX_RECORDED, 0));
    // The pod makes room, and finds none itself.
    roster.take(&known(&docker(MAX_RECORDED), None, S));
    assert!(!roster.live.contains_key(POD) && roster.watched.contains_key(POD));
    assert_eq!((roster.live.len(), roster.no_room), (MAX_RECORDED, 1));
    // One more of the same kind has to wait, and is counted once.
    for _ in 0..2 {
        roster.take(&known(&docker(MAX_RECORDED + 1), None, S));
    }
    assert_eq!((roster.live.len(), roster.no_room), (MAX_RECORDED, 2));
    assert_eq!(roster.watched.len(), 2);
}

const USERS: &str = "/user.slice/user-1000.slice/user@1000.service";

#[test]
fn what_a_user_makes_never_takes_the_room_of_the_machines_containers() {
    let mut roster = Roster::default();
    for number in 0..MAX_RECORDED + 6 {
        let path = format!("{USERS}/docker-{number:064x}.scope");
        roster.take(&known(&path, None, S));
    }
    assert_eq!((roster.live.len(), roster.no_room), (MAX_RECORDED, 6));
    // A container, a pod, and a service with a limit find room all the same.
    let limited = "/system.slice/a.service";
    roster.take(&known(limited, None, S));
    let watched = roster.watched.remove(limited).unwrap();
    roster.record(&limited.into(), watched);
    roster.take(&known(&docker(1), None, S));
    roster.take(&known(POD, None, S));
    for path in [limited, POD, &docker(1)] {
        assert!(roster.live.contains_key(path), "{path}");
    }
    assert_eq!((roster.live.len(), roster.no_room), (MAX_RECORDED, 9));
    // Nor do they keep a service from being looked at for a limit.
    for number in 0..MAX_WATCHED {
        roster.take(&known(&format!("{USERS}/app.slice/{number}"), None, S));
    }
    assert_eq!(roster.watched.len(), MAX_WATCHED);
    roster.take(&known("/system.slice/b.service", None, S));
    assert!(roster.watched.contains_key("/system.slice/b.service"));
    assert_eq!(roster.watched.len(), MAX_WATCHED);
}

#[test]
fn a_users_container_is_recorded_while_there_is_room() {
    let mut roster = Roster::default();
    let container = format!("{USERS}/user.slice/libpod-{:064x}.scope", 7);
    roster.take(&known(&container, None, S));
    roster.take(&known(&format!("{USERS}/app.slice/x.service"), None, S));
    assert_eq!(paths(&roster), [&container]);
}

#[test]
fn a_removed_cgroup_keeps_its_history_for_a_while() {
    let mut roster = Roster::default();
    let path = docker(1);
    roster.take(&known(&path, Some(7), S));
    read(&mut roster, &path, 2 * S);
    // Of another cgroup that was at this path.
    roster.take(&removed(&path, Some(6), 3 * S));
    assert_eq!(roster.live.len(), 1);
    roster.take(&removed(&path, Some(7), 3 * S));
    assert!(roster.live.is_empty());
    roster.take(&known(&path, Some(8), 4 * S));
    let id = |at| roster.at(&path, at).and_then(|recorded| recorded.id);
    assert_eq!(id(2 * S), Some(7));
    assert_eq!(id(3 * S), Some(7));
    assert_eq!(id(3 * S + 1), None);
    assert_eq!(id(4 * S), Some(8));
    assert!(roster.is_young(&path, 3 * S) && !roster.is_young(&path, 4 * S));
    roster.forget(3 * S + KEEP_NS);
    assert!(roster.at(&path, 2 * S).is_none());
}

#[test]
fn another_at_the_same_path_ends_the_first() {
    let mut roster = Roster::default();
    let path = docker(1);
    roster.take(&known(&path, Some(7), S));
    read(&mut roster, &path, 2 * S);
    roster.take(&known(&path, Some(7), 3 * S));
    assert_eq!(roster.live[path.as_str()].history.len(), 1);
    roster.take(&known(&path, Some(8), 4 * S));
    assert!(roster.live[path.as_str()].history.is_empty());
    assert_eq!(roster.gone.len(), 1);
}

#[test]
fn of_many_that_are_gone_the_oldest_are_given_up() {
    let mut roster = Roster::default();
    for number in 0..MAX_GONE + 3 {
        roster.take(&known(&docker(number), None, S));
        read(&mut roster, &docker(number), 2 * S);
        roster.take(&removed(&docker(number), None, 3 * S));
    }
    assert_eq!((roster.gone.len(), roster.no_room), (MAX_GONE, 3));
    assert!(roster.at(&docker(2), 2 * S).is_none() && roster.at(&docker(3), 2 * S).is_some());
}

#[test]
fn all_below_a_renamed_cgroup_move_with_it() {
    let mut roster = Roster::default();
    let (a, b) = (format!("{:064x}", 1), format!("{:064x}", 2));
    let other = format!("/docker/{a}0/x");
    roster.take(&known(&format!("/docker/{a}"), None, S));
    roster.take(&known(&format!("/docker/{a}/x"), None, S));
    roster.take(&known(&other, None, S));
    read(&mut roster, &format!("/docker/{a}"), S);
    roster.take(&CgroupEvidence::Renamed {
        from: format!("/docker/{a}").into(),
        path: format!("/docker/{b}").into(),
        id: None,
        monotonic_ns: 2 * S,
    });
    let moved = &roster.live[format!("/docker/{b}").as_str()];
    assert_eq!(
        (moved.history.len(), &*moved.path),
        (1, &*format!("/docker/{b}"))
    );
    let watched: Vec<&str> = roster.watched.keys().map(|path| &**path).collect();
    assert_eq!(watched, [&other, &format!("/docker/{b}/x")]);
}
