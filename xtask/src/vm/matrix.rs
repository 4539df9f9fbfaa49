//! The matrix: every scenario, under every kernel, told by agents of every tier.
//!
//! Boots each kernel once; a guest's `matrix` program plays the scenarios and sends a line for each of them
//! and each agent. Emits the table, and the report into `target/vm-matrix.json`. Refuses a line that says
//! `failed`, a tier that is not the one the kernel allows, and a guest that did not come to its end: its
//! console is in `target/vm-logs`.

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    sync::{Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use super::{
    boot, cache, keep,
    kernels::{self, Kernel},
    lacks, outbox, programs,
    qemu::{Guest, Start},
    report::{BootReport, Line, Report},
    rows::{BOOTS, Boot, EVERYTHING, Setting, WAYS},
    table,
};
use crate::{arch::Arch, project, test::Skip, tool};

/// The name of a line among the pieces that a guest sends.
pub(super) const LINE: &str = "line";

/// Seconds for one guest, two of which share a machine with others: another architecture's takes twice the time.
const TIMEOUT: u64 = 400;
const FOREIGN_TIMEOUT: u64 = 900;

/// What of the matrix is played; what is empty is not narrowed down.
#[derive(Debug, Default)]
pub(crate) struct Plan {
    pub(crate) kernels: Vec<String>,
    pub(crate) scenarios: Vec<String>,
    pub(crate) tiers: Vec<String>,
    /// Guests at a time.
    pub(crate) jobs: usize,
    pub(crate) capture: Option<PathBuf>,
    /// MiB of each guest.
    pub(crate) memory: u32,
    /// Seconds for each guest.
    pub(crate) timeout: Option<u64>,
}

impl Plan {
    /// All of it.
    pub(crate) fn whole() -> Self {
        Self {
            jobs: 2,
            memory: 512,
            ..Self::default()
        }
    }

    fn is_whole(&self) -> bool {
        self.kernels.is_empty() && self.scenarios.is_empty() && self.tiers.is_empty()
    }

    /// The rows of these kernels; one that the matrix does not know is a row of its own.
    fn boots(&self) -> Vec<Boot> {
        let known = BOOTS
            .iter()
            .map(|&(kernel, setting, best, scenarios)| Boot {
                kernel: kernel.to_owned(),
                setting,
                best: Some(best),
                scenarios,
            });
        if self.kernels.is_empty() {
            return known.collect();
        }
        let of_kernel = |kernel: &String| {
            let rows: Vec<_> = known
                .clone()
                .filter(|boot| boot.kernel == *kernel)
                .collect();
            if !rows.is_empty() {
                return rows;
            }
            vec![Boot {
                kernel: kernel.clone(),
                setting: Setting::CgroupV2,
                best: None,
                scenarios: EVERYTHING,
            }]
        };
        self.kernels.iter().flat_map(of_kernel).collect()
    }

    /// What is played on this row: what is asked for, else what the row has; nothing for everything.
    fn scenarios_of<'a>(&'a self, row: &Boot) -> impl Iterator<Item = &'a str> {
        let rows: &[&str] = if self.scenarios.is_empty() {
            row.scenarios
        } else {
            &[]
        };
        let asked = self.scenarios.iter().map(String::as_str);
        asked.chain(rows.iter().copied())
    }

    fn ways(&self) -> Vec<&str> {
        if self.tiers.is_empty() {
            return WAYS.to_vec();
        }
        self.tiers.iter().map(String::as_str).collect()
    }
}

/// Prints the rows of the matrix and the scenarios.
pub(super) fn list() -> Result<ExitCode> {
    println!("kernels:");
    for (kernel, setting, best, scenarios) in BOOTS {
        let some = if scenarios.is_empty() {
            String::new()
        } else {
            format!("; only {}", scenarios.join(", "))
        };
        println!("  {kernel:14} {:38} {best}{some}", setting.words());
    }
    println!("scenarios:");
    let status = tool::cargo()
        .args([
            "run",
            "--quiet",
            "--package",
            "oom-tests",
            "--bin",
            "matrix",
        ])
        .args(["--", "--list"])
        .status()?;
    ensure!(status.success(), "matrix --list: {status}");
    Ok(ExitCode::SUCCESS)
}

