//! One writer for one store: a lock beside it, which ends with its holder.
//!
//! Reads and writes the holder's pid in the lock file; refuses a second holder, and a symbolic link.

use std::{
    fs::{File, OpenOptions, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
    sync::Arc,
};

use super::{
    error::StoreError,
    open::{NO_LINK, beside},
};

/// The lock; given back when the last copy is dropped.
#[derive(Clone, Debug)]
pub(super) struct Lock {
    _held: Arc<File>,
}

impl Lock {
    /// Takes the lock of the store at this path (`flock(2)` on `PATH.lock`).
    pub(super) fn take(store: &Path) -> Result<Self, StoreError> {
        let path = beside(store, ".lock");
        let refused = |source| StoreError::Io {
            path: path.clone(),
            source,
        };
        let mut file = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(0o640)
            .custom_flags(NO_LINK)
            .open(&path)
            .map_err(refused)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                return Err(StoreError::Held {
                    path: store.to_owned(),
                    pid: read_pid(&mut file),
                });
            }
            Err(TryLockError::Error(error)) => return Err(refused(error)),
        }
        // Only a help for people: on a full disk the lock holds as well without it.
        if let Err(error) = write_pid(&mut file) {
            tracing::debug!("{}: no pid written: {error}", path.display());
        }
        Ok(Self {
            _held: Arc::new(file),
        })
    }
}

fn read_pid(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.take(16).read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.rewind()?;
    writeln!(file, "{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_second_writer_is_told_who_the_first_is() {
        let directory = tempfile::tempdir().unwrap();
        let store = directory.path().join("events.db");
        let held = Lock::take(&store).unwrap();
        let Err(StoreError::Held { pid, .. }) = Lock::take(&store) else {
            panic!("two locks");
        };
        assert_eq!(pid, Some(std::process::id()));
        drop(held);
        Lock::take(&store).unwrap();
    }
}
