//! Opens the database of a store, and makes it where there is none.
//!
//! What is there and no database any more is moved aside, never deleted. Refuses what a later version or
//! another program made ([`schema`]), a store that another agent writes ([`Lock`]), and a symbolic link in
//! the place of a file.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder, OpenOptions},
    io,
    os::unix::fs::{DirBuilderExt as _, FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::Timestamp;
use rusqlite::{Connection, MAIN_DB, OpenFlags, config::DbConfig};
use rustix::{fs::OFlags, io::Errno};

use super::{error::StoreError, lock::Lock, schema};

/// After a crash the whole file is checked up to this size; of a larger one only what a start needs,
/// for a start must not wait for a disk. What else is damaged shows when it is touched.
const CHECKED_WHOLE: u64 = 64 << 20;

/// Tables without which nothing goes on.
const VITAL: [&str; 6] = ["boot", "clock", "journal", "run", "snapshot", "usage"];

/// How long a reader that holds the file up is waited for. In WAL mode none does for long.
pub(super) const BUSY: Duration = Duration::from_secs(2);

/// Flags of open(2): a symbolic link in the last place is `ELOOP`. Who may put one into the directory must
/// not choose what root writes to.
pub(super) const NO_LINK: i32 = OFlags::NOFOLLOW.bits().cast_signed();

/// An open database that nobody else writes.
#[derive(Debug)]
pub(super) struct Opened {
    pub(super) db: Connection,
    /// Where a damaged one has been put.
    pub(super) set_aside: Option<PathBuf>,
}

/// Opens the store at this path, under the lock that is held, or takes it: also if the rest fails.
pub(super) fn open(path: &Path, held: &mut Option<Lock>) -> Result<Opened, StoreError> {
    make_directory(path)?;
    if held.is_none() {
        *held = Some(Lock::take(path)?);
    }
    let (db, set_aside) = match connect(path) {
        Err(damage) if damage.is_damage() => {
            let aside = set_aside(path, &damage)?;
            (connect(path)?, Some(aside))
        }
        other => (other?, None),
    };
    Ok(Opened { db, set_aside })
}

fn make_directory(path: &Path) -> Result<(), StoreError> {
    let Some(directory) = path.parent().filter(|path| !path.as_os_str().is_empty()) else {
        return Ok(());
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o750)
        .create(directory)
        .map_err(|source| StoreError::Io {
            path: directory.to_owned(),
            source,
        })
}

/// Makes the file if it is not there: SQLite would make it readable for all, and its other files get the mode of this
/// one. A file that is there is not opened, for whoever closes one lets go of all the locks that this process has on it
/// (fcntl(2)), those of SQLite for the readers of the same store among them.
fn made(path: &Path) -> io::Result<()> {
    let found = match to_append().create_new(true).mode(0o640).open(path) {
        Ok(_) => return Ok(()),
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        Err(_) => fs::symlink_metadata(path)?.file_type(),
    };
    match found {
        it if it.is_file() => Ok(()),
        it if it.is_symlink() => Err(Errno::LOOP.into()),
        it if it.is_dir() => Err(Errno::ISDIR.into()),
        _ => Err(Errno::INVAL.into()),
    }
}

fn to_append() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.append(true).custom_flags(NO_LINK);
    options
}

fn connect(path: &Path) -> Result<Connection, StoreError> {
    let refused = |source| StoreError::Io {
        path: path.to_owned(),
        source,
    };
    made(path).map_err(refused)?;
    // A writer that ends well leaves no write-ahead log, or an empty one.
    let closed_well = fs::metadata(beside(path, "-wal")).map_or(true, |wal| wal.len() == 0);
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut db = Connection::open_with_flags(path, flags)?;
    if db.is_readonly(MAIN_DB)? {
        // SQLite says nothing of why. Nothing can be written here anyway, so no lock matters.
        to_append().open(path).map_err(refused)?;
        return Err(refused(Errno::ROFS.into()));
    }
    db.busy_timeout(BUSY)?;
    // Until it is known to be ours, nothing is written.
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
    let version = schema::check(&db, path)?;
    db.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false)?;
    configure(&db, version == 0)?;
    if !closed_well {
        check_health(&db, path)?;
    }
    schema::migrate(&mut db, version)?;
    // More than there are statements on the way of an event.
    db.set_prepared_statement_cache_capacity(64);
    Ok(db)
}