/// Plays it; what could not be played, and why.
pub(crate) fn play(plan: &Plan) -> Result<Vec<Skip>> {
    let started = Instant::now();
    let cache = cache()?;
    let mut skipped = Vec::new();
    let mut boots = Vec::new();
    let work = tempfile::tempdir()?;
    for arch in Arch::ALL {
        let mut rows = plan.boots();
        rows.retain(|boot| kernels::arch(&boot.kernel) == arch);
        if rows.is_empty() {
            continue;
        }
        if let Some(reason) = lacks(arch)? {
            let name = format!("tests under other kernels, {}", arch.name());
            skipped.push(Skip { name, reason });
            continue;
        }
        let initramfs = work.path().join(arch.name());
        fs::write(&initramfs, programs::archive(arch, &[], &[])?)?;
        for boot in rows {
            match kernels::resolve(&boot.kernel, &cache) {
                Ok(kernel) => boots.push((boot, kernel, initramfs.clone())),
                Err(error) => skipped.push(Skip {
                    name: format!("kernel {}", boot.name()),
                    reason: unavailable(&error),
                }),
            }
        }
    }

    // The slowest stand last, and begin first.
    let queue = Mutex::new(boots.iter().rev());
    let done = Mutex::new(Vec::new());
    let worker = || {
        let take = || queue.lock().unwrap_or_else(PoisonError::into_inner).next();
        while let Some((boot, kernel, initramfs)) = take() {
            let outcome = guest(plan, boot, kernel, initramfs);
            let mut done = done.lock().unwrap_or_else(PoisonError::into_inner);
            done.push((boot.name(), outcome));
        }
    };
    thread::scope(|scope| {
        for _ in 0..plan.jobs.max(1) {
            scope.spawn(worker);
        }
    });
    let mut report = Report::default();
    let mut failures = Vec::new();
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    let row = |name: &str| boots.iter().position(|(boot, ..)| boot.name() == name);
    done.sort_by_key(|(name, _)| row(name));
    for (name, outcome) in done {
        let boot = outcome.with_context(|| name.clone())?;
        println!("{}", table::of(&boot));
        skipped.extend(boot.skipped().map(|(scenario, reason)| Skip {
            name: format!("{name}: {scenario}"),
            reason: reason.to_owned(),
        }));
        failures.extend(boot.failures().map(|failure| format!("{name}: {failure}")));
        report.boots.push(boot);
    }
    let whole = plan.is_whole() && failures.is_empty();
    report.write(whole)?;
    println!(
        "vm: {} guests, {} s",
        report.boots.len(),
        started.elapsed().as_secs()
    );
    if !failures.is_empty() {
        bail!("{}", failures.join("\n"));
    }
    Ok(skipped)
}

/// In one line; the words that say it is not this machine's fault come first.
fn unavailable(error: &anyhow::Error) -> String {
    let gone = error.chain().map(ToString::to_string);
    gone.into_iter()
        .find(|words| words.starts_with("this kernel"))
        .unwrap_or_else(|| format!("no kernel: {error:#}"))
}

