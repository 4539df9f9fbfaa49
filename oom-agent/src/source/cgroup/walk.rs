//! Walking the tree, one directory at a time: the scans, and what a watch has to look into.
//!
//! Reads directories; emits what it finds, parents before their children. With [`Watches`] each
//! directory is watched before it is listed, so that what is made meanwhile is seen at least once;
//! told twice it is not, for a directory that has its watch already is not news. A scan that could
//! not read everything does not claim to be complete.

use std::{
    collections::VecDeque,
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use rustix::io::Errno;

use super::{
    inotify::{Added, Watches},
    tree::Tree,
};
use crate::evidence::Found;

/// What is left to be walked.
#[derive(Debug, Default)]
pub(super) struct Walk {
    /// Made a moment ago: before the scan.
    fresh: VecDeque<Item>,
    scan: VecDeque<Item>,
    /// When the running scan began.
    began_ns: Option<u64>,
    /// A rename came in between: something may be where it was not looked for.
    renamed: bool,
    /// Something could not be read.
    hole: bool,
    /// Directories that could not be read.
    pub(super) unread: u64,
}

#[derive(Debug)]
struct Item {
    below: PathBuf,
    found: Found,
    /// List it, and all below it, even if it has its watch already.
    list: bool,
}

/// What one step came to.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// A cgroup.
    Found {
        path: Arc<str>,
        id: u64,
        found: Found,
    },
    /// Nothing new there.
    Nothing,
    /// The scan is complete.
    Scanned { began_ns: u64 },
    /// The scan has ended, and is not complete. `again`: the next one may be.
    Incomplete { again: bool },
    /// No watch could be added: no more of them are allowed.
    NoRoom(Errno),
}

impl Walk {
    /// Scans everything. `began_ns`: what was known before and is not found is gone.
    pub(super) fn start_scan(&mut self, found: Found, began_ns: u64) {
        self.scan.clear();
        self.scan.push_back(Item {
            below: PathBuf::new(),
            found,
            list: true,
        });
        self.began_ns = Some(began_ns);
        self.hole = false;
        self.renamed = false;
    }

    /// A directory was made.
    pub(super) fn made(&mut self, below: PathBuf) {
        self.push_fresh(below, false);
    }

    /// A directory has another name: what is below it was looked for under the old one.
    pub(super) fn renamed(&mut self, below: Option<PathBuf>) {
        self.renamed = true;
        if let Some(below) = below {
            self.push_fresh(below, true);
        }
    }

    fn push_fresh(&mut self, below: PathBuf, list: bool) {
        self.fresh.push_back(Item {
            below,
            found: Found::Created,
            list,
        });
    }

    pub(super) fn is_done(&self) -> bool {
        self.fresh.is_empty() && self.began_ns.is_none()
    }

    pub(super) fn is_scanning(&self) -> bool {
        self.began_ns.is_some()
    }

    /// Drops everything: the watch starts anew.
    pub(super) fn clear(&mut self) {
        *self = Self {
            unread: self.unread,
            ..Self::default()
        };
    }

    /// Looks at one directory.
    pub(super) fn step(&mut self, tree: &Tree, watches: Option<&mut Watches>) -> Step {
        let fresh = !self.fresh.is_empty();
        let Some(item) = self.fresh.pop_front().or_else(|| self.scan.pop_front()) else {
            return match self.began_ns.take() {
                Some(_) if self.hole => Step::Incomplete { again: false },
                Some(_) if self.renamed => Step::Incomplete { again: true },
                Some(began_ns) => Step::Scanned { began_ns },
                None => Step::Nothing,
            };
        };
        let added = match watches {
            Some(watches) => watches.add(tree, &item.below),
            None => look(&tree.dir(&item.below)),
        };
        let id = match added {
            Added::New(id) => Some(id),
            Added::Known if item.list => None,
            Added::Known | Added::Gone => return Step::Nothing,
            Added::NoRoom(error) => {
                self.hole = true;
                return Step::NoRoom(error);
            }
            Added::Failed(error) => {
                self.failed(&tree.dir(&item.below), &error);
                return Step::Nothing;
            }
        };
        if let Err(error) = self.list(tree, &item, fresh) {
            self.failed(&tree.dir(&item.below), &error);
        }
        match id {
            Some(id) => Step::Found {
                path: tree.path(&item.below),
                id,
                found: item.found,
            },
            None => Step::Nothing,
        }
    }

    fn list(&mut self, tree: &Tree, item: &Item, fresh: bool) -> io::Result<()> {
        let entries = match fs::read_dir(tree.dir(&item.below)) {
            Ok(entries) => entries,
            Err(error) if is_gone(&error) => return Ok(()),
            Err(error) => return Err(error),
        };
        for entry in entries {
            let entry = entry?;
            match entry.file_type() {
                Ok(kind) if kind.is_dir() => {}
                Err(error) if !is_gone(&error) => return Err(error),
                _ => continue,
            }
            let queue = if fresh {
                &mut self.fresh
            } else {
                &mut self.scan
            };
            queue.push_back(Item {
                below: item.below.join(entry.file_name()),
                found: item.found,
                list: item.list,
            });
        }
        Ok(())
    }

    fn failed(&mut self, dir: &Path, error: &io::Error) {
        self.hole = true;
        self.unread += 1;
        // Said once: what is refused now is refused with each scan.
        if self.unread == 1 {
            tracing::warn!("cgroups: cannot read {}: {error}", dir.display());
        }
    }
}

fn look(dir: &Path) -> Added {
    match dir.symlink_metadata() {
        Ok(metadata) => Added::New(metadata.ino()),
        Err(error) if is_gone(&error) => Added::Gone,
        Err(error) => Added::Failed(error),
    }
}

/// Removed meanwhile: kernfs says ENODEV where the directory was open already.
pub(super) fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound
        || error.raw_os_error() == Some(Errno::NODEV.raw_os_error())
}
