//! Directories of a BPF file system, by descriptor.
//!
//! Emits the names in one; removes one with what it holds, links before maps. Follows no symbolic link: root may
//! do this in a directory whose owner is not to be trusted. Refuses directories in directories.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{AtFlags, Dir, Mode, OFlags, openat, unlinkat},
    io::Errno,
};

use super::{pinned::MAPS, pins::PinsError};

/// An error of the file system at a path.
pub(super) fn failed(path: &Path) -> impl Fn(Errno) -> PinsError {
    |errno| PinsError::Io {
        path: path.to_owned(),
        error: errno.into(),
    }
}

/// Opens the directory of that name; `path` is for errors.
pub(super) fn open(above: BorrowedFd<'_>, name: &Path, path: &Path) -> Result<OwnedFd, PinsError> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat(above, name, flags, Mode::empty()).map_err(failed(path))
}

/// The names in it, sorted.
pub(super) fn names(dir: &OwnedFd, path: &Path) -> Result<Vec<String>, PinsError> {
    let mut names = Vec::new();
    for entry in Dir::read_from(dir).map_err(failed(path))? {
        let entry = entry.map_err(failed(path))?;
        let name = entry.file_name().to_string_lossy();
        if name != "." && name != ".." {
            names.push(name.into_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Removes a directory of pins, if it is there. Links first: what is cut off then records nothing.
pub(super) fn remove(above: BorrowedFd<'_>, name: &Path, path: &Path) -> Result<(), PinsError> {
    let dir = match open(above, name, path) {
        Err(PinsError::Io { error, .. }) if error.kind() == std::io::ErrorKind::NotFound => {
            return Ok(());
        }
        dir => dir?,
    };
    let is_map = |name: &String| MAPS.iter().any(|(pin, _)| pin == name);
    let (maps, links): (Vec<_>, Vec<_>) = names(&dir, path)?.into_iter().partition(is_map);
    for name in links.iter().chain(&maps) {
        unlink(dir.as_fd(), Path::new(name), &path.join(name))?;
    }
    unlinkat(above, name, AtFlags::REMOVEDIR).map_err(failed(path))
}

/// Removes a pin, if it is there.
pub(super) fn unlink(above: BorrowedFd<'_>, name: &Path, path: &Path) -> Result<(), PinsError> {
    match unlinkat(above, name, AtFlags::empty()) {
        Err(errno) if errno != Errno::NOENT => Err(failed(path)(errno)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use rustix::fs::CWD;

    use super::*;

    #[test]
    fn no_symbolic_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (theirs, pins) = (dir.path().join("theirs"), dir.path().join("pins"));
        fs::create_dir(&theirs).unwrap();
        fs::create_dir(&pins).unwrap();
        fs::write(theirs.join("file"), "").unwrap();
        symlink(&theirs, pins.join("w1-0")).unwrap();
        let fd = open(CWD, &pins, &pins).unwrap();
        assert_eq!(names(&fd, &pins).unwrap(), ["w1-0"]);
        let refused = remove(fd.as_fd(), Path::new("w1-0"), &pins.join("w1-0"));
        assert!(matches!(refused, Err(PinsError::Io { .. })), "{refused:?}");
        // What a generation holds may be one: it goes, and what it leads to stays.
        fs::remove_file(pins.join("w1-0")).unwrap();
        fs::create_dir(pins.join("w1-0")).unwrap();
        symlink(theirs.join("file"), pins.join("w1-0/ring")).unwrap();
        remove(fd.as_fd(), Path::new("w1-0"), &pins.join("w1-0")).unwrap();
        assert!(names(&fd, &pins).unwrap().is_empty());
        assert!(theirs.join("file").exists());
    }

    #[test]
    fn what_is_not_there_needs_no_removing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("w1-0");
        remove(CWD, &path, &path).unwrap();
        unlink(CWD, &path, &path).unwrap();
    }
}
