//! Files of the host, opened so that nobody below can lead the way elsewhere or make us wait.
//!
//! Reads a place of a runtime as an administrator may have laid it out (links allowed, but none out of
//! the host's root), and below it only what is really there: no link, no magic link. Emits bytes, names
//! of a directory, targets of links. Refuses what is not a regular file, what is larger than asked for,
//! and of a user's place one on a file system that could keep us waiting (see `mounts`), and in it other
//! file systems and files of others (hard links).
//!
//! `openat2(2)` is of Linux 5.6, and some seccomp filters do not know it. Then each component is opened
//! with `O_NOFOLLOW`: an administrator's links are not followed, and users' places are refused.

use std::{cell::Cell, fs::File, io::Read as _, path::Path};

use rustix::{
    fd::{AsFd, BorrowedFd, OwnedFd},
    fs::{self, AtFlags, FileType, Mode, OFlags, ResolveFlags, StatxFlags},
    io::Errno,
};

use super::mounts::Mounts;
use crate::evidence::Unreadable;

/// Why there is no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Miss {
    /// Nothing there.
    Absent,
    /// Something, but not to be used.
    Unusable(Unreadable),
}

impl From<Unreadable> for Miss {
    fn from(why: Unreadable) -> Self {
        Self::Unusable(why)
    }
}

impl From<Errno> for Miss {
    fn from(error: Errno) -> Self {
        match error {
            Errno::NOENT | Errno::NAMETOOLONG => Self::Absent,
            Errno::LOOP | Errno::XDEV | Errno::NOTDIR | Errno::NXIO | Errno::NODEV => {
                Unreadable::NotAFile.into()
            }
            _ => Unreadable::Refused.into(),
        }
    }
}

/// The root of the host's files.
#[derive(Debug)]
pub(super) struct Root {
    /// `None` if it could not be opened.
    fd: Option<OwnedFd>,
    /// Its path without links, as mounts are told; `None` if that is no text.
    path: Option<String>,
    opener: Opener,
}

impl Root {
    pub(super) fn open(path: &Path) -> Self {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let plain = std::fs::canonicalize(path).ok();
        Self {
            fd: fs::open(path, flags, Mode::empty()).ok(),
            path: plain.and_then(|path| path.into_os_string().into_string().ok()),
            opener: Opener::default(),
        }
    }

    /// A place of the host's, reached through any links within the root.
    pub(super) fn dir(&self, path: &str) -> Result<Dir, Miss> {
        let root = self.fd.as_ref().ok_or(Unreadable::Refused)?;
        let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
        let path = path.trim_start_matches('/');
        let fd = self.opener.open(root.as_fd(), path, DIR, resolve)?;
        Ok(Dir {
            fd,
            user: None,
            opener: self.opener.clone(),
        })
    }

    /// A place that is a user's, such as the home: reached through links as any other, but only over
    /// local file systems, and below it nothing else is.
    ///
    /// The user may mount something over it (`fusermount`) after it was looked at: so the mount is told
    /// by its id, which asks nobody, and from there no other is entered.
    pub(super) fn user_dir(&self, path: &str, uid: u32) -> Result<Dir, Miss> {
        let root = self.fd.as_ref().ok_or(Unreadable::Refused)?;
        let root_path = self.path.as_deref().ok_or(Unreadable::Refused)?;
        let mounts = Mounts::read()?;
        let is_local = |fd: &OwnedFd| mount_id(fd).is_some_and(|id| mounts.is_local(id));
        if !is_local(root) {
            return Err(Unreadable::Refused.into());
        }
        let place = mounts.resolve(root_path, path, |path| self.target(path))?;
        let mount = self
            .opener
            .open(root.as_fd(), &place.mount, DIR, NO_LINKS)?;
        if self.opener.steps.get() || !is_local(&mount) {
            return Err(Unreadable::Refused.into());
        }
        let resolve = NO_LINKS | ResolveFlags::NO_XDEV;
        Ok(Dir {
            fd: self.opener.open(mount.as_fd(), &place.rest, DIR, resolve)?,
            user: Some(uid),
            opener: self.opener.clone(),
        })
    }

