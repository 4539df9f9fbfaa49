//! An agent under observation: its events, each with the moment at which a reader had it.
//!
//! Reads the agent's stdout as any consumer would; emits [`Kill`]s. The reader only stamps and
//! keeps; decoding waits until the clock no longer matters. The agent's own log goes to
//! `target/bench-SOURCE.log`.

use std::{
    fs::File,
    io::{BufRead, BufReader},
    path::Path,
    process::{Child, ChildStdout, Stdio},
    sync::mpsc::{self, Receiver, RecvTimeoutError, Sender},
    thread,
    time::Duration,
};

use anyhow::{Context, Result, bail};
use rustix::{
    process::Signal,
    time::{ClockId, clock_gettime},
};
use serde::Deserialize;
use thread_priority::{
    RealtimeThreadSchedulePolicy, ThreadPriority, ThreadSchedulePolicy,
    set_thread_priority_and_policy, thread_native_id,
};

use super::{PATIENCE, agent_command};
use crate::{
    agent::{self, ReadySocket, Start},
    project,
};

/// One line of the agent's stdout and when it was read, on `CLOCK_MONOTONIC`.
struct Line {
    seen_ns: u64,
    text: String,
}

/// An `OomKill` as a consumer saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Kill {
    /// The thread that the kernel named.
    pub tid: u32,
    /// The kill, by the agent's source.
    pub monotonic_ns: u64,
    /// When the event had been read.
    pub seen_ns: u64,
    /// The agent's own figure.
    pub detection_latency_ns: Option<u64>,
}

/// A running agent and its reader.
pub(super) struct Watched {
    /// `--source`.
    pub source: &'static str,
    child: Child,
    lines: Receiver<Line>,
}

impl Watched {
    /// Starts an agent and waits until it is armed.
    pub(super) fn start(binary: &Path, source: &'static str) -> Result<Self> {
        let log = project::target().join(format!("bench-{source}.log"));
        let log = File::create(&log).with_context(|| log.display().to_string())?;
        let ready = ReadySocket::bind()?;
        let mut command = agent_command(binary, source, &ready)?;
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .context("cannot start the agent")?;
        let stdout = child.stdout.take().context("no stdout")?;
        let (sender, lines) = mpsc::channel();
        thread::spawn(move || read(stdout, &sender));
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
        let mut kills = Vec::with_capacity(expected);
        while kills.len() < expected {
            match self.lines.recv_timeout(quiet) {
                Ok(line) => kills.extend(line.kill()),
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

/// Stamps every line. In real time where allowed: the reader's own waiting is not the agent's.
fn read(stdout: ChildStdout, lines: &Sender<Line>) {
    let fifo = ThreadSchedulePolicy::Realtime(RealtimeThreadSchedulePolicy::Fifo);
    if let Err(error) =
        set_thread_priority_and_policy(thread_native_id(), ThreadPriority::Min, fifo)
    {
        eprintln!(
            "bench: the reader has no real-time priority, figures include its own waiting: {error:?}"
        );
    }
    for text in BufReader::new(stdout).lines().map_while(Result::ok) {
        let line = Line {
            seen_ns: monotonic_ns(),
            text,
        };
        if lines.send(line).is_err() {
            break;
        }
    }
}

impl Line {
    fn kill(&self) -> Option<Kill> {
        #[derive(Deserialize)]
        struct Event {
            kind: String,
            monotonic_ns: Option<u64>,
            victim: Option<Victim>,
            detection_latency_ns: Option<u64>,
        }
        #[derive(Deserialize)]
        struct Victim {
            tid: u32,
        }
        let event: Event = serde_json::from_str(&self.text)
            .ok()
            .filter(|event: &Event| event.kind == "OomKill")?;
        Some(Kill {
            tid: event.victim?.tid,
            monotonic_ns: event.monotonic_ns?,
            seen_ns: self.seen_ns,
            detection_latency_ns: event.detection_latency_ns,
        })
    }
}

fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).unwrap_or(0) * 1_000_000_000 + u64::try_from(now.tv_nsec).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_kills_are_taken() {
        let line = |text: &str| {
            Line {
                seen_ns: 9,
                text: text.into(),
            }
            .kill()
        };
        let kill = line(
            r#"{"kind":"OomKill","monotonic_ns":5,"victim":{"pid":null,"tid":3},"detection_latency_ns":2}"#,
        );
        assert_eq!(
            kill,
            Some(Kill {
                tid: 3,
                monotonic_ns: 5,
                seen_ns: 9,
                detection_latency_ns: Some(2)
            })
        );
        assert_eq!(line(r#"{"kind":"OomInstance","kills":[]}"#), None);
        assert_eq!(line("half a li"), None);
    }
}
