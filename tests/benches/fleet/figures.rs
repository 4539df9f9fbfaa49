//! What was measured: of processes from `/proc`, of the stream from the servers.

use std::{fmt, fs, time::Duration};

use anyhow::{Context as _, Result};
use oom_tests::nats::{Cluster, STREAM};
use serde::Serialize;

/// Ticks of `/proc/<pid>/stat` in a second.
const TICKS: f64 = 100.0;

/// All figures. Of servers the sum over all of them.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Figures {
    profile: &'static str,
    agents: usize,
    servers: usize,
    pub(crate) connected_s: f64,
    published_per_s: f64,
    read_per_s: f64,
    server_cpu_us_per_event: f64,
    agents_cpu_us_per_event: f64,
    lag_p50_ms: f64,
    lag_p99_ms: f64,
    lag_max_ms: f64,
    servers_idle_mib: f64,
    servers_connected_mib: f64,
    servers_end_mib: f64,
    agents_mib: f64,
    events: usize,
    stream_bytes_per_event: f64,
}

/// Seconds that these processes have had a CPU for.
pub(crate) fn cpu(pids: &[u32]) -> Result<f64> {
    let mut ticks = 0.0;
    for pid in pids {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat"))?;
        let (_, behind) = stat.rsplit_once(')').context("stat")?;
        let fields: Vec<_> = behind.split_whitespace().collect();
        for field in [11, 12] {
            ticks += fields.get(field).context("stat")?.parse::<f64>()?;
        }
    }
    Ok(ticks / TICKS)
}

/// What they have resident.
fn memory_mib(pids: &[u32]) -> Result<f64> {
    let mut kib = 0.0;
    for pid in pids {
        let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        let word = line.and_then(|line| line.split_whitespace().next());
        kib += word.context("VmRSS")?.parse::<f64>()?;
    }
    Ok(kib / 1024.0)
}

#[expect(clippy::cast_precision_loss, reason = "counts of events")]
impl Figures {
    pub(crate) fn new(agents: usize, servers: usize) -> Self {
        Self {
            profile: if cfg!(debug_assertions) {
                "dev"
            } else {
                "release"
            },
            agents,
            servers,
            ..Self::default()
        }
    }

    pub(crate) fn idle(&mut self, pids: &[u32]) -> Result<()> {
        self.servers_idle_mib = memory_mib(pids)?;
        Ok(())
    }

    pub(crate) fn connected(&mut self, pids: &[u32]) -> Result<()> {
        self.servers_connected_mib = memory_mib(pids)?;
        Ok(())
    }

    pub(crate) fn published(&mut self, events: usize, took: Duration) {
        self.published_per_s = events as f64 / took.as_secs_f64();
    }

    pub(crate) fn read(&mut self, events: usize, took: Duration) {
        self.read_per_s = events as f64 / took.as_secs_f64();
    }

    pub(crate) fn cpu(&mut self, servers_s: f64, agents_s: f64, events: usize) {
        self.server_cpu_us_per_event = servers_s * 1e6 / events as f64;
        self.agents_cpu_us_per_event = agents_s * 1e6 / events as f64;
    }

    pub(crate) fn lags(&mut self, lags_ms: &[f64]) {
        let at = |share: f64| {
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                reason = "a place in the list"
            )]
            let place = (lags_ms.len().saturating_sub(1) as f64 * share) as usize;
            lags_ms.get(place).copied().unwrap_or_default()
        };
        (self.lag_p50_ms, self.lag_p99_ms, self.lag_max_ms) = (at(0.5), at(0.99), at(1.0));
    }

    pub(crate) fn end(&mut self, pids: &[u32], cluster: &Cluster, events: usize) -> Result<()> {
        self.servers_end_mib = memory_mib(pids)?;
        self.agents_mib = memory_mib(&[std::process::id()])?;
        self.events = events;
        let bytes = cluster.runtime().block_on(async {
            let context = cluster.access()?.connect("bench").await?;
            let stream = context.get_stream(STREAM).await?;
            anyhow::Ok(stream.cached_info().state.bytes)
        })?;
        self.stream_bytes_per_event = bytes as f64 / events as f64;
        Ok(())
    }

    pub(crate) fn json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }
}

impl fmt::Display for Figures {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            profile,
            agents,
            servers,
            ..
        } = self;
        writeln!(
            f,
            "{agents} agents, {servers} servers, each event on all of them; profile {profile}"
        )?;
        let mut row =
            |what: &str, value: f64, unit: &str| writeln!(f, "  {what:<48}{value:>12.1} {unit}");
        row("connected, and one kill of each", self.connected_s, "s")?;
        row(
            "published and acknowledged, all at once",
            self.published_per_s,
            "events/s",
        )?;
        row("and read by one reader", self.read_per_s, "events/s")?;
        row(
            "CPU of all servers",
            self.server_cpu_us_per_event,
            "µs/event",
        )?;
        row(
            "CPU of all agents and the reader",
            self.agents_cpu_us_per_event,
            "µs/event",
        )?;
        row(
            "storms: from the kill to the reader, median",
            self.lag_p50_ms,
            "ms",
        )?;
        row("  99 of 100", self.lag_p99_ms, "ms")?;
        row("  all", self.lag_max_ms, "ms")?;
        row(
            "memory of all servers, nobody connected",
            self.servers_idle_mib,
            "MiB",
        )?;
        row("  all agents connected", self.servers_connected_mib, "MiB")?;
        row("  at the end", self.servers_end_mib, "MiB")?;
        row(
            "memory of all agents and the reader",
            self.agents_mib,
            "MiB",
        )?;
        row(
            "in the stream, before compression",
            self.stream_bytes_per_event,
            "bytes/event",
        )
    }
}
