//! What is answered.

use std::{
    fs,
    sync::{Arc, mpsc},
    time::Duration,
};

use super::{MIB, S, Tree, docker, known, removed, turn};
use crate::{
    clock::Now,
    event::{Cgroup, CgroupLevel, OwnerKind},
    evidence::{Evidence, Feed, MemoryEvidence, Wish},
    hierarchy::CgroupVersion::{V1, V2},
    source::memory::{
        MemoryThread,
        answer::Extent,
        recording::Recording,
        thread::{FULL_ANSWERS, MAX_BATCHES, MAX_WISHES},
    },
};

fn wish(limit: Option<&str>, victim: &str, monotonic_ns: u64) -> Wish {
    Wish {
        instance: Arc::from("oom-1"),
        monotonic_ns,
        limit: limit.map(str::to_owned),
        victim: Some(victim.to_owned()),
        machine: limit.is_none(),
        levels: Vec::new(),
    }
}

fn samples(answer: &MemoryEvidence) -> Vec<(i64, u64)> {
    let history = answer.history.iter().flat_map(|(samples, _)| samples);
    history
        .map(|sample| (sample.t_ns, sample.usage_bytes / MIB))
        .collect()
}

fn leak(tree: &Tree, path: &str) -> Recording {
    let mut recording = tree.recording();
    recording.roster.take(&known(path, None, 100 * S));
    for second in 0..10 {
        tree.cgroup(path, 10 + 10 * second, Some(100));
        turn(&mut recording, (100 + second) * S);
    }
    recording
}

#[test]
fn a_leak_in_short() {
    for version in [V1, V2] {
        let tree = Tree::new(version);
        let path = docker(1);
        let mut recording = leak(&tree, &path);
        let inner = format!("{path}/init.scope");
        tree.cgroup(&inner, 1, None);
        let pid = std::process::id();
        fs::write(
            tree.path().join(&inner[1..]).join("cgroup.procs"),
            format!("{pid}\n"),
        )
        .unwrap();
        let kill = 109 * S + S / 2;
        let answer = recording.answer(&wish(Some(&path), &inner, kill), Extent::Full);
        assert_eq!(&*answer.instance, "oom-1");
        assert_eq!(samples(&answer).last(), Some(&(-500_000_000, 100)));
        let (_, trend) = answer.history.as_ref().unwrap();
        assert_eq!(trend.cgroup.path.as_deref(), Some(&*path));
        assert_eq!(trend.peak_bytes, 100 * MIB);
        let growth = trend.growth_bytes_per_s.unwrap();
        assert_eq!(growth, i64::try_from(10 * MIB).unwrap());
        assert_eq!(trend.since_80_percent_ns, Some(2_500_000_000));
        assert_eq!(answer.state.unwrap().peak_bytes, Some(9 * MIB));
        let held = answer.limit_memory.unwrap().memory.unwrap();
        assert_eq!(held.limit_bytes, Some(100 * MIB));
        let pids: Vec<u32> = answer.tasks.iter().map(|task| task.pid).collect();
        assert_eq!(pids, [pid]);
        // Of others wait, no processes are told.
        let brief = recording.answer(&wish(Some(&path), &inner, kill), Extent::Brief);
        assert!(brief.state.is_some() && brief.history.is_some());
        assert!(brief.tasks.is_empty() && brief.limit_memory.is_none());
        // Nothing that was read after the kill.
        let early = recording.answer(&wish(Some(&path), &inner, 103 * S), Extent::Brief);
        assert_eq!(samples(&early).last(), Some(&(0, 40)));
    }
}

#[test]
fn the_history_is_of_the_nearest_that_is_recorded() {
    let tree = Tree::new(V2);
    let path = docker(1);
    let mut recording = leak(&tree, &path);
    let at = 110 * S;
    let told = |recording: &mut Recording, wish: &Wish| {
        let answer = recording.answer(wish, Extent::Brief);
        answer.history.and_then(|(_, trend)| trend.cgroup.path)
    };
    let deep = format!("{path}/a/b");
    assert_eq!(
        told(&mut recording, &wish(Some("/other"), &deep, at)),
        Some(path.clone())
    );
    assert_eq!(
        told(&mut recording, &wish(None, &deep, at)),
        Some(path.clone())
    );
    assert_eq!(told(&mut recording, &wish(None, "/docker", at)), None);
    assert_eq!(told(&mut recording, &wish(None, "nonsense", at)), None);
    let nobody = Wish {
        victim: None,
        ..wish(None, "", at)
    };
    assert_eq!(told(&mut recording, &nobody), None);
}

