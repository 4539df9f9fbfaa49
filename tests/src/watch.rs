//! Agents of several tiers that watch the same kills, and what each must say.
//!
//! Starts one agent for each [`Way`]; compares what it tells with what a scenario provoked. Emits figures.
//! At the end of an agent's life the law must hold. Refuses an event that nothing provoked, where
//! nobody else makes kills.

use std::{
    collections::{HashMap, HashSet},
    path::Path,
};

use anyhow::{Context as _, Result, anyhow, ensure};
use clap::ValueEnum;
use rustix::process::Signal;
use serde::Serialize;
use serde_json::Value;

use crate::{
    agent::{Agent, Finished, Launch, Tier, is_instance, is_kill},
    catalogue::Expected,
    check::{self, Known},
    machine::{self, vmstat_oom_kill},
    scene::{Marked, NoVictim},
};

/// How an agent is started, and so what it can get.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Way {
    /// The best that the kernel allows.
    Best,
    /// As on a kernel without fentry.
    Kprobe,
    /// As on a kernel without fentry and kprobes.
    NoHook,
    /// By the classic tracepoint.
    ByFormat,
    /// Without the capabilities that BPF needs.
    LogAlone,
}

impl Way {
    /// How to start such an agent, with these arguments besides.
    pub fn launch(self, more: &[&str]) -> Result<Launch> {
        let own: &[&str] = match self {
            Self::Best => &["--require-bpf"],
            Self::ByFormat => &["--source", "auto", "--bpf-by-format"],
            Self::Kprobe => &["--require-bpf", "--bpf-hook=kprobe"],
            Self::NoHook => &["--require-bpf", "--bpf-hook=none"],
            Self::LogAlone => &[],
        };
        let launch = Launch::run(&[own, more].concat());
        Ok(match self {
            Self::LogAlone => {
                let text = |path: &Path| path.display().to_string();
                let words = [
                    text(&machine::build_dir()?.join("scenario")),
                    "without-bpf".to_owned(),
                    "--".to_owned(),
                    text(machine::agent_binary()?),
                ];
                launch.program(&words)
            }
            _ => launch,
        })
    }
}

/// An agent at work.
#[derive(Debug)]
pub struct Watcher {
    agent: Agent,
    tier: Tier,
    /// The kernel's counter before the agent was started, and when it was ready.
    counter: [u64; 2],
}

impl Watcher {
    /// Starts it.
    pub fn start(way: Way) -> Result<Self> {
        let before = vmstat_oom_kill()?;
        let agent = way.launch(&[])?.start()?;
        let tier = agent.tier()?;
        let counter = [before, vmstat_oom_kill()?];
        // Names that a runtime leaves for a moment only can be known from then on.
        agent.watches_cgroups()?;
        Ok(Self {
            agent,
            tier,
            counter,
        })
    }

    /// What it says of its tier: `bpf, full`, and so on.
    #[must_use]
    pub fn tier(&self) -> &str {
        &self.tier.name
    }

    /// Waits until it has told of everything that was provoked, and compares. The latency of every
    /// kill that it told of, in nanoseconds.
    pub fn tells(&self, expected: &Expected) -> Result<Vec<u64>> {
        let told = self.told(expected);
        let told = told.map_err(|error| anyhow!("{error:#}\n{}", self.agent.said()));
        // What it told of this scenario is not asked for again, whether right or wrong.
        let events = self.agent.events()?;
        self.agent.forget();
        nothing_but(&told?, &events)
    }

    /// Compares; the threads that may have died.
    fn told(&self, expected: &Expected) -> Result<HashSet<u32>> {
        Ok(match expected {
            Expected::Deaths(truths) => {
                for truth in truths {
                    let (kill, instance) = self.agent.wait_for_death(truth.tid)?;
                    check::death(&kill, &instance, truth, self.tier.known)?;
                    check::limit_source(&instance, &self.tier)?;
                    if truth.scope == "system" {
                        check::machine(&instance, truth, self.tier.known)?;
                    }
                }
                truths.iter().map(|truth| truth.tid).collect()
            }
            Expected::Owned(all) => {
                for owned in all {
                    let (kill, instance) = self.agent.wait_for_death(owned.death.tid)?;
                    check::death(&kill, &instance, &owned.death, self.tier.known)?;
                    check::owner(&kill, &instance, owned, self.tier.known)?;
                }
                all.iter().map(|owned| owned.death.tid).collect()
            }
            Expected::Leaked(leaked) => {
                let truth = &leaked.death;
                let (kill, instance) = self.agent.wait_for_death(truth.tid)?;
                check::death(&kill, &instance, truth, self.tier.known)?;
                check::history(&instance, leaked)?;
                HashSet::from([truth.tid])
            }
            Expected::Group(truth) => {
                let (_, instance) = self.agent.wait_for_death(truth.chosen.pid)?;
                let events = self.agent.events()?;
                check::group(&events, &instance, truth)?;
                truth.all().map(|process| process.pid).collect()
            }
            Expected::NoVictim(nobody) => self.no_victim(nobody)?,
            Expected::Marked(marked) => self.marked(marked)?,
            Expected::Storm(storm) => {
                let must: HashSet<u32> = if self.tier.log_alone {
                    storm.logged.clone()
                } else {
                    storm.tids().collect()
                };
                self.wait_for_all(&must)?;
                check::storm(&self.agent.events()?, storm, self.storm_known())?;
                storm.tids().collect()
            }
        })
    }

