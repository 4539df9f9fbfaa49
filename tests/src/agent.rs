//! The real agent as a child process: its events, its log, its end.
//!
//! Starts `oom-agent run --output json`, waits until it says `READY=1`, collects the JSON lines of
//! its stdout and the lines of its stderr. Refuses to wait without a deadline.

mod finished;
mod launch;
mod lines;
mod tier;

use std::{
    cell::Cell,
    fs,
    process::{Child, ChildStdout},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

pub use finished::{Finished, Summary};
pub use launch::{Launch, Output};
pub use tier::Tier;

use lines::{Lines, State};

/// Nothing that a test waits for takes longer, even on a slow machine.
pub const DEADLINE: Duration = Duration::from_mins(1);

/// The running agent; killed and reaped when dropped.
#[derive(Debug)]
pub struct Agent {
    child: Child,
    events: Lines,
    log: Lines,
    readers: Vec<JoinHandle<()>>,
    unread: Option<ChildStdout>,
    /// How many of its events have been looked at.
    told: Cell<usize>,
}

impl Agent {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) -> Result<()> {
        let pid = Pid::from_raw(self.pid().cast_signed()).context("pid")?;
        kill_process(pid, signal).context("signal the agent")
    }

    /// How many files it has open, once that has not changed for a while: it attaches some programs after it is
    /// armed.
    pub fn descriptors(&self) -> Result<usize> {
        let end = Instant::now() + DEADLINE;
        let (mut last, mut since) = (self.open_files()?, Instant::now());
        while since.elapsed() < Duration::from_millis(500) {
            ensure!(Instant::now() < end, "its open files never settle");
            thread::sleep(Duration::from_millis(20));
            let now = self.open_files()?;
            if now != last {
                (last, since) = (now, Instant::now());
            }
        }
        Ok(last)
    }

    fn open_files(&self) -> Result<usize> {
        let listed = fs::read_dir(format!("/proc/{}/fd", self.pid()));
        Ok(listed.context("the agent's descriptors")?.count())
    }

    /// Waits until it has no more files open than these: what it watches it lets go of in its own time.
    pub fn holds_at_most(&self, descriptors: usize) -> Result<()> {
        let end = Instant::now() + DEADLINE;
        loop {
            let now = self.open_files()?;
            if now <= descriptors {
                return Ok(());
            }
            ensure!(
                Instant::now() < end,
                "{now} descriptors, at most {descriptors} expected"
            );
            thread::sleep(Duration::from_millis(20));
        }
    }

    /// Its log so far.
    pub fn said(&self) -> String {
        format!("the agent's log:\n{}", self.log)
    }

    /// Waits until it is armed; for one that was started blind.
    pub fn watches(&self) -> Result<()> {
        let watches = |state: &State| state.lines.iter().any(|line| line.ends_with("watching"));
        ensure!(
            self.log.wait(DEADLINE, watches),
            "it does not watch:\n{}",
            self.log
        );
        Ok(())
    }

    /// Waits until it sees cgroups come and go: later than it is armed for kills.
    pub fn watches_cgroups(&self) -> Result<()> {
        let watches = |state: &State| {
            let is_it = |line: &String| line.contains("cgroups are watched by");
            state.lines.iter().any(is_it)
        };
        ensure!(
            self.log.wait(DEADLINE, watches),
            "it does not watch cgroups:\n{}",
            self.log
        );
        Ok(())
    }

    /// Waits for a line of its log that holds this, and returns what follows it.
    pub fn wait_for_line(&self, words: &str) -> Result<String> {
        let after = |line: &String| Some(line.split_once(words)?.1.to_owned());
        let said = |state: &State| state.lines.iter().any(|line| line.contains(words));
        self.log.wait(DEADLINE, said);
        let found = self.log.after(0).iter().find_map(after);
        found.with_context(|| format!("it does not say {words:?}:\n{}", self.log))
    }

    /// Waits until its standard output holds all of these words.
    pub fn wait_for_text(&self, words: &[&str]) -> Result<()> {
        let holds = |state: &State| {
            let text = state.lines.join("\n");
            words.iter().all(|word| text.contains(word))
        };
        ensure!(
            self.events.wait(DEADLINE, holds),
            "not all of {words:?} in:\n{}",
            self.events
        );
        Ok(())
    }

    /// What it says of its tier, and why that is not a better one: all of it before it is ready, but this
    /// end of the pipe may be read later.
    pub fn tier(&self) -> Result<Tier> {
        self.log.wait(DEADLINE, |state| {
            state.closed || state.lines.iter().any(|line| line.ends_with("watching"))
        });
        Tier::read(&self.log.to_string())
    }

    /// Everything that it has told since it started, or since [`Self::forget`].
    pub fn events(&self) -> Result<Vec<Value>> {
        let lines = self.events.after(self.told.get());
        lines.iter().map(|line| parse(line)).collect()
    }

    /// What it has told so far is not looked at any more, but for [`Finished`].
    pub fn forget(&self) {
        self.told.set(self.events.count());
    }

    /// Waits until `found` finds what it looks for among the events.
    pub fn wait_for<T>(&self, what: &str, found: impl Fn(&[Value]) -> Option<T>) -> Result<T> {
        self.wait_within(DEADLINE, what, found)
    }

    /// The same, but no longer than that.
    pub fn wait_within<T>(
        &self,
        patience: Duration,
        what: &str,
        found: impl Fn(&[Value]) -> Option<T>,
    ) -> Result<T> {
        // Every line is parsed once, however often `found` is asked.
        let mut events = Vec::new();
        let end = Instant::now() + patience;
        loop {
            for line in self.events.after(self.told.get() + events.len()) {
                events.push(parse(&line)?);
            }
            if let Some(value) = found(&events) {
                return Ok(value);
            }
            let left = end.saturating_duration_since(Instant::now());
            ensure!(
                !left.is_zero(),
                "no {what} among {} events; the agent says:\n{}",
                events.len(),
                self.log
            );
            self.events.wait(left, |state| {
                state.lines.len() > self.told.get() + events.len()
            });
        }
    }

    /// Waits for the `OomInstance` with this victim and returns it with its `OomKill`.
    pub fn wait_for_death(&self, tid: u32) -> Result<(Value, Value)> {
        self.wait_for(&format!("kill and instance of thread {tid}"), |events| {
            let kill = events
                .iter()
                .find(|e| is_kill(e) && e["victim"]["tid"] == tid)?;
            let instance = events
                .iter()
                .find(|e| !is_kill(e) && e["id"] == kill["instance_id"])?;
            Some((kill.clone(), instance.clone()))
        })
    }

    /// Asks it to end and waits until it has.
    pub fn stop(self, signal: Signal) -> Result<Finished> {
        self.signal(signal)?;
        self.ended()
    }

    /// Waits until it has ended by itself.
    pub fn ended(mut self) -> Result<Finished> {
        // Its stderr closes when it ends; only then can the status be awaited without a deadline.
        let ended = self.log.wait(DEADLINE, |state| state.closed);
        ensure!(ended, "the agent does not end:\n{}", self.log);
        let status = self.child.wait()?;
        self.unread = None;
        self.join();
        let events = self.events.after(0);
        Ok(Finished {
            status,
            events: events
                .iter()
                .map(|line| parse(line))
                .collect::<Result<_>>()?,
            log: self.log.after(0),
        })
    }

    fn join(&mut self) {
        for reader in self.readers.drain(..) {
            let _ = reader.join();
        }
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            let _ = self.child.wait();
        }
        if thread::panicking() {
            eprintln!("the agent said:\n{}", self.log);
        }
    }
}

/// Whether this is an `OomKill`.
#[must_use]
pub fn is_kill(event: &Value) -> bool {
    event["kind"] == "OomKill"
}

/// Whether this is an `OomInstance`.
#[must_use]
pub fn is_instance(event: &Value) -> bool {
    event["kind"] == "OomInstance"
}

fn parse(line: &str) -> Result<Value> {
    ensure!(line.starts_with("{\"kind\":\""), "not an event: {line}");
    serde_json::from_str(line).with_context(|| format!("not JSON: {line}"))
}