#[test]
fn a_cgroup_that_is_gone_has_a_history() {
    let tree = Tree::new(V2);
    let path = docker(1);
    let mut recording = leak(&tree, &path);
    recording.roster.take(&removed(&path, None, 110 * S));
    tree.remove(&path);
    let kill = 109 * S + 1;
    let answer = recording.answer(&wish(Some(&path), &path, kill), Extent::Full);
    assert_eq!(samples(&answer).len(), 10);
    assert_eq!((answer.state, answer.limit_memory), (None, None));
    // Another was made at its path after the kill: it is not asked.
    tree.cgroup(&path, 1, Some(100));
    recording.roster.take(&known(&path, Some(1), 111 * S));
    let answer = recording.answer(&wish(Some(&path), &path, kill), Extent::Full);
    assert_eq!(samples(&answer).len(), 10);
    let after = recording.answer(&wish(Some(&path), &path, 112 * S), Extent::Full);
    assert!(after.history.is_none());
    // Its id is not that of this directory.
    assert_eq!(after.state, None);
    let never = recording.answer(&wish(Some("/never"), "/never", kill), Extent::Full);
    assert_eq!((never.state, never.history), (None, None));
}

#[test]
fn who_held_the_most_when_the_machine_ran_out() {
    let tree = Tree::new(V2);
    let mut recording = tree.recording();
    let pod = |number: usize| format!("/kubepods/pod0e5b1d52-1111-2222-3333-44445555666{number}");
    // A pod whose container holds nearly all of it, and one whose container holds little of it.
    let inner = |number: usize| format!("{}/{number:064x}", pod(number));
    for (path, usage, limit) in [
        (pod(1), 90, Some(100)),
        (inner(1), 85, None),
        (pod(2), 80, Some(100)),
        (inner(2), 10, None),
        // What a container made within its own does not count.
        (docker(1), 70, Some(100)),
        (format!("{}/db", docker(1)), 69, Some(100)),
        ("/system.slice/a.service".to_owned(), 60, Some(100)),
    ] {
        tree.cgroup(&path, usage, limit);
        recording.roster.take(&known(&path, None, 99 * S));
    }
    for number in 10..20 {
        tree.cgroup(&docker(number), 5, None);
        recording.roster.take(&known(&docker(number), None, 99 * S));
    }
    turn(&mut recording, 100 * S);
    turn(&mut recording, 101 * S);
    let answer = recording.answer(&wish(None, &inner(1), 102 * S), Extent::Full);
    let top: Vec<(&str, u64)> = answer
        .top
        .iter()
        .map(|top| (top.cgroup.path.as_deref().unwrap(), top.usage_bytes / MIB))
        .collect();
    let expected = [
        (&*inner(1), 85),
        (&*pod(2), 80),
        (&*docker(1), 70),
        ("/system.slice/a.service", 60),
    ];
    assert_eq!(top[..4], expected);
    assert_eq!(top.len(), 10);
    let kind = answer.top[0].owner.as_ref().map(|owner| owner.kind);
    assert_eq!(kind, Some(OwnerKind::Container));
    assert!(answer.system_memory.is_some() && !answer.tasks.is_empty());
    assert!(answer.tasks.len() <= 50 && answer.limit_memory.is_none());
    assert!(answer.state.is_some());
}

#[test]
fn a_service_without_a_limit_is_among_those_that_held_the_most() {
    for version in [V1, V2] {
        let tree = Tree::new(version);
        let mut recording = tree.recording();
        for (path, usage) in [
            ("/system.slice", 110),
            ("/system.slice/mysql.service", 90),
            ("/system.slice/mysql.service/inner", 90),
            ("/user.slice", 40),
            ("/user.slice/user-1000.slice", 40),
            ("/user.slice/user-1000.slice/session-3.scope", 30),
        ] {
            tree.cgroup(path, usage, None);
        }
        tree.cgroup(&docker(1), 5, Some(100));
        recording.roster.take(&known(&docker(1), None, 99 * S));
        fs::create_dir(tree.path().join("without.the.controller")).unwrap();
        turn(&mut recording, 100 * S);
        let machine = wish(None, "/system.slice/mysql.service", 101 * S);
        let answer = recording.answer(&machine, Extent::Full);
        let top: Vec<(&str, u64)> = answer
            .top
            .iter()
            .map(|top| (top.cgroup.path.as_deref().unwrap(), top.usage_bytes / MIB))
            .collect();
        let expected = [
            ("/system.slice/mysql.service", 90),
            ("/user.slice/user-1000.slice/session-3.scope", 30),
            (&*docker(1), 5),
        ];
        assert_eq!(top, expected);
        let unit = answer.top[0]
            .owner
            .as_ref()
            .and_then(|owner| owner.unit.as_deref());
        assert_eq!(unit, Some("mysql.service"));
        assert!(answer.top[0].cgroup.id.is_some());
        assert_eq!(recording.counts.unread, 0);
        // In a storm only what is known anyway is told.
        let brief = recording.answer(&machine, Extent::Brief);
        assert_eq!(brief.top.len(), 1);
    }
}

