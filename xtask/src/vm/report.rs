//! What became of the matrix: all of it in `target/vm-matrix.json`, and what users ask for, made of a whole
//! one, in the repository.
//!
//! Reads the lines of guests; emits the report, `tests/kernels.json` and the table of `docs/kernels.md`. Refuses to
//! publish a matrix that was narrowed down or that failed.

use std::{collections::BTreeMap, fs, path::PathBuf};

use anyhow::{Context as _, Result};
use serde::{Deserialize, Serialize};

use super::table;
use crate::{arch::Arch, project};

/// One scenario as one agent told it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Line {
    pub(super) scenario: String,
    /// How the agent was started.
    pub(super) way: String,
    /// What it got.
    pub(super) tier: String,
    #[serde(flatten)]
    pub(super) outcome: Outcome,
    /// How long the scenario took.
    pub(super) ms: u64,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "outcome", content = "detail")]
pub(super) enum Outcome {
    /// The truth; the latencies of the kills in nanoseconds, sorted.
    Told(Vec<u64>),
    /// The law held: what the agent counted.
    Law(BTreeMap<String, i64>),
    Skipped(String),
    Failed(String),
}

impl Line {
    /// An agent that got another tier than this has failed, whatever it told.
    pub(super) fn must_have(&mut self, tier: Option<&str>) {
        if let Some(tier) = tier.filter(|&tier| tier != self.tier)
            && !matches!(self.outcome, Outcome::Failed(_))
        {
            self.outcome = Outcome::Failed(format!("tier {:?}, not {tier:?}", self.tier));
        }
    }
}

/// One guest.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct BootReport {
    /// As it was asked for.
    pub(super) kernel: String,
    pub(super) machine: Arch,
    pub(super) version: String,
    /// Memory controller, and lockdown.
    pub(super) setting: String,
    pub(super) seconds: u64,
    pub(super) lines: Vec<Line>,
    /// Ways to start an agent that this kernel has not got, and why.
    pub(super) absent: Vec<(String, String)>,
    /// How the guest ended, if not well.
    pub(super) broken: Option<String>,
}

impl BootReport {
    /// Every failure in one text each.
    pub(super) fn failures(&self) -> impl Iterator<Item = String> {
        let failed = self.lines.iter().filter_map(|line| match &line.outcome {
            Outcome::Failed(why) => Some(format!("{} ({}): {why}", line.scenario, line.tier)),
            _ => None,
        });
        failed.chain(self.broken.clone())
    }

    /// Scenarios that were not played, and ways that were not gone: once each, with the reason.
    pub(super) fn skipped(&self) -> impl Iterator<Item = (&str, &str)> {
        let scenarios = self.lines.iter().filter_map(|line| match &line.outcome {
            Outcome::Skipped(reason) => Some((line.scenario.as_str(), reason.as_str())),
            _ => None,
        });
        let once: BTreeMap<_, _> = scenarios.collect();
        let absent = self.absent.iter();
        once.into_iter()
            .chain(absent.map(|(way, reason)| (way.as_str(), reason.as_str())))
    }

    /// The tiers of its agents, in their order, each once.
    pub(super) fn tiers(&self) -> Vec<&str> {
        let mut tiers = Vec::new();
        for line in &self.lines {
            if !tiers.contains(&line.tier.as_str()) {
                tiers.push(&line.tier);
            }
        }
        tiers
    }

    /// Names of the scenarios that were played, in their order, each once.
    pub(super) fn played(&self) -> Vec<&str> {
        let mut played = Vec::new();
        for line in &self.lines {
            let skipped = matches!(line.outcome, Outcome::Skipped(_));
            if !skipped && line.scenario != "law" && !played.contains(&line.scenario.as_str()) {
                played.push(&line.scenario);
            }
        }
        played
    }
}

/// A matrix.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(super) struct Report {
    pub(super) boots: Vec<BootReport>,
}

impl Report {
    /// Into the target directory; a whole one is kept for [`publish`], too.
    pub(super) fn write(&self, whole: bool) -> Result<()> {
        let json = serde_json::to_string_pretty(self)?;
        fs::write(project::target().join("vm-matrix.json"), &json)?;
        if whole {
            fs::write(whole_report(), &json)?;
        }
        Ok(())
    }
}

fn whole_report() -> PathBuf {
    project::target().join("vm-matrix-whole.json")
}

/// What the repository keeps of a row.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Row {
    pub(super) machine: Arch,
    pub(super) version: String,
    pub(super) setting: String,
    pub(super) tiers: Vec<String>,
    pub(super) passed: Vec<String>,
    /// What was not played, and why.
    pub(super) skipped: BTreeMap<String, String>,
}

impl From<&BootReport> for Row {
    fn from(boot: &BootReport) -> Self {
        let owned = |names: Vec<&str>| names.into_iter().map(str::to_owned).collect();
        let skipped = boot.skipped();
        Self {
            machine: boot.machine,
            version: boot.version.clone(),
            setting: boot.setting.clone(),
            tiers: owned(boot.tiers()),
            passed: owned(boot.played()),
            skipped: skipped
                .map(|(name, why)| (name.to_owned(), why.to_owned()))
                .collect(),
        }
    }
}

fn kept() -> PathBuf {
    project::root().join("tests/kernels.json")
}

fn page() -> PathBuf {
    project::root().join("docs/kernels.md")
}

/// Puts the last whole matrix into the repository.
pub(super) fn publish() -> Result<()> {
    let json = fs::read(whole_report()).context("no whole matrix has passed: `cargo xtask vm`")?;
    let report: Report = serde_json::from_slice(&json)?;
    let rows: Vec<Row> = report.boots.iter().map(Row::from).collect();
    fs::write(kept(), serde_json::to_string_pretty(&rows)? + "\n")?;
    let text = fs::read_to_string(page())?;
    fs::write(page(), table::replaced(&text, &table::kernels(&rows))?)?;
    println!("vm: {} and {}", kept().display(), page().display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_page_shows_the_matrix_that_is_kept() {
        let rows: Vec<Row> = serde_json::from_str(&fs::read_to_string(kept()).unwrap()).unwrap();
        let text = fs::read_to_string(page()).unwrap();
        let current = table::replaced(&text, &table::kernels(&rows)).unwrap();
        assert!(text == current, "run `cargo xtask vm --publish`");
    }

    #[test]
    fn lines_of_guests_are_read() {
        let line = r#"{"scenario":"single","way":"best","tier":"kmsg","outcome":"told","detail":[7],"ms":1}"#;
        let mut line: Line = serde_json::from_str(line).unwrap();
        line.must_have(Some("kmsg"));
        assert!(matches!(&line.outcome, Outcome::Told(latencies) if latencies == &[7]));
        line.must_have(Some("bpf, full"));
        assert!(matches!(&line.outcome, Outcome::Failed(why) if why.contains("not")));
        let law = r#"{"scenario":"law","way":"best","tier":"kmsg","outcome":"law","detail":{"kills":1},"ms":1}"#;
        assert!(serde_json::from_str::<Line>(law).is_ok());
    }
}
