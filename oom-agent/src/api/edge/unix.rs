//! The Unix socket: made so that nobody connects who may not, and removed only by who made it.
//!
//! Reads what is at the path; emits a listening socket of mode 0660. A socket that nobody answers on is
//! left from an agent that was killed, and is replaced. Refuses one that somebody answers on, and whatever
//! is no socket; to wait for anybody.
//!
//! Who has the socket holds the lock of the file beside it (`PATH.lock`), which nobody else can open.

use std::{
    ffi::OsString,
    fmt,
    fs::{self, File, OpenOptions, TryLockError},
    io,
    os::unix::{
        fs::{
            DirBuilderExt as _, FileTypeExt as _, MetadataExt as _, OpenOptionsExt as _,
            PermissionsExt as _,
        },
        net::UnixListener,
    },
    path::{Path, PathBuf},
};

use rustix::{
    fs::OFlags,
    io::Errno,
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType},
};
use thiserror::Error;

/// Connections that wait to be accepted.
const BACKLOG: i32 = 1024;

/// Owner and group may ask.
const MODE: u32 = 0o660;

/// Why there is no socket.
#[derive(Debug, Error)]
pub enum SocketError {
    /// Somebody has it.
    #[error("somebody answers there already: another agent?")]
    Answered,
    /// Somebody has it, or is about to.
    #[error("somebody holds {0}: another agent?")]
    Held(String),
    /// It is not ours to remove.
    #[error("there is something that is not a socket")]
    NotASocket,
    /// The kernel takes 107 bytes (unix(7)).
    #[error("the path of a socket has 107 bytes at most")]
    TooLong,
    /// No such group.
    #[error("{0:?} is no group of /etc/group")]
    NoGroup(String),
    /// The system refused.
    #[error("{what}")]
    System {
        /// What was being done.
        what: &'static str,
        /// Why it failed.
        #[source]
        error: io::Error,
    },
}

fn system<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> SocketError {
    move |error| SocketError::System {
        what,
        error: error.into(),
    }
}

/// The socket's file. Dropped, it is removed if it is still this one.
#[derive(Debug)]
pub(super) struct SocketFile {
    path: PathBuf,
    device: u64,
    inode: u64,
    /// Given back behind the file.
    _lock: File,
}

/// Makes the socket. Its directory is made, too, if it is not there.
pub(super) fn listen(
    path: &Path,
    group: Option<&str>,
) -> Result<(SocketFile, UnixListener), SocketError> {
    let address = SocketAddrUnix::new(path).map_err(|error| match error {
        Errno::NAMETOOLONG => SocketError::TooLong,
        error => system("its path cannot be used")(error),
    })?;
    let group = group.map(group_id).transpose()?;
    let dir = match path.parent() {
        Some(dir) if dir.as_os_str().is_empty() => Path::new("."),
        dir => dir.unwrap_or(Path::new("/")),
    };
    make(dir).map_err(system("cannot make its directory"))?;
    // Before what is there is looked at: of two agents that start at once one has it.
    let lock = lock(path)?;
    make_room(path, &address)?;
    let socket = socket()?;
    rustix::net::bind(&socket, &address).map_err(system("bind"))?;
    // Until it listens nobody can connect, whatever its mode.
    let about = fs::symlink_metadata(path).map_err(system("it is gone"))?;
    let file = SocketFile {
        path: path.to_owned(),
        device: about.dev(),
        inode: about.ino(),
        _lock: lock,
    };
    if let Some(group) = group {
        std::os::unix::fs::lchown(path, None, Some(group))
            .map_err(system("cannot give it to its group"))?;
    }
    fs::set_permissions(path, fs::Permissions::from_mode(MODE))
        .map_err(system("cannot set its mode"))?;
    rustix::net::listen(&socket, BACKLOG).map_err(system("listen"))?;
    Ok((file, socket.into()))
}

fn socket() -> Result<rustix::fd::OwnedFd, SocketError> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)
        .map_err(system("socket"))
}

/// Takes the lock, at once or not at all. Its file stays: removed, it could be locked twice.
fn lock(path: &Path) -> Result<File, SocketError> {
    let mut beside = OsString::from(path);
    beside.push(".lock");
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o600)
        .custom_flags((OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed())
        .open(&beside)
        .map_err(system("cannot open its lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(SocketError::Held(Path::new(&beside).display().to_string()))
        }
        Err(TryLockError::Error(error)) => Err(system("cannot lock it")(error)),
    }
}

/// A directory that all may pass, whatever the umask; one that is there stays as it is.
fn make(dir: &Path) -> io::Result<()> {
    if dir.is_dir() {
        return Ok(());
    }
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o755)
        .create(dir)?;
    fs::set_permissions(dir, fs::Permissions::from_mode(0o755))
}

/// Removes what an agent has left that could not do so.
fn make_room(path: &Path, address: &SocketAddrUnix) -> Result<(), SocketError> {
    let about = match fs::symlink_metadata(path) {
        Ok(about) => about,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(system("cannot look at what is there")(error)),
    };
    if !about.file_type().is_socket() {
        return Err(SocketError::NotASocket);
    }
    match rustix::net::connect(&socket()?, address) {
        Err(Errno::CONNREFUSED) => {
            fs::remove_file(path).map_err(system("cannot remove the one of an agent that is gone"))
        }
        // A full queue is one of somebody who listens; so is a socket of another type.
        Ok(()) | Err(Errno::AGAIN | Errno::PROTOTYPE) => Err(SocketError::Answered),
        Err(error) => Err(system("cannot tell whether somebody answers there")(error)),
    }
}

