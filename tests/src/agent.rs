//! The real agent as a child process: its events, its log, its end.
//!
//! Starts `oom-agent run --output json`, waits until it says `READY=1`, collects the JSON lines of
//! its stdout and the lines of its stderr. Refuses to wait without a deadline.

use std::{
    cell::Cell,
    collections::BTreeMap,
    ffi::{OsStr, OsString},
    fmt::{self, Display},
    fs::{self, Permissions},
    io::{BufRead as _, BufReader, Read},
    os::unix::{fs::PermissionsExt as _, net::UnixDatagram},
    process::{Child, ChildStdout, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{check::Known, machine};

/// Nothing that a test waits for takes longer, even on a slow machine.
pub const DEADLINE: Duration = Duration::from_mins(1);

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
        let log = self.log.to_string();
        let line = log.lines().find(|line| line.contains("tier: "));
        let line = line.with_context(|| format!("no tier in:\n{log}"))?;
        let log_alone = line.contains("tier: kmsg");
        let by_format = line.contains("by format");
        let name = line.split("tier: ").nth(1).unwrap_or_default();
        let by_pid = line.contains("by pid");
        let from_proc = line.contains("more from /proc)");
        let by_kprobe = if line.contains("by kprobe") {
            ", kprobe"
        } else {
            ""
        };
        Ok(Tier {
            name: name.split(" (").next().unwrap_or_default().to_owned() + by_kprobe,
            decides: line.contains("bpf, full") || by_pid && !from_proc,
            log_alone,
            known: match () {
                () if log_alone || by_format => Known::WhatTheLogHolds,
                // Without the decision a pid is a name for what may be gone.
                () if by_pid && from_proc => Known::WhatTheLogHolds,
                () if log.contains("locked down") => Known::ButForNamesAndCounters,
                () if by_pid => Known::ButForSizes,
                () => Known::Everything,
            },
        })
    }

    /// Everything that it has told since it started, or since [`Self::forget`].
    pub fn events(&self) -> Result<Vec<Value>> {
        let lines = self.events.after(self.told.get());
        lines.iter().map(|line| parse(line)).collect()
    }

    /// What it has told so far is not looked at any more, but for [`Finished`].
    pub fn forget(&self) {
        self.told.set(self.events.0.lock().lines.len());
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

/// How much the running agent can know.
#[derive(Clone, Debug)]
pub struct Tier {
    /// Its name: `bpf, full`, `bpf by pid`, `kmsg`.
    pub name: String,
    /// Whether nothing but the kernel log speaks.
    pub log_alone: bool,
    /// Whether it reads the kernel's decision.
    pub decides: bool,
    /// What of a kill must be there.
    pub known: Known,
}

/// How the agent ended and all that it said.
#[derive(Debug)]
pub struct Finished {
    /// Its exit status.
    pub status: ExitStatus,
    /// All its events.
    pub events: Vec<Value>,
    /// All lines of its stderr.
    pub log: Vec<String>,
}

impl Finished {
    /// The `OomKill` events.
    pub fn kills(&self) -> impl Iterator<Item = &Value> {
        self.events.iter().filter(|event| is_kill(event))
    }

    /// The `OomInstance` events.
    pub fn instances(&self) -> impl Iterator<Item = &Value> {
        self.events.iter().filter(|event| is_instance(event))
    }

    /// The numbers of its last word, `summary: name=number …`. Its log has a thread of its own, and a busy machine
    /// may write the last of that behind it.
    pub fn summary(&self) -> Result<Summary> {
        ensure!(
            self.status.success(),
            "the agent ended with {}:\n{}",
            self.status,
            self.log.join("\n")
        );
        (self.log.iter().rev().take(4))
            .find_map(|line| line.strip_prefix("summary: "))
            .map(|line| line.split(' ').filter_map(|word| word.split_once('=')))
            .map(|words| Summary(words.map(|(k, v)| (k.to_owned(), v.to_owned())).collect()))
            .with_context(|| format!("no summary at the end of:\n{}", self.log.join("\n")))
    }

    /// Fails unless one line of the log holds all these words.
    pub fn says(&self, words: &[&str]) -> Result<()> {
        let hit = |line: &String| words.iter().all(|word| line.contains(word));
        ensure!(
            self.log.iter().any(hit),
            "no line says {words:?} in:\n{}",
            self.log.join("\n")
        );
        Ok(())
    }
}

/// What the agent counted.
#[derive(Clone, Debug)]
pub struct Summary(BTreeMap<String, String>);

impl Summary {
    /// One of its numbers.
    pub fn get(&self, name: &str) -> Result<i64> {
        self.0
            .get(name)
            .with_context(|| format!("{name} is not in {self:?}"))?
            .parse()
            .with_context(|| format!("{name} in {self:?}"))
    }

    /// One of its numbers that is left out where it is 0.
    pub fn get_or_zero(&self, name: &str) -> Result<i64> {
        if self.0.contains_key(name) {
            self.get(name)
        } else {
            Ok(0)
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

/// The lines of a pipe, as another thread reads them.
#[derive(Clone, Debug, Default)]
struct Lines(Arc<Shared>);

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    lines: Vec<String>,
    closed: bool,
}

impl Lines {
    fn collect(&self, pipe: impl Read + Send + 'static) -> JoinHandle<()> {
        let shared = Arc::clone(&self.0);
        thread::spawn(move || {
            let mut pipe = BufReader::new(pipe);
            loop {
                let mut line = Vec::new();
                let read = pipe.read_until(b'\n', &mut line);
                let mut state = shared.lock();
                if matches!(read, Ok(0) | Err(_)) {
                    state.closed = true;
                } else {
                    let line = String::from_utf8_lossy(&line).trim_end().to_owned();
                    state.lines.push(line);
                }
                shared.changed.notify_all();
                if state.closed {
                    return;
                }
            }
        })
    }

    /// The lines from number `n` on.
    fn after(&self, n: usize) -> Vec<String> {
        self.0.lock().lines[n..].to_vec()
    }

    /// Waits for a condition; false if it did not come true in time.
    fn wait(&self, timeout: Duration, met: impl Fn(&State) -> bool) -> bool {
        let (_state, result) = self
            .0
            .changed
            .wait_timeout_while(self.0.lock(), timeout, |state| !met(state))
            .unwrap_or_else(PoisonError::into_inner);
        !result.timed_out()
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Display for Lines {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.after(0).join("\n"))
    }
}
