//! What the store costs: `oom-agent/benches/store`, built as the agent is and run once.
//!
//! Keeps the stores that it makes under `target/bench-store`. Refuses nothing.

use anyhow::Result;

use crate::{project, tool};

pub(super) fn measure(events: u64) -> Result<()> {
    let mut cargo = tool::cargo();
    cargo
        .args(["bench", "--package", "oom-agent", "--bench", "store"])
        .arg("--target-dir")
        .arg(project::target())
        .args(["--", "--events", &events.to_string(), "--dir"])
        .arg(project::target().join("bench-store"));
    tool::run(&mut cargo)
}
