//! What a process writes to files, in its order, by `ptrace(2)`.
//!
//! Reads the system calls of a process with one thread; what it wrote is read from the files themselves
//! while it is held at the end of the call. Refuses what it does not know how to follow.

use std::{
    fs::{self, File},
    io::Write as _,
    ops::Range,
    os::unix::fs::FileExt as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};
use nix::{
    errno::Errno,
    libc,
    sys::{
        ptrace::{self, Options},
        signal::Signal,
        wait::{WaitStatus, waitpid},
    },
    unistd::Pid,
};

use super::Act;

/// A system call at its end.
#[derive(Clone, Copy)]
struct Call {
    number: i64,
    arguments: [u64; 3],
    result: i64,
}

/// Runs a program that waits for a line on its stdin before it does anything, and records what it does
/// to the files in a directory, and what it says. It is told that the syncs with these numbers failed. `None` where it
/// may not be traced.
pub fn record(
    program: &Path,
    arguments: &[&Path],
    directory: &Path,
    failing: &Range<usize>,
) -> Result<Option<Vec<Act>>> {
    let mut child = Command::new(program)
        .args(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| program.display().to_string())?;
    let pid = Pid::from_raw(i32::try_from(child.id())?);
    let mut stdin = child.stdin.take().context("stdin")?;
    // Whatever it says fits into the pipe, or is read below.
    let mut stdout = child.stdout.take().context("stdout")?;
    let reader = std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
    let options = Options::PTRACE_O_TRACESYSGOOD | Options::PTRACE_O_EXITKILL;
    match ptrace::seize(pid, options) {
        Ok(()) => {}
        Err(Errno::EPERM) => {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        Err(error) => return Err(error).context("ptrace"),
    }
    ptrace::interrupt(pid)?;
    stdin.write_all(b"go\n")?;
    let acts = follow(pid, directory, failing);
    if acts.is_err() {
        child.kill()?;
    }
    drop(child.wait());
    drop(reader.join());
    acts.map(Some)
}

fn follow(pid: Pid, directory: &Path, failing: &Range<usize>) -> Result<Vec<Act>> {
    let (mut acts, mut syncs) = (Vec::new(), 0);
    let mut entered: Option<Option<Act>> = None;
    loop {
        let signal = match waitpid(pid, None)? {
            WaitStatus::PtraceSyscall(_) => {
                let call = Call::of(pid)?;
                match entered.take() {
                    // The name of a file that is to go is read before it goes.
                    None => entered = Some(call.removal(pid, directory)?),
                    Some(Some(act)) if call.result == 0 => acts.push(act),
                    Some(Some(_)) => {}
                    Some(None) => {
                        let mut act = call.act(pid, directory)?;
                        if let Some(Act::Sync(path)) = &act {
                            if failing.contains(&syncs) {
                                fail(pid)?;
                                act = Some(Act::Failed(path.clone()));
                            }
                            syncs += 1;
                        }
                        acts.extend(act);
                    }
                }
                None
            }
            WaitStatus::PtraceEvent(..) => None,
            WaitStatus::Stopped(_, signal) => Some(signal).filter(|&it| it != Signal::SIGTRAP),
            WaitStatus::Exited(_, 0) => return Ok(acts),
            other => bail!("the traced process: {other:?}"),
        };
        ptrace::syscall(pid, signal)?;
    }
}

impl Call {
    #[cfg(target_arch = "x86_64")]
    fn of(pid: Pid) -> Result<Self> {
        let registers = ptrace::getregs(pid)?;
        Ok(Self {
            number: registers.orig_rax.cast_signed(),
            arguments: [registers.rdi, registers.rsi, registers.rdx],
            result: registers.rax.cast_signed(),
        })
    }

    #[cfg(target_arch = "aarch64")]
    fn of(pid: Pid) -> Result<Self> {
        let registers = ptrace::getregs(pid)?.regs;
        Ok(Self {
            number: registers[8].cast_signed(),
            arguments: [registers[0], registers[1], registers[2]],
            result: registers[0].cast_signed(),
        })
    }

    /// What it did to a file of this directory.
    fn act(self, pid: Pid, directory: &Path) -> Result<Option<Act>> {
        let Ok(descriptor) = i32::try_from(self.arguments[0]) else {
            return Ok(None);
        };
        let is_write = [libc::SYS_write, libc::SYS_pwrite64].contains(&self.number);
        if self.result < 0 {
            return Ok(None);
        }
        if is_write && descriptor == 1 {
            let text = remote(pid, self.arguments[1], self.result)?;
            return Ok(Some(Act::Said(text)));
        }
        let of_file = [libc::SYS_fsync, libc::SYS_fdatasync, libc::SYS_ftruncate];
        if !is_write && !of_file.contains(&self.number) {
            ensure!(
                ![libc::SYS_writev, libc::SYS_pwritev, libc::SYS_fallocate].contains(&self.number)
                    || descriptor <= 2,
                "system call {} is not followed",
                self.number
            );
            return Ok(None);
        }
        let Some(path) = followed(pid, descriptor, directory)? else {
            return Ok(None);
        };
        Ok(Some(match self.number {
            libc::SYS_ftruncate => Act::Resize(path, self.arguments[1]),
            libc::SYS_fsync | libc::SYS_fdatasync => Act::Sync(path),
            _ => {
                let length = self.result.unsigned_abs();
                let at = if self.number == libc::SYS_pwrite64 {
                    fourth(pid)?
                } else {
                    position(pid, descriptor)? - length
                };
                let mut bytes = vec![0; usize::try_from(length)?];
                File::open(&path)?.read_exact_at(&mut bytes, at)?;
                Act::Write(path, at, bytes)
            }
        }))
    }

    /// Which file it is about to remove.
    fn removal(self, pid: Pid, directory: &Path) -> Result<Option<Act>> {
        let name = match self.number {
            libc::SYS_unlinkat => self.arguments[1],
            #[cfg(target_arch = "x86_64")]
            libc::SYS_unlink => self.arguments[0],
            _ => return Ok(None),
        };
        let path = PathBuf::from(remote(pid, name, 4096)?);
        Ok((path.parent() == Some(directory) && !is_scratch(&path)).then_some(Act::Remove(path)))
    }
}

#[cfg(target_arch = "x86_64")]
fn fourth(pid: Pid) -> Result<u64> {
    Ok(ptrace::getregs(pid)?.r10)
}

#[cfg(target_arch = "aarch64")]
fn fourth(pid: Pid) -> Result<u64> {
    Ok(ptrace::getregs(pid)?.regs[3])
}

/// What the call returns to the process: `EIO`.
#[cfg(target_arch = "x86_64")]
fn fail(pid: Pid) -> Result<()> {
    let mut registers = ptrace::getregs(pid)?;
    registers.rax = (-i64::from(libc::EIO)).cast_unsigned();
    Ok(ptrace::setregs(pid, registers)?)
}

#[cfg(target_arch = "aarch64")]
fn fail(pid: Pid) -> Result<()> {
    let mut registers = ptrace::getregs(pid)?;
    registers.regs[0] = (-i64::from(libc::EIO)).cast_unsigned();
    Ok(ptrace::setregs(pid, registers)?)
}

/// A file of the directory that survives a reboot.
fn followed(pid: Pid, descriptor: i32, directory: &Path) -> Result<Option<PathBuf>> {
    let path = fs::read_link(format!("/proc/{pid}/fd/{descriptor}"))?;
    Ok((path.parent() == Some(directory) && !is_scratch(&path)).then_some(path))
}

/// The shared memory of `SQLite` is made anew, and a lock is no data.
fn is_scratch(path: &Path) -> bool {
    let name = path.as_os_str().as_encoded_bytes();
    name.ends_with(b"-shm") || name.ends_with(b".lock")
}

fn position(pid: Pid, descriptor: i32) -> Result<u64> {
    let info = fs::read_to_string(format!("/proc/{pid}/fdinfo/{descriptor}"))?;
    let position = info.lines().find_map(|line| line.strip_prefix("pos:"));
    Ok(position.context("pos")?.trim().parse()?)
}

/// Text in the memory of the process: so many bytes at most, or up to a zero.
fn remote(pid: Pid, at: u64, most: i64) -> Result<String> {
    let memory = File::open(format!("/proc/{pid}/mem"))?;
    let mut bytes = vec![0; usize::try_from(most)?];
    let read = memory.read_at(&mut bytes, at)?;
    bytes.truncate(read);
    if let Some(end) = bytes.iter().position(|&byte| byte == 0) {
        bytes.truncate(end);
    }
    Ok(String::from_utf8(bytes)?)
}
