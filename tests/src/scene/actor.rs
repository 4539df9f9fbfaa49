//! A process of a scene: one part of `bin/scenario`, played in a scratch cgroup.
//!
//! Emits what it says and how it ended. Refuses an end that the kernel did not make.

use std::{
    ffi::OsStr,
    io::{BufRead as _, BufReader, Read as _, Write as _},
    os::unix::{ffi::OsStrExt as _, process::ExitStatusExt as _},
    path::Path,
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
};

use anyhow::{Context as _, Result, bail, ensure};
use oom_agent::trigger::scratch::ScratchCgroup;
use rustix::process::Signal;

use super::{Place, Process, scenario};

/// A running actor; killed and reaped when dropped.
pub struct Actor {
    child: Child,
    stdout: BufReader<ChildStdout>,
    /// Who it is.
    pub process: Process,
}

impl Actor {
    /// Starts this part in a cgroup.
    pub fn start(
        part: &str,
        comm: &[u8],
        oom_score_adj: i16,
        home: &ScratchCgroup,
        rest: &[&str],
    ) -> Result<Self> {
        Self::start_at(
            part,
            comm,
            oom_score_adj,
            home.dir(),
            Place::of(home)?,
            rest,
        )
    }

    /// The same in a cgroup that is no scratch one.
    pub(super) fn start_at(
        part: &str,
        comm: &[u8],
        oom_score_adj: i16,
        dir: &Path,
        cgroup: Place,
        rest: &[&str],
    ) -> Result<Self> {
        let mut child = Command::new(scenario()?)
            .arg(part)
            .arg("--cgroup")
            .arg(dir)
            .arg("--comm")
            .arg(OsStr::from_bytes(comm))
            .arg(format!("--oom-score-adj={oom_score_adj}"))
            .args(rest)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start an actor")?;
        let stdout = BufReader::new(child.stdout.take().context("stdout")?);
        let process = Process {
            pid: child.id(),
            parent: std::process::id(),
            comm: comm.to_owned(),
            oom_score_adj,
            cgroup,
        };
        Ok(Self {
            child,
            stdout,
            process,
        })
    }

    /// Its next line; empty if it ended instead.
    pub fn says(&mut self) -> Result<String> {
        let mut line = String::new();
        self.stdout.read_line(&mut line)?;
        Ok(line.trim_end().to_owned())
    }

    /// Its next line must be this.
    pub fn must_say(&mut self, line: &str) -> Result<()> {
        let said = self.says()?;
        if said == line {
            return Ok(());
        }
        // Empty: it ended, and its stderr says why.
        let (status, stderr) = if said.is_empty() {
            let (status, stderr) = self.end()?;
            (Some(status), stderr)
        } else {
            (None, String::new())
        };
        bail!(
            "actor {:?} said {said:?} instead of {line:?} ({status:?}): {stderr}",
            self.process
        );
    }

    /// Writes it the line that it waits for.
    pub fn go(&mut self) -> Result<()> {
        let stdin = self.child.stdin.as_mut().context("stdin")?;
        Ok(stdin.write_all(b"\n")?)
    }

    /// Waits for its end; every actor ends by itself if the kernel does not end it.
    fn end(&mut self) -> Result<(ExitStatus, String)> {
        let mut stderr = String::new();
        if let Some(mut pipe) = self.child.stderr.take() {
            pipe.read_to_string(&mut stderr)?;
        }
        Ok((self.child.wait()?, stderr))
    }

    /// Waits for it to be killed; no other end will do.
    pub fn killed(&mut self) -> Result<()> {
        let (status, stderr) = self.end()?;
        ensure!(
            status.signal() == Some(Signal::KILL.as_raw()),
            "actor {:?} ended with {status}, not by the OOM killer: {stderr}",
            self.process
        );
        Ok(())
    }
}

impl Drop for Actor {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            let _ = self.child.wait();
        }
    }
}
