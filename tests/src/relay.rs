//! One agent that is killed, and the next that goes on.
//!
//! Starts an agent with a store and pins of its own and kills it; the next must tell what happened in between,
//! and the audit must span both.

use std::collections::HashSet;

use anyhow::{Context as _, Result};
use rustix::process::Signal;

use crate::{
    agent::Launch,
    kept::Kept,
    machine::vmstat_oom_kill,
    scene::StormTruth,
    watch::{Law, Way},
};

/// What the first agent has left.
#[derive(Debug)]
pub struct Relay {
    kept: Kept,
    launch: Launch,
    /// The kernel's counter before the first agent.
    before: u64,
}

impl Relay {
    /// Starts the first agent, and kills it once it is armed.
    pub fn start(way: Way) -> Result<Self> {
        let kept = Kept::with_pins()?;
        let args = kept.args();
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let launch = way.launch(&args)?.keeping();
        let before = vmstat_oom_kill()?;
        let agent = launch.start()?;
        agent.stop(Signal::KILL)?;
        Ok(Self {
            kept,
            launch,
            before,
        })
    }

    /// Starts the next, which must tell of every kill of the storm. What it got, and what it counted.
    pub fn go_on(self, storm: &StormTruth) -> Result<(String, Law)> {
        let agent = self.launch.start()?;
        let tier = agent.tier()?;
        let all: HashSet<u32> = if tier.log_alone {
            storm.logged.clone()
        } else {
            storm.tids().collect()
        };
        let told = self.kept.wait_for("kills of meanwhile", |content| {
            let kills = content
                .instances
                .iter()
                .filter_map(|it| it["kills"].as_array());
            let tids = kills
                .flatten()
                .filter_map(|kill| kill["victim"]["tid"].as_u64());
            let told: HashSet<u64> = tids.collect();
            all.iter().all(|tid| told.contains(&u64::from(*tid)))
        });
        let finished = agent.stop(Signal::TERM)?;
        told.with_context(|| finished.log.join("\n"))?;
        let content = self.kept.content()?;
        let counted = vmstat_oom_kill()? - self.before;
        Ok((
            tier.name,
            Law::of_all(&finished, content.kills.len(), counted)?,
        ))
    }
}
