//! Kills as events of Kubernetes, posted to a server that speaks as much of its API as the agent does.
//!
//! `cargo test -p oom-tests --test kubernetes`; the last one as root. Nothing is lost and nothing is told twice,
//! whatever the server does.

#![cfg(not(target_env = "musl"))]

use std::{
    path::PathBuf,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use oom_agent::{
    deliver::{Delivery, Health, SinkStatus},
    kubernetes::{Credentials, Events},
    store::{self, Offer, Reader, Retention, Store, Storing},
};
use oom_tests::{
    agent::{DEADLINE, Launch},
    api_server::{ApiServer, Fault, Sent, TOKEN, kills},
    kept::Kept,
    machine::Machine,
    runtime::{
        LIMIT, Running as _,
        bundle::Bundle,
        plain::{self, Plain},
        play::{self, Dies},
    },
    told::{BOOT, Kills, host, report_in_pod, run},
};
use rustix::process::Signal;
use serde_json::{Value, json};
use tempfile::TempDir;

/// How long the server may take, where it is to hang.
const PATIENCE: Duration = Duration::from_millis(500);

/// Unix time of the first kill, in seconds.
const THEN: u64 = 1_790_000_000;

/// What is stored, and a server.
struct Scene {
    dir: TempDir,
    kills: Kills,
    server: ApiServer,
}

/// A store and a delivery from it, as an agent has them.
struct Agent {
    path: PathBuf,
    offer: Offer,
    storing: Storing,
    delivery: Delivery,
}

impl Scene {
    fn new() -> Result<Self> {
        Ok(Self {
            dir: tempfile::tempdir()?,
            kills: Kills::new()?,
            server: ApiServer::start()?,
        })
    }

    fn agent(&self) -> Result<Agent> {
        self.agent_with(TOKEN)
    }

    fn agent_with(&self, token: &str) -> Result<Agent> {
        let path = self.dir.path().join("events.db");
        let options = store::Options {
            path: path.clone(),
            host: host(),
            keep_ns: 1,
            timing: oom_agent::correlate::Timing::default(),
            retention: Retention::default(),
            run: run(),
            ring_room: u64::MAX,
        };
        let store = Store::open(&path, BOOT, 1)?;
        let (offer, storing) = store::start(Some(store), options, Box::new(|_| ()))?;
        let kubeconfig = self.dir.path().join("kubeconfig");
        self.server.kubeconfig(&kubeconfig, token)?;
        let credentials = Credentials::read(Some(&kubeconfig))?;
        let events = Events::new(credentials, "node-1").patience(PATIENCE);
        let delivery = Delivery::start(events, path.clone(), storing.deliveries())?;
        Ok(Agent {
            path,
            offer,
            storing,
            delivery,
        })
    }

    /// One kill in a pod, some seconds after the first.
    fn kill(&self, agent: &Agent, n: u64, pod: &str, seconds: u64) {
        let report = report_in_pod(&self.kills, n, pod, THEN + seconds);
        agent.offer.offer(report);
        agent.offer.wake();
    }
}

impl Agent {
    /// Waits until the kill with this number is stored.
    fn stored(&self, n: u64) -> Result<()> {
        let end = Instant::now() + DEADLINE;
        while Reader::open(&self.path)?
            .get(None, &format!("oom-{n}"))?
            .is_none()
        {
            ensure!(Instant::now() < end, "kill {n} is not stored");
            std::thread::yield_now();
        }
        Ok(())
    }

    fn health(&self) -> Health {
        self.delivery.health()
    }

    /// Ends as an agent does.
    fn end(self) {
        self.delivery.stop(DEADLINE);
        drop(self.offer);
        let _ = self.storing.finish(DEADLINE);
    }
}

#[test]
fn a_storm_is_a_handful_of_requests() -> Result<()> {
    const STORM: u64 = 1000;
    let scene = Scene::new()?;
    let agent = scene.agent()?;
    let health = agent.health();
    scene.kill(&agent, 0, "cart-0", 0);
    scene
        .server
        .wait("first kill", |events, _| !events.is_empty())?;
    for n in 1..STORM {
        scene.kill(&agent, n, "cart-0", n / 100);
    }
    scene.kill(&agent, STORM, "other-0", 1);
    scene
        .server
        .wait("kill in another pod", |events, _| events.len() == 2)?;
    agent.stored(STORM)?;
    agent.end();
    let requests = scene.server.requests();
    ensure!(requests.len() <= 6, "{requests:#?}");
    ensure!(
        scene.server.kills() == STORM + 1,
        "{:#?}",
        scene.server.events()
    );
    let status = health.status();
    ensure!(
        status.delivered == STORM + 1 && status.behind == 0,
        "{status:?}"
    );
    let events = scene.server.events();
    let series = json!({"count": STORM, "lastObservedTime": "2026-09-21T14:13:29.000000Z"});
    ensure!(events[0]["series"] == series, "{:#}", events[0]);
    Ok(())
}

/// Posts two kills to a server that fails so at first; how it goes, and when it was asked.
fn failing(
    faults: impl IntoIterator<Item = Fault>,
    statuses: &[u16],
) -> Result<(SinkStatus, Vec<Sent>)> {
    let scene = Scene::new()?;
    scene.server.fail(faults);
    let agent = scene.agent()?;
    let health = agent.health();
    for n in 0..2 {
        scene.kill(&agent, n, &format!("cart-{n}"), n);
    }
    scene
        .server
        .wait("all kills", |events, _| events.len() == 2)?;
    agent.end();
    let requests = scene.server.requests();
    let told: Vec<u16> = requests.iter().map(|it| it.status).collect();
    ensure!(told == [statuses, &[201, 201]].concat(), "{told:?}");
    let status = health.status();
    let failed = u64::try_from(statuses.len())?;
    ensure!(
        status.retries == failed && status.up == Some(true),
        "{status:?}"
    );
    ensure!(status.delivered == 2 && status.behind == 0, "{status:?}");
    Ok((status, requests))
}

#[test]
fn a_busy_server_is_asked_again_when_it_says() -> Result<()> {
    let faults = [Fault::Status(429, Some(1)), Fault::Status(500, None)];
    let (status, requests) = failing(faults, &[429, 500])?;
    let waited = requests[1].at - requests[0].at;
    ensure!(waited >= Duration::from_secs(1), "{waited:?}");
    ensure!(
        status.last_error.as_deref() == Some("500 Internal Server Error"),
        "{status:?}"
    );
    Ok(())
}

#[test]
fn what_one_pod_is_denied_holds_up_no_other() -> Result<()> {
    let policy =
        json!({"kind": "Status", "code": 403, "message": "denied the request: on Sundays"});
    let (status, _) = failing([Fault::Said(403, policy)], &[403])?;
    ensure!(
        status.last_error.as_deref() == Some("403 Forbidden: denied the request: on Sundays"),
        "{status:?}"
    );
    Ok(())
}

#[test]
fn a_server_that_hangs_or_breaks_off_is_asked_again() -> Result<()> {
    let (status, _) = failing([Fault::Reset, Fault::Hangs], &[0, 0])?;
    ensure!(
        status.last_error.as_deref() == Some("no answer within 500ms"),
        "{status:?}"
    );
    Ok(())
}

#[test]
fn what_will_never_be_taken_is_counted_and_holds_up_nothing() -> Result<()> {
    let scene = Scene::new()?;
    let ending = json!({
        "kind": "Status", "status": "Failure", "reason": "Forbidden", "code": 403,
        "message": "unable to create new content in namespace shop because it is being terminated",
        "details": {"causes": [{"reason": "NamespaceTerminating", "message": "namespace shop is being terminated"}]},
    });
    scene
        .server
        .fail([Fault::Said(403, ending), Fault::Status(422, None)]);
    let agent = scene.agent()?;
    let health = agent.health();
    for n in 0..3 {
        scene.kill(&agent, n, &format!("cart-{n}"), n);
        agent.stored(n)?;
    }
    scene
        .server
        .wait("the third", |events, _| events.len() == 1)?;
    scene.server.namespace("shop", false);
    scene.kill(&agent, 3, "cart-3", 3);
    scene.server.wait("404", |_, requests| {
        requests.iter().any(|it| it.status == 404)
    })?;
    agent.end();
    let status = health.status();
    ensure!(
        (status.refused, status.delivered, status.behind) == (3, 1, 0),
        "{status:?}"
    );
    ensure!(status.up == Some(true), "{status:?}");
    Ok(())
}

#[test]
fn a_server_that_is_away_gets_all_when_it_is_back() -> Result<()> {
    let mut scene = Scene::new()?;
    scene.server.stop();
    let agent = scene.agent()?;
    let health = agent.health();
    for n in 0..50 {
        scene.kill(&agent, n, &format!("cart-{}", n % 10), n);
    }
    agent.stored(49)?;
    let end = Instant::now() + DEADLINE;
    while health.status().up != Some(false) {
        ensure!(Instant::now() < end, "{:?}", health.status());
        std::thread::yield_now();
    }
    scene.server.go_on()?;
    let all = |events: &[Value]| events.iter().map(kills).sum::<u64>() == 50;
    scene.server.wait("all kills", |events, _| all(events))?;
    agent.end();
    // One request tells all that had gathered of a pod.
    ensure!(
        scene.server.requests().len() == 10,
        "{:#?}",
        scene.server.requests()
    );
    Ok(())
}

#[test]
fn another_agent_goes_on_and_tells_nothing_twice() -> Result<()> {
    let scene = Scene::new()?;
    let agent = scene.agent()?;
    for n in 0..6 {
        scene.kill(&agent, n, &format!("cart-{}", n % 2), n);
    }
    agent.stored(5)?;
    agent.end();
    ensure!(scene.server.kills() == 6, "{:#?}", scene.server.events());
    let before = scene.server.requests().len();

    // One that ended as it should: the next has nothing to say, and goes on with the series.
    let agent = scene.agent()?;
    scene.kill(&agent, 6, "cart-0", 6);
    agent.stored(6)?;
    agent.end();
    ensure!(scene.server.kills() == 7, "{:#?}", scene.server.events());
    ensure!(
        scene.server.requests().len() == before + 1,
        "{:#?}",
        scene.server.requests()
    );

    // One that was cut off before the store had its word: told again, and known by the names.
    let db = rusqlite::Connection::open(scene.dir.path().join("events.db"))?;
    db.execute("UPDATE sink SET seq = 0, state = ''", [])?;
    drop(db);
    let agent = scene.agent()?;
    scene.kill(&agent, 7, "cart-1", 7);
    agent.stored(7)?;
    agent.end();
    ensure!(
        scene.server.events().len() == 2,
        "{:#?}",
        scene.server.events()
    );
    ensure!(scene.server.kills() == 8, "{:#?}", scene.server.events());
    Ok(())
}

#[test]
fn an_event_that_has_expired_is_made_again() -> Result<()> {
    let scene = Scene::new()?;
    let agent = scene.agent()?;
    scene.kill(&agent, 0, "cart-0", 0);
    scene
        .server
        .wait("first kill", |events, _| !events.is_empty())?;
    scene.server.forget();
    scene.kill(&agent, 1, "cart-0", 1);
    agent.stored(1)?;
    agent.end();
    ensure!(scene.server.kills() == 2, "{:#?}", scene.server.events());
    Ok(())
}

#[test]
fn without_the_right_token_it_says_so_and_waits() -> Result<()> {
    let scene = Scene::new()?;
    let agent = scene.agent_with("another")?;
    let health = agent.health();
    scene.kill(&agent, 0, "cart-0", 0);
    scene.server.wait("401", |_, requests| {
        requests.iter().any(|it| it.status == 401)
    })?;
    agent.end();
    let status = health.status();
    ensure!(status.up == Some(false) && status.behind == 1, "{status:?}");
    let agent = scene.agent()?;
    scene
        .server
        .wait("the kill", |events, _| events.len() == 1)?;
    agent.end();
    Ok(())
}

/// A real kill in a cgroup laid out as a pod's, a real agent with all its protections, and the event.
#[test]
fn a_confined_agent_posts_a_real_kill() -> Result<()> {
    let Some(machine) = Machine::alone()? else {
        return Ok(());
    };
    let server = ApiServer::start()?;
    let root = tempfile::tempdir()?;
    let kept = Kept::without_pins()?;
    let kubeconfig = root.path().join("kubeconfig");
    server.kubeconfig(&kubeconfig, TOKEN)?;
    let kubeconfig = kubeconfig.to_str().context("path")?;
    let host_root = root.path().to_str().context("path")?;
    let mut args = kept.args();
    args.extend(["--kubernetes", "--kubeconfig", kubeconfig].map(str::to_owned));
    args.extend(["--host-root", host_root, "--node", "node-1"].map(str::to_owned));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let agent = Launch::run(&args).keeping().start()?;
    agent.watches_cgroups()?;

    let bundle = Bundle::in_pod(root.path());
    bundle.write()?;
    let payload = plain::payload()?;
    let args = Dies::Main.args();
    let mut pod = Plain::run(&machine.hierarchy, &bundle.named, LIMIT, &payload, args)?;
    let death = play::die(&machine.hierarchy, &pod.container().clone(), None)?;
    pod.remove()?;
    let (kill, _) = agent.wait_for_death(death.victim.pid)?;
    server.wait("event", |events, _| !events.is_empty())?;
    let finished = agent.stop(Signal::TERM)?;
    finished.says(&["confined by:", "seccomp"])?;

    let event = &server.events()[0];
    let named = &bundle.named.owner.pod;
    let named = named.as_ref().context("pod")?;
    let (name, id) = (
        named.name.as_deref().context("name")?,
        kill["id"].as_str().context("id")?,
    );
    ensure!(
        event["metadata"]["name"] == format!("{name}.{id}"),
        "{event:#}"
    );
    ensure!(event["regarding"]["uid"] == named.uid, "{event:#}");
    ensure!(event["reportingInstance"] == "node-1", "{event:#}");
    let time = kill["time"].as_str().context("time")?;
    let told = event["eventTime"].as_str().context("eventTime")?;
    ensure!(told[..26] == time[..26], "{told} for a kill at {time}");
    let note = event["note"].as_str().context("note")?;
    for word in [
        format!(
            "Container app: process {} (pid {})",
            death.victim.comm, death.victim.pid
        ),
        "the container's memory limit of 32.0 MiB was reached".to_owned(),
    ] {
        ensure!(note.contains(&word), "no {word:?} in {note:?}");
    }
    Ok(())
}
