//! What was measured: a table for people, JSON for the rest.

use std::{fmt, time::Duration};

use anyhow::Result;
use serde::Serialize;

/// What a page may take, at the 99th percentile.
const GOAL: Duration = Duration::from_millis(5);

/// All of one run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    events: usize,
    seed: u64,
    /// Bytes of the database.
    pub(crate) bytes: u64,
    goal_ns: u128,
    pub(crate) figures: Vec<Figure>,
}

/// Durations of one thing.
#[derive(Debug, Serialize)]
pub(crate) struct Figure {
    what: String,
    count: usize,
    p50_ns: u128,
    p99_ns: u128,
    max_ns: u128,
    /// Whatever else is worth knowing.
    note: String,
}

impl Report {
    pub(crate) fn new(events: usize, seed: u64) -> Self {
        Self {
            events,
            seed,
            bytes: 0,
            goal_ns: GOAL.as_nanos(),
            figures: Vec::new(),
        }
    }

    /// Percentiles by nearest rank.
    pub(crate) fn add(&mut self, what: &str, mut times: Vec<Duration>, note: String) {
        times.sort_unstable();
        let rank = |percent: usize| {
            let rank = (times.len() * percent).div_ceil(100).max(1);
            times.get(rank - 1).map_or(0, Duration::as_nanos)
        };
        let figure = Figure {
            what: what.to_owned(),
            count: times.len(),
            p50_ns: rank(50),
            p99_ns: rank(99),
            max_ns: rank(100),
            note,
        };
        println!("{figure}");
        self.figures.push(figure);
    }

    pub(crate) fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} events, {} MB", self.events, self.bytes / 1_000_000)
    }
}

impl fmt::Display for Figure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let us = |ns: u128| format!("{}.{:01} us", ns / 1000, ns % 1000 / 100);
        write!(
            f,
            "{:44} p50 {:>12}  p99 {:>12}  max {:>12}  {}",
            self.what,
            us(self.p50_ns),
            us(self.p99_ns),
            us(self.max_ns),
            self.note
        )
    }
}