/// Boots one row and reads what it sent.
fn guest(plan: &Plan, row: &Boot, kernel: &Kernel, initramfs: &Path) -> Result<BootReport> {
    let name = row.name();
    let logs = project::target().join("vm-logs");
    fs::create_dir_all(&logs)?;
    let file = |kind: &str| logs.join(format!("{name}.{kind}"));
    let (outbox, console) = (file("outbox"), file("console"));
    let ways = plan.ways();
    let (absent, ways): (Vec<&str>, Vec<&str>) =
        ways.iter().partition(|way| row.lacks(way).is_some());
    let mut command = vec!["/bin/matrix".to_owned()];
    command.extend(ways.iter().map(|way| format!("--tier={way}")));
    command.extend(
        plan.scenarios_of(row)
            .map(|name| format!("--scenario={name}")),
    );
    command.extend(plan.capture.iter().map(|_| "--capture".to_owned()));
    let guest = Guest {
        kernel,
        start: Start::Initramfs(initramfs, &command),
        append: &row.append(),
        memory: plan.memory,
        outbox: &outbox,
        console: &console,
        timeout: Duration::from_secs(plan.timeout.unwrap_or(if kernel.arch.is_here() {
            TIMEOUT
        } else {
            FOREIGN_TIMEOUT
        })),
    };
    let started = Instant::now();
    let outcome = boot(&name, &guest, |_| {})?;
    let seconds = started.elapsed().as_secs();
    if let Some(dir) = &plan.capture {
        keep(dir, &name, &outbox, &console)?;
    }
    let mut report = BootReport {
        kernel: row.kernel.clone(),
        machine: kernel.arch,
        version: kernel.version.clone(),
        setting: row.words(),
        seconds,
        lines: lines(&fs::read(&outbox)?)?,
        absent: absent
            .into_iter()
            .filter_map(|way| Some((way.to_owned(), row.lacks(way)?.to_owned())))
            .collect(),
        broken: None,
    };
    for line in &mut report.lines {
        line.must_have(row.tier(&line.way));
    }
    if outcome.exit != Some(0) && report.failures().next().is_none() {
        report.broken = Some(format!(
            "{outcome}; the end of {}:\n{}",
            console.display(),
            end_of(&fs::read(&console)?)
        ));
    }
    eprintln!("vm: {name} ({}): {outcome}, {seconds} s", kernel.version);
    Ok(report)
}

/// The last lines of a console.
pub(super) fn end_of(console: &[u8]) -> String {
    const LINES: usize = 30;
    let text = String::from_utf8_lossy(console);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join("\n")
}

/// The lines among what a guest sent; what it could not send whole is missing at its end.
fn lines(sent: &[u8]) -> Result<Vec<Line>> {
    let pieces = outbox::pieces(sent);
    let whole = pieces.iter().filter_map(|piece| piece.as_ref().ok());
    let lines = whole.filter(|piece| piece.name == LINE);
    lines
        .map(|piece| Ok(serde_json::from_slice(piece.bytes)?))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(kernels: &[&str]) -> Vec<String> {
        let plan = Plan {
            kernels: kernels.iter().map(|&kernel| kernel.to_owned()).collect(),
            ..Plan::whole()
        };
        plan.boots().iter().map(Boot::name).collect()
    }

    #[test]
    fn a_kernel_takes_all_its_rows_and_an_unknown_one_is_a_row_of_its_own() {
        assert_eq!(names(&[]).len(), BOOTS.len());
        assert_eq!(
            names(&["6.1", "/a/vmlinuz-4.19"]),
            ["6.1", "6.1-v1", "vmlinuz-4.19"]
        );
    }

    #[test]
    fn a_kernel_that_is_gone_is_not_this_machines_fault() {
        let gone = anyhow::anyhow!("this kernel is in no Debian suite").context("kernel 6.17");
        assert!(unavailable(&gone).starts_with("this kernel"));
        let offline = anyhow::anyhow!("no network").context("kernel 6.17");
        assert_eq!(unavailable(&offline), "no kernel: kernel 6.17: no network");
    }

    #[test]
    fn what_a_guest_could_not_send_whole_is_left_out() {
        let line = r#"{"scenario":"a","way":"best","tier":"kmsg","outcome":"skipped","detail":"x","ms":1}"#;
        let sent = format!("line {}\n{line}x.kmsg 2\nabline 99\n{{", line.len());
        assert_eq!(lines(sent.as_bytes()).unwrap().len(), 1);
    }
}
