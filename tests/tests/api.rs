//! One real kill in a pod, told by every way out of the agent: the same id and the same facts.
//!
//! `cargo test -p oom-tests --test api`, as root.

#![cfg(not(target_env = "musl"))]

use anyhow::{Context as _, Result, ensure};
use oom_tests::{
    agent::Launch,
    api_server::{ApiServer, TOKEN},
    http::Socket,
    kept::Kept,
    machine::Machine,
    runtime::{
        Container, LIMIT, Running as _,
        bundle::Bundle,
        plain::{self, Plain},
        play::{self, Death, Dies},
    },
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
    let cluster = ApiServer::start()?;
    let kubeconfig = dir.path().join("kubeconfig");
    cluster.kubeconfig(&kubeconfig, TOKEN)?;
    let [host_root, kubeconfig, at] =
        [dir.path(), &kubeconfig, &socket.0].map(|path| path.to_string_lossy().into_owned());
    let mut args = kept.args();
    args.extend(["--socket".into(), at]);
    args.extend(["--host-root".into(), host_root.clone()]);
    args.extend(["--kubernetes", "--kubeconfig", &kubeconfig].map(str::to_owned));
    let args: Vec<_> = args.iter().map(String::as_str).collect();
    let agent = Launch::run(&args).keeping().start()?;
    let for_people = Launch::run(&["--host-root", &host_root])
        .as_text()
        .start()?;
    agent.watches_cgroups()?;
    for_people.watches_cgroups()?;

    let mut events = socket.stream(
        "/v1/events/stream?backfill=false&kind=OomKill,OomInstance",
        None,
    )?;
    let begin = events.wait_for_id(0)?;
    let all = "stream=true&subcontainers=true&all_events=true";
    let mut cadvisor = socket.stream(&format!("/api/v1.3/events/?{all}"), None)?;

    let bundle = Bundle::in_pod(dir.path());
    bundle.write()?;
    let mut pod = Plain::run(
        &machine.hierarchy,
        &bundle.named,
        LIMIT,
        &plain::payload()?,
        Dies::Main.args(),
    )?;
    let truth = play::die(&machine.hierarchy, &pod.container().clone(), None)?;
    pod.remove()?;
    let (kill, report) = agent.wait_for_death(truth.victim.pid)?;
    let (pid, path) = (truth.victim.pid.to_string(), &truth.container.place.path);

    // Text.
    for_people.wait_for_text(&[&pid, truth.victim.comm, path])?;

    // Server-sent events, at once; and again, and only these, for one who comes back to where it began.
    let ids = [kill["id"].clone(), report["id"].clone()];
    let is_ours = |event: &Value| ids.contains(&event["id"]);
    let told = events.wait_for("data: ", 2, is_ours)?;
    ensure!(told == [kill.clone(), report.clone()], "{told:#?}");
    events.wait_for_id(begin.seq + 2)?;
    let mut again = socket.stream(
        "/v1/events/stream?backfill=false&kind=OomKill,OomInstance",
        Some(&begin.id),
    )?;
    let told = again.wait_for("data: ", 2, is_ours)?;
    ensure!(told == [kill.clone(), report.clone()], "{told:#?}");

    // The store, by query and by id.
    let page = format!("/v1/events?pid={pid}&cgroup={}&order=oldest", in_url(path));
    let page = socket.json(&page)?;
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
        let of_pid = event["event_data"]["oom"]["pid"] == truth.victim.pid;
        of_pid || event["event_type"] == "oom" && event["container_name"] == **path
    };
    let streamed = cadvisor.wait_for("", 2, is_oom)?;
    as_cadvisor(&streamed, &kill, &truth)?;
    let mut stored = Vec::new();
    for (name, kind) in [
        (path, "oom_events"),
        (&truth.limit.place.path, "oom_kill_events"),
    ] {
        let found = socket.json(&format!("/api/v2.1/events{}?{kind}=true", in_url(name)))?;
        stored.extend(found.as_array().context("array")?.iter().cloned());
    }
    as_cadvisor(&stored, &kill, &truth)?;

    // Metrics, of a container that is gone.
    let series = format!(
        "container_oom_events_total{{{}}} 1",
        labels(&truth.container)?
    );
    let (status, metrics) = socket.get("/metrics")?;
    ensure!(status == 200);
    ensure!(
        metrics.lines().any(|line| line == series),
        "no {series} in\n{metrics}"
    );

    // The cluster.
    cluster.wait("event", |events, _| !events.is_empty())?;
    as_cluster(&cluster.events(), &kill, &truth)?;

    drop(for_people);
    agent.stop(Signal::TERM)?.summary()?;
    // Both streams say that they end.
    ensure!(again.wait_for("", 1, |_| true).is_err());
    ensure!(cadvisor.wait_for("", 1, |_| true).is_err());
    Ok(())
}

fn labels(container: &Container) -> Result<String> {
    let owner = &container.owner;
    let pod = owner.pod.as_ref().context("pod")?;
    let word = |word: &Option<String>| word.clone().unwrap_or_default();
    let labels = [
        ("container", word(&owner.container_name)),
        ("id", container.place.path.clone()),
        ("image", word(&owner.image)),
        ("name", word(&owner.container_id)),
        ("namespace", word(&pod.namespace)),
        ("pod", word(&pod.name)),
    ];
    let labels = labels.map(|(name, value)| format!("{name}=\"{value}\""));
    Ok(labels.join(","))
}

fn as_cluster(events: &[Value], kill: &Value, truth: &Death) -> Result<()> {
    let [event] = events else {
        anyhow::bail!("not one event: {events:#?}");
    };
    let pod = truth.container.owner.pod.as_ref().context("pod")?;
    let regarding = &event["regarding"];
    ensure!(regarding["uid"] == pod.uid, "{event:#}");
    ensure!(
        regarding["name"].as_str() == pod.name.as_deref(),
        "{event:#}"
    );
    let id = kill["id"].as_str().context("id")?;
    let name = event["metadata"]["name"].as_str().context("name")?;
    ensure!(name.ends_with(id), "{event:#}");
    let note = event["note"].as_str().context("note")?;
    let victim = format!("process {} (pid {})", truth.victim.comm, truth.victim.pid);
    ensure!(note.contains(&victim), "{event:#}");
    ensure!(event["reason"] == "OOMKilling", "{event:#}");
    Ok(())
}

fn as_cadvisor(events: &[Value], kill: &Value, truth: &Death) -> Result<()> {
    let [oom, oom_kill] = events else {
        anyhow::bail!("not two events: {events:#?}");
    };
    let data = &oom_kill["event_data"]["oom"];
    ensure!(oom["event_type"] == "oom", "{oom}");
    let place = &truth.container.place;
    ensure!(oom["container_name"] == *place.path, "{oom}");
    ensure!(oom["event_data"] == serde_json::json!({}), "{oom}");
    ensure!(oom_kill["event_type"] == "oomKill", "{oom_kill}");
    ensure!(
        oom_kill["container_name"] == *truth.limit.place.path,
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
