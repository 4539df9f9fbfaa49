//! One real kill, told by every way out of the agent: the same id and the same facts.
//!
//! `cargo test -p oom-tests --test api`, as root.

use anyhow::{Context as _, Result, ensure};
use oom_tests::{
    agent::Launch,
    http::Socket,
    kept::Kept,
    machine::Machine,
    scene::{self, Truth},
};
use rustix::process::Signal;
use serde_json::Value;

/// A path as a part of a URL.
fn in_url(path: &str) -> String {
    let byte = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'/' => {
            char::from(byte).to_string()
        }
        byte => format!("%{byte:02X}"),
    };
    path.bytes().map(byte).collect()
}

#[test]
fn one_kill_is_told_alike_by_all() -> Result<()> {
    let Some(machine) = Machine::alone()? else {
        return Ok(());
    };
    let kept = Kept::without_pins()?;
    let dir = tempfile::tempdir()?;
    let socket = Socket(dir.path().join("api.sock"));
    let mut args = kept.args();
    args.extend(["--socket".into(), socket.0.to_string_lossy().into_owned()]);
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let agent = Launch::run(&args).keeping().start()?;
    let for_people = Launch::run(&[]).as_text().start()?;

    let mut events = socket.stream("/v1/events/stream?backfill=false", None)?;
    let begin = events.wait_for_id(0)?;
    let all = "stream=true&subcontainers=true&all_events=true";
    let mut cadvisor = socket.stream(&format!("/api/v1.3/events/?{all}"), None)?;

    let truth = scene::one_kill(&machine.hierarchy)?;
    let (kill, report) = agent.wait_for_death(truth.tid)?;

    // Text.
    let (pid, comm) = (
        truth.victim.pid.to_string(),
        String::from_utf8_lossy(&truth.victim.comm).into_owned(),
    );
    for_people.wait_for_text(&[&pid, &comm, &truth.victim.cgroup.path])?;

    // Server-sent events, at once; and again, and only these, for one who comes back to where it began.
    let ids = [kill["id"].clone(), report["id"].clone()];
    let is_ours = |event: &Value| ids.contains(&event["id"]);
    let told = events.wait_for("data: ", 2, is_ours)?;
    ensure!(told == [kill.clone(), report.clone()], "{told:#?}");
    events.wait_for_id(begin + 2)?;
    let mut again = socket.stream("/v1/events/stream?backfill=false", Some(begin))?;
    let told = again.wait_for("data: ", 2, is_ours)?;
    ensure!(told == [kill.clone(), report.clone()], "{told:#?}");

    // The store, by query and by id.
    let path = in_url(&truth.victim.cgroup.path);
    let page = socket.json(&format!("/v1/events?pid={pid}&cgroup={path}&order=oldest"))?;
    ensure!(
        page["events"] == Value::from(vec![kill.clone(), report.clone()]),
        "{page:#}"
    );
    ensure!(page["next"].is_null(), "{page:#}");
    let [by_id, instance] = [("events", &kill), ("instances", &report)].map(|(what, event)| {
        let id = event["id"].as_str().unwrap_or_default();
        socket.json(&format!("/v1/{what}/{id}"))
    });
    ensure!((by_id?, instance?) == (kill.clone(), report.clone()));

    // cAdvisor: `oom` is said of the victim's cgroup, `oomKill` of the one whose limit was hit.
    let is_oom = |event: &Value| {
        event["event_data"]["oom"]["pid"] == truth.victim.pid
            || event["container_name"] == *truth.victim.cgroup.path
    };
    let streamed = cadvisor.wait_for("", 2, is_oom)?;
    as_cadvisor(&streamed, &kill, &truth)?;
    let mut stored = Vec::new();
    let limit = truth.limit.as_ref().context("limit")?;
    for (name, kind) in [
        (&truth.victim.cgroup.path, "oom_events"),
        (&limit.cgroup.path, "oom_kill_events"),
    ] {
        let found = socket.json(&format!("/api/v2.1/events{}?{kind}=true", in_url(name)))?;
        stored.extend(found.as_array().context("array")?.iter().cloned());
    }
    as_cadvisor(&stored, &kill, &truth)?;

    drop(for_people);
    agent.stop(Signal::TERM)?.summary()?;
    // Both streams say that they end.
    ensure!(again.wait_for("", 1, |_| true).is_err());
    ensure!(cadvisor.wait_for("", 1, |_| true).is_err());
    Ok(())
}

fn as_cadvisor(events: &[Value], kill: &Value, truth: &Truth) -> Result<()> {
    let [oom, oom_kill] = events else {
        anyhow::bail!("not two events: {events:#?}");
    };
    let limit = truth.limit.as_ref().context("limit")?;
    let data = &oom_kill["event_data"]["oom"];
    ensure!(oom["event_type"] == "oom", "{oom}");
    ensure!(oom["container_name"] == *truth.victim.cgroup.path, "{oom}");
    ensure!(oom["event_data"] == serde_json::json!({}), "{oom}");
    ensure!(oom_kill["event_type"] == "oomKill", "{oom_kill}");
    ensure!(
        oom_kill["container_name"] == *limit.cgroup.path,
        "{oom_kill}"
    );
    ensure!(data["pid"] == truth.victim.pid, "{oom_kill}");
    ensure!(data["process_name"] == kill["victim"]["comm"], "{oom_kill}");
    ensure!(data["constraint"] == "CONSTRAINT_MEMCG", "{oom_kill}");
    // Without the zeros at its end, as Go writes it.
    let time = kill["time"].as_str().context("time")?;
    let time = format!(
        "{}Z",
        time.trim_end_matches('Z')
            .trim_end_matches('0')
            .trim_end_matches('.')
    );
    ensure!(
        oom["timestamp"] == time && oom_kill["timestamp"] == time,
        "{events:#?}"
    );
    Ok(())
}