    /// Reports without a kill, as many as the kernel wrote.
    fn no_victim(&self, nobody: &NoVictim) -> Result<HashSet<u32>> {
        let is_it = |event: &&Value| event["outcome"] == "no_victim";
        let reports = self.agent.wait_for("reports without a victim", |events| {
            let found: Vec<Value> = events.iter().filter(is_it).cloned().collect();
            (found.len() >= nobody.times).then_some(found)
        })?;
        ensure!(
            reports.len() == nobody.times,
            "{nobody:?}, told: {reports:?}"
        );
        for report in &reports {
            ensure!(
                report["scope"] == nobody.scope,
                "{nobody:?}, told: {report:#}"
            );
            ensure!(report["kills"] == Value::Array(vec![]), "{report:#}");
        }
        Ok(HashSet::new())
    }

    /// A mark is no kill, and only BPF sees it.
    fn marked(&self, marked: &Marked) -> Result<HashSet<u32>> {
        if !self.tier.log_alone {
            self.agent.wait_for("mark without a kill", |events| {
                let mut reports = events.iter();
                reports
                    .find(|event| event["outcome"] == "already_exiting")
                    .map(drop)
            })?;
        }
        ensure!(!machine::is_guest() || marked.kills == 0, "{marked:?}");
        Ok(HashSet::new())
    }

    /// Most reports of a storm are suppressed: what only the log could tell may be missing.
    fn storm_known(&self) -> Known {
        match self.tier.known {
            Known::Everything => Known::Everything,
            _ => Known::WhatTheLogHolds,
        }
    }

    fn wait_for_all(&self, tids: &HashSet<u32>) -> Result<()> {
        self.agent.wait_for("all instances of the storm", |events| {
            let instances = events.iter().filter(|event| is_instance(event));
            let kills = instances.flat_map(|event| event["kills"].as_array().into_iter().flatten());
            let seen: HashSet<u32> = kills.filter_map(tid).collect();
            tids.is_subset(&seen).then_some(())
        })
    }

    /// Ends it; what it counted must be what the kernel counted.
    pub fn law(self) -> Result<Law> {
        let [before, ready] = self.counter;
        let last = vmstat_oom_kill()?;
        let finished = self.agent.stop(Signal::TERM)?;
        let counter = [before, ready, last, vmstat_oom_kill()?];
        Law::of(&finished, counter)
    }
}

/// Each of these died once, and in a guest nobody else did. The latencies.
fn nothing_but(tids: &HashSet<u32>, events: &[Value]) -> Result<Vec<u64>> {
    let mut seen = HashSet::new();
    let mut latencies = Vec::new();
    for kill in events.iter().filter(|event| is_kill(event)) {
        let tid = tid(kill).context("no tid")?;
        let ours = tids.contains(&tid);
        ensure!(
            ours || !machine::is_guest(),
            "nobody made this kill: {kill:#}"
        );
        ensure!(seen.insert(tid) || !ours, "told twice: {kill:#}");
        latencies.extend(kill["detection_latency_ns"].as_u64().filter(|_| ours));
    }
    Ok(latencies)
}

fn tid(kill: &Value) -> Option<u32> {
    kill["victim"]["tid"].as_u64()?.try_into().ok()
}

/// How an agent's life ended: kills + repeats = growth of the kernel's counter, and nothing twice.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct Law {
    /// Distinct victims.
    pub kills: i64,
    /// Kills of a victim already killed.
    pub repeats: i64,
    /// What no source showed.
    pub unexplained: i64,
    /// By how much the kernel's counter grew.
    pub counted: i64,
    /// Log records that were overwritten before they were read.
    pub kmsg_lost: i64,
}

impl Law {
    /// As the last of several agents tells it, of which each went on where the one before was cut off, and of
    /// what they have stored.
    pub fn of_all(last: &Finished, kills: usize, counted: u64) -> Result<Self> {
        let summary = last.summary()?;
        let law = Self {
            kills: summary.get("kills")?,
            repeats: summary.get("repeats")?,
            unexplained: summary.get("unexplained")?,
            counted: counted.cast_signed(),
            kmsg_lost: summary.get("kmsg_lost")?,
        };
        ensure!(
            law.kills == i64::try_from(kills)? && law.unexplained == 0,
            "{kills} stored, and {summary:?}\n{}",
            last.log.join("\n")
        );
        Ok(law)
    }

    /// The counter was read before the agent was started, when it was ready, before it was told to
    /// end, and after it ended.
    fn of(finished: &Finished, [before, ready, last, end]: [u64; 4]) -> Result<Self> {
        let counted = last - ready..=end - before;
        let summary = finished.summary()?;
        let law = Self {
            kills: summary.get("kills")?,
            repeats: summary.get("repeats")?,
            unexplained: summary.get("unexplained")?,
            counted: (*counted.end()).cast_signed(),
            kmsg_lost: summary.get("kmsg_lost")?,
        };
        let sum = law.kills + law.repeats + law.unexplained;
        ensure!(
            counted.contains(&sum.unsigned_abs()),
            "{summary:?} sums up to {sum}, the kernel counted {counted:?}"
        );
        // Above 0: what the log has lost, nobody can explain where BPF was not there, or not yet. Below
        // 0: what was counted while the agent started, and before it read the counter.
        let upper = if law.kmsg_lost > 0 { i64::MAX } else { 0 };
        let lower = -(ready - before).cast_signed();
        ensure!(
            (lower..=upper).contains(&law.unexplained),
            "{summary:?}\n{}",
            finished.log.join("\n")
        );
        for nothing in ["ring_dropped", "forged", "malformed"] {
            ensure!(summary.get(nothing)? == 0, "{nothing}: {summary:?}");
        }
        let mut ids = HashMap::new();
        for event in &finished.events {
            let before = ids.insert((is_kill(event), event["id"].as_str()), event);
            ensure!(before.is_none(), "id twice: {before:#?}\n{event:#}");
        }
        ensure!(law.kills == i64::try_from(finished.kills().count())?);
        Ok(law)
    }
}
