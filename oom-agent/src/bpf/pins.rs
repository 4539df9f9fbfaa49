//! What outlives the agent: links and maps in a BPF file system, a directory for each generation of programs.
//!
//! ```text
//!  /sys/fs/bpf/oom-agent/             locked (flock) by the agent that reads
//!    w1-0f3c…/  ring stats seq        maps
//!               mark-task decision-fentry   links, whose names tell the tier
//!    new-4711/                        half made; what a crash leaves is removed
//! ```
//! A link without a process goes on recording until its pin is removed. A generation gets its name only once
//! it is whole. Refuses directories of other users and file systems that are not BPF's, with the reason
//! and what to do.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{
        Access, AtFlags, CWD, FlockOperation, Mode, accessat, flock, fstat, mkdirat, statfs,
        unlinkat,
    },
    io::Errno,
    process::geteuid,
};
use thiserror::Error;

pub use super::pin_name::PinName;
use super::{
    generation::wire_version,
    holder::{self, HeldError},
    pin_dir,
    pinned::HALF_MADE,
};

/// Where pins are, if nobody says otherwise.
pub const PIN_PATH: &str = "/sys/fs/bpf/oom-agent";

/// `BPF_FS_MAGIC` (include/uapi/linux/magic.h).
const BPF_FS_MAGIC: u64 = 0xcafe_4a11;

/// Why nothing can be pinned.
#[derive(Debug, Error)]
pub enum PinsError {
    /// Another agent reads what is pinned there.
    #[error(transparent)]
    Held(#[from] HeldError),
    /// Not the right file system.
    #[error("{} is not on a BPF file system; mount -t bpf bpf /sys/fs/bpf", .0.display())]
    NotBpffs(PathBuf),
    /// Somebody else could put anything there.
    #[error("{} belongs to another user, or others may write there", .0.display())]
    NotOurs(PathBuf),
    /// The file system said no.
    #[error("cannot use {}; it must be writable to this user", path.display())]
    Io {
        /// Which path.
        path: PathBuf,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// The kernel said no.
    #[error("the kernel refuses to pin {what}")]
    Refused {
        /// What was to be pinned.
        what: &'static str,
        /// What it said.
        #[source]
        error: Box<dyn std::error::Error + Send + Sync>,
    },
    /// The object lacks a map: a fault of ours.
    #[error("the BPF object has no map {0}")]
    NoMap(&'static str),
    /// Kernels before 5.15.
    #[error("this kernel has no link for {} (5.15 and later have)", .0.text())]
    NoLink(PinName),
}

/// The directory of all generations.
#[derive(Debug)]
pub struct Pins {
    pub(super) dir: PathBuf,
    /// Holds the lock, once it is had.
    pub(super) fd: OwnedFd,
    locked: bool,
}

impl Pins {
    /// Whether the directory is, or could be made, where this user can pin.
    pub fn possible(dir: &Path) -> Result<(), PinsError> {
        let failed = pin_dir::failed(dir);
        let above = dir.parent().unwrap_or(dir);
        let magic = statfs(above).map_err(&failed)?.f_type;
        if u64::try_from(magic).ok() != Some(BPF_FS_MAGIC) {
            return Err(PinsError::NotBpffs(dir.to_owned()));
        }
        let at = if dir.exists() { dir } else { above };
        // As the process that will do it: without this flag its capabilities do not count, and systemd lets
        // only these through /sys/fs/bpf.
        let wanted = Access::WRITE_OK | Access::EXEC_OK;
        accessat(CWD, at, wanted, AtFlags::EACCESS).map_err(failed)
    }

    /// Opens the directory, and makes it if need be, without its lock.
    pub fn look(dir: &Path) -> Result<Self, PinsError> {
        Self::possible(dir)?;
        match mkdirat(CWD, dir, Mode::RWXU) {
            Ok(()) | Err(Errno::EXIST) => {}
            Err(errno) => return Err(pin_dir::failed(dir)(errno)),
        }
        let us = geteuid().as_raw();
        Self::open(dir, |owner| owner == us || owner == 0)
    }

    /// Opens the directory, which root may do with that of any user: to look at it and to remove it. Nothing is
    /// to be loaded from there.
    pub fn look_over(dir: &Path) -> Result<Self, PinsError> {
        if !geteuid().is_root() {
            return Self::look(dir);
        }
        Self::possible(dir)?;
        Self::open(dir, |_| true)
    }

    fn open(dir: &Path, is_trusted: impl Fn(u32) -> bool) -> Result<Self, PinsError> {
        let fd = pin_dir::open(CWD, dir, dir)?;
        let stat = fstat(&fd).map_err(pin_dir::failed(dir))?;
        let open_to_others = Mode::from_raw_mode(stat.st_mode).intersects(Mode::WGRP | Mode::WOTH);
        if !is_trusted(stat.st_uid) || open_to_others {
            return Err(PinsError::NotOurs(dir.to_owned()));
        }
        Ok(Self {
            dir: dir.to_owned(),
            fd,
            locked: false,
        })
    }

    /// Where they are.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether no other agent reads what is here.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.locked
    }

    /// Takes the lock, if nobody has it.
    pub fn try_lock(&mut self) -> Result<bool, PinsError> {
        self.locked = match flock(&self.fd, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => true,
            Err(Errno::WOULDBLOCK) => false,
            Err(errno) => return Err(pin_dir::failed(&self.dir)(errno)),
        };
        Ok(self.locked)
    }

    /// Who has the lock, and what keeps us from taking it over.
    #[must_use]
    pub fn held(&self, why: Option<&str>) -> HeldError {
        holder::held(&self.fd, &self.dir, why)
    }

    /// Ends the agent that has the lock, and takes it.
    pub(super) fn take_over(&mut self) -> Result<(), HeldError> {
        if !self.locked {
            holder::take_over(&self.fd, &self.dir)?;
            self.locked = true;
        }
        Ok(())
    }

    /// Names of all that is here.
    pub fn names(&self) -> Result<Vec<String>, PinsError> {
        pin_dir::names(&self.fd, &self.dir)
    }

    /// Names of what a generation, or a half-made one, holds.
    pub fn content(&self, name: &str) -> Result<Vec<String>, PinsError> {
        let path = self.dir.join(name);
        let dir = pin_dir::open(self.fd.as_fd(), Path::new(name), &path)?;
        pin_dir::names(&dir, &path)
    }

    /// Removes what a crash has left half made. Only with the lock.
    pub(super) fn sweep(&self) -> Result<(), PinsError> {
        for name in self.names()? {
            if name.starts_with(HALF_MADE) {
                tracing::info!("removed {name}, which a crash had left half made");
                self.remove(&name)?;
            }
        }
        Ok(())
    }

    /// Names of generations.
    pub fn generations(&self) -> Result<Vec<String>, PinsError> {
        let mut names = self.names()?;
        names.retain(|name| wire_version(name).is_some());
        Ok(names)
    }

    /// Removes the directory itself, which must be empty.
    pub fn remove_dir(self) -> Result<(), PinsError> {
        unlinkat(CWD, &self.dir, AtFlags::REMOVEDIR).map_err(pin_dir::failed(&self.dir))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_bpffs_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let error = Pins::look(&dir.path().join("pins")).unwrap_err();
        assert!(matches!(error, PinsError::NotBpffs(_)));
        assert!(error.to_string().contains("mount -t bpf"));
        let error = Pins::look(&dir.path().join("not/there")).unwrap_err();
        assert!(matches!(error, PinsError::Io { .. }), "{error}");
    }
}
