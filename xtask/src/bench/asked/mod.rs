//! What those who watch over the API cost detection: storms with and without 200 clients that read and 200
//! that do not.
//!
//! Watches one agent as a consumer would; emits [`Asked`]: both figures from the same run, by turns.
//! Refuses to judge.

mod clients;

use std::{
    ffi::OsStr,
    fmt, fs,
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::Result;
use serde::Serialize;

use super::{
    QUIET, step,
    summary::Summary,
    trigger,
    watched::{Kill, Watched},
};
use crate::project;
use clients::Clients;

/// Clients of each sort.
const CLIENTS: usize = 200;

/// Storms of each sort.
const TURNS: u32 = 4;

/// After the last kill a client may take this long to read all of them.
const READ: Duration = Duration::from_secs(30);

/// How fast kills were told, and what clients got of them.
#[derive(Debug, Default, Serialize)]
pub(super) struct Asked {
    /// Kills of all storms of one sort.
    pub kills: u32,
    /// From the kernel's mark to the reader of standard output, with nobody at the API.
    pub without: Summary,
    /// The same with all the clients.
    pub with: Summary,
    /// Kills that a client that reads got at least, and at most, of those that it should have got.
    pub fewest: usize,
    /// The same.
    pub most: usize,
}

pub(super) fn measure(binary: &PathBuf, storm: u32) -> Result<Asked> {
    let dir = project::target().join("bench-api");
    fs::create_dir_all(&dir)?;
    let socket = dir.join("api.sock");
    let agent = Watched::start(
        binary,
        "auto",
        &[OsStr::new("--socket"), socket.as_os_str()],
    )?;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    let mut asked = Asked::default();
    for turn in 1..=TURNS {
        step(&format!(
            "storm {turn} of {TURNS}, {storm} kills, nobody watches"
        ));
        without.extend(kills(&agent, binary, storm)?);
        step(&format!(
            "the same, {CLIENTS} clients read and {CLIENTS} do not"
        ));
        let got = watched(&agent, binary, storm, &socket, &mut with)?;
        let (fewest, most) = (got.iter().min(), got.iter().max());
        asked.fewest += fewest.copied().unwrap_or_default();
        asked.most += most.copied().unwrap_or_default();
        asked.kills += storm;
    }
    agent.stop()?;
    asked.without = latencies(&without);
    asked.with = latencies(&with);
    Ok(asked)
}

/// A storm with clients; how many kills each that reads got.
fn watched(
    agent: &Watched,
    binary: &PathBuf,
    storm: u32,
    socket: &Path,
    with: &mut Vec<Kill>,
) -> Result<Vec<usize>> {
    let _slow = Clients::connect(socket, CLIENTS)?;
    let fast = Clients::connect(socket, CLIENTS)?;
    let reading = fast.read(storm as usize)?;
    with.extend(kills(agent, binary, storm)?);
    reading.finish(READ)
}

fn kills(agent: &Watched, binary: &PathBuf, storm: u32) -> Result<Vec<Kill>> {
    trigger(binary, storm)?;
    Ok(agent.kills(storm as usize, QUIET))
}

fn latencies(kills: &[Kill]) -> Summary {
    let took = |kill: &Kill| kill.seen_ns.saturating_sub(kill.monotonic_ns);
    Summary::of(kills.iter().map(took))
}

impl fmt::Display for Asked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let row = |f: &mut fmt::Formatter<'_>, name: &str, took: &Summary| {
            let us = |ns: Option<u64>| ns.map_or("-".to_owned(), |ns| (ns / 1000).to_string());
            let Summary {
                count,
                p50_ns,
                p99_ns,
                max_ns,
            } = *took;
            let [p50, p99, max] = [p50_ns, p99_ns, max_ns].map(us);
            writeln!(f, "{name:<28}{count:>8}{p50:>10}{p99:>10}{max:>10}")
        };
        writeln!(
            f,
            "{:<28}{:>8}{:>10}{:>10}{:>10}",
            "", "kills", "p50 µs", "p99 µs", "max µs"
        )?;
        row(f, "nobody watches", &self.without)?;
        row(f, "200 read, 200 do not", &self.with)?;
        writeln!(
            f,
            "those who read got {} to {} of {} kills",
            self.fewest, self.most, self.kills
        )
    }
}
