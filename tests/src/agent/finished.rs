//! How an agent ended: its status, all its events, its log, and the numbers of its last word.

use std::{collections::BTreeMap, process::ExitStatus};

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::{is_instance, is_kill};

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
