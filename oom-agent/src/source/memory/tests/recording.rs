//! The recorder's turns: what is read when, and what is kept.

use std::fs;

use super::{MIB, S, Tree, docker, known, removed, turn};
use crate::{
    hierarchy::CgroupVersion::{V1, V2},
    source::memory::roster::KEEP_NS,
};

/// Usages that are kept of a cgroup, in MiB, and whether with detail.
fn kept(recording: &super::Recording, path: &str) -> Vec<(u64, bool)> {
    let recorded = recording.roster.live.get(path);
    let samples = recorded.map(|recorded| recorded.history.before(1000 * S));
    let samples = samples.unwrap_or_default().into_iter();
    samples
        .map(|sample| (sample.usage_bytes / MIB, sample.anon_bytes.is_some()))
        .collect()
}

#[test]
fn a_container_on_its_way_to_the_limit() {
    for (version, files) in [(V1, 0), (V1, 8), (V2, 0), (V2, 8)] {
        let tree = Tree::new(version);
        let path = docker(1);
        tree.cgroup(&path, 10, Some(100));
        let mut recording = tree.recording();
        recording.max_files = files;
        assert_eq!(recording.next_due(), None);
        recording.roster.take(&known(&path, None, 900 * S));
        // Low: the first, none while it does not move, then the one before its move and the move.
        for (second, usage) in [
            (900, 10),
            (901, 10),
            (902, 11),
            (903, 20),
            (904, 60),
            (905, 60),
            (906, 61),
        ] {
            tree.cgroup(&path, usage, Some(100));
            turn(&mut recording, second * S);
            assert_eq!(recording.next_due(), Some((second + 1) * S));
        }
        let expected = [
            (10, false),
            (11, false),
            (20, false),
            (60, true),
            (60, false),
            (61, true),
        ];
        assert_eq!(kept(&recording, &path), expected, "{version:?} {files}");
        let open = recording.roster.live.values().filter(|r| r.usage.is_some());
        assert_eq!(open.count(), files.min(1));
        // Nothing moves: one in ten seconds.
        for second in 907..=926 {
            turn(&mut recording, second * S);
        }
        assert_eq!(kept(&recording, &path).len(), expected.len() + 2);
    }
}

#[test]
fn without_a_limit_it_is_read_each_ten_seconds() {
    let tree = Tree::new(V2);
    let path = docker(1);
    tree.cgroup(&path, 10, None);
    let mut recording = tree.recording();
    recording.roster.take(&known(&path, None, 899 * S));
    for second in 900..960 {
        turn(&mut recording, second * S);
    }
    assert!((6..=7).contains(&kept(&recording, &path).len()));
    // A limit is found within a minute.
    tree.cgroup(&path, 10, Some(100));
    for second in 960..1020 {
        turn(&mut recording, second * S);
    }
    assert_eq!(recording.roster.live[path.as_str()].limit, Some(100 * MIB));
}

#[test]
fn a_container_is_measured_against_its_pods_limit() {
    let tree = Tree::new(V2);
    let pod = "/kubepods/pod0e5b1d52-1111-2222-3333-444455556666";
    let container = format!("{pod}/{:064x}", 1);
    tree.cgroup(pod, 60, Some(100));
    tree.cgroup(&container, 60, None);
    let mut recording = tree.recording();
    recording.roster.take(&known(&container, None, 900 * S));
    recording.roster.take(&known(pod, None, 900 * S));
    turn(&mut recording, 900 * S);
    assert_eq!(kept(&recording, &container), [(60, true)]);
    // Its own limit is what is told.
    let told = recording.roster.live[container.as_str()]
        .history
        .before(901 * S);
    assert_eq!(told[0].limit_bytes, None);
}

#[test]
fn another_cgroup_is_recorded_while_it_has_a_limit() {
    let tree = Tree::new(V2);
    let path = "/system.slice/a.service";
    tree.cgroup(path, 10, None);
    let mut recording = tree.recording();
    recording.roster.take(&known(path, None, 900 * S));
    turn(&mut recording, 900 * S);
    assert_eq!(recording.next_due(), Some(901 * S));
    tree.cgroup(path, 10, Some(100));
    turn(&mut recording, 901 * S);
    assert_eq!(kept(&recording, path), [(10, false)]);
    tree.cgroup(path, 10, None);
    for second in 902..964 {
        turn(&mut recording, second * S);
    }
    assert!(recording.roster.live.is_empty() && recording.roster.watched.len() == 1);
    // It goes without being seen to go.
    tree.remove(path);
    for second in 964..1030 {
        turn(&mut recording, second * S);
    }
    assert!(recording.roster.watched.is_empty());
    assert_eq!(recording.next_due(), None);
}

