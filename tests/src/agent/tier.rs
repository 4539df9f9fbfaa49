//! How much a running agent can know, as it says in its log.

use anyhow::{Context as _, Result};

use crate::check::Known;

/// How much the running agent can know.
#[derive(Clone, Debug)]
pub struct Tier {
    /// Its name: `bpf, full`, `bpf by pid`, `kmsg`.
    pub name: String,
    /// Whether nothing but the kernel log speaks.
    pub log_alone: bool,
    /// Whether it reads the kernel's decision.
    pub decides: bool,
    /// What of a kill must be there.
    pub known: Known,
}

impl Tier {
    /// From the log of an agent that watches.
    pub(super) fn read(log: &str) -> Result<Self> {
        let line = log.lines().find(|line| line.contains("tier: "));
        let line = line.with_context(|| format!("no tier in:\n{log}"))?;
        let log_alone = line.contains("tier: kmsg");
        let by_format = line.contains("by format");
        let name = line.split("tier: ").nth(1).unwrap_or_default();
        let by_pid = line.contains("by pid");
        let from_proc = line.contains("more from /proc)");
        let by_kprobe = if line.contains("by kprobe") {
            ", kprobe"
        } else {
            ""
        };
        Ok(Self {
            name: name.split(" (").next().unwrap_or_default().to_owned() + by_kprobe,
            decides: line.contains("bpf, full") || by_pid && !from_proc,
            log_alone,
            known: match () {
                () if log_alone || by_format => Known::WhatTheLogHolds,
                // Without the decision a pid is a name for what may be gone.
                () if by_pid && from_proc => Known::WhatTheLogHolds,
                () if log.contains("locked down") => Known::ButForNamesAndCounters,
                () if by_pid => Known::ButForSizes,
                () => Known::Everything,
            },
        })
    }
}
