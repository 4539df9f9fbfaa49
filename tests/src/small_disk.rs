//! A disk that is full soon, or read-only.
//!
//! Mounted in memory, in a directory of its own or over another's; gone when dropped. Refuses to be made, and says so, where
//! nothing may be mounted.

use std::{
    ffi::CString,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use rustix::{
    io::Errno,
    mount::{MountFlags, UnmountFlags, mount, mount_remount, unmount},
};
use tempfile::TempDir;

use crate::machine;

/// A file system of its own, in memory, and of this size; gone when dropped.
#[derive(Debug)]
pub struct SmallDisk {
    path: PathBuf,
    _dir: Option<TempDir>,
}

impl SmallDisk {
    /// `None`, and said, where it may not be mounted.
    pub fn of(bytes: u64, flags: MountFlags) -> Result<Option<Self>> {
        let dir = tempfile::tempdir()?;
        Self::mounted(dir.path().to_owned(), Some(dir), bytes, flags)
    }

    /// The same in the place of a directory that is another's.
    pub fn over(dir: &Path, bytes: u64, flags: MountFlags) -> Result<Option<Self>> {
        Self::mounted(dir.to_owned(), None, bytes, flags)
    }

    fn mounted(
        path: PathBuf,
        own: Option<TempDir>,
        bytes: u64,
        flags: MountFlags,
    ) -> Result<Option<Self>> {
        let size = CString::new(format!("size={bytes}"))?;
        match mount("oom-tests", &path, "tmpfs", flags, Some(size.as_c_str())) {
            Ok(()) => Ok(Some(Self { path, _dir: own })),
            Err(Errno::PERM | Errno::ACCESS) => {
                machine::skip("mounts a file system (needs CAP_SYS_ADMIN)")?;
                Ok(None)
            }
            Err(error) => Err(error).context("mount"),
        }
    }

    /// Where it is.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives it this size, and lets it be written.
    pub fn make_writable(&self, bytes: u64) -> Result<()> {
        let size = format!("size={bytes}");
        Ok(mount_remount(self.path(), MountFlags::empty(), size)?)
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        if let Err(error) = unmount(&self.path, UnmountFlags::DETACH) {
            eprintln!("{}: {error}", self.path.display());
        }
    }
}
