//! A fleet's stream on a real cluster of three servers.
//!
//! `cargo test -p oom-tests --test fleet`; needs `nats-server`; some as root, with real kills. Every event is in the
//! stream exactly once, whatever happens to servers and agents.

#![cfg(not(target_env = "musl"))]

use std::{
    collections::BTreeSet,
    path::PathBuf,
    process::{Command, Output},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use oom_agent::{
    deliver::{Delivery, SinkStatus},
    nats::Events,
    store::{self, Offer, Reader, Retention, Store, Storing},
};
use oom_tests::{
    agent::DEADLINE,
    machine,
    nats::{self, Cluster, Message},
    told::{BOOT, Kills, run},
};
use serde_json::Value;
use tempfile::TempDir;

/// The servers' window for doubles, where it is to be of use.
const LONG: Duration = Duration::from_mins(2);

/// The shortest that servers have.
const SHORT: Duration = Duration::from_millis(100);

/// A node: a store, and a delivery from it, as an agent has them.
struct Node {
    name: &'static str,
    dir: TempDir,
    kills: Kills,
}

struct Agent {
    path: PathBuf,
    offer: Offer,
    storing: Storing,
    delivery: Delivery,
}

impl Node {
    fn new(name: &'static str) -> Result<Self> {
        Ok(Self {
            name,
            dir: tempfile::tempdir()?,
            kills: Kills::new()?,
        })
    }

    fn store(&self) -> PathBuf {
        self.dir.path().join("events.db")
    }

    fn start(&self, cluster: &Cluster) -> Result<Agent> {
        let path = self.store();
        let options = store::Options {
            path: path.clone(),
            boot_id: BOOT.to_owned(),
            keep_ns: 1,
            retention: Retention::default(),
            run: run(),
            ring_room: u64::MAX,
        };
        let store = Store::open(&path, BOOT, 1)?;
        let (offer, storing) = store::start(Some(store), options, Box::new(|_| ()))?;
        let events = Events::new(
            cluster.access()?,
            "test",
            self.name,
            Duration::from_secs(1),
            Arc::new(|_| None),
        );
        let delivery = Delivery::start(events, path.clone(), storing.deliveries())?;
        Ok(Agent {
            path,
            offer,
            storing,
            delivery,
        })
    }

    /// Kills with these numbers: two events each.
    fn kill(&self, agent: &Agent, numbers: std::ops::Range<u64>) {
        for n in numbers {
            for entry in self.kills.entries(n) {
                agent.offer.offer(entry);
            }
            agent.offer.wake();
        }
    }
}

impl Agent {
    fn status(&self) -> SinkStatus {
        self.delivery.health().status()
    }

    fn wait(&self, what: &str, is_so: impl Fn(&SinkStatus) -> bool) -> Result<()> {
        let end = Instant::now() + DEADLINE;
        while !is_so(&self.status()) {
            ensure!(Instant::now() < end, "not {what}: {:?}", self.status());
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    }

    /// Waits until the cursor is kept; gives it.
    fn cursor(&self, at_least: i64) -> Result<(i64, String)> {
        let end = Instant::now() + DEADLINE;
        loop {
            let kept = Reader::open(&self.path)?.delivered("nats")?;
            match kept {
                Some(kept) if kept.0 >= at_least => return Ok(kept),
                other => ensure!(Instant::now() < end, "{other:?}"),
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn end(self) {
        self.delivery.stop(DEADLINE);
        drop(self.offer);
        let _ = self.storing.finish(DEADLINE);
    }
}

/// Every event of these kills once, and nothing else.
fn exactly(messages: &[Message], kills: u64) -> Result<()> {
    let mut ids = BTreeSet::new();
    for message in messages {
        let event: Value = serde_json::from_str(&message.body)?;
        let id = event["id"].as_str().context("no id")?.to_owned();
        ensure!(ids.insert(id), "twice: {}", event["id"]);
        let kind = event["kind"].as_str().context("no kind")?;
        ensure!(message.subject.ends_with(kind), "{}", message.subject);
    }
    for n in 0..kills {
        for id in [format!("kill-{n}"), format!("oom-{n}")] {
            ensure!(ids.remove(&id), "missing: {id}");
        }
    }
    ensure!(ids.is_empty(), "more than there were: {ids:?}");
    Ok(())
}

fn oom_agent(args: &[&str], cluster: &Cluster) -> Result<Output> {
    let mut command = Command::new(machine::agent_binary()?);
    command
        .args(args)
        .args(["--nats", &cluster.urls().join(",")]);
    Ok(command.output()?)
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

#[test]
fn the_leader_dies_in_a_storm() -> Result<()> {
    const STORM: u64 = 2000;
    if !nats::is_there()? {
        return Ok(());
    }
    let mut cluster = Cluster::start(3)?;
    cluster.init(LONG)?;
    let node = Node::new("node-1.example")?;
    let agent = node.start(&cluster)?;
    node.kill(&agent, 0..STORM / 2);
    agent.wait("begun", |status| status.delivered > 100)?;
    let leader = cluster.kill_leader()?;
    node.kill(&agent, STORM / 2..STORM);
    agent.wait("done", |status| {
        status.behind == 0 && status.up == Some(true)
    })?;
    exactly(&cluster.wait_for(2 * STORM as usize)?, STORM)?;
    cluster.go_on(leader)?;
    let messages = cluster.messages()?;
    exactly(&messages, STORM)?;
    ensure!(messages[0].subject == "oom.test.node-1_example.OomKill");
    agent.end();
    Ok(())
}

#[test]
fn an_agent_is_cut_off() -> Result<()> {
    if !nats::is_there()? {
        return Ok(());
    }
    let mut cluster = Cluster::start(3)?;
    cluster.init(SHORT)?;
    let node = Node::new("node-1")?;
    let agent = node.start(&cluster)?;
    node.kill(&agent, 0..300);
    agent.wait("begun", |status| status.delivered > 50)?;
    // In the midst of a batch, as like as not.
    for n in 0..3 {
        cluster.kill(n)?;
    }
    node.kill(&agent, 300..600);
    agent.wait("in trouble", |status| status.last_error.is_some())?;
    for n in 0..3 {
        cluster.go_on(n)?;
    }
    agent.wait("done", |status| {
        status.behind == 0 && status.up == Some(true)
    })?;
    exactly(&cluster.wait_for(1200)?, 600)?;
    agent.end();
    Ok(())
}

#[test]
fn an_agent_that_has_forgotten_what_it_published() -> Result<()> {
    if !nats::is_there()? {
        return Ok(());
    }
    let cluster = Cluster::start(1)?;
    cluster.init(SHORT)?;
    let node = Node::new("node-1")?;
    let agent = node.start(&cluster)?;
    node.kill(&agent, 0..100);
    let early = agent.cursor(1)?;
    node.kill(&agent, 100..700);
    cluster.wait_for(1400)?;
    agent.end();
    // What a crash costs: the cursor of some seconds. And all of it, the state as well.
    for (cursor, state) in [early, (0, String::new())] {
        let db = rusqlite::Connection::open(node.store())?;
        let set = "UPDATE sink SET seq = ?, state = ? WHERE name = 'nats'";
        ensure!(db.execute(set, (cursor, state))? == 1);
        drop(db);
        // The servers do not know the ids any more.
        std::thread::sleep(2 * SHORT);
        let agent = node.start(&cluster)?;
        agent.wait("done", |status| {
            status.behind == 0 && status.up == Some(true)
        })?;
        agent.end();
        exactly(&cluster.messages()?, 700)?;
    }
    Ok(())
}

#[test]
fn streams_are_made_compared_and_changed() -> Result<()> {
    if !nats::is_there()? {
        return Ok(());
    }
    let cluster = Cluster::start(1)?;
    let made = oom_agent(&["fleet", "init"], &cluster)?;
    ensure!(made.status.success(), "{}", text(&made.stderr));
    ensure!(text(&made.stdout) == "OOM: made\nOOM_NODES: made\n");
    let again = oom_agent(&["fleet", "init"], &cluster)?;
    ensure!(text(&again.stdout) == "OOM: as it should be\nOOM_NODES: as it should be\n");
    let other = ["fleet", "init", "--max-age", "7"];
    let differs = oom_agent(&other, &cluster)?;
    ensure!(differs.status.code() == Some(7));
    let told = "OOM: differs, and is left as it is\n  max_age is 2592000s, wanted: 604800s\n";
    ensure!(
        text(&differs.stdout).starts_with(told),
        "{}",
        text(&differs.stdout)
    );
    let changed = oom_agent(&[&other[..], &["--update"]].concat(), &cluster)?;
    ensure!(changed.status.success(), "{}", text(&changed.stderr));
    ensure!(oom_agent(&other, &cluster)?.status.success());
    Ok(())
}

#[test]
fn without_a_stream_it_is_said_what_makes_it() -> Result<()> {
    if !nats::is_there()? {
        return Ok(());
    }
    let cluster = Cluster::start(1)?;
    let node = Node::new("node-1")?;
    let agent = node.start(&cluster)?;
    node.kill(&agent, 0..1);
    agent.wait("in trouble", |status| {
        let error = status.last_error.as_deref();
        error.is_some_and(|error| error.contains("oom-agent fleet init"))
    })?;
    cluster.init(LONG)?;
    exactly(&cluster.wait_for(2)?, 1)?;
    agent.end();
    let asked = oom_agent(&["fleet", "events"], &Cluster::start(1)?)?;
    ensure!(text(&asked.stderr).contains("oom-agent fleet init"));
    Ok(())
}
