//! How to start the agent: its arguments, what becomes of its stdout, and whether to wait until it is armed.

use std::{
    cell::Cell,
    ffi::{OsStr, OsString},
    fs::{self, Permissions},
    os::unix::{fs::PermissionsExt as _, net::UnixDatagram},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{Agent, DEADLINE, Finished, lines::Lines};
use crate::machine;

/// How to start the agent.
#[derive(Clone, Debug)]
pub struct Launch {
    args: Vec<OsString>,
    /// Empty for the agent itself.
    program: Vec<OsString>,
    output: Output,
    keeps: bool,
}

/// What becomes of the agent's stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Output {
    /// Read as it comes.
    Read,
    /// Nobody reads, and the pipe stays open: it fills up.
    Ignored,
    /// The reading end is closed once the agent is ready.
    Closed,
}

impl Launch {
    /// `oom-agent run --output json` and these arguments, without a store and pins: what agents leave to each
    /// other is not what most tests are about.
    #[must_use]
    pub fn run(args: &[&str]) -> Self {
        let args = ["run", "--output", "json"].iter().chain(args);
        Self {
            args: args.map(OsString::from).collect(),
            program: Vec::new(),
            output: Output::Read,
            keeps: false,
        }
    }

    /// The same for people: [`Agent::wait_for_text`] instead of events.
    #[must_use]
    pub fn as_text(mut self) -> Self {
        let json = self.args.iter().position(|arg| arg == "json");
        if let Some(json) = json {
            self.args[json] = "text".into();
        }
        self
    }

    /// With the store and the pins that the arguments name ([`crate::kept::Kept::args`]), or the agent's own.
    #[must_use]
    pub fn keeping(mut self) -> Self {
        self.keeps = true;
        self
    }

    /// Another program, and what precedes its arguments: `setpriv …` and a copy of the agent.
    #[must_use]
    pub fn program(mut self, words: &[String]) -> Self {
        self.program = words.iter().map(OsString::from).collect();
        self
    }

    /// What becomes of stdout.
    #[must_use]
    pub fn output(mut self, output: Output) -> Self {
        self.output = output;
        self
    }

    /// Starts it without waiting for anything.
    fn spawn(&self, notify_socket: &OsStr) -> Result<Agent> {
        let mut words = self.program.clone();
        if words.is_empty() {
            words.push(machine::agent_binary()?.into());
        }
        words.extend(self.args.iter().cloned());
        if !self.keeps {
            words.extend(["--store", "none", "--pin-path", "none"].map(OsString::from));
        }
        // One agent alone could have the usual one.
        if !words.iter().any(|word| word == "--socket") {
            words.extend(["--socket", "none"].map(OsString::from));
        }
        let mut child = Command::new(&words[0])
            .args(&words[1..])
            .env("NOTIFY_SOCKET", notify_socket)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("start {words:?}"))?;
        let (events, log) = (Lines::default(), Lines::default());
        let stdout = child.stdout.take().context("stdout")?;
        let stderr = child.stderr.take().context("stderr")?;
        let mut readers = vec![log.collect(stderr)];
        let unread = match self.output {
            Output::Read => {
                readers.push(events.collect(stdout));
                None
            }
            Output::Ignored | Output::Closed => Some(stdout),
        };
        Ok(Agent {
            child,
            events,
            log,
            readers,
            unread,
            told: Cell::new(0),
        })
    }

    /// Starts it and waits until it is armed.
    pub fn start(&self) -> Result<Agent> {
        // Open to every user, for the agent may run as one that owns nothing.
        let dir = tempfile::tempdir()?;
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755))?;
        let path = dir.path().join("notify");
        let ready = UnixDatagram::bind(&path)?;
        fs::set_permissions(&path, Permissions::from_mode(0o777))?;
        self.start_with(&ready, path.as_os_str())
    }

    /// The same with a notify socket of the test's choice.
    pub fn start_with(&self, ready: &UnixDatagram, name: &OsStr) -> Result<Agent> {
        ready.set_read_timeout(Some(Duration::from_millis(100)))?;
        let mut agent = self.spawn(name)?;
        let end = Instant::now() + DEADLINE;
        let mut datagram = [0; 512];
        loop {
            if let Ok(n) = ready.recv(&mut datagram)
                && datagram[..n]
                    .split(|&b| b == b'\n')
                    .any(|line| line == b"READY=1")
            {
                break;
            }
            if let Some(status) = agent.child.try_wait()? {
                agent.join();
                bail!(
                    "the agent ended with {status} before it was ready:\n{}",
                    agent.log
                );
            }
            ensure!(
                Instant::now() < end,
                "the agent is not ready:\n{}",
                agent.log
            );
        }
        if self.output == Output::Closed {
            agent.unread = None;
        }
        Ok(agent)
    }

    /// Starts it and waits for nothing.
    pub fn start_blind(&self) -> Result<Agent> {
        self.spawn(OsStr::new(""))
    }

    /// Runs it to its own end.
    pub fn finish(&self) -> Result<Finished> {
        self.spawn(OsStr::new(""))?.ended()
    }
}
