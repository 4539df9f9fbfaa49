//! Walk and watches on directories of a temporary place: inotify(7) is the same there.

use std::{collections::BTreeMap, fs};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::{
    evidence::Found,
    source::cgroup::walk::{Step, Walk},
};

struct Rig {
    dir: TempDir,
    tree: Tree,
    watches: Watches,
    walk: Walk,
    /// What a reader of it all believes to be there.
    believed: BTreeMap<String, u64>,
}

impl Rig {
    fn new() -> Self {
        // tmpfs gives no number twice, like kernfs and unlike file systems on disks.
        let dir = tempfile::tempdir_in("/dev/shm").unwrap();
        let tree = Tree::at(dir.path().to_owned(), "");
        let mut rig = Self {
            dir,
            tree,
            watches: Watches::new().unwrap(),
            walk: Walk::default(),
            believed: BTreeMap::new(),
        };
        rig.walk.start_scan(Found::AtStart, 7);
        assert_eq!(rig.pump(), ["AtStart /", "scanned 7"]);
        rig.believed.clear();
        rig
    }

    fn at(&self, below: &str) -> PathBuf {
        self.dir.path().join(below)
    }

    fn make(&self, below: &str) {
        fs::create_dir(self.at(below)).unwrap();
    }

    fn remove(&self, below: &str) {
        fs::remove_dir(self.at(below)).unwrap();
    }

    fn rename(&self, from: &str, to: &str) {
        fs::rename(self.at(from), self.at(to)).unwrap();
    }

    /// Takes everything that there is, until nothing more comes.
    fn pump(&mut self) -> Vec<String> {
        let mut said = Vec::new();
        while self.read(&mut said) | self.steps(&mut said) {}
        said
    }

    /// Starts over, as the thread does.
    fn start_over(&mut self) {
        self.watches = Watches::new().unwrap();
        self.walk.clear();
        self.walk.start_scan(Found::Late, 9);
        self.believed.clear();
    }

    /// Takes what inotify says; false if that is nothing.
    fn read(&mut self, said: &mut Vec<String>) -> bool {
        let mut notices = Vec::new();
        let waited = self.watches.is_moving();
        self.watches.read(&self.tree, 0, &mut notices).unwrap();
        if waited && notices.is_empty() {
            self.watches.settle(&self.tree, 0, &mut notices);
        }
        let any = !notices.is_empty() || self.watches.is_moving();
        let lost = Notice::Change(Change::Lost { events: None });
        let lost = notices.contains(&lost);
        for notice in notices {
            match notice {
                Notice::Appeared(below) => self.walk.made(below),
                Notice::Moved(below) => self.walk.renamed(Some(below)),
                Notice::Change(change) => said.push(self.change(change, lost)),
            }
        }
        if lost {
            self.start_over();
        }
        any
    }

    fn change(&mut self, change: Change, lost: bool) -> String {
        match change {
            Change::Removed { path, id, .. } => {
                let known = self.believed.remove(&*path);
                assert!(lost || known == Some(id), "{path}: {known:?}");
                format!("removed {path}")
            }
            Change::Renamed { from, path, .. } => {
                let from = from.unwrap();
                self.believed = std::mem::take(&mut self.believed)
                    .into_iter()
                    .map(|(known, id)| match known.strip_prefix(&*from) {
                        Some(rest) if rest.is_empty() || rest.starts_with('/') => {
                            (format!("{path}{rest}"), id)
                        }
                        _ => (known, id),
                    })
                    .collect();
                format!("renamed {from} {path}")
            }
            Change::Lost { events } => format!("lost {events:?}"),
            Change::Made { .. } => unreachable!("made are found by the walk"),
        }
    }

    /// Walks; false if there was nothing to walk.
    fn steps(&mut self, said: &mut Vec<String>) -> bool {
        let any = !self.walk.is_done();
        while !self.walk.is_done() {
            self.step(said);
        }
        any
    }

    fn step(&mut self, said: &mut Vec<String>) {
        match self.walk.step(&self.tree, Some(&mut self.watches)) {
            Step::Nothing => {}
            Step::Found { path, id, found } => {
                said.push(format!("{found:?} {path}"));
                self.believed.insert(path.to_string(), id);
            }
            Step::Scanned { began_ns } => said.push(format!("scanned {began_ns}")),
            Step::Incomplete { again } => {
                said.push(format!("incomplete {again}"));
                self.start_over();
            }
            Step::NoRoom(error) => panic!("{error}"),
        }
    }

