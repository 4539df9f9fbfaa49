//! Servers die, connections break, agents forget: the stream has every event once.

use std::{
    collections::BTreeMap,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};
use oom_agent::{
    event::Timestamp,
    nats::{Access, Heartbeat, Options},
};
use oom_tests::{agent::DEADLINE, way::Way};

use crate::{
    child::say,
    node::{Fleet, LONG, Node, SHORT, cluster, exactly, in_trouble, is_done},
};

#[test]
fn the_leader_dies_in_a_storm() -> Result<()> {
    const STORM: u64 = 2000;
    const EVENTS: usize = 4000;
    let Some(mut cluster) = cluster(3, LONG)? else {
        return Ok(());
    };
    let node = Node::new("node-1.example")?;
    let agent = node.start(&cluster)?;
    agent.kills(0..STORM / 2);
    agent.goes("begun", |status| status.delivered > 100)?;
    let leader = cluster.kill_leader()?;
    agent.kills(STORM / 2..STORM);
    agent.goes("done", is_done)?;
    exactly(&cluster.wait_for(EVENTS)?, STORM)?;
    cluster.go_on(leader)?;
    let messages = cluster.messages()?;
    exactly(&messages, STORM)?;
    ensure!(messages[0].subject == "oom.test.node-1_example.OomKill");
    agent.end()?;
    Ok(())
}

#[test]
fn an_agent_is_cut_off() -> Result<()> {
    let Some(mut fleet) = Fleet::start(3, SHORT)? else {
        return Ok(());
    };
    fleet.agent.kills(0..300);
    fleet.agent.goes("begun", |status| status.delivered > 50)?;
    // In the midst of a batch, as like as not.
    for n in 0..3 {
        fleet.cluster.kill(n)?;
    }
    fleet.agent.kills(300..600);
    fleet.agent.goes("in trouble", in_trouble)?;
    for n in 0..3 {
        fleet.cluster.go_on(n)?;
    }
    fleet.agent.goes("done", is_done)?;
    exactly(&fleet.cluster.wait_for(1200)?, 600)?;
    fleet.agent.end()?;
    Ok(())
}

#[test]
fn an_agent_is_cut_off_and_started_again_meanwhile() -> Result<()> {
    let Some(cluster) = cluster(1, SHORT)? else {
        return Ok(());
    };
    let way = Way::to(cluster.ports()[0])?;
    let access = Access::read(&Options {
        servers: vec![format!("nats://127.0.0.1:{}", way.port())],
        ..cluster.options()
    })?;
    let node = Node::new("node-1")?;
    let agent = node.start_by(access.clone())?;
    agent.kills(0..300);
    agent.goes("begun", |status| status.delivered > 50)?;
    way.close();
    agent.kills(300..400);
    agent.goes("in trouble", in_trouble)?;
    agent.end()?;
    let agent = node.start_by(access)?;
    agent.kills(400..500);
    agent.goes("in trouble again", in_trouble)?;
    // The servers have forgotten the ids.
    std::thread::sleep(2 * SHORT);
    way.open();
    agent.goes("done", is_done)?;
    exactly(&cluster.wait_for(1000)?, 500)?;
    agent.end()?;
    Ok(())
}

#[test]
fn an_agent_that_has_forgotten_what_it_published() -> Result<()> {
    let Some(fleet) = Fleet::start(1, SHORT)? else {
        return Ok(());
    };
    fleet.agent.kills(0..100);
    let early = fleet.node.cursor(1)?;
    fleet.agent.kills(100..700);
    fleet.cluster.wait_for(1400)?;
    fleet.agent.end()?;
    // What a crash costs: the cursor of some seconds. And all of it, the state as well.
    for (cursor, state) in [early, (0, String::new())] {
        let db = rusqlite::Connection::open(fleet.node.store())?;
        let set = "UPDATE sink SET seq = ?, state = ? WHERE name = 'nats'";
        ensure!(db.execute(set, (cursor, state))? == 1);
        drop(db);
        // The servers do not know the ids any more.
        std::thread::sleep(2 * SHORT);
        let agent = fleet.node.start(&fleet.cluster)?;
        agent.goes("done", is_done)?;
        agent.end()?;
        exactly(&fleet.cluster.messages()?, 700)?;
    }
    Ok(())
}

/// Somebody has removed the stream of the signs of life, or nobody has made it.
#[test]
fn signs_of_life_that_are_not_taken_delay_no_event() -> Result<()> {
    let Some(cluster) = cluster(1, LONG)? else {
        return Ok(());
    };
    cluster.remove_stream("OOM_NODES")?;
    let node = Node::new("node-1")?;
    let agent = node.start_telling(cluster.access()?, Arc::new(|_| Some(sign())))?;
    agent.goes("not heard", |status| status.retries > 0)?;
    for n in 0..3 {
        agent.kill(n);
        let tries = agent
            .goes("told", |it| it.delivered == 2 * (n + 1))?
            .retries;
        agent.goes("not heard again", |it| it.retries > tries)?;
    }
    let status = agent.goes("done", is_done)?;
    ensure!(status.last_error.is_none(), "{status:?}");
    // They are taken as soon as somebody does.
    cluster.init(LONG)?;
    let end = Instant::now() + DEADLINE;
    while !say(&["fleet", "nodes"], &cluster)?.out.contains("node-1") {
        ensure!(Instant::now() < end, "no sign of life");
        std::thread::sleep(Duration::from_millis(50));
    }
    agent.end()?;
    exactly(&cluster.messages()?, 3)
}

fn sign() -> Heartbeat {
    let then = Timestamp::from_unix_ns(0);
    Heartbeat {
        cluster: Some("test".to_owned()),
        node: Some("node-1".to_owned()),
        time: then,
        period_ms: 1000,
        stopping: false,
        version: "0".to_owned(),
        started: then,
        boot_id: None,
        tier: "none".to_owned(),
        detecting: true,
        sources: Vec::new(),
        unexplained: None,
        losses: BTreeMap::new(),
        waiting: None,
        behind: BTreeMap::new(),
    }
}
