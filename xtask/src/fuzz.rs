//! Fuzzing of the kernel log's parser, for a bounded time.
//!
//! Runs every target of `fuzz/` in turn, from the logs of `oom-agent/tests/kmsg` and what earlier runs
//! have found. Emits the fuzzer's own output; an input that breaks a law ends it, and is left in
//! `fuzz/artifacts`. Works with a stable compiler, for no sanitizer is used: the parser has no `unsafe`.
//! Needs a C++ compiler, for libFuzzer.

use std::fs;

use anyhow::{Context, Result};

use crate::{
    project,
    tool::{self, Tool},
};

const CARGO_FUZZ: Tool = Tool {
    name: "cargo-fuzz",
    version: "0.13.2",
};

/// Fuzz targets, and whether the logs are inputs of theirs.
const TARGETS: [(&str, bool); 2] = [("records", true), ("lines", false)];

/// Longer than any log of the corpus.
const MAX_LEN: u64 = 32 * 1024;

/// Shares `seconds` among the targets.
pub(crate) fn run(seconds: u64) -> Result<()> {
    let path = CARGO_FUZZ.ensure()?;
    let target_dir = project::target().join("fuzz");
    let share = (seconds / TARGETS.len() as u64).max(1);
    for (target, from_logs) in TARGETS {
        let found = target_dir.join("corpus").join(target);
        fs::create_dir_all(&found).with_context(|| format!("cannot make {}", found.display()))?;
        if from_logs {
            for entry in fs::read_dir(project::root().join("oom-agent/tests/kmsg"))? {
                let log = entry?.path();
                if let (Some("kmsg"), Some(name)) =
                    (log.extension().and_then(|it| it.to_str()), log.file_name())
                {
                    fs::copy(&log, found.join(name))?;
                }
            }
        }
        let mut fuzz = tool::cargo();
        fuzz.args(["fuzz", "run", "--sanitizer", "none", "--target-dir"])
            .arg(&target_dir)
            .arg(target)
            .arg(&found)
            .arg("--")
            .args(["-timeout=10", "-rss_limit_mb=2048"])
            .arg(format!("-max_len={MAX_LEN}"))
            .arg(format!("-max_total_time={share}"))
            .env("PATH", &path)
            // Coverage is not in the stable interface of rustc.
            .env("RUSTC_BOOTSTRAP", "1");
        tool::run(&mut fuzz)?;
    }
    Ok(())
}
