//! Storms: a thousand kills as fast as the machine makes them, each in a cgroup of its own.

use std::collections::{HashMap, HashSet};

use anyhow::{Context as _, Result, ensure};
use oom_agent::trigger::{self, StormReport};
use oom_tests::{
    agent::{Finished, Launch, is_instance},
    check::{self, Known},
    klog::KernelLog,
    machine::{Machine, vmstat_oom_kill},
    scene::{self, StormTruth},
};
use rustix::process::Signal;
use serde_json::Value;

const KILLS: u32 = 1000;
const LIMIT: u64 = 1 << 20;

/// The kernel's counter around the agent's life: read before it started, when it was ready, before
/// it was told to end, and after it ended. On a machine where nobody else makes kills the inner and
/// the outer growth are the same.
#[derive(Debug)]
struct Counter([u64; 4]);

impl Counter {
    fn inner(&self) -> u64 {
        self.0[2] - self.0[1]
    }

    fn outer(&self) -> u64 {
        self.0[3] - self.0[0]
    }

    /// What the agent saw of kills, told again and unexplained ones, is what the kernel counted.
    fn explains(&self, finished: &Finished) -> Result<()> {
        let summary = finished.summary()?;
        let sum = summary.get("kills")? + summary.get("repeats")? + summary.get("unexplained")?;
        ensure!(
            (self.inner()..=self.outer()).contains(&sum.unsigned_abs()),
            "{summary:?} sums up to {sum}, the kernel counted {self:?}"
        );
        ensure!(summary.get("kills")? == i64::try_from(finished.kills().count())?);
        ensure!(summary.get("instances")? == i64::try_from(finished.instances().count())?);
        Ok(())
    }
}

/// Which kills the agent must tell of.
#[derive(Clone, Copy)]
enum Expected {
    /// Every one.
    All,
    /// Those whose "Killed process" line the log still holds.
    InTheLog,
}

/// A storm to be made.
struct Plan {
    /// The agent's arguments.
    args: &'static [&'static str],
    /// How many kills.
    kills: u32,
    /// What is waited for.
    expected: Expected,
    /// Whether the agent stands still meanwhile.
    paused: bool,
}

/// A storm under the agent, until the agent has told of what is expected; the threads that it was
/// expected to tell of.
fn storm(plan: &Plan) -> Result<Option<(Finished, StormReport, HashSet<u32>)>> {
    let Some(_machine) = Machine::alone()? else {
        return Ok(None);
    };
    let options = scene::trigger_options(LIMIT)?;
    let mut log = KernelLog::from_now()?;
    let before = vmstat_oom_kill()?;
    let agent = Launch::run(plan.args).start()?;
    let ready = vmstat_oom_kill()?;
    agent.watches_cgroups()?;
    let descriptors = agent.descriptors()?;
    if plan.paused {
        agent.signal(Signal::STOP)?;
    }
    let storm = trigger::storm(&options, plan.kills)?;
    if plan.paused {
        agent.signal(Signal::CONT)?;
    }
    ensure!(storm.kills.len() == plan.kills as usize);
    let rate = storm.kills_per_second();
    println!("{} kills, {rate:.0} per second", plan.kills);
    let expected = match plan.expected {
        Expected::All => ours(&storm),
        Expected::InTheLog => {
            let killed = log.killed_tids()?;
            ours(&storm)
                .intersection(&killed.into_iter().collect())
                .copied()
                .collect()
        }
    };
    agent.wait_for("all instances of the storm", |events| {
        let seen: HashSet<_> = events
            .iter()
            .filter(|event| is_instance(event))
            .flat_map(|instance| instance["kills"].as_array().into_iter().flatten())
            .filter_map(tid)
            .collect();
        expected.is_subset(&seen).then_some(())
    })?;
    let last = vmstat_oom_kill()?;
    agent
        .holds_at_most(descriptors)
        .context("after the storm")?;
    let finished = agent.stop(Signal::TERM)?;
    Counter([before, ready, last, vmstat_oom_kill()?]).explains(&finished)?;
    Ok(Some((finished, storm, expected)))
}

/// The threads that the storm killed.
fn ours(storm: &StormReport) -> HashSet<u32> {
    storm.kills.iter().map(|kill| kill.pid).collect()
}

fn tid(kill: &Value) -> Option<u32> {
    kill["victim"]["tid"].as_u64()?.try_into().ok()
}

/// The storm's `OomKill` events by thread; each at most once, each with an id of its own.
fn kills_of<'a>(finished: &'a Finished, storm: &StormReport) -> Result<HashMap<u32, &'a Value>> {
    let ours = ours(storm);
    let (mut by_tid, mut ids) = (HashMap::new(), HashSet::new());
    for kill in finished.kills() {
        let tid = tid(kill).context("no tid")?;
        ensure!(ids.insert(kill["id"].as_str()), "id twice: {kill}");
        if ours.contains(&tid) {
            ensure!(by_tid.insert(tid, kill).is_none(), "told twice: {kill}");
        }
    }
    Ok(by_tid)
}

