//! The watch without BPF: inotify(7) on every directory of the hierarchy.
//!
//! Emits what happened to directories that are watched, and which ones have appeared and need a
//! watch. A cgroup that is gone before its watch is there was never seen, and is not told of. Refuses
//! nothing; a queue that overflows is [`Change::Lost`], and the caller starts over with a new watch.

use std::{
    collections::{HashMap, hash_map::Entry},
    ffi::{OsStr, OsString},
    io,
    mem::MaybeUninit,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::inotify::{self, CreateFlags, ReadFlags, WatchFlags},
    io::Errno,
};

use super::{Change, tree::Tree, walk::is_gone};

/// The directory that is the root of it all has no parent.
const NO_PARENT: i32 = -1;

/// Events taken at a time: a quarter of the queue at its default size
/// (`fs.inotify.max_queued_events`).
const AT_A_TIME: usize = 4096;

/// Watched directories.
#[derive(Debug)]
pub(super) struct Watches {
    fd: OwnedFd,
    dirs: HashMap<i32, Dir>,
    children: HashMap<(i32, OsString), i32>,
    root: Option<i32>,
    /// A directory that has left its place; where it went, the next event says.
    moved: Option<(u32, i32)>,
}

#[derive(Debug)]
struct Dir {
    parent: i32,
    name: OsString,
    id: u64,
    /// How many watched directories are in it.
    children: usize,
}

/// An event of inotify(7): watch, mask, cookie, name.
type Event = (i32, ReadFlags, u32, Option<OsString>);

/// What adding a watch came to.
#[derive(Debug)]
pub(super) enum Added {
    /// It is watched now, and has this kernfs id.
    New(u64),
    /// It was watched already.
    Known,
    /// It, or what it was in, is gone.
    Gone,
    /// No more watches are allowed (`fs.inotify.max_user_watches`), or no memory.
    NoRoom(Errno),
    /// Another error.
    Failed(io::Error),
}

/// What the events say.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Notice {
    /// Happened to a directory that is watched.
    Change(Change),
    /// A directory to be watched.
    Appeared(PathBuf),
    /// A directory that is watched is here now.
    Moved(PathBuf),
}

