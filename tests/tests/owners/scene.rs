//! The machine, agents that have seen it, and containers of no runtime that live and die on it.

use std::time::Duration;

use anyhow::{Context as _, Result};
use oom_agent::{
    event::{LimitLevel, Owner, OwnerKind},
    hierarchy::Hierarchy,
};
use oom_tests::{
    agent::{Agent, Launch},
    machine::Machine,
    runtime::{
        LIMIT, Running as _,
        bundle::Bundle,
        plain::{self, Place, Plain},
        play::{self, Dies, Life, Story},
    },
};
use serde_json::Value;
use tempfile::TempDir;

/// What a canary is given to be told of.
pub(crate) const SOON: Duration = Duration::from_millis(500);

/// The machine, and a root of the host that has no runtime yet.
pub(crate) struct Scene {
    machine: Machine,
    pub(crate) root: TempDir,
}

impl Scene {
    pub(crate) fn alone() -> Result<Option<Self>> {
        let Some(machine) = Machine::alone()? else {
            return Ok(None);
        };
        let root = tempfile::tempdir()?;
        Ok(Some(Self { machine, root }))
    }

    pub(crate) fn hierarchy(&self) -> &Hierarchy {
        &self.machine.hierarchy
    }

    pub(crate) fn in_pod(&self) -> Bundle {
        Bundle::in_pod(self.root.path())
    }

    pub(crate) fn launch(&self, args: &[&str]) -> Result<Launch> {
        let root = self.root.path().to_str().context("path")?;
        let all = ["--require-bpf", "--host-root", root];
        Ok(Launch::run(&[&all, args].concat()))
    }

    /// An agent that watches cgroups, and has seen all that there were.
    pub(crate) fn watching(&self, watch: &str) -> Result<Agent> {
        let agent = self.launch(&["--cgroup-watch", watch])?.start()?;
        self.until_it_sees(&agent)?;
        Ok(agent)
    }

    /// What comes before its first scan is over is no news, and not told.
    pub(crate) fn until_it_sees(&self, agent: &Agent) -> Result<()> {
        agent.watches_cgroups()?;
        self.until_told(agent)
    }

    /// The same, by what it tells alone.
    pub(crate) fn until_told(&self, agent: &Agent) -> Result<()> {
        for _ in 0..100 {
            let canary = format!("/docker/{}", "ca".repeat(32));
            let owner = Owner::of(OwnerKind::Container);
            let level = LimitLevel::Container;
            let place = Place {
                path: canary.clone(),
                owner,
                level,
            };
            let canary_lives = self.run(&place)?;
            let told = agent.wait_within(SOON, "canary", |events| {
                let is_it = |event: &Value| event["cgroup"]["path"] == canary;
                events.iter().any(is_it).then_some(())
            });
            drop(canary_lives);
            if told.is_ok() {
                return Ok(());
            }
        }
        anyhow::bail!("it tells of no cgroup")
    }

    pub(crate) fn run(&self, place: &Place) -> Result<Plain> {
        let args = Dies::Main.args();
        Plain::run(self.hierarchy(), place, LIMIT, &plain::payload()?, args)
    }

    /// A process dies in it; then it is removed, before anybody has told of anything.
    pub(crate) fn kill(&self, place: &Place) -> Result<Story> {
        self.end(self.run(place)?)
    }

    pub(crate) fn end(&self, mut plain: Plain) -> Result<Story> {
        let container = plain.container().clone();
        let death = play::die(self.hierarchy(), &container, None)?;
        plain.remove()?;
        Ok(Story {
            deaths: vec![death],
            lives: vec![Life::killed(container)],
        })
    }
}
