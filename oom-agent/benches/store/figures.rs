//! What was measured: a table for people, JSON for the rest.

use std::{
    fmt,
    time::{Duration, Instant},
};

use anyhow::Result;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;

/// What a page may take on a CPU, at the 99th percentile.
const GOAL: Duration = Duration::from_millis(5);

/// All of one run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    events: usize,
    seed: u64,
    /// Bytes of the database.
    pub(crate) bytes: u64,
    goal_ns: u128,
    /// Pages with rows whose 99th percentile is above the goal.
    slow: Vec<String>,
    figures: Vec<Figure>,
}

/// One thing, done several times.
#[derive(Debug, Serialize)]
struct Figure {
    what: String,
    count: usize,
    /// By the clock: on a machine that does other things, too, these are in it.
    wall: Percentiles,
    /// Of the thread alone, on a CPU.
    cpu: Option<Percentiles>,
    /// Whatever else is worth knowing.
    note: String,
}

/// By nearest rank.
#[derive(Debug, Serialize)]
#[expect(clippy::struct_field_names, reason = "every time names its unit")]
struct Percentiles {
    p50_ns: u128,
    p99_ns: u128,
    max_ns: u128,
}

/// How long something took, several times.
#[derive(Debug, Default)]
pub(crate) struct Times {
    wall: Vec<Duration>,
    cpu: Vec<Duration>,
}

impl Times {
    /// Does it, and notes how long it took.
    pub(crate) fn of<T>(&mut self, what: impl FnOnce() -> T) -> T {
        let (begin, busy) = (Instant::now(), busy());
        let result = what();
        self.wall.push(begin.elapsed());
        self.cpu.push(self::busy().saturating_sub(busy));
        result
    }

    /// The same, for what takes less than reading the other clock.
    pub(crate) fn of_short<T>(&mut self, what: impl FnOnce() -> T) -> T {
        let begin = Instant::now();
        let result = what();
        self.wall.push(begin.elapsed());
        result
    }
}

/// What this thread has been on a CPU for.
fn busy() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::try_from(time).unwrap_or_default()
}

impl Percentiles {
    fn of(mut times: Vec<Duration>) -> Option<Self> {
        times.sort_unstable();
        let rank = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100);
            times.get(rank.checked_sub(1)?).map(Duration::as_nanos)
        };
        Some(Self {
            p50_ns: rank(50)?,
            p99_ns: rank(99)?,
            max_ns: rank(100)?,
        })
    }
}

impl Report {
    pub(crate) fn new(events: usize, seed: u64) -> Self {
        println!(
            "{:52}{:>12}{:>12}{:>12}{:>12}{:>12}",
            "", "p50", "p99", "max", "p50 CPU", "p99 CPU"
        );
        Self {
            events,
            seed,
            bytes: 0,
            goal_ns: GOAL.as_nanos(),
            slow: Vec::new(),
            figures: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, what: &str, times: Times, note: String) {
        let count = times.wall.len();
        let Some(wall) = Percentiles::of(times.wall) else {
            return;
        };
        let figure = Figure {
            what: what.to_owned(),
            count,
            wall,
            cpu: Percentiles::of(times.cpu),
            note,
        };
        println!("{figure}");
        self.figures.push(figure);
    }

    /// Pages of so many rows each: those that take longer than the goal are named at the end. By the time on a CPU: what
    /// else the machine does is not theirs. One without rows is read for nobody, and only told.
    pub(crate) fn page(&mut self, what: &str, times: Times, rows: usize) {
        self.add(what, times, format!("{rows} rows"));
        let added = self.figures.last().filter(|it| it.what == what && rows > 0);
        let cpu = added.and_then(|it| it.cpu.as_ref());
        if cpu.is_some_and(|cpu| cpu.p99_ns > self.goal_ns) {
            self.slow.push(what.to_owned());
        }
    }

    /// Whether every page was fast enough.
    pub(crate) fn is_good(&self) -> bool {
        self.slow.is_empty()
    }

    pub(crate) fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} events, {} MB", self.events, self.bytes / 1_000_000)?;
        match self.slow.as_slice() {
            [] => write!(
                f,
                "every page with rows within {} ms of CPU (p99)",
                GOAL.as_millis()
            ),
            slow => write!(
                f,
                "above {} ms of CPU (p99): {}",
                GOAL.as_millis(),
                slow.join("; ")
            ),
        }
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = |ns: u128| format!("{}.{} µs", ns / 1000, ns % 1000 / 100);
        let none = || "-".to_owned();
        let cpu = self.cpu.as_ref();
        write!(
            f,
            "{:52}{:>12}{:>12}{:>12}{:>12}{:>12}  {}",
            self.what,
            us(self.wall.p50_ns),
            us(self.wall.p99_ns),
            us(self.wall.max_ns),
            cpu.map_or_else(none, |cpu| us(cpu.p50_ns)),
            cpu.map_or_else(none, |cpu| us(cpu.p99_ns)),
            self.note
        )
    }
}
