//! What the kernel side could not say, from the decision before a mark, else from `/proc` and the
//! cgroup filesystem.
//!
//! Takes marks and decisions in the order of the ring and fills in what is missing: the victim where
//! the tracepoint carries only a pid, and cgroup paths where only ids could be read. Both are rare
//! (old kernels; lockdown, very deep trees), and both cost file system calls on the way of the alert.
//! Refuses guesses: a path is taken only if its directory has the id that the kernel gave, a process
//! only if it was there when the mark was made.

use std::{
    collections::HashMap,
    fs,
    os::unix::fs::{DirEntryExt as _, MetadataExt as _},
    path::Path,
};

use super::proc;
use crate::{
    clock::Now,
    event::{Memory, Role},
    evidence::{Decision, Level, Mark, Verdict},
    hierarchy::{CgroupVersion, Hierarchy, memory_cgroup},
    text::Comm,
};

/// Paths by id that are remembered at most.
const MAX_PATHS: usize = 1024;

/// Fills in what records lack.
#[derive(Debug)]
pub(super) struct Completer {
    /// Where the cgroups of the kernel's paths are; `None` if that cannot be seen from here.
    hierarchy: Option<Hierarchy>,
    /// The task of the last decision and its number, until the next mark.
    chosen: Option<(u64, Mark)>,
    /// Where a cgroup was found last: looked at again before it is believed.
    paths: HashMap<u64, String>,
}

impl Completer {
    pub(super) fn new() -> Self {
        Self::with(Hierarchy::find().ok())
    }

    fn with(hierarchy: Option<Hierarchy>) -> Self {
        Self {
            hierarchy: hierarchy.filter(|hierarchy| hierarchy.initial_namespace),
            chosen: None,
            paths: HashMap::new(),
        }
    }

    /// `pid_only`: marks will lack what this decision knows of its task.
    pub(super) fn decision(&mut self, decision: &mut Decision, pid_only: bool) {
        if let Some(chosen) = &mut decision.chosen_task {
            self.name_levels(chosen);
        }
        let chosen = decision.chosen_task.as_deref();
        if let Some((cgroup, _)) = &mut decision.limit
            && let (None, Some(id)) = (&cgroup.path, cgroup.id)
        {
            let leaf = chosen.and_then(|chosen| chosen.levels.first()?.path.clone());
            cgroup.path = self.path_of(id, leaf.as_deref());
        }
        if pid_only {
            self.chosen = chosen.map(|chosen| (decision.seq, chosen.clone()));
        }
    }

    pub(super) fn mark(&mut self, mark: &mut Mark) {
        if mark.victim.pid.is_none() {
            if let Some(chosen) = self.chosen.take().and_then(|it| task_of_mark(mark, it)) {
                merge(mark, chosen);
            }
            if mark.victim.pid.is_none() || mark.victim.comm.is_empty() {
                self.look_up(mark);
            }
        }
        self.name_levels(mark);
    }

    fn look_up(&self, mark: &mut Mark) {
        let suspended = u64::try_from(Now::read().boot_offset_ns).unwrap_or_default();
        let Some(found) = proc::read(mark.victim.tid, mark.monotonic_ns + suspended) else {
            return;
        };
        let own = self.hierarchy.as_ref().and_then(|hierarchy| {
            let path = memory_cgroup(found.cgroup.as_deref()?, hierarchy.version)?;
            // v1 shows every exiting task in the root (`proc_cgroup_show`).
            let shown = hierarchy.version == CgroupVersion::V2 || path != "/";
            let path = shown.then_some(path)?;
            Some((charged(hierarchy, path)?, hierarchy.version.number()))
        });
        let (level, version) = own.unzip();
        let found = Mark {
            victim: found.victim,
            start_boottime_ns: found.start_boottime_ns,
            levels: level.into_iter().collect(),
            cgroup_version: version,
            ..Mark::default()
        };
        merge(mark, found);
    }

    /// The paths of all levels, if that of the first is not known: each is the parent of the one before.
    fn name_levels(&mut self, mark: &mut Mark) {
        let Some(first) = mark.levels.first().filter(|level| level.path.is_none()) else {
            return;
        };
        let version = self.hierarchy.as_ref().map(|it| it.version);
        if version.map(CgroupVersion::number) != mark.cgroup_version {
            return;
        }
        let table = fs::read_to_string(format!("/proc/{}/cgroup", mark.victim.tid)).ok();
        let hint = table.zip(version);
        let hint = hint
            .as_ref()
            .and_then(|(table, version)| memory_cgroup(table, *version));
        let Some(path) = self.path_of(first.id, hint) else {
            return;
        };
        for (level, path) in mark.levels.iter_mut().zip(upwards(&path)) {
            level.path = Some(path.to_owned());
        }
    }