    /// What is there.
    fn truth(&self) -> BTreeMap<String, u64> {
        let mut truth = BTreeMap::new();
        let mut dirs = vec![PathBuf::new()];
        while let Some(below) = dirs.pop() {
            for entry in fs::read_dir(self.dir.path().join(&below)).unwrap() {
                let entry = entry.unwrap();
                let below = below.join(entry.file_name());
                truth.insert(
                    format!("/{}", below.display()),
                    entry.metadata().unwrap().ino(),
                );
                dirs.push(below);
            }
        }
        truth
    }
}

#[test]
fn nested_directories_are_told_of_once_parents_first() {
    let mut rig = Rig::new();
    fs::create_dir_all(rig.at("a/b/c")).unwrap();
    rig.make("a/d");
    let said = rig.pump();
    let place = |path: &str| {
        said.iter()
            .position(|line| line == &format!("Created {path}"))
    };
    assert_eq!((place("/a"), said.len()), (Some(0), 4), "{said:?}");
    assert!(place("/a/b") < place("/a/b/c") && place("/a/d").is_some());
    rig.make("a/b/c/e");
    assert_eq!(rig.pump(), ["Created /a/b/c/e"]);
    assert_eq!(rig.believed, rig.truth());
}

#[test]
fn what_is_both_listed_and_announced_is_told_of_once() {
    let mut rig = Rig::new();
    rig.make("a");
    assert_eq!(rig.pump(), ["Created /a"]);
    // Announced, but listed before that is read.
    rig.make("a/b");
    rig.walk.renamed(Some("a".into()));
    let mut said = Vec::new();
    rig.steps(&mut said);
    assert_eq!(said, ["Created /a/b"]);
    assert_eq!(rig.pump(), Vec::<String>::new());
}

#[test]
fn what_is_gone_before_it_is_watched_is_not_told_of() {
    let mut rig = Rig::new();
    rig.make("a");
    rig.make("a/b");
    rig.remove("a/b");
    rig.remove("a");
    assert_eq!(rig.pump(), Vec::<String>::new());
}

#[test]
fn a_directory_made_again_is_another() {
    let mut rig = Rig::new();
    rig.make("a");
    rig.pump();
    rig.remove("a");
    rig.make("a");
    assert_eq!(rig.pump(), ["removed /a", "Created /a"]);
    rig.remove("a");
    assert_eq!(rig.pump(), ["removed /a"]);
    assert_eq!(rig.watches.dirs.len(), 1);
    assert_eq!(rig.watches.children.len(), 0);
}

#[test]
fn the_removal_of_an_earlier_one_is_not_that_of_its_successor() {
    let mut rig = Rig::new();
    rig.make("a");
    let mut said = Vec::new();
    rig.read(&mut said);
    // By the time it is looked at, another one has its name, with something in it.
    rig.remove("a");
    fs::create_dir_all(rig.at("a/b")).unwrap();
    rig.steps(&mut said);
    said.extend(rig.pump());
    assert_eq!(said, ["Created /a", "Created /a/b"]);
    assert_eq!(rig.believed, rig.truth());
}

#[test]
fn files_are_no_cgroups() {
    let mut rig = Rig::new();
    fs::write(rig.at("f"), b"").unwrap();
    fs::remove_file(rig.at("f")).unwrap();
    assert_eq!(rig.pump(), Vec::<String>::new());
}

#[test]
fn a_renamed_directory_takes_along_what_is_below_it() {
    let mut rig = Rig::new();
    fs::create_dir_all(rig.at("a/b")).unwrap();
    rig.pump();
    rig.rename("a", "c");
    assert_eq!(rig.pump(), ["renamed /a /c"]);
    rig.make("c/b/d");
    assert_eq!(rig.pump(), ["Created /c/b/d"]);
    rig.remove("c/b/d");
    rig.remove("c/b");
    assert_eq!(rig.pump(), ["removed /c/b/d", "removed /c/b"]);
}

#[test]
fn a_directory_renamed_before_it_is_listed_loses_nothing() {
    let mut rig = Rig::new();
    rig.make("a");
    rig.make("a/b");
    let mut said = Vec::new();
    rig.read(&mut said);
    // On its way to being watched as /a.
    rig.rename("a", "c");
    said.extend(rig.pump());
    assert_eq!(said, ["Created /c", "Created /c/b"]);
    rig.make("c/b/x");
    rig.read(&mut said);
    rig.rename("c/b", "c/d");
    said.clear();
    said.extend(rig.pump());
    assert_eq!(said, ["renamed /c/b /c/d", "Created /c/d/x"]);
    assert_eq!(rig.believed, rig.truth());
}