    /// Where the link at a path leads to, above which there are none; `None` if it is no link.
    fn target(&self, path: &str) -> Result<Option<String>, Miss> {
        let root = self.fd.as_ref().ok_or(Unreadable::Refused)?;
        let flags = OFlags::PATH | OFlags::NOFOLLOW;
        let fd = self.opener.open(root.as_fd(), path, flags, NO_LINKS)?;
        match fs::readlinkat(&fd, "", Vec::new()) {
            Ok(target) => match target.into_string() {
                Ok(target) => Ok(Some(target)),
                Err(_) => Err(Unreadable::Malformed.into()),
            },
            // Of what is no link; by a path that is not empty it would be `EINVAL`.
            Err(Errno::NOENT | Errno::INVAL) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

/// A directory, to go on from.
const DIR: OFlags = OFlags::PATH.union(OFlags::DIRECTORY);
/// Only what is really there.
const NO_LINKS: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS);

/// Id of the mount that something is on, asking the kernel alone (Linux 5.8).
fn mount_id(fd: &OwnedFd) -> Option<u64> {
    let flags = AtFlags::EMPTY_PATH | AtFlags::STATX_DONT_SYNC;
    let stat = fs::statx(fd, "", flags, StatxFlags::MNT_ID).ok()?;
    let told = stat.stx_mask & StatxFlags::MNT_ID.bits() != 0;
    told.then_some(stat.stx_mnt_id)
}

/// A directory of a runtime.
#[derive(Debug)]
pub(super) struct Dir {
    fd: OwnedFd,
    /// The only one whose files are read, if it is a user's.
    user: Option<u32>,
    opener: Opener,
}

impl Dir {
    /// Whether a user can write here.
    pub(super) fn of_user(&self) -> bool {
        self.user.is_some()
    }

    /// A directory below.
    pub(super) fn dir(&self, path: &str) -> Result<Self, Miss> {
        Ok(Self {
            fd: self.below(path, DIR)?,
            user: self.user,
            opener: self.opener.clone(),
        })
    }

    /// Replaces what is in `bytes` by the content of a file of at most `most` bytes.
    pub(super) fn read(&self, path: &str, most: usize, bytes: &mut Vec<u8>) -> Result<(), Miss> {
        bytes.clear();
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOCTTY;
        let fd = self.below(path, flags)?;
        let stat = fs::fstat(&fd)?;
        let others = self.user.is_some_and(|uid| uid != stat.st_uid);
        if FileType::from_raw_mode(stat.st_mode) != FileType::RegularFile || others {
            return Err(Unreadable::NotAFile.into());
        }
        if u64::try_from(stat.st_size).is_ok_and(|size| size > most as u64) {
            return Err(Unreadable::TooLarge.into());
        }
        // What it says of its size need not be so.
        let read = File::from(fd).take(most as u64 + 1).read_to_end(bytes);
        match read {
            Ok(length) if length > most => Err(Unreadable::TooLarge.into()),
            Ok(_) => Ok(()),
            Err(_) => Err(Unreadable::Refused.into()),
        }
    }

    /// The first of at most `most` entries that is the one; [`Picked::Cut`] if there are more.
    pub(super) fn pick<T>(
        &self,
        path: &str,
        most: usize,
        mut is_it: impl FnMut(&str) -> Option<T>,
    ) -> Result<Picked<T>, Miss> {
        let fd = self.below(path, OFlags::RDONLY | OFlags::DIRECTORY)?;
        let mut entries = fs::Dir::new(fd)?;
        for _ in 0..most {
            let Some(entry) = entries.read() else {
                return Ok(Picked::None);
            };
            let entry = entry?;
            if let Some(found) = entry.file_name().to_str().ok().and_then(&mut is_it) {
                return Ok(Picked::One(found));
            }
        }
        Ok(Picked::Cut)
    }

    /// Where a link leads to.
    pub(super) fn link(&self, name: &str) -> Result<String, Miss> {
        let target = fs::readlinkat(&self.fd, name, Vec::new());
        let target = target.map_err(|error| match error {
            Errno::INVAL => Unreadable::NotAFile.into(),
            error => Miss::from(error),
        })?;
        let text = target.into_string();
        text.map_err(|_| Unreadable::Malformed.into())
    }

    fn below(&self, path: &str, flags: OFlags) -> Result<OwnedFd, Miss> {
        let mut resolve = NO_LINKS;
        resolve.set(ResolveFlags::NO_XDEV, self.user.is_some());
        Ok(self.opener.open(self.fd.as_fd(), path, flags, resolve)?)
    }
}

/// What a search of a directory came to.
#[derive(Debug)]
pub(super) enum Picked<T> {
    One(T),
    None,
    /// Too many entries to look at.
    Cut,
}

#[derive(Clone, Debug, Default)]
struct Opener {
    /// `openat2` is not to be had.
    steps: Cell<bool>,
}

impl Opener {
    fn open(
        &self,
        dir: BorrowedFd<'_>,
        path: &str,
        flags: OFlags,
        resolve: ResolveFlags,
    ) -> Result<OwnedFd, Errno> {
        /// A rename elsewhere makes the kernel give up on a path with `..` in a link.
        const ATTEMPTS: usize = 8;
        let flags = flags | OFlags::CLOEXEC;
        for _ in 0..ATTEMPTS {
            if self.steps.get() {
                return step_by_step(dir, path, flags);
            }
            match fs::openat2(dir, path, flags, Mode::empty(), resolve) {
                Err(Errno::NOSYS | Errno::PERM) => self.steps.set(true),
                Err(Errno::AGAIN) if !flags.contains(OFlags::NONBLOCK) => {}
                other => return other,
            }
        }
        Err(Errno::AGAIN)
    }
}

/// The same without a link anywhere.
fn step_by_step(dir: BorrowedFd<'_>, path: &str, flags: OFlags) -> Result<OwnedFd, Errno> {
    let flags = flags | OFlags::NOFOLLOW;
    let between = OFlags::PATH | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut names = path
        .split('/')
        .filter(|name| !matches!(*name, "" | "."))
        .peekable();
    let mut at: Option<OwnedFd> = None;
    while let Some(name) = names.next() {
        if name == ".." {
            return Err(Errno::XDEV);
        }
        let flags = if names.peek().is_some() {
            between
        } else {
            flags
        };
        let from = at.as_ref().map_or(dir, AsFd::as_fd);
        at = Some(fs::openat(from, name, flags, Mode::empty())?);
    }
    match at {
        Some(found) => Ok(found),
        None => fs::openat(dir, ".", flags, Mode::empty()),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn without_openat2_the_same_files_are_read_and_no_link_is_followed() {
        let temp = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(temp.path().join("run/a/b")).unwrap();
        std::fs::write(temp.path().join("run/a/b/file"), "yes").unwrap();
        symlink("a", temp.path().join("run/link")).unwrap();
        symlink("file", temp.path().join("run/a/b/link")).unwrap();
        for steps in [false, true] {
            let root = Root::open(temp.path());
            root.opener.steps.set(steps);
            let mut bytes = Vec::new();
            let dir = root.dir("/run").unwrap();
            assert_eq!(dir.read("a/b/file", 3, &mut bytes), Ok(()));
            assert_eq!(bytes, b"yes");
            let not_a_file = Err(Unreadable::NotAFile.into());
            for path in ["link/b/file", "a/b/link", "../run/a/b/file", "a/b"] {
                assert_eq!(dir.read(path, 3, &mut bytes), not_a_file, "{path} {steps}");
            }
            assert_eq!(dir.read("a/c", 3, &mut bytes), Err(Miss::Absent));
            let too_large = Err(Unreadable::TooLarge.into());
            assert_eq!(dir.read("a/b/file", 2, &mut bytes), too_large);
            assert_eq!(root.dir("run/link").is_ok(), !steps);
            let uid = rustix::process::getuid().as_raw();
            let user = root.user_dir("run", uid);
            assert_eq!(user.is_ok(), !steps);
        }
    }

    #[test]
    fn a_users_place_is_reached_through_links_but_only_over_local_file_systems() {
        let temp = tempfile::tempdir().unwrap();
        let at = |path: &str| temp.path().join(path);
        std::fs::create_dir_all(at("data/ann")).unwrap();
        std::fs::write(at("data/ann/file"), "yes").unwrap();
        symlink("/data", at("home")).unwrap();
        symlink("home/./ann/../ann", at("me")).unwrap();
        symlink("me", at("me2")).unwrap();
        symlink("/loop", at("loop")).unwrap();
        let uid = rustix::process::getuid().as_raw();
        let root = Root::open(temp.path());
        for path in ["/data/ann", "/home/ann", "/me", "/me2/"] {
            let mut bytes = Vec::new();
            let dir = root.user_dir(path, uid).unwrap();
            assert_eq!(dir.read("file", 3, &mut bytes), Ok(()), "{path}");
        }
        let absent = root.user_dir("/home/bob", uid).map(|_| ());
        assert_eq!(absent, Err(Miss::Absent));
        let refused = Err(Unreadable::Refused.into());
        assert_eq!(root.user_dir("/loop", uid).map(|_| ()), refused);
        let host = Root::open(Path::new("/"));
        assert_eq!(host.user_dir("/proc/self", uid).map(|_| ()), refused);
        // Itself on none that is local.
        let proc = Root::open(Path::new("/proc"));
        assert_eq!(proc.user_dir("/self", uid).map(|_| ()), refused);
    }
}
