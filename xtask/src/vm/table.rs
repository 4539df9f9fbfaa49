//! Tables of the matrix: for the terminal, and for the README.
//!
//! Reads reports; emits text. Refuses a README without the two markers.

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
    let head = format!("{} ({})", boot.version, boot.setting);
    let mut text = format!("\n{head}: {} s\n{:24}", boot.seconds, "");
    for (_, tier) in &ways {
        _ = write!(text, "{tier:>16}");
    }
    for scenario in scenarios {
        _ = write!(text, "\n  {scenario:22}");
        for (way, _) in &ways {
            let mut lines = boot.lines.iter();
            let line = lines.find(|line| line.scenario == scenario && line.way == *way);
            _ = write!(text, "{:>16}", line.map(cell).unwrap_or_default());
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

/// The README's table.
pub(super) fn readme(rows: &[Row]) -> String {
    let mut text =
        "| Kernel | Memory controller | Tiers | Scenarios |\n|---|---|---|---|\n".to_owned();
    for row in rows {
        let mut scenarios = row.passed.len().to_string();
        if !row.skipped.is_empty() {
            let names: Vec<_> = row.skipped.keys().map(String::as_str).collect();
            _ = write!(scenarios, ", without {}", names.join(", "));
        }
        _ = writeln!(
            text,
            "| {} | {} | {} | {scenarios} |",
            row.version,
            row.setting,
            row.tiers.join(" · ")
        );
    }
    text
}

/// The README with this table between the markers.
pub(super) fn replaced(readme: &str, table: &str) -> Result<String> {
    let (before, rest) = readme
        .split_once(BEGIN)
        .context("README: no table of kernels")?;
    let (_, after) = rest
        .split_once(END)
        .context("README: no end of the table of kernels")?;
    Ok(format!("{before}{BEGIN}{table}{END}{after}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_stands_between_the_markers() {
        let readme = format!("a\n{BEGIN}old\n{END}b\n");
        let new = replaced(&readme, "new\n").unwrap();
        assert_eq!(new, format!("a\n{BEGIN}new\n{END}b\n"));
        assert!(replaced("a\n", "new\n").is_err());
    }

    #[test]
    fn durations_are_short() {
        assert_eq!(duration(999_999), "999 µs");
        assert_eq!(duration(12_345_678), "12.3 ms");
    }
}
