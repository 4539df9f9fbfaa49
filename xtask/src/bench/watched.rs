//! An agent under observation: its events, each with the moment at which a reader had it.
//!
//! Reads the agent's stdout as any consumer would; emits [`Kill`]s. Refuses lines that are no
//! `OomKill`. The agent's own log goes to `target/bench-SOURCE.log`.

use std::{
    ffi::OsStr,
    fs::File,
    path::Path,
    process::{Child, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::process::Signal;
use serde::Deserialize;

use super::{
    PATIENCE, agent_command,
    reader::{self, Line},
};
use crate::{
    agent::{self, ReadySocket, Start},
    project,
};

/// An `OomKill` as a consumer saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Kill {
    /// The thread that the kernel named.
    pub tid: u32,
    /// The kill, by the agent's source.
    pub monotonic_ns: u64,
    /// When the event had been read.
    pub seen_ns: u64,
    /// The agent's own figure.
    pub detection_latency_ns: Option<u64>,
    /// Cgroup of the victim.
    pub path: Option<String>,
    /// Whether its container has a name.
    pub named: bool,
}

/// A running agent and its reader.
pub(super) struct Watched {
    /// `--source`.
    pub source: &'static str,
    child: Child,
    lines: Receiver<Line>,
}

impl Watched {
    /// Starts an agent, with further arguments, and waits until it is armed.
    pub(super) fn start(binary: &Path, source: &'static str, args: &[&OsStr]) -> Result<Self> {
        let log = project::target().join(format!("bench-{source}.log"));
        let log = File::create(&log).with_context(|| log.display().to_string())?;
        let ready = ReadySocket::bind()?;
        let mut command = agent_command(binary, source, &ready, args)?;
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("cannot start the agent")?;
        let stdout = child.stdout.take().context("no stdout")?;
        let lines = reader::spawn(stdout)?;
        match ready.wait(&mut child, PATIENCE)? {
            Start::Ready => Ok(Self {
                source,
                child,
                lines,
            }),
            Start::Exited => {
                bail!("`oom-agent run --source {source}` ended, see target/bench-{source}.log")
            }
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// The kills since the last call: `expected` of them, or what came until `quiet` passed without one.
    pub(super) fn kills(&self, expected: usize, quiet: Duration) -> Vec<Kill> {
        let mut kills = Vec::new();
        while kills.len() < expected {
            match self.lines.recv_timeout(quiet) {
                Ok(line) => kills.extend(kill(&line)),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        kills
    }

    /// Lets the agent drain and end.
    pub(super) fn stop(mut self) -> Result<()> {
        agent::signal(self.child.id(), Signal::TERM)?;
        let status = self.child.wait()?;
        if !status.success() {
            bail!("the agent of --source {} ended with {status}", self.source);
        }
        Ok(())
    }
}

/// The kill that a line tells of, if it does.
fn kill(line: &Line) -> Option<Kill> {
    #[derive(Deserialize)]
    struct Event {
        kind: String,
        monotonic_ns: Option<u64>,
        victim: Option<Victim>,
        detection_latency_ns: Option<u64>,
        cgroup: Option<Cgroup>,
        owner: Option<Owner>,
    }
    #[derive(Deserialize)]
    struct Victim {
        tid: u32,
    }
    #[derive(Deserialize)]
    struct Cgroup {
        path: Option<String>,
    }
    #[derive(Deserialize)]
    struct Owner {
        container_name: Option<String>,
    }
    let event: Event = serde_json::from_slice(&line.text).ok()?;
    if event.kind != "OomKill" {
        return None;
    }
    Some(Kill {
        tid: event.victim?.tid,
        monotonic_ns: event.monotonic_ns?,
        seen_ns: line.seen_ns,
        detection_latency_ns: event.detection_latency_ns,
        path: event.cgroup.and_then(|cgroup| cgroup.path),
        named: event
            .owner
            .is_some_and(|owner| owner.container_name.is_some()),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_kills_are_taken() {
        let line = |text: &str| {
            let text = text.into();
            kill(&Line { seen_ns: 9, text })
        };
        let kill = line(
            r#"{"kind":"OomKill","monotonic_ns":5,"victim":{"pid":null,"tid":3},"detection_latency_ns":2,
                "cgroup":{"path":"/a"},"owner":{"container_name":"b"}}"#,
        );
        assert_eq!(
            kill,
            Some(Kill {
                tid: 3,
                monotonic_ns: 5,
                seen_ns: 9,
                detection_latency_ns: Some(2),
                path: Some("/a".into()),
                named: true,
            })
        );
        assert_eq!(line(r#"{"kind":"OomInstance","kills":[]}"#), None);
        assert_eq!(line("half a li"), None);
    }
}