/// The instance of a kill.
fn instance_of<'a>(finished: &'a Finished, kill: &Value) -> Result<&'a Value> {
    let mut found = finished
        .instances()
        .filter(|instance| instance["id"] == kill["instance_id"]);
    let instance = found
        .next()
        .with_context(|| format!("no instance of {kill}"))?;
    ensure!(found.next().is_none(), "instance twice: {instance}");
    Ok(instance)
}

#[test]
fn every_kill_of_a_storm_is_told_with_its_cgroup() -> Result<()> {
    let plan = Plan {
        args: &["--require-bpf"],
        kills: KILLS,
        expected: Expected::All,
        paused: false,
    };
    let Some((finished, report, logged)) = storm(&plan)? else {
        return Ok(());
    };
    let truth = StormTruth { report, logged };
    let kills = kills_of(&finished, &truth.report)?;
    ensure!(kills.len() == KILLS as usize, "{} of {KILLS}", kills.len());
    check::storm(&finished.events, &truth, Known::Everything)?;
    let summary = finished.summary()?;
    for nothing in [
        "unexplained",
        "ring_dropped",
        "repeats",
        "forged",
        "malformed",
    ] {
        ensure!(summary.get(nothing)? == 0, "{nothing}: {summary:?}");
    }
    Ok(())
}

#[test]
fn the_log_alone_gives_what_it_still_holds_and_invents_nothing() -> Result<()> {
    let plan = Plan {
        args: &["--source", "kmsg"],
        kills: KILLS,
        expected: Expected::InTheLog,
        paused: false,
    };
    let Some((finished, storm, logged)) = storm(&plan)? else {
        return Ok(());
    };
    let kills = kills_of(&finished, &storm)?;
    let missing: Vec<_> = logged
        .iter()
        .filter(|tid| !kills.contains_key(tid))
        .collect();
    ensure!(missing.is_empty(), "in the log, but not told: {missing:?}");
    let mut suppressed = 0;
    for truth in &storm.kills {
        let Some(kill) = kills.get(&truth.pid) else {
            continue;
        };
        let instance = instance_of(&finished, kill)?;
        let path = kill["cgroup"]["path"].as_str();
        ensure!(
            path.is_none() || path == truth.cgroup_path.as_deref(),
            "{kill}"
        );
        let id = kill["cgroup"]["id"].as_u64();
        ensure!(
            id.is_none() || id == Some(truth.cgroup_id),
            "{kill}, truth {truth:?}"
        );
        ensure!(kill["evidence"] == serde_json::json!(["kmsg"]), "{kill}");
        match instance["crosscheck"]["kmsg_report"].as_str() {
            Some("full") => ensure!(path.is_some(), "full report, no cgroup: {kill}"),
            Some("suppressed") => {
                suppressed += 1;
                ensure!(
                    instance["limit"].is_null(),
                    "a limit out of nothing: {instance}"
                );
                ensure!(
                    instance["trigger"].is_null(),
                    "a trigger out of nothing: {instance}"
                );
            }
            // The storm has overwritten the rest.
            Some("partial") => {}
            other => anyhow::bail!("{other:?}: {instance}"),
        }
    }
    ensure!(
        suppressed > 0,
        "a storm without a suppressed report is no storm"
    );
    Ok(())
}

/// An agent that stands still cannot empty its ring; the log holds what the ring has no room for.
#[test]
fn what_the_ring_drops_the_log_fills_in() -> Result<()> {
    let plan = Plan {
        args: &["--require-bpf", "--ring-bytes", "4096"],
        // At most 10 full reports of 80 records each and 4 records for every kill: the smallest log
        // of a usual kernel (128 KiB, some 1,300 records) holds them all.
        kills: 40,
        expected: Expected::InTheLog,
        paused: true,
    };
    let Some((finished, storm, logged)) = storm(&plan)? else {
        return Ok(());
    };
    let summary = finished.summary()?;
    ensure!(
        summary.get("ring_dropped")? > 0,
        "nothing dropped: {summary:?}"
    );
    let kills = kills_of(&finished, &storm)?;
    ensure!(
        logged.len() == storm.kills.len(),
        "the log lost some: {logged:?}"
    );
    ensure!(kills.len() == storm.kills.len(), "{} told", kills.len());
    for truth in &storm.kills {
        let kill = kills[&truth.pid];
        let instance = instance_of(&finished, kill)?;
        let path = &instance["kills"][0]["cgroup"]["path"];
        let by_bpf = instance["crosscheck"]["bpf_kills"] == 1;
        let full = instance["crosscheck"]["kmsg_report"] == "full";
        ensure!(
            path.as_str() == truth.cgroup_path.as_deref() || (path.is_null() && !by_bpf && !full),
            "{instance}"
        );
    }
    ensure!(summary.get("unexplained")? == 0, "{summary:?}");
    Ok(())
}
