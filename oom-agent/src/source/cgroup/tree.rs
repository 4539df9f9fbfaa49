//! The hierarchy's directories and the paths that the kernel gives them.

use std::{
    io,
    os::unix::{ffi::OsStrExt as _, fs::MetadataExt as _},
    path::{Path, PathBuf},
    sync::Arc,
};

use thiserror::Error;

use crate::{hierarchy::Hierarchy, text::printable};

/// Inode of the root of every cgroup hierarchy: kernfs numbers from 1 (`kernfs_create_root`).
const ROOT_INODE: u64 = 1;

/// Why directories cannot be watched.
#[derive(Debug, Error)]
pub(super) enum TreeError {
    /// The mount cannot be looked at.
    #[error("cannot stat {}", .0.display())]
    Stat(PathBuf, #[source] io::Error),
    /// Paths below it would not be those that the kernel prints.
    #[error(
        "{} is not the root of the hierarchy and this is a cgroup namespace: mount the host's",
        .0.display()
    )]
    Namespace(PathBuf),
}

/// A mounted hierarchy, or the part of it that is mounted.
#[derive(Clone, Debug)]
pub(super) struct Tree {
    mount: PathBuf,
    /// Kernel path of the mount; empty if it is the root.
    root: String,
}

impl Tree {
    pub(super) fn of(hierarchy: &Hierarchy) -> Result<Self, TreeError> {
        let mount = hierarchy.mount.clone();
        let inode = match mount.metadata() {
            Ok(metadata) => metadata.ino(),
            Err(error) => return Err(TreeError::Stat(mount, error)),
        };
        if inode == ROOT_INODE {
            return Ok(Self::at(mount, ""));
        }
        if !hierarchy.initial_namespace {
            return Err(TreeError::Namespace(mount));
        }
        Ok(Self::at(mount, hierarchy.root.trim_end_matches('/')))
    }

    pub(super) fn at(mount: PathBuf, root: &str) -> Self {
        let root = root.to_owned();
        Self { mount, root }
    }

    /// The directory of a path below the mount.
    pub(super) fn dir(&self, below: &Path) -> PathBuf {
        if below.as_os_str().is_empty() {
            return self.mount.clone();
        }
        self.mount.join(below)
    }

    /// What the kernel calls it, as in [`crate::bpf::decode`].
    pub(super) fn path(&self, below: &Path) -> Arc<str> {
        let below = printable(below.as_os_str().as_bytes());
        match (self.root.as_str(), &*below) {
            ("", "") => "/".into(),
            (root, "") => root.into(),
            (root, below) => format!("{root}/{below}").into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    #[test]
    fn paths_are_those_of_the_kernel() {
        let whole = Tree::at("/mnt".into(), "");
        let part = Tree::at("/mnt".into(), "/pod");
        let path = |tree: &Tree, below: &[u8]| tree.path(Path::new(OsStr::from_bytes(below)));
        assert_eq!(*path(&whole, b""), *"/");
        assert_eq!(*path(&whole, b"a/b\xff"), *r"/a/b\xff");
        assert_eq!(*path(&part, b""), *"/pod");
        assert_eq!(*path(&part, b"a"), *"/pod/a");
        assert_eq!(whole.dir(Path::new("")), Path::new("/mnt"));
        assert_eq!(whole.dir(Path::new("a/b")), Path::new("/mnt/a/b"));
    }
}