/// A number, or a name of `/etc/group`: other databases take libraries that this program has not got.
fn group_id(group: &str) -> Result<u32, SocketError> {
    if let Ok(id) = group.parse() {
        return Ok(id);
    }
    let groups = fs::read("/etc/group").map_err(system("cannot read /etc/group"))?;
    named(&String::from_utf8_lossy(&groups), group)
        .ok_or_else(|| SocketError::NoGroup(group.to_owned()))
}

/// The number of a group (group(5)).
fn named(groups: &str, name: &str) -> Option<u32> {
    groups.lines().find_map(|line| {
        let mut fields = line.split(':');
        (fields.next()? == name).then(|| fields.nth(1)?.parse().ok())?
    })
}

impl fmt::Display for SocketFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.path.display().fmt(f)
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        let ours = fs::symlink_metadata(&self.path)
            .is_ok_and(|about| (about.dev(), about.ino()) == (self.device, self.inode));
        if ours && let Err(error) = fs::remove_file(&self.path) {
            tracing::debug!("{} stays: {error}", self.path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::net::UnixStream, sync::mpsc, time::Duration};

    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o7777
    }

    #[test]
    fn it_is_made_with_its_directory_and_removed_at_the_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("run/oom-agent/api.sock");
        let (file, listener) = listen(&path, None).unwrap();
        assert_eq!(mode(&path), 0o660);
        assert_eq!(mode(path.parent().unwrap()), 0o755);
        UnixStream::connect(&path).unwrap();
        drop((file, listener));
        assert!(!path.exists());
    }

    #[test]
    fn what_a_killed_agent_has_left_is_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        drop(UnixListener::bind(&path).unwrap());
        let _kept = listen(&path, None).unwrap();
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn what_somebody_answers_on_stays() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        let _first = UnixListener::bind(&path).unwrap();
        let error = listen(&path, None).unwrap_err();
        assert!(matches!(error, SocketError::Answered), "{error}");
        UnixStream::connect(&path).unwrap();
        let path = dir.path().join("datagrams");
        let _datagrams = std::os::unix::net::UnixDatagram::bind(&path).unwrap();
        let error = listen(&path, None).unwrap_err();
        assert!(matches!(error, SocketError::Answered), "{error}");
    }

    #[test]
    fn one_agent_has_it_until_its_end() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        let first = listen(&path, None).unwrap();
        let error = listen(&path, None).unwrap_err();
        assert!(matches!(error, SocketError::Held(_)), "{error}");
        UnixStream::connect(&path).unwrap();
        let lock = dir.path().join("api.sock.lock");
        assert_eq!(mode(&lock), 0o600);
        drop(first);
        let _second = listen(&path, None).unwrap();
    }

    #[test]
    fn nobody_else_can_keep_it_waiting() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        // Whoever may read a directory can lock it.
        let other = File::open(dir.path()).unwrap();
        other.lock().unwrap();
        let (done, ended) = mpsc::channel();
        std::thread::spawn(move || done.send(listen(&path, None).is_ok()));
        let made = ended.recv_timeout(Duration::from_secs(20));
        assert_eq!(made, Ok(true));
    }

    #[test]
    fn a_lock_that_leads_elsewhere_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        let elsewhere = dir.path().join("elsewhere");
        std::os::unix::fs::symlink(&elsewhere, dir.path().join("api.sock.lock")).unwrap();
        let error = listen(&path, None).unwrap_err();
        assert!(matches!(error, SocketError::System { .. }), "{error}");
        assert!(!elsewhere.exists() && !path.exists());
    }

    #[test]
    fn what_is_no_socket_stays() {
        let dir = tempfile::tempdir().unwrap();
        let target = dir.path().join("target");
        drop(UnixListener::bind(&target).unwrap());
        let (file, link) = (dir.path().join("file"), dir.path().join("link"));
        fs::write(&file, "precious").unwrap();
        std::os::unix::fs::symlink(&target, &link).unwrap();
        for path in [&file, &link, &dir.path().to_owned()] {
            let error = listen(path, None).unwrap_err();
            assert!(matches!(error, SocketError::NotASocket), "{error}");
        }
        assert_eq!(fs::read(&file).unwrap(), b"precious");
        assert!(target.exists());
    }

    #[test]
    fn another_s_is_not_removed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("api.sock");
        let first = listen(&path, None).unwrap();
        fs::remove_file(&path).unwrap();
        let _second = UnixListener::bind(&path).unwrap();
        drop(first);
        UnixStream::connect(&path).unwrap();
    }

    #[test]
    fn a_long_path_and_an_unknown_group_are_said() {
        let dir = tempfile::tempdir().unwrap();
        let error = listen(&dir.path().join("x".repeat(108)), None).unwrap_err();
        assert!(matches!(error, SocketError::TooLong), "{error}");
        let error = listen(&dir.path().join("s"), Some("no such group")).unwrap_err();
        assert!(matches!(error, SocketError::NoGroup(_)), "{error}");
        assert!(!dir.path().join("s").exists());
    }

    #[test]
    fn a_group_is_found_by_its_name() {
        let groups = "root:x:0:\nadm:x:4:a,b\nbroken\nbad:x:y:\n";
        assert_eq!(named(groups, "adm"), Some(4));
        assert_eq!(named(groups, "bad"), None);
        assert_eq!(named(groups, "broken"), None);
        assert_eq!(named(groups, "ad"), None);
        assert_eq!(group_id("17").unwrap(), 17);
    }
}