    /// The path of the cgroup with this id: from `hint` upwards, where it was last, else anywhere. The
    /// search lists every cgroup of the machine: about 10 µs for each.
    fn path_of(&mut self, id: u64, hint: Option<&str>) -> Option<String> {
        let hierarchy = self.hierarchy.as_ref()?;
        let is_it = |path: &str| inode(hierarchy, path) == Some(id);
        let known = self.paths.get(&id).map(String::as_str);
        let near = hint.into_iter().flat_map(upwards).chain(known);
        let near = { near }.find(|path| is_it(path)).map(str::to_owned);
        let path = near.or_else(|| search(hierarchy, id))?;
        if self.paths.len() >= MAX_PATHS {
            self.paths.clear();
        }
        self.paths.insert(id, path.clone());
        Some(path)
    }
}

/// The chosen task, if this mark is of it: the kernel holds `oom_lock` from the decision to the mark,
/// so the record that follows the decision is its own or a later `out_of_memory` of somebody else,
/// which then is no kill. A leader that has exited is marked by another thread of its process.
fn task_of_mark(mark: &Mark, (seq, mut chosen): (u64, Mark)) -> Option<Mark> {
    let same_thread = chosen.victim.tid == mark.victim.tid;
    let its_kill = mark.verdict == Verdict::Kill && mark.role == Some(Role::Chosen);
    if mark.seq != seq + 1 || !(same_thread || its_kill) {
        return None;
    }
    if !same_thread {
        chosen.victim.comm = Comm::default();
    }
    Some(chosen)
}

/// Fills what `mark` does not know.
fn merge(mark: &mut Mark, from: Mark) {
    let (victim, other) = (&mut mark.victim, from.victim);
    victim.pid = victim.pid.or(other.pid);
    victim.ns_pid = victim.ns_pid.or(other.ns_pid);
    victim.ppid = victim.ppid.or(other.ppid);
    if victim.comm.is_empty() {
        victim.comm = other.comm;
    }
    victim.parent_comm = victim.parent_comm.or(other.parent_comm);
    victim.uid = victim.uid.or(other.uid);
    victim.threads = victim.threads.or(other.threads);
    victim.oom_score_adj = victim.oom_score_adj.or(other.oom_score_adj);
    mark.start_boottime_ns = mark.start_boottime_ns.or(from.start_boottime_ns);
    if mark.memory == Memory::default() {
        mark.memory = from.memory;
    }
    if mark.levels.is_empty() {
        mark.levels = from.levels;
        mark.levels_cut = from.levels_cut;
        mark.cgroup_version = from.cgroup_version;
    }
}

/// The lowest cgroup from `path` upwards that has the memory controller.
fn charged(hierarchy: &Hierarchy, path: &str) -> Option<Level> {
    let has_memory = |path: &&str| {
        let dir = hierarchy.dir_of(path);
        dir.is_some_and(|dir| dir.join(hierarchy.version.limit_file()).exists())
    };
    // A cgroup that is gone already has no id to tell it from one of the same name.
    let own = inode(hierarchy, path)?;
    let found = upwards(path).find(has_memory)?;
    let level = Level {
        id: inode(hierarchy, found)?,
        path: Some(found.to_owned()),
        memcg: true,
        charge: None,
    };
    // If it went meanwhile, what was found above it is not its.
    (inode(hierarchy, path) == Some(own)).then_some(level)
}

/// `/a/b`, `/a`, `/`.
fn upwards(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| match path.rsplit_once('/')? {
        ("", "") => None,
        ("", _) => Some("/"),
        (parent, _) => Some(parent),
    })
}

/// A cgroup's kernfs id is its directory's inode.
fn inode(hierarchy: &Hierarchy, path: &str) -> Option<u64> {
    Some(fs::metadata(hierarchy.dir_of(path)?).ok()?.ino())
}

/// The directory with this inode, anywhere in the hierarchy.
fn search(hierarchy: &Hierarchy, id: u64) -> Option<String> {
    let mut dirs = vec![hierarchy.mount.clone()];
    if inode(hierarchy, "/") == Some(id) {
        return Some("/".to_owned());
    }
    while let Some(dir) = dirs.pop() {
        for entry in subdirectories(&dir) {
            if entry.ino() == id {
                return hierarchy.path_of(&entry.path());
            }
            dirs.push(entry.path());
        }
    }
    None
}

/// A directory that is gone has none.
fn subdirectories(dir: &Path) -> impl Iterator<Item = fs::DirEntry> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
}

#[cfg(test)]
#[path = "complete_tests.rs"]
mod tests;