#[test]
fn what_leaves_the_tree_is_removed_with_all_below_it() {
    let mut rig = Rig::new();
    let outside = tempfile::tempdir_in("/dev/shm").unwrap();
    fs::create_dir_all(rig.at("a/b")).unwrap();
    rig.pump();
    fs::rename(rig.at("a"), outside.path().join("a")).unwrap();
    assert_eq!(rig.pump(), ["removed /a/b", "removed /a"]);
    fs::rename(outside.path().join("a"), rig.at("a")).unwrap();
    assert_eq!(rig.pump(), ["Created /a", "Created /a/b"]);
}

#[test]
fn a_queue_that_overflows_is_a_loss() {
    let mut rig = Rig::new();
    let limit = fs::read_to_string("/proc/sys/fs/inotify/max_queued_events").unwrap();
    let limit: usize = limit.trim().parse().unwrap();
    for _ in 0..=limit / 2 {
        rig.make("a");
        rig.remove("a");
    }
    rig.make("a");
    let said = rig.pump();
    let tail = ["lost None", "Late /", "Late /a", "scanned 9"];
    assert!(said.ends_with(&tail.map(str::to_owned)), "{said:?}");
}

#[test]
fn a_scan_that_a_rename_has_crossed_is_not_complete() {
    let mut rig = Rig::new();
    rig.make("a");
    rig.pump();
    rig.walk.start_scan(Found::Late, 1);
    rig.rename("a", "b");
    let wanted = [
        "renamed /a /b",
        "incomplete true",
        "Late /",
        "Late /b",
        "scanned 9",
    ];
    assert_eq!(rig.pump(), wanted);
}

#[test]
fn a_scan_without_a_watch_finds_the_same() {
    let rig = Rig::new();
    fs::create_dir_all(rig.at("a/b")).unwrap();
    fs::write(rig.at("a/f"), b"").unwrap();
    std::os::unix::fs::symlink(rig.at("a"), rig.at("link")).unwrap();
    let mut walk = Walk::default();
    walk.start_scan(Found::Late, 1);
    let mut found = Vec::new();
    while !walk.is_done() {
        match walk.step(&rig.tree, None) {
            Step::Found { path, id, .. } => {
                let below = path.trim_start_matches('/');
                assert_eq!(rig.at(below).metadata().unwrap().ino(), id);
                found.push(path.to_string());
            }
            Step::Scanned { began_ns: 1 } | Step::Nothing => {}
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(found, ["/", "/a", "/a/b"]);
}

#[derive(Clone, Debug)]
enum Op {
    Make(PathBuf),
    Remove(PathBuf),
    Rename(PathBuf, &'static str),
    Read,
    Step,
    Pump,
}

fn below() -> impl Strategy<Value = PathBuf> {
    let name = prop::sample::select(vec!["a", "b", "c"]);
    prop::collection::vec(name, 1..4).prop_map(|names| names.into_iter().collect())
}

fn ops() -> impl Strategy<Value = Vec<Op>> {
    let op = prop_oneof![
        4 => below().prop_map(Op::Make),
        2 => below().prop_map(Op::Remove),
        1 => (below(), prop::sample::select(vec!["a", "b", "c"]))
            .prop_map(|(below, name)| Op::Rename(below, name)),
        1 => Just(Op::Read),
        1 => Just(Op::Step),
        1 => Just(Op::Pump),
    ];
    prop::collection::vec(op, 1..60)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    /// Whatever happens, and whenever it is looked at: in the end all that is there is known.
    #[test]
    fn in_the_end_everything_is_known(ops in ops()) {
        let mut rig = Rig::new();
        for op in ops {
            let mut said = Vec::new();
            // What the file system refuses has not happened.
            match op {
                Op::Make(below) => drop(fs::create_dir(rig.dir.path().join(below))),
                Op::Remove(below) => drop(fs::remove_dir(rig.dir.path().join(below))),
                Op::Rename(below, name) => {
                    let from = rig.dir.path().join(below);
                    let to = from.with_file_name(name);
                    // A cgroup's rename does not replace another.
                    if !to.exists() {
                        drop(fs::rename(&from, &to));
                    }
                }
                Op::Read => drop(rig.read(&mut said)),
                Op::Step => rig.step(&mut said),
                Op::Pump => drop(rig.pump()),
            }
        }
        rig.pump();
        rig.believed.remove("/");
        prop_assert_eq!(&rig.believed, &rig.truth());
        prop_assert_eq!(rig.watches.dirs.len(), rig.believed.len() + 1);
    }
}
