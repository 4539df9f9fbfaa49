//! The page of a fleet: which nodes there are, how they are, and what was not understood.

use anyhow::Result;
use oom_tests::browser::Browser;

use crate::{
    node::{Fleet, LONG},
    server::Serving,
};

#[test]
fn the_page_is_that_of_the_fleet() -> Result<()> {
    let Some(browser) = Browser::start()? else {
        return Ok(());
    };
    let Some(fleet) = Fleet::start(1, LONG)? else {
        return Ok(());
    };
    fleet.agent.kills(0..3);
    fleet.cluster.wait_for(6)?;
    // The node's own clock is not asked.
    let now = "2026-11-21T00:00:00Z";
    let mut sign = serde_json::json!({
        "cluster": "eu", "node": "node-1", "time": now, "started": now, "period_ms": 60_000, "stopping": false,
        "version": "0", "boot_id": null, "tier": "bpf", "detecting": true, "sources": [], "unexplained": 0,
        "losses": {"bare_marks": 3}, "waiting": 0, "behind": {},
    });
    let says =
        |sign: &serde_json::Value| fleet.cluster.publish("oom-nodes.node-1", &sign.to_string());
    says(&sign)?;
    let dir = tempfile::tempdir()?;
    let serving = Serving::start(&fleet.cluster, dir.path())?;
    browser.open(&format!("http://127.0.0.1:{}/", serving.port()?))?;
    let rows = |many: usize| {
        let script = format!("return document.querySelectorAll('#rows tr').length === {many}");
        browser.wait("rows", &script)
    };
    rows(3)?;
    let state = "return document.getElementById('to-status').textContent";
    browser.wait("all is well", &format!("{state} === '1 node, all well'"))?;
    browser.wait(
        "node",
        "return document.getElementById('status').textContent.includes('eu/node-1')",
    )?;
    fleet.agent.kill(3);
    rows(4)?;
    // What it does not understand is told, in the head, too.
    fleet.cluster.publish("oom.test.node-2.OomKill", "{}")?;
    browser.run("location.reload()")?;
    browser.wait(
        "trouble",
        &format!("{state} === '1 message not understood'"),
    )?;
    // So is what a node has lost.
    sign["losses"] = serde_json::json!({"unstored": 2});
    says(&sign)?;
    browser.wait(
        "a node in trouble",
        "return document.getElementById('status').textContent.includes('unstored: 2')",
    )?;
    drop(serving);
    fleet.agent.end()?;
    Ok(())
}
