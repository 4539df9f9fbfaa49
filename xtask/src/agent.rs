//! The agent as a child process: built, started as root, known to be armed.
//!
//! Reads the agent's `READY=1` (`sd_notify(3)`) on a socket of its own; emits a running child. Refuses
//! to start it as a user without `sudo`: the kernel would show it nothing.

use std::{
    ffi::{OsStr, OsString},
    fs::{self, Permissions},
    io,
    os::unix::{fs::PermissionsExt, net::UnixDatagram, process::ExitStatusExt},
    path::{Path, PathBuf},
    process::{Child, Command, ExitCode, ExitStatus},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use rustix::process::{Pid, Signal, getegid, geteuid, kill_process};
use tempfile::TempDir;

use crate::{project, tool};

/// How often a wait looks whether the child is still there.
const TICK: Duration = Duration::from_millis(20);

/// Builds the agent and returns its path.
pub(crate) fn build(debug: bool) -> Result<PathBuf> {
    let mut cargo = tool::cargo();
    cargo
        .args(["build", "--package", "oom-agent", "--target-dir"])
        .arg(project::target());
    if !debug {
        cargo.arg("--release");
    }
    tool::run(&mut cargo)?;
    let profile = if debug { "debug" } else { "release" };
    Ok(project::target().join(profile).join("oom-agent"))
}

/// A command that runs as root, through `sudo` if this process does not.
pub(crate) fn as_root(program: impl AsRef<OsStr>, env: &[(&str, &OsStr)]) -> Result<Command> {
    if geteuid().is_root() {
        let mut command = Command::new(program);
        command.envs(env.iter().copied());
        return Ok(command);
    }
    if tool::on_path("sudo").is_none() {
        bail!(
            "reading what the kernel kills needs root, and there is no sudo here: run this as root"
        );
    }
    let mut command = Command::new("sudo");
    // sudo clears the environment; env(1) sets again what the program needs.
    command.arg("env");
    for (key, value) in env {
        let mut pair = OsString::from(key);
        pair.push("=");
        pair.push(value);
        command.arg(pair);
    }
    command.arg(program);
    Ok(command)
}

/// Where an agent that is started from here keeps its events: below target/, in a folder that an agent as root,
/// which keeps few capabilities, can write to, and its owner can remove. Nothing stays in the kernel.
pub(crate) fn keeping(name: &str) -> Result<Vec<OsString>> {
    let dir = project::target().join(name);
    fs::create_dir_all(&dir)?;
    if !geteuid().is_root() {
        fs::set_permissions(&dir, Permissions::from_mode(0o777))?;
    }
    let store = dir.join("events.db").into_os_string();
    Ok(vec![
        "--store".into(),
        store,
        "--pin-path".into(),
        "none".into(),
    ])
}

/// Where the agent is asked by who called; and says how.
pub(crate) fn serving(binary: &Path, name: &str) -> Result<Vec<OsString>> {
    let dir = project::target().join(name);
    fs::create_dir_all(&dir)?;
    let socket = dir.join("api.sock");
    eprintln!(
        "xtask: ask it: {} status --socket {}",
        binary.display(),
        socket.display()
    );
    Ok(vec![
        "--socket".into(),
        socket.into_os_string(),
        "--socket-group".into(),
        getegid().as_raw().to_string().into(),
    ])
}

/// Asks for the password now, not while something waits for the agent.
pub(crate) fn authenticate() -> Result<()> {
    if geteuid().is_root() {
        return Ok(());
    }
    as_root("true", &[]).and_then(|mut command| tool::run(&mut command))
}

/// Sends a signal to a child that may run as root.
pub(crate) fn signal(child: u32, signal: Signal) -> Result<()> {
    if !geteuid().is_root() {
        let mut kill = as_root("kill", &[])?;
        return tool::run(
            kill.arg(format!("-{}", signal.as_raw()))
                .arg(child.to_string()),
        );
    }
    let pid = i32::try_from(child)
        .ok()
        .and_then(Pid::from_raw)
        .context("not a pid")?;
    kill_process(pid, signal).context("cannot signal the agent")
}

/// Where the agent says that it is armed.
pub(crate) struct ReadySocket {
    socket: UnixDatagram,
    path: PathBuf,
    /// Removed, with the socket, when this goes.
    _dir: TempDir,
}

/// How a start went.
pub(crate) enum Start {
    /// The agent is armed.
    Ready,
    /// The agent ended before it was.
    Exited,
}

impl ReadySocket {
    pub(crate) fn bind() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("notify");
        let socket = UnixDatagram::bind(&path).context("cannot listen for READY")?;
        Ok(Self {
            socket,
            path,
            _dir: dir,
        })
    }

    /// The value of `NOTIFY_SOCKET`.
    pub(crate) fn path(&self) -> &OsStr {
        self.path.as_os_str()
    }

    /// Waits until the agent is armed or has ended; fails when `patience` is over.
    pub(crate) fn wait(&self, child: &mut Child, patience: Duration) -> Result<Start> {
        let deadline = Instant::now() + patience;
        self.socket.set_read_timeout(Some(TICK))?;
        let mut message = [0; 512];
        loop {
            match self.socket.recv(&mut message) {
                Ok(len)
                    if message[..len]
                        .split(|&b| b == b'\n')
                        .any(|line| line == b"READY=1") =>
                {
                    return Ok(Start::Ready);
                }
                Ok(_) => {}
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted
                    ) => {}
                Err(error) => return Err(error).context("cannot listen for READY"),
            }
            if child.try_wait()?.is_some() {
                return Ok(Start::Exited);
            }
            if Instant::now() > deadline {
                bail!(
                    "the agent did not say READY=1 within {} s",
                    patience.as_secs()
                );
            }
        }
    }
}

/// The exit code that a shell would show.
pub(crate) fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status
        .code()
        .unwrap_or_else(|| 128 + status.signal().unwrap_or(0));
    u8::try_from(code).map_or(ExitCode::FAILURE, ExitCode::from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Stdio;

    #[test]
    fn ready_is_heard_among_other_words() {
        let ready = ReadySocket::bind().expect("socket");
        let mut child = Command::new("cat")
            .stdin(Stdio::piped())
            .spawn()
            .expect("cat");
        let sender = UnixDatagram::unbound().expect("socket");
        for message in ["STATUS=READY=1 soon", "READY=1\nSTATUS=armed"] {
            sender
                .send_to(message.as_bytes(), &ready.path)
                .expect("send");
        }
        let start = ready.wait(&mut child, Duration::from_secs(30));
        drop(child.stdin.take());
        child.wait().expect("cat");
        assert!(matches!(start, Ok(Start::Ready)));
    }

    #[test]
    fn an_early_end_is_noticed() {
        let ready = ReadySocket::bind().expect("socket");
        let mut child = Command::new("false").spawn().expect("false");
        let start = ready.wait(&mut child, Duration::from_secs(30));
        assert!(matches!(start, Ok(Start::Exited)));
    }
}
