//! What the commands tell of the stream: real kills, a node's signs of life, words that this version does not know.

use std::{
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use oom_agent::store::Entry;
use oom_tests::{
    agent::{DEADLINE, Launch},
    kept::Kept,
    machine::Machine,
    scene,
    told::Kills,
};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::{
    child::{Said, command, ended, say, until},
    node::{LONG, cluster},
};

#[test]
fn real_kills_of_a_confined_agent() -> Result<()> {
    let Some(machine) = Machine::alone()? else {
        return Ok(());
    };
    let Some(cluster) = cluster(3, LONG)? else {
        return Ok(());
    };
    let kept = Kept::without_pins()?;
    let urls = cluster.urls().join(",");
    let kept_args = kept.args();
    let own = [
        "--nats",
        &urls,
        "--cluster",
        "eu",
        "--node",
        "node-1",
        "--nats-heartbeat",
        "1",
    ];
    let args: Vec<&str> = kept_args.iter().map(String::as_str).chain(own).collect();
    let agent = Launch::run(&args).keeping().start()?;
    let truth = scene::one_kill(&machine.hierarchy)?;
    let (kill, report) = agent.wait_for_death(truth.tid)?;
    ensure!(kill["cluster"] == "eu" && report["cluster"] == "eu");

    let id = kill["id"].as_str().context("id")?;
    let pid = truth.victim.pid.to_string();
    let of_it = [
        "fleet", "events", "-o", "json", "--node", "node-1", "--pid", &pid,
    ];
    let told = until("told", &cluster, &of_it, |said| !said.out.is_empty())?;
    let told: Value = serde_json::from_str(&told.out)?;
    ensure!(told == report, "{told:#}\n{report:#}");
    let others = ["fleet", "events", "-o", "json", "--cluster", "us"];
    ensure!(say(&others, &cluster)?.out.is_empty());
    let table = say(&["fleet", "events", "-o", "table"], &cluster)?;
    ensure!(table.out.contains("node-1"), "{table:?}");
    let story = say(&["fleet", "show", id], &cluster)?;
    ensure!(story.out.contains("on node-1"), "{story:?}");
    let top = say(&["fleet", "top", "--by", "node", "-o", "json"], &cluster)?;
    let top: Value = serde_json::from_str(&top.out)?;
    ensure!(top["rows"][0]["key"] == "node-1", "{top:#}");

    let nodes = ["fleet", "nodes", "-o", "json"];
    let state = |said: &Said| {
        let node: Result<Value, _> = serde_json::from_str(&said.out);
        node.ok()
            .and_then(|node| node["state"].as_str().map(str::to_owned))
    };
    let is = |word: &'static str| move |said: &Said| state(said).as_deref() == Some(word);
    // Others may have killed at the same moment; that it is heard of is what counts.
    until("heard of", &cluster, &nodes, |said| state(said).is_some())?;
    let ended = agent.stop(Signal::TERM)?;
    ensure!(ended.status.success(), "{:#?}", ended.log);
    let stopped = until("stopped", &cluster, &nodes, is("stopped"))?;
    ensure!(stopped.code == Some(0));

    let agent = Launch::run(&args).keeping().start()?;
    until("back", &cluster, &nodes, |said| {
        state(said).is_some_and(|state| state != "stopped")
    })?;
    drop(agent);
    let silent = until("silent", &cluster, &nodes, is("silent"))?;
    ensure!(silent.code == Some(7));
    Ok(())
}

#[test]
fn words_of_a_newer_agent_are_passed_on() -> Result<()> {
    let Some(cluster) = cluster(1, LONG)? else {
        return Ok(());
    };
    let kills = Kills::new()?;
    let [_, _, Entry::Event(report)] = kills.entries(7) else {
        anyhow::bail!("other entries");
    };
    let mut report = serde_json::to_value(&*report)?;
    report["time"] = "2026-11-21T00:00:00Z".into();
    report["of_a_newer_agent"] = "a word".into();
    let body = report.to_string();
    // Twice: without an id the server takes both.
    for _ in 0..2 {
        cluster.publish("oom.test.node-2.OomInstance", &body)?;
    }
    let since = "2026-11-01T00:00:00Z";
    let told = say(
        &["fleet", "events", "-o", "json", "--since", since],
        &cluster,
    )?;
    ensure!(told.out == format!("{body}\n"), "{told:?}");
    Ok(())
}

#[test]
fn a_copy_goes_when_somebody_interrupts() -> Result<()> {
    let Some(cluster) = cluster(1, LONG)? else {
        return Ok(());
    };
    let dir = tempfile::tempdir()?;
    let mut child = command(&["fleet", "events", "-f"], &cluster)?
        .env("TMPDIR", dir.path())
        .spawn()?;
    let files = || anyhow::Ok(fs::read_dir(dir.path())?.count());
    let end = Instant::now() + DEADLINE;
    while files()? == 0 {
        ensure!(Instant::now() < end, "no copy");
        std::thread::sleep(Duration::from_millis(20));
    }
    kill_process(Pid::from_child(&child), Signal::INT)?;
    ensure!(ended(&mut child)? == Some(130));
    ensure!(files()? == 0);
    Ok(())
}
