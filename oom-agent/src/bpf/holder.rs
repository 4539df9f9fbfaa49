//! The other agent: who holds the lock, and how to make it end.
//!
//! Reads `/proc/locks` (`proc_locks(5)`), which names the process that locked a file by its device and inode.
//! Signals it through a pidfd that was opened while it held the lock, so never anybody else. Refuses to
//! wait for ever.

use std::{
    fs, io,
    os::fd::{AsFd, OwnedFd},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::{FlockOperation, flock, fstat, major, minor},
    io::Errno,
    process::{Pid, PidfdFlags, Signal, getpid, pidfd_open, pidfd_send_signal},
};
use thiserror::Error;

/// An agent that is told to end drains, writes and goes. It waits for its log, its helpers, its clients, its sinks,
/// its disk and its reader, one after the other, each with a deadline: this is longer than all of these
/// (`daemon::running`), for what it is writing then is what we go on from.
pub(crate) const PATIENCE: Duration = Duration::from_secs(25);

/// A usual end takes less; of one that takes longer something is said, and again after as long.
const USUAL: Duration = Duration::from_secs(3);

/// Between two looks.
const AGAIN: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 10_000_000,
};

/// Another agent holds the lock.
#[derive(Debug, Error)]
#[error(
    "another agent{} reads the pins in {}{}. Stop it, start with --take-over to end it and go on in its place, \
     or use another --pin-path", who(*.pid), dir.display(), .why.as_deref().unwrap_or_default()
)]
pub struct HeldError {
    /// Its process, where it can be seen from here.
    pub pid: Option<i32>,
    /// What it reads.
    pub dir: PathBuf,
    /// What was tried, and failed.
    why: Option<String>,
}

fn who(pid: Option<i32>) -> String {
    pid.map_or_else(String::new, |pid| format!(" (pid {pid})"))
}

/// Says who holds the lock on `fd`, and what was tried.
pub(super) fn held(fd: &OwnedFd, dir: &Path, why: Option<&str>) -> HeldError {
    HeldError {
        pid: holder(fd).map(Pid::as_raw_nonzero).map(Into::into),
        dir: dir.to_owned(),
        why: why.map(|why| format!(", which could not be ended: {why}")),
    }
}

/// Ends whoever holds the lock, and takes it.
pub(super) fn take_over(fd: &OwnedFd, dir: &Path) -> Result<(), HeldError> {
    let begun = Instant::now();
    let deadline = begun + PATIENCE;
    let mut say_after = USUAL;
    let mut told: Option<(Pid, OwnedFd)> = None;
    let refused = |why: String| held(fd, dir, Some(&why));
    loop {
        match flock(fd, FlockOperation::NonBlockingLockExclusive) {
            // It lets go of the pins before it has written all that it knows.
            Ok(()) if told.as_ref().is_none_or(|(_, process)| has_ended(process)) => return Ok(()),
            Ok(()) | Err(Errno::WOULDBLOCK) => {}
            Err(errno) => return Err(refused(errno.to_string())),
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(refused(format!("it had {} s", PATIENCE.as_secs())));
        }
        if let Some(pid) = holder(fd)
            .filter(|&pid| pid != getpid() && told.as_ref().is_none_or(|(it, _)| *it != pid))
        {
            let process = tell(fd, pid).map_err(|error| refused(error.to_string()))?;
            told = process.map(|process| (pid, process));
        }
        if begun.elapsed() >= say_after {
            tracing::info!(
                "the other agent{} has not ended yet: it may have {} s more to write what it knows",
                who(told.as_ref().map(|(pid, _)| pid.as_raw_nonzero().get())),
                left.as_secs()
            );
            say_after += USUAL;
        }
        let waited = poll(&mut [], Some(&AGAIN));
        if let Err(errno) = waited
            && errno != Errno::INTR
        {
            return Err(refused(errno.to_string()));
        }
    }
}

fn has_ended(process: &OwnedFd) -> bool {
    let mut look = [PollFd::new(process, PollFlags::IN)];
    poll(&mut look, Some(&Timespec::default())).is_ok_and(|ready| ready > 0)
}

/// Asks a process to end, if it still holds the lock.
fn tell(fd: &OwnedFd, pid: Pid) -> io::Result<Option<OwnedFd>> {
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) => process,
        Err(Errno::SRCH) => return Ok(None),
        Err(errno) => return Err(errno.into()),
    };
    // Its number cannot have been given away while it holds the lock.
    if holder(fd) != Some(pid) {
        return Ok(None);
    }
    tracing::info!("taking over from the agent with pid {pid}");
    match pidfd_send_signal(&process, Signal::TERM) {
        Ok(()) => Ok(Some(process)),
        Err(Errno::SRCH) => Ok(None),
        Err(errno) => Err(errno.into()),
    }
}

/// The process that has locked this file.
fn holder(fd: &impl AsFd) -> Option<Pid> {
    let stat = fstat(fd).ok()?;
    let locks = fs::read_to_string("/proc/locks").ok()?;
    let file = (major(stat.st_dev), minor(stat.st_dev), stat.st_ino);
    locks.lines().find_map(|line| of_line(line, file))
}

/// `1: FLOCK  ADVISORY  WRITE 1234 00:1f:567 0 EOF`: device in hexadecimal, inode in decimal. One that waits
/// has an arrow behind its number.
fn of_line(line: &str, file: (u32, u32, u64)) -> Option<Pid> {
    let mut words = line.split_ascii_whitespace().skip(1);
    if (words.next()?, words.next()?, words.next()?) != ("FLOCK", "ADVISORY", "WRITE") {
        return None;
    }
    let pid = words.next()?.parse().ok()?;
    let mut place = words.next()?.split(':');
    let mut hex = || u32::from_str_radix(place.next()?, 16).ok();
    let device = (hex()?, hex()?);
    let inode: u64 = place.next()?.parse().ok()?;
    ((device.0, device.1, inode) == file).then(|| Pid::from_raw(pid))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_holder_of_a_lock_is_found() {
        let file = (0, 0x1f, 567);
        for (line, expected) in [
            ("1: FLOCK  ADVISORY  WRITE 1234 00:1f:567 0 EOF", Some(1234)),
            ("1: FLOCK  ADVISORY  WRITE 1234 00:1f:568 0 EOF", None),
            ("1: FLOCK  ADVISORY  WRITE 1234 01:1f:567 0 EOF", None),
            ("1: POSIX  ADVISORY  WRITE 1234 00:1f:567 0 EOF", None),
            ("1: FLOCK  ADVISORY  READ 1234 00:1f:567 0 EOF", None),
            // Of a process that cannot be seen from here.
            ("1: FLOCK  ADVISORY  WRITE 0 00:1f:567 0 EOF", None),
            ("1: -> FLOCK  ADVISORY  WRITE 1234 00:1f:567 0 EOF", None),
            ("1: FLOCK  ADVISORY  WRITE", None),
            ("", None),
        ] {
            assert_eq!(
                of_line(line, file),
                expected.and_then(Pid::from_raw),
                "{line}"
            );
        }
    }

    #[test]
    fn a_lock_of_our_own_names_us() {
        let file = tempfile::tempfile().unwrap();
        assert_eq!(holder(&file), None);
        flock(&file, FlockOperation::LockExclusive).unwrap();
        assert_eq!(holder(&file), Some(getpid()));
    }
}