fn configure(db: &Connection, is_new: bool) -> Result<(), StoreError> {
    // Before the first table is made: later it would need a VACUUM. It writes: a store that is there is opened
    // without a word to its file, also while somebody else holds it up.
    if is_new {
        db.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
    }
    db.pragma_update_and_check(None, "journal_mode", "WAL", |_| Ok(()))?;
    // What is committed is on the disk.
    db.pragma_update(None, "synchronous", "FULL")?;
    // KiB. The file is in the kernel's page cache besides.
    db.pragma_update(None, "cache_size", -512)?;
    spill_nothing(db)?;
    // A file that is cut short under a mapping is a SIGBUS.
    db.pragma_update_and_check(None, "mmap_size", 0, |_| Ok(()))
        .or_else(no_rows)?;
    db.pragma_update_and_check(None, "journal_size_limit", 4 << 20, |_| Ok(()))?;
    Ok(())
}

/// What a statement may have to undo, and what is sorted, stays in memory: files in `/var/tmp` or `/tmp`
/// may be forbidden to the agent.
pub(super) fn spill_nothing(db: &Connection) -> rusqlite::Result<()> {
    db.pragma_update(None, "temp_store", "MEMORY")
}

/// A pragma that answers nothing where a build leaves its feature out.
fn no_rows(error: rusqlite::Error) -> rusqlite::Result<()> {
    match error {
        rusqlite::Error::QueryReturnedNoRows => Ok(()),
        other => Err(other),
    }
}

fn check_health(db: &Connection, path: &Path) -> Result<(), StoreError> {
    let size = fs::metadata(path).map_or(0, |file| file.len());
    let first = |row: &rusqlite::Row<'_>| row.get::<_, String>(0);
    let verdicts = if size <= CHECKED_WHOLE {
        vec![db.query_row("PRAGMA quick_check(1)", [], first)?]
    } else {
        let check = |table| db.query_row(&format!("PRAGMA quick_check('{table}')"), [], first);
        VITAL.into_iter().map(check).collect::<Result<_, _>>()?
    };
    match verdicts.into_iter().find(|verdict| verdict != "ok") {
        None => Ok(()),
        Some(found) => Err(damaged(found)),
    }
}

fn damaged(found: String) -> StoreError {
    let code = rusqlite::ffi::Error::new(rusqlite::ffi::SQLITE_CORRUPT);
    StoreError::Database(rusqlite::Error::SqliteFailure(code, Some(found)))
}

/// Moves a database aside, with its write-ahead log, which belongs to it.
pub(super) fn set_aside(path: &Path, why: &StoreError) -> Result<PathBuf, StoreError> {
    let stamp = Timestamp::now().strftime("%Y%m%dT%H%M%SZ");
    let mut aside = beside(path, &format!(".corrupt-{stamp}"));
    for number in 1.. {
        if !aside.exists() {
            break;
        }
        aside = beside(path, &format!(".corrupt-{stamp}.{number}"));
    }
    // The log first: a crash in between must not leave it to the new database.
    for end in ["-wal", "-shm", ""] {
        match fs::rename(beside(path, end), beside(&aside, end)) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(StoreError::Io {
                    path: path.to_owned(),
                    source,
                });
            }
        }
    }
    tracing::error!(
        "the store {} is damaged ({}): moved to {}, a new one is begun. What it held is not asked any \
         more; `sqlite3 {} .recover` may get much of it back",
        path.display(),
        crate::error::chain(why),
        aside.display(),
        aside.display()
    );
    Ok(aside)
}

/// Writes the write-ahead log once more as it is, and waits for the disk. Of what a sync failed on, the kernel may show
/// what it was given and never write it, and the next sync succeeds all the same (fsync(2)): a transaction that is found
/// there is on the disk only if it is written anew. Whoever calls it must be the only one who may write.
pub(super) fn write_log_again(path: &Path) -> Result<(), StoreError> {
    let log = beside(path, "-wal");
    rewrite(&log).map_err(|source| StoreError::Io { path: log, source })
}

fn rewrite(log: &Path) -> io::Result<()> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(NO_LINK)
        .open(log);
    let file = match file {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let (mut at, mut part) = (0, [0; 4096]);
    loop {
        let read = file.read_at(&mut part, at)?;
        if read == 0 {
            break;
        }
        file.write_all_at(&part[..read], at)?;
        at += read as u64;
    }
    if at > 0 {
        file.sync_data()?;
    }
    Ok(())
}

/// A path with more at its end.
pub(super) fn beside(path: &Path, end: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(end);
    name.into()
}

#[cfg(test)]
#[path = "open_tests.rs"]
mod tests;
