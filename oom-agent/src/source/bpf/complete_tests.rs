//! Marks that carry only a pid and levels that carry only an id, one table row each.

use std::path::PathBuf;

use super::*;
use crate::event::Victim;

/// No pid reaches this: `/proc` has nothing to add.
const NOBODY: u32 = u32::MAX - 7;

fn chosen(seq: u64, tid: u32) -> Mark {
    Mark {
        seq,
        victim: Victim {
            pid: Some(tid),
            tid,
            ppid: Some(1),
            comm: Comm::new(b"hog"),
            ..Victim::default()
        },
        start_boottime_ns: Some(42),
        levels: vec![Level {
            id: 12,
            path: Some("/a".to_owned()),
            memcg: true,
            charge: None,
        }],
        cgroup_version: Some(2),
        ..Mark::default()
    }
}

fn decision(seq: u64, tid: u32) -> Decision {
    Decision {
        seq,
        monotonic_ns: 0,
        asker: crate::evidence::Asker::default(),
        constraint: None,
        gfp_mask: 0,
        order: 0,
        total_bytes: 0,
        points: 0,
        limit: None,
        chosen: (tid, tid),
        chosen_task: Some(Box::new(chosen(seq, tid))),
    }
}

fn pid_only(seq: u64, tid: u32, verdict: Verdict, role: Option<Role>) -> Mark {
    Mark {
        seq,
        victim: Victim {
            tid,
            ..Victim::default()
        },
        verdict,
        role,
        ..Mark::default()
    }
}

#[test]
fn a_mark_is_completed_from_its_own_decision_only() {
    let (first, member) = (Some(Role::Chosen), Some(Role::GroupMember));
    for (mark, pid, comm) in [
        (
            pid_only(6, NOBODY, Verdict::Kill, first),
            Some(NOBODY),
            "hog",
        ),
        // No stack, but the very thread that was chosen.
        (
            pid_only(6, NOBODY, Verdict::Unknown, None),
            Some(NOBODY),
            "hog",
        ),
        (
            pid_only(6, NOBODY, Verdict::MarkOnly, None),
            Some(NOBODY),
            "hog",
        ),
        // Another thread of the chosen process: its name is not the leader's.
        (
            pid_only(6, NOBODY + 1, Verdict::Kill, first),
            Some(NOBODY),
            "",
        ),
        (pid_only(6, NOBODY + 1, Verdict::Kill, member), None, ""),
        (pid_only(6, NOBODY + 1, Verdict::MarkOnly, None), None, ""),
        (pid_only(6, NOBODY + 1, Verdict::Unknown, None), None, ""),
        // Records were lost in between: it may be anybody's.
        (pid_only(8, NOBODY, Verdict::Kill, first), None, ""),
    ] {
        let mut completer = Completer::with(None);
        completer.decision(&mut decision(5, NOBODY), true);
        let mut full = mark.clone();
        completer.mark(&mut full);
        assert_eq!(full.victim.pid, pid, "{mark:?}");
        assert_eq!(full.victim.comm.to_string(), comm, "{mark:?}");
        assert_eq!(full.victim.tid, mark.victim.tid);
        assert_eq!(full.memcg().is_some(), pid.is_some(), "{mark:?}");
        assert_eq!(full.start_boottime_ns.is_some(), pid.is_some());
    }
}

#[test]
fn a_decision_completes_one_mark() {
    let mut completer = Completer::with(None);
    completer.decision(&mut decision(5, NOBODY), true);
    completer.mark(&mut pid_only(6, NOBODY, Verdict::Kill, None));
    let mut next = pid_only(7, NOBODY, Verdict::Kill, None);
    completer.mark(&mut next);
    assert_eq!(next.victim.pid, None);
}

#[test]
fn what_a_mark_knows_is_kept() {
    let mut mark = pid_only(6, NOBODY, Verdict::Kill, None);
    mark.victim.comm = Comm::new(b"own");
    mark.memory.anon_bytes = Some(7);
    let mut other = chosen(5, NOBODY);
    other.memory.anon_bytes = Some(8);
    merge(&mut mark, other);
    assert_eq!(mark.victim.comm.to_string(), "own");
    assert_eq!(mark.memory.anon_bytes, Some(7));
}

fn tree() -> (tempfile::TempDir, Hierarchy) {
    let root = tempfile::tempdir().unwrap();
    fs::create_dir_all(root.path().join("a/b, c")).unwrap();
    fs::create_dir_all(root.path().join("d")).unwrap();
    let hierarchy = Hierarchy {
        version: CgroupVersion::V2,
        mount: PathBuf::from(root.path()),
        root: "/".to_owned(),
        initial_namespace: true,
    };
    (root, hierarchy)
}

#[test]
fn levels_get_the_paths_of_the_directories_with_their_ids() {
    let (_root, hierarchy) = tree();
    let id = |path| inode(&hierarchy, path).unwrap();
    let level = |id| Level {
        id,
        path: None,
        memcg: true,
        charge: None,
    };
    let mut mark = chosen(1, NOBODY);
    mark.levels = vec![level(id("/a/b, c")), level(id("/a")), level(id("/"))];
    let mut completer = Completer::with(Some(hierarchy.clone()));
    completer.mark(&mut mark);
    let paths: Vec<_> = mark.levels.iter().map(|level| level.path.clone()).collect();
    assert_eq!(
        paths,
        ["/a/b, c", "/a", "/"].map(|path| Some(path.to_owned()))
    );

    let mut unknown = chosen(1, NOBODY);
    unknown.levels = vec![level(u64::MAX)];
    completer.mark(&mut unknown);
    assert_eq!(unknown.levels[0].path, None);
}

#[test]
fn a_remembered_place_is_looked_at_again() {
    let (root, hierarchy) = tree();
    let id = inode(&hierarchy, "/d").unwrap();
    let mut completer = Completer::with(Some(hierarchy));
    assert_eq!(completer.path_of(id, None).as_deref(), Some("/d"));
    fs::rename(root.path().join("d"), root.path().join("e")).unwrap();
    assert_eq!(completer.path_of(id, Some("/a")).as_deref(), Some("/e"));
    fs::remove_dir(root.path().join("e")).unwrap();
    assert_eq!(completer.path_of(id, None), None);
}

#[test]
fn a_path_leads_to_the_root() {
    for (path, expected) in [
        ("/a/b", &["/a/b", "/a", "/"][..]),
        ("/a", &["/a", "/"]),
        ("/", &["/"]),
    ] {
        assert_eq!(upwards(path).collect::<Vec<_>>(), expected);
    }
}
