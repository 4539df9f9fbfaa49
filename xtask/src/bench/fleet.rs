//! What a fleet's stream costs: `tests/benches/fleet`, run once.
//!
//! Emits its table, and `target/bench-fleet.json`. Refuses to run without the pinned server.

use anyhow::Result;

use crate::{project, python, tool};

pub(super) fn measure(agents: usize) -> Result<()> {
    let mut cargo = tool::cargo();
    cargo
        .args(["bench", "--package", "oom-tests", "--bench", "fleet"])
        .arg("--target-dir")
        .arg(project::target())
        .args(["--", "--agents", &agents.to_string(), "--json"])
        .arg(project::target().join("bench-fleet.json"))
        .env(python::NATS_VARIABLE, python::nats_server()?);
    tool::run(&mut cargo)
}
