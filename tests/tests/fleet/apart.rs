//! What is called alike in two clusters or on two nodes is told apart by all that reads the stream.

use anyhow::{Result, ensure};
use oom_agent::{
    event::{Owner, OwnerKind},
    store::Entry,
};
use oom_tests::{nats::Cluster, told::Kills};
use serde_json::{Value, json};

use crate::{
    child::say,
    node::{LONG, cluster},
};

const BOOT: &str = "5f1f2e6a7f2b4a638f0e1d1f0d4c9a11";

const SINCE: &str = "2026-11-01T00:00:00Z";

/// A kill of a unit that all have, and its report; its id.
fn kill(
    cluster: &Cluster,
    n: u64,
    place: [&str; 2],
    subjects: [&'static str; 2],
) -> Result<String> {
    let [_, Entry::Event(kill), Entry::Event(report)] = Kills::new()?.entries(n) else {
        anyhow::bail!("other entries");
    };
    let (mut kill, mut report) = (
        serde_json::to_value(&*kill)?,
        serde_json::to_value(&*report)?,
    );
    let id = format!("{BOOT}-7-{n}");
    let instance = format!("oom-{id}");
    for event in [&mut kill, &mut report] {
        event["time"] = "2026-11-21T00:00:00Z".into();
        [event["cluster"], event["node"]] = place.map(Value::from);
    }
    (kill["id"], kill["instance_id"]) = (id.clone().into(), instance.clone().into());
    kill["victim"]["pid"] = 7.into();
    kill["owner"] = serde_json::to_value(Owner {
        unit: Some("nginx.service".to_owned()),
        ..Owner::of(OwnerKind::Unit)
    })?;
    report["id"] = instance.into();
    report["kills"] = json!([kill]);
    for (subject, event) in subjects.into_iter().zip([kill, report]) {
        cluster.publish(subject, &event.to_string())?;
    }
    Ok(id)
}

#[test]
fn two_clusters_have_a_node_of_one_name() -> Result<()> {
    let Some(cluster) = cluster(1, LONG)? else {
        return Ok(());
    };
    let eu_1 = ["oom.eu.node-1.OomKill", "oom.eu.node-1.OomInstance"];
    let us_1 = ["oom.us.node-1.OomKill", "oom.us.node-1.OomInstance"];
    let eu_2 = ["oom.eu.node-2.OomKill", "oom.eu.node-2.OomInstance"];
    let first = kill(&cluster, 1, ["eu", "node-1"], eu_1)?;
    kill(&cluster, 2, ["eu", "node-1"], eu_1)?;
    kill(&cluster, 3, ["us", "node-1"], us_1)?;
    let alone = kill(&cluster, 4, ["eu", "node-2"], eu_2)?;

    let top = |by: &str| -> Result<Value> {
        let args = ["fleet", "top", "--since", SINCE, "-o", "json", "--by", by];
        let mut top: Value = serde_json::from_str(&say(&args, &cluster)?.out)?;
        Ok(top["rows"].take())
    };
    let rows = top("node")?;
    ensure!(
        rows.as_array().is_some_and(|rows| rows.len() == 3),
        "{rows:#}"
    );
    let most = &rows[0];
    ensure!(most["key"] == "node-1" && most["cluster"] == "eu" && most["kills"] == 2);
    let rows = top("owner")?;
    ensure!(
        rows.as_array().is_some_and(|rows| rows.len() == 3),
        "{rows:#}"
    );
    let most = &rows[0];
    ensure!(most["key"] == "nginx.service" && most["node"] == "node-1" && most["kills"] == 2);

    // The report is read, and the history is that of the node; of other nodes only alerts are read.
    cluster.publish("oom.eu.node-2.VictimEnd", "{}")?;
    for (id, others, is_read) in [
        (&first, "had 1 other kill", false),
        (&alone, "had no other kill", true),
    ] {
        let story = say(&["fleet", "show", id], &cluster)?;
        ensure!(story.code == Some(0), "{story:?}");
        let words: Vec<_> = story.out.split_whitespace().collect();
        let text = words.join(" ");
        ensure!(
            text.contains(others) && !text.contains("no report"),
            "{text}"
        );
        ensure!(story.err.contains("1 messages") == is_read, "{story:?}");
    }
    // A report is found by its own id, too.
    let report = format!("oom-{first}");
    let told = say(&["fleet", "show", &report, "-o", "json"], &cluster)?;
    let told: Value = serde_json::from_str(&told.out)?;
    ensure!(told["id"] == *report, "{told:#}");

    let which = say(&["fleet", "show", "7"], &cluster)?;
    ensure!(which.code == Some(6), "{which:?}");
    for place in ["eu/node-1", "us/node-1", "eu/node-2"] {
        ensure!(which.err.contains(&format!(" on {place}")), "{which:?}");
    }
    let one = say(&["fleet", "show", "7", "--cluster", "us"], &cluster)?;
    ensure!(
        one.code == Some(0) && one.out.contains("on node-1"),
        "{one:?}"
    );
    Ok(())
}
