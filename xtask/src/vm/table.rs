//! Tables of the matrix: for the terminal, and for `docs/kernels.md`.
//!
//! Reads reports; emits text. Refuses a page without the two markers.

use std::fmt::Write as _;

use anyhow::{Context as _, Result};

use super::report::{BootReport, Line, Outcome, Row};

const BEGIN: &str = "<!-- kernels: `cargo xtask vm --publish` writes this table -->\n";
const END: &str = "<!-- end of kernels -->\n";

/// One guest: a row for each scenario, a column for each agent.
pub(super) fn of(boot: &BootReport) -> String {
    let mut ways: Vec<(&str, &str)> = Vec::new();
    let mut scenarios: Vec<&str> = Vec::new();
    for line in &boot.lines {
        if !ways.iter().any(|(way, _)| *way == line.way) {
            ways.push((&line.way, &line.tier));
        }
        if !scenarios.contains(&line.scenario.as_str()) {
            scenarios.push(&line.scenario);
        }
    }
    let head = format!(
        "{} ({}, {})",
        boot.version,
        boot.machine.name(),
        boot.setting
    );
    let mut text = format!("\n{head}: {} s\n{:24}", boot.seconds, "");
    for (_, tier) in &ways {
        _ = write!(text, "{tier:>20}");
    }
    for scenario in scenarios {
        _ = write!(text, "\n  {scenario:22}");
        for (way, _) in &ways {
            let mut lines = boot.lines.iter();
            let line = lines.find(|line| line.scenario == scenario && line.way == *way);
            _ = write!(text, "{:>20}", line.map(cell).unwrap_or_default());
        }
    }
    for (name, reason) in boot.skipped() {
        _ = write!(text, "\n  not played: {name}: {reason}");
    }
    for failure in boot.failures() {
        _ = write!(text, "\n  FAILED: {failure}");
    }
    text
}

/// `ok`, and the median latency or what the law counted.
fn cell(line: &Line) -> String {
    match &line.outcome {
        Outcome::Told(latencies) => match latencies.get(latencies.len() / 2) {
            Some(&ns) => format!("ok {}", duration(ns)),
            None => "ok".to_owned(),
        },
        Outcome::Law(counts) => format!("ok {} kills", counts.get("kills").unwrap_or(&0)),
        Outcome::Skipped(_) => "-".to_owned(),
        Outcome::Failed(_) => "FAILED".to_owned(),
    }
}

fn duration(ns: u64) -> String {
    match ns {
        0..1_000_000 => format!("{} µs", ns / 1_000),
        _ => format!("{}.{} ms", ns / 1_000_000, ns / 100_000 % 10),
    }
}

/// The table of `docs/kernels.md`.
pub(super) fn kernels(rows: &[Row]) -> String {
    let mut text =
        "| Kernel | Machine | Memory controller | Tiers | Scenarios |\n|---|---|---|---|---|\n"
            .to_owned();
    for row in rows {
        let mut scenarios = row.passed.len().to_string();
        if !row.skipped.is_empty() {
            let names: Vec<_> = row.skipped.keys().map(String::as_str).collect();
            _ = write!(scenarios, ", without {}", names.join(", "));
        }
        _ = writeln!(
            text,
            "| {} | {} | {} | {} | {scenarios} |",
            row.version,
            row.machine.name(),
            row.setting,
            row.tiers.join(" · ")
        );
    }
    text
}

/// The page with this table between the markers.
pub(super) fn replaced(page: &str, table: &str) -> Result<String> {
    let (before, rest) = page
        .split_once(BEGIN)
        .context("docs/kernels.md: no table of kernels")?;
    let (_, after) = rest
        .split_once(END)
        .context("docs/kernels.md: no end of the table of kernels")?;
    Ok(format!("{before}{BEGIN}{table}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::arch::Arch;

    #[test]
    fn the_table_stands_between_the_markers() {
        let page = format!("a\n{BEGIN}old\n{END}b\n");
        let new = replaced(&page, "new\n").unwrap();
        assert_eq!(new, format!("a\n{BEGIN}new\n{END}b\n"));
        assert!(replaced("a\n", "new\n").is_err());
    }

    #[test]
    fn a_row_for_each_scenario_and_a_column_for_each_agent() {
        let line = |scenario: &str, way: &str, outcome| Line {
            scenario: scenario.to_owned(),
            way: way.to_owned(),
            tier: way.to_owned(),
            outcome,
            ms: 1,
        };
        let boot = BootReport {
            kernel: "6.12".to_owned(),
            machine: Arch::X86,
            version: "6.12.9".to_owned(),
            setting: "cgroup v2".to_owned(),
            seconds: 7,
            lines: vec![
                line("single", "best", Outcome::Told(vec![1_000, 2_000, 3_000])),
                line("single", "kmsg", Outcome::Failed("why".to_owned())),
                line("cpuset", "best", Outcome::Skipped("this kernel".to_owned())),
                line("cpuset", "kmsg", Outcome::Skipped("this kernel".to_owned())),
                line(
                    "law",
                    "best",
                    Outcome::Law([("kills".to_owned(), 3)].into()),
                ),
            ],
            absent: Vec::new(),
            broken: None,
        };
        let text = of(&boot);
        let rows: Vec<Vec<&str>> = text
            .lines()
            .map(|l| l.split_whitespace().collect())
            .collect();
        assert_eq!(rows[2], ["best", "kmsg"]);
        assert_eq!(rows[3], ["single", "ok", "2", "µs", "FAILED"]);
        assert_eq!(rows[4], ["cpuset", "-", "-"]);
        assert_eq!(rows[5], ["law", "ok", "3", "kills"]);
        assert!(text.contains("not played: cpuset: this kernel\n"), "{text}");
        assert!(text.ends_with("FAILED: single (kmsg): why"), "{text}");
        let table = kernels(&[Row::from(&boot)]);
        assert!(
            table.ends_with("| 6.12.9 | x86_64 | cgroup v2 | best · kmsg | 1, without cpuset |\n")
        );
    }

    #[test]
    fn durations_are_short() {
        assert_eq!(duration(999_999), "999 µs");
        assert_eq!(duration(12_345_678), "12.3 ms");
    }
}