#[test]
fn what_the_victim_held_counts_as_it_was_at_the_mark() {
    let tree = Tree::new(V2);
    let mut recording = tree.recording();
    // Its memory is free again when the agent looks.
    tree.cgroup("/system.slice", 8, None);
    tree.cgroup("/system.slice/mysql.service", 1, None);
    tree.cgroup("/user.slice", 5, None);
    let level = |path: &str, usage_mib: u64| CgroupLevel {
        cgroup: Cgroup {
            path: Some(path.to_owned()),
            id: Some(7),
            version: Some(2),
        },
        level: None,
        usage_bytes: Some(usage_mib * MIB),
        limit_bytes: None,
        failcnt: None,
        oom_group: None,
    };
    let machine = Wish {
        levels: vec![
            level("/system.slice/mysql.service", 90),
            level("/system.slice", 97),
            level("/", 102),
        ],
        ..wish(None, "/system.slice/mysql.service", 101 * S)
    };
    for extent in [Extent::Full, Extent::Brief] {
        let answer = recording.answer(&machine, extent);
        let first = &answer.top[0];
        assert_eq!(
            first.cgroup.path.as_deref(),
            Some("/system.slice/mysql.service")
        );
        assert_eq!(first.usage_bytes, 90 * MIB);
        assert_eq!(answer.top.len(), if extent == Extent::Full { 2 } else { 1 });
    }
}

#[test]
fn a_look_at_the_hierarchy_that_is_cut_short_is_counted() {
    let tree = Tree::new(V2);
    let mut recording = tree.recording();
    for number in 0..1025 {
        fs::create_dir(tree.path().join(number.to_string())).unwrap();
    }
    let answer = recording.answer(&wish(None, "/a", S), Extent::Full);
    assert_eq!((answer.top.len(), recording.counts.unread), (0, 1));
}

#[test]
fn in_a_storm_the_first_are_answered_in_full() {
    let tree = Tree::new(V2);
    tree.cgroup("/a", 1, Some(100));
    let pid = format!("{}\n", std::process::id());
    fs::write(tree.path().join("a/cgroup.procs"), pid).unwrap();
    let (submit, answers) = mpsc::channel();
    let (go, held_up) = mpsc::channel::<()>();
    let (thread, recorder) = MemoryThread::start(tree.hierarchy(), move |evidence| {
        let _ = submit.send(evidence);
        let _ = held_up.recv();
    })
    .unwrap();
    // It is up, and waits for us.
    let next = || answers.recv_timeout(Duration::from_secs(20)).unwrap();
    let up = |evidence: &[Evidence], up: bool| {
        assert!(
            matches!(evidence, [Evidence::SourceState { source: Feed::Memory, up: is }] if *is == up)
        );
    };
    up(&next(), true);
    // No wish grows old in this test.
    let later = Now::read().monotonic_ns + 1000 * S;
    for _ in 0..MAX_WISHES {
        assert!(recorder.ask(wish(Some("/a"), "/a", later)));
    }
    assert!(!recorder.ask(wish(Some("/a"), "/a", later)));
    // Nor may the watch of cgroups be held up for long.
    let news = Evidence::Cgroup(Box::new(known("/a", None, later)));
    for _ in 0..=MAX_BATCHES {
        recorder.follow(std::slice::from_ref(&news));
    }
    assert_eq!(recorder.counters().news_lost, 1);
    drop(go);
    let mut full = 0;
    for _ in 0..MAX_WISHES {
        let evidence = next();
        let [Evidence::Memory(memory)] = &*evidence else {
            panic!("{evidence:?}");
        };
        assert!(memory.state.is_some());
        full += usize::from(!memory.tasks.is_empty());
    }
    assert_eq!(full, FULL_ANSWERS);
    assert_eq!(thread.stop().wishes_refused, 1);
    up(&next(), false);
    assert!(!recorder.ask(wish(None, "/a", later)));
}

#[test]
fn a_thread_that_is_held_up_is_left_behind_at_the_end() {
    let tree = Tree::new(V2);
    let (go, held_up) = mpsc::channel::<()>();
    let (thread, _recorder) = MemoryThread::start(tree.hierarchy(), move |_| {
        let _ = held_up.recv();
    })
    .unwrap();
    assert_eq!(thread.stop().samples, 0);
    drop(go);
}
