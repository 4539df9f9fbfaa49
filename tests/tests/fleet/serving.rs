//! `fleet serve` goes on where it was, whatever happens to servers, streams, its store and itself; and holds nobody up.

use anyhow::{Result, ensure};
use rustix::process::Signal;

use crate::{
    node::{Fleet, LONG},
    server::{Serving, store},
};

#[test]
fn the_fleet_is_served() -> Result<()> {
    let Some(mut fleet) = Fleet::start(3, LONG)? else {
        return Ok(());
    };
    fleet.agent.kills(0..50);
    fleet.cluster.wait_for(100)?;
    let dir = tempfile::tempdir()?;
    let mut serving = Serving::start(&fleet.cluster, dir.path())?;
    serving.has("OomKill", 50)?;
    let mut stream = serving
        .socket
        .stream("/v1/events/stream?kind=OomKill", None)?;
    fleet.agent.kills(50..60);
    let live = stream.wait_for("data: ", 1, |event| event["id"] == "kill-59")?;
    ensure!(live[0]["kind"] == "OomKill");
    ensure!(serving.counts()?["unreadable"] == 0);
    ensure!(serving.socket.json("/v1/nodes")?["nodes"].is_array());
    ensure!(serving.socket.json("/v1/openapi.json")?["info"]["title"] == "oom-agent fleet");
    serving.signal(Signal::TERM)?;
    ensure!(serving.ended()? == Some(0));

    // While it is away, and while a server is; and what no version knows.
    fleet.agent.kills(60..80);
    let odd = r#"{"kind":"OomKill","of":"another world"}"#;
    fleet.cluster.publish("oom.test.node-2.OomKill", odd)?;
    fleet.cluster.kill_leader()?;
    let serving = Serving::start(&fleet.cluster, dir.path())?;
    serving.has("OomKill", 80)?;
    let counts = serving.counts()?;
    ensure!(
        counts["unreadable"] == 1 && counts["doubles"] == 0,
        "{counts}"
    );
    fleet.agent.end()?;
    Ok(())
}

#[test]
fn a_stream_is_removed_and_made_again() -> Result<()> {
    let Some(fleet) = Fleet::start(1, LONG)? else {
        return Ok(());
    };
    fleet.agent.kills(0..20);
    fleet.cluster.wait_for(40)?;
    let dir = tempfile::tempdir()?;
    let serving = Serving::start(&fleet.cluster, dir.path())?;
    serving.has("OomKill", 20)?;
    fleet.cluster.remove()?;
    fleet.cluster.init(LONG)?;
    // Fewer than there were: its numbers are all behind the place.
    fleet.agent.kills(20..25);
    let messages = fleet.cluster.wait_for(10)?;
    ensure!(messages.len() == 10, "{}", messages.len());
    serving.has("OomKill", 25)?;
    ensure!(serving.counts()?["anew"] == 1);
    fleet.agent.end()?;
    Ok(())
}

#[test]
fn servers_go_and_come_back() -> Result<()> {
    let Some(mut fleet) = Fleet::start(1, LONG)? else {
        return Ok(());
    };
    fleet.agent.kills(0..20);
    fleet.cluster.wait_for(40)?;
    let dir = tempfile::tempdir()?;
    let serving = Serving::start(&fleet.cluster, dir.path())?;
    serving.has("OomKill", 20)?;
    fleet.cluster.kill(0)?;
    serving.is_ready(503)?;
    ensure!(serving.socket.json("/v1/fleet")?["trouble"].is_string());
    fleet.agent.kills(20..40);
    fleet.cluster.go_on(0)?;
    serving.has("OomKill", 40)?;
    serving.is_ready(200)?;
    let counts = serving.counts()?;
    ensure!(counts["doubles"] == 0 && counts["anew"] == 0, "{counts}");
    fleet.agent.end()?;
    Ok(())
}

#[test]
fn a_store_that_refuses_is_waited_for_and_one_that_is_spoilt_ends_it() -> Result<()> {
    let Some(fleet) = Fleet::start(1, LONG)? else {
        return Ok(());
    };
    let dir = tempfile::tempdir()?;
    let mut serving = Serving::start(&fleet.cluster, dir.path())?;
    let db = rusqlite::Connection::open(store(dir.path()))?;
    db.execute_batch("BEGIN IMMEDIATE")?;
    fleet.agent.kills(0..10);
    serving.is_ready(503)?;
    db.execute_batch("ROLLBACK")?;
    serving.has("OomKill", 10)?;
    ensure!(serving.counts()?["read"] == 20);
    db.execute_batch("DROP TABLE sink")?;
    fleet.agent.kill(10);
    ensure!(serving.ended()? == Some(1));
    fleet.agent.end()?;
    Ok(())
}

#[test]
fn a_reader_that_does_not_read_holds_nobody_up() -> Result<()> {
    let Some(fleet) = Fleet::start(3, LONG)? else {
        return Ok(());
    };
    let dir = tempfile::tempdir()?;
    let serving = Serving::start(&fleet.cluster, dir.path())?;
    serving.signal(Signal::STOP)?;
    fleet.agent.kills(0..1000);
    fleet.agent.goes("done", |status| {
        status.behind == 0 && status.delivered == 2000
    })?;
    serving.signal(Signal::CONT)?;
    serving.has("OomKill", 1000)?;
    serving.has("OomInstance", 1000)?;
    let counts = serving.counts()?;
    ensure!(counts["read"] == 2000 && counts["doubles"] == 0, "{counts}");
    fleet.agent.end()?;
    Ok(())
}