impl Watches {
    pub(super) fn new() -> Result<Self, Errno> {
        Ok(Self {
            fd: inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK)?,
            dirs: HashMap::new(),
            children: HashMap::new(),
            root: None,
            moved: None,
        })
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.fd.as_fd()
    }

    /// Whether a directory is on its way and the next event is to be waited for.
    pub(super) fn is_moving(&self) -> bool {
        self.moved.is_some()
    }

    /// Watches one directory; its parent must be watched.
    pub(super) fn add(&mut self, tree: &Tree, below: &Path) -> Added {
        let flags = WatchFlags::CREATE
            | WatchFlags::DELETE
            | WatchFlags::MOVED_FROM
            | WatchFlags::MOVED_TO
            | WatchFlags::ONLYDIR
            | WatchFlags::DONT_FOLLOW;
        let dir = tree.dir(below);
        let wd = match inotify::add_watch(&self.fd, &dir, flags) {
            Ok(wd) => wd,
            Err(Errno::NOENT | Errno::NODEV | Errno::NOTDIR) => return Added::Gone,
            Err(error @ (Errno::NOSPC | Errno::NOMEM)) => return Added::NoRoom(error),
            Err(error) => return Added::Failed(error.into()),
        };
        if self.dirs.contains_key(&wd) {
            return Added::Known;
        }
        let (parent, id) = match (self.parent(tree, below), dir.symlink_metadata()) {
            (Some(parent), Ok(metadata)) => (parent, metadata.ino()),
            (_, Err(error)) if !is_gone(&error) => {
                self.unwatch(wd);
                return Added::Failed(error);
            }
            _ => {
                self.unwatch(wd);
                return Added::Gone;
            }
        };
        let name = below.file_name().unwrap_or_default().to_owned();
        if parent == NO_PARENT {
            self.root = Some(wd);
        } else if let Entry::Vacant(place) = self.children.entry((parent, name.clone())) {
            place.insert(wd);
            self.grown(parent, 1);
        } else {
            // Removed and made again. The queue still holds both, in order.
            self.unwatch(wd);
            return Added::Gone;
        }
        self.dirs.insert(
            wd,
            Dir {
                parent,
                name,
                id,
                children: 0,
            },
        );
        Added::New(id)
    }

    /// Takes the events that there are.
    pub(super) fn read(
        &mut self,
        tree: &Tree,
        now_ns: u64,
        out: &mut Vec<Notice>,
    ) -> Result<(), Errno> {
        for event in self.events()? {
            self.event(tree, event, now_ns, out);
        }
        Ok(())
    }

    fn events(&self) -> Result<Vec<Event>, Errno> {
        let mut events = Vec::new();
        let mut buffer = [MaybeUninit::uninit(); 16 << 10];
        let mut reader = inotify::Reader::new(&self.fd, &mut buffer);
        while events.len() < AT_A_TIME || !reader.is_buffer_empty() {
            match reader.next() {
                Ok(event) => {
                    let name = event
                        .file_name()
                        .map(|name| OsStr::from_bytes(name.to_bytes()).to_owned());
                    events.push((event.wd(), event.events(), event.cookie(), name));
                }
                Err(Errno::AGAIN) => break,
                Err(Errno::INTR) => {}
                Err(error) => return Err(error),
            }
        }
        Ok(events)
    }

    /// Nothing has followed for a while: what has left its place has left the tree.
    pub(super) fn settle(&mut self, tree: &Tree, now_ns: u64, out: &mut Vec<Notice>) {
        if let Some((_, wd)) = self.moved.take() {
            self.gone(tree, wd, now_ns, out);
        }
    }

    fn event(
        &mut self,
        tree: &Tree,
        (wd, events, cookie, name): Event,
        now_ns: u64,
        out: &mut Vec<Notice>,
    ) {
        if events.contains(ReadFlags::QUEUE_OVERFLOW) {
            out.push(Notice::Change(Change::Lost { events: None }));
            return;
        }
        // Files are no cgroups; other events come after a watch was taken away.
        let Some(name) = name.filter(|_| events.contains(ReadFlags::ISDIR)) else {
            return;
        };
        let place = (wd, name);
        if events.contains(ReadFlags::MOVED_TO)
            && let Some((_, child)) = self.moved.take_if(|(from, _)| *from == cookie)
        {
            self.renamed(tree, child, place, now_ns, out);
            return;
        }
        self.settle(tree, now_ns, out);
        if events.contains(ReadFlags::MOVED_FROM) {
            self.moved = self.children.get(&place).map(|&child| (cookie, child));
        } else if events.contains(ReadFlags::DELETE) {
            // What was watched may be a later one of that name: its own removal is still to come.
            let child = self.children.get(&place).copied();
            if let Some(child) = child.filter(|&child| !self.is_there(tree, child)) {
                self.gone(tree, child, now_ns, out);
            }
        } else if let Some(parent) = self.below(wd) {
            out.push(Notice::Appeared(parent.join(place.1)));
        }
    }

    fn renamed(
        &mut self,
        tree: &Tree,
        wd: i32,
        (parent, name): (i32, OsString),
        now_ns: u64,
        out: &mut Vec<Notice>,
    ) {
        let from = self.below(wd);
        let Some(dir) = self.dirs.get_mut(&wd) else {
            return;
        };
        let old = (dir.parent, std::mem::replace(&mut dir.name, name.clone()));
        dir.parent = parent;
        let id = dir.id;
        self.grown(old.0, -1);
        self.grown(parent, 1);
        self.children.remove(&old);
        self.children.insert((parent, name), wd);
        let (Some(from), Some(to)) = (from, self.below(wd)) else {
            return;
        };
        if tree.dir(&to).symlink_metadata().map_or(0, |now| now.ino()) != id {
            // Names change faster than they are read: which directory had which, nobody can say.
            out.push(Notice::Change(Change::Lost { events: None }));
            return;
        }
        out.push(Notice::Change(Change::Renamed {
            from: Some(tree.path(&from)),
            path: tree.path(&to),
            id,
            monotonic_ns: now_ns,
        }));
        out.push(Notice::Moved(to));
    }

    /// Forgets a directory and all below it, the deepest first.
    fn gone(&mut self, tree: &Tree, wd: i32, now_ns: u64, out: &mut Vec<Notice>) {
        let mut branch = vec![wd];
        let mut at = 0;
        while let Some(&parent) = branch.get(at) {
            // rmdir(2) takes empty directories only: what has left the tree takes others along.
            if self.dirs.get(&parent).is_some_and(|dir| dir.children > 0) {
                let below = self.children.iter();
                branch.extend(
                    below
                        .filter(|((of, _), _)| *of == parent)
                        .map(|(_, &wd)| wd),
                );
            }
            at += 1;
        }
        for wd in branch.into_iter().rev() {
            let below = self.below(wd);
            let Some(dir) = self.dirs.remove(&wd) else {
                continue;
            };
            self.grown(dir.parent, -1);
            self.children.remove(&(dir.parent, dir.name));
            // A removed cgroup's inode lives as long as its watch.
            self.unwatch(wd);
            if let Some(below) = below {
                out.push(Notice::Change(Change::Removed {
                    path: tree.path(&below),
                    id: dir.id,
                    monotonic_ns: now_ns,
                }));
            }
        }
    }

    /// Whether this very directory has its name still.
    fn is_there(&self, tree: &Tree, wd: i32) -> bool {
        let (Some(below), Some(dir)) = (self.below(wd), self.dirs.get(&wd)) else {
            return false;
        };
        let now = tree.dir(&below).symlink_metadata();
        now.is_ok_and(|now| now.ino() == dir.id)
    }

    fn grown(&mut self, wd: i32, by: isize) {
        if let Some(dir) = self.dirs.get_mut(&wd) {
            dir.children = dir.children.saturating_add_signed(by);
        }
    }

    fn unwatch(&self, wd: i32) {
        // EINVAL: the kernel has taken it away itself.
        if let Err(error) = inotify::remove_watch(&self.fd, wd) {
            tracing::trace!("inotify watch {wd}: {error}");
        }
    }

    /// The watch of the directory that this one is in; `None` if another one has its name by now: the
    /// queue knows more then.
    fn parent(&self, tree: &Tree, below: &Path) -> Option<i32> {
        let Some(parent) = below.parent() else {
            return Some(NO_PARENT);
        };
        let wd = parent.iter().try_fold(self.root?, |wd, name| {
            self.children.get(&(wd, name.to_owned())).copied()
        })?;
        let id = tree.dir(parent).symlink_metadata().ok()?.ino();
        (self.dirs.get(&wd)?.id == id).then_some(wd)
    }

    fn below(&self, wd: i32) -> Option<PathBuf> {
        let mut names = Vec::new();
        let mut wd = wd;
        while Some(wd) != self.root {
            let dir = self.dirs.get(&wd)?;
            names.push(&dir.name);
            wd = dir.parent;
        }
        Some(names.into_iter().rev().collect())
    }
}

#[cfg(test)]
#[path = "inotify_tests.rs"]
mod tests;