#[test]
fn of_many_that_move_those_near_the_limit_are_read_in_full_the_others_next() {
    let tree = Tree::new(V2);
    let mut recording = tree.recording();
    for number in 0..200 {
        let usage = 51 + u64::try_from(number).unwrap() % 29;
        tree.cgroup(&docker(number), usage, Some(100));
        recording
            .roster
            .take(&known(&docker(number), None, 899 * S));
    }
    turn(&mut recording, 900 * S);
    assert_eq!(
        (recording.counts.details, recording.counts.samples),
        (64, 200)
    );
    for (second, details) in [(901, 128), (902, 192), (903, 200)] {
        turn(&mut recording, second * S);
        assert_eq!(recording.counts.details, details);
    }
    turn(&mut recording, 904 * S);
    assert_eq!(
        (recording.counts.details, recording.counts.unread),
        (200, 0)
    );
}

#[test]
fn a_container_full_of_page_cache_is_read_in_full_each_second() {
    let tree = Tree::new(V2);
    let path = docker(1);
    let mut recording = tree.recording();
    tree.cgroup(&path, 100, Some(100));
    recording.roster.take(&known(&path, None, 899 * S));
    for second in 0..20 {
        // Reclaim and charges move the usage by a few pages.
        tree.usage(&path, 100 * MIB - 4096 * (second % 2));
        turn(&mut recording, (900 + second) * S);
    }
    assert_eq!(kept(&recording, &path), {
        let usage = |second: u64| if second.is_multiple_of(2) { 100 } else { 99 };
        (0..20)
            .map(|second| (usage(second), true))
            .collect::<Vec<_>>()
    });
    // To the page the same: after 2, 4 and 8 s.
    recording.counts.details = 0;
    for second in 920..940 {
        turn(&mut recording, second * S);
    }
    assert_eq!(recording.counts.details, 3);
}

#[test]
fn of_many_that_are_full_all_take_turns() {
    let tree = Tree::new(V2);
    let mut recording = tree.recording();
    for number in 0..250 {
        tree.cgroup(&docker(number), 90 + (number % 10) as u64, Some(100));
        recording
            .roster
            .take(&known(&docker(number), None, 899 * S));
    }
    for second in 0..20 {
        for number in 0..250 {
            let usage = (90 + (number % 10) as u64) * MIB - 4096 * second;
            tree.usage(&docker(number), usage);
        }
        turn(&mut recording, (900 + second) * S);
    }
    // What a turn costs is bounded; nobody waits for longer than 4 s.
    assert_eq!(recording.counts.details, 20 * 64);
    for recorded in recording.roster.live.values() {
        let samples = recorded.history.before(920 * S);
        let detailed = samples.iter().filter(|sample| sample.anon_bytes.is_some());
        let times: Vec<i64> = detailed.map(|sample| sample.t_ns).collect();
        assert!(
            times
                .windows(2)
                .all(|pair| pair[1] - pair[0] <= 4_000_000_000),
            "{times:?}"
        );
        assert!(times.len() >= 4);
    }
}

#[test]
fn the_controller_may_come_later() {
    let tree = Tree::new(V2);
    let path = docker(1);
    let dir = tree.path().join(&path[1..]);
    fs::create_dir_all(&dir).unwrap();
    let mut recording = tree.recording();
    recording.roster.take(&known(&path, None, 900 * S));
    turn(&mut recording, 900 * S);
    assert!(recording.roster.live.is_empty());
    assert_eq!(recording.next_due(), Some(901 * S));
    tree.cgroup(&path, 60, Some(100));
    turn(&mut recording, 901 * S);
    assert_eq!(kept(&recording, &path), [(60, true)]);
}

#[test]
fn a_cgroup_that_vanishes_unseen_is_found_out() {
    let tree = Tree::new(V2);
    let path = docker(1);
    tree.cgroup(&path, 10, Some(100));
    let mut recording = tree.recording();
    recording.max_files = 0;
    recording.roster.take(&known(&path, None, 900 * S));
    turn(&mut recording, 900 * S);
    tree.remove(&path);
    turn(&mut recording, 901 * S);
    assert!(recording.roster.live.is_empty());
    assert_eq!(
        (recording.roster.gone.len(), recording.counts.unread),
        (1, 0)
    );
    // The watch says so too, a little later.
    recording.roster.take(&removed(&path, None, 901 * S));
    assert_eq!(recording.next_due(), Some(901 * S + KEEP_NS));
    turn(&mut recording, 901 * S + KEEP_NS);
    assert_eq!(recording.next_due(), None);
}
