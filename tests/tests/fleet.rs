//! A fleet's stream on a real cluster of three servers.
//!
//! `cargo test -p oom-tests --test fleet`; needs `nats-server`; some as root, with real kills. Every event is in the
//! stream exactly once, whatever happens to servers and agents.

#![cfg(not(target_env = "musl"))]

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output},
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use oom_agent::{
    deliver::{Delivery, SinkStatus},
    nats::{Access, Events, Options},
    store::{self, Entry, Offer, Reader, Retention, Store, Storing},
};
use oom_tests::{
    agent::{DEADLINE, Launch},
    browser::Browser,
    http::Socket,
    kept::Kept,
    machine::{self, Machine},
    nats::{self, Cluster, Message},
    scene,
    told::{BOOT, Kills, run},
    way::Way,
};
use rustix::process::{Pid, Signal};
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
        self.start_by(cluster.access()?)
    }

    fn start_by(&self, access: Access) -> Result<Agent> {
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
            access,
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
    const EVENTS: usize = 4000;
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
    exactly(&cluster.wait_for(EVENTS)?, STORM)?;
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
fn an_agent_is_cut_off_and_started_again_meanwhile() -> Result<()> {
    if !nats::is_there()? {
        return Ok(());
    }
    let cluster = Cluster::start(1)?;
    cluster.init(SHORT)?;
    let way = Way::to(cluster.ports()[0])?;
    let access = Access::read(&Options {
        servers: vec![format!("nats://127.0.0.1:{}", way.port())],
        ..cluster.options()
    })?;
    let node = Node::new("node-1")?;
    let agent = node.start_by(access.clone())?;
    node.kill(&agent, 0..300);
    agent.wait("begun", |status| status.delivered > 50)?;
    way.close();
    node.kill(&agent, 300..400);
    agent.wait("in trouble", |status| status.last_error.is_some())?;
    agent.end();
    let agent = node.start_by(access)?;
    node.kill(&agent, 400..500);
    agent.wait("in trouble again", |status| status.last_error.is_some())?;
    // The servers have forgotten the ids.
    std::thread::sleep(2 * SHORT);
    way.open();
    agent.wait("done", |status| {
        status.behind == 0 && status.up == Some(true)
    })?;
    exactly(&cluster.wait_for(1000)?, 500)?;
    agent.end();
    Ok(())
}

#[test]
fn a_stream_is_removed_and_made_again() -> Result<()> {
    if !nats::is_there()? {
        return Ok(());
    }
    let cluster = Cluster::start(1)?;
    cluster.init(LONG)?;
    let node = Node::new("node-1")?;
    let agent = node.start(&cluster)?;
    node.kill(&agent, 0..20);
    cluster.wait_for(40)?;
    let dir = tempfile::tempdir()?;
    let serving = Serving::start(&cluster, dir.path())?;
    serving.has("OomKill", 20)?;
    cluster.remove()?;
    cluster.init(LONG)?;
    // Fewer than there were: its numbers are all behind the place.
    node.kill(&agent, 20..25);
    let messages = cluster.wait_for(10)?;
    ensure!(messages.len() == 10, "{}", messages.len());
    serving.has("OomKill", 25)?;
    ensure!(serving.socket.json("/v1/fleet")?["counts"]["anew"] == 1);
    agent.end();
    Ok(())
}

#[test]
fn servers_go_and_come_back() -> Result<()> {
    if !nats::is_there()? {
        return Ok(());
    }
    let mut cluster = Cluster::start(1)?;
    cluster.init(LONG)?;
    let node = Node::new("node-1")?;
    let agent = node.start(&cluster)?;
    node.kill(&agent, 0..20);
    cluster.wait_for(40)?;
    let dir = tempfile::tempdir()?;
    let serving = Serving::start(&cluster, dir.path())?;
    serving.has("OomKill", 20)?;
    cluster.kill(0)?;
    serving.is_ready(503)?;
    ensure!(serving.socket.json("/v1/fleet")?["trouble"].is_string());
    node.kill(&agent, 20..40);
    cluster.go_on(0)?;
    serving.has("OomKill", 40)?;
    serving.is_ready(200)?;
    let counts = serving.socket.json("/v1/fleet")?["counts"].clone();
    ensure!(counts["doubles"] == 0 && counts["anew"] == 0, "{counts}");
    agent.end();
    Ok(())
}

#[test]
fn a_store_that_refuses_is_waited_for_and_one_that_is_spoilt_ends_it() -> Result<()> {
    if !nats::is_there()? {
        return Ok(());
    }
    let cluster = Cluster::start(1)?;
    cluster.init(LONG)?;
    let node = Node::new("node-1")?;
    let agent = node.start(&cluster)?;
    let dir = tempfile::tempdir()?;
    let mut serving = Serving::start(&cluster, dir.path())?;
    let db = rusqlite::Connection::open(dir.path().join("fleet.db"))?;
    db.execute_batch("BEGIN IMMEDIATE")?;
    node.kill(&agent, 0..10);
    serving.is_ready(503)?;
    db.execute_batch("ROLLBACK")?;
    serving.has("OomKill", 10)?;
    ensure!(serving.socket.json("/v1/fleet")?["counts"]["read"] == 20);
    db.execute_batch("DROP TABLE sink")?;
    node.kill(&agent, 10..11);
    ensure!(ended(&mut serving.child)? == Some(1));
    agent.end();
    Ok(())
}

#[test]
fn a_copy_goes_when_somebody_interrupts() -> Result<()> {
    if !nats::is_there()? {
        return Ok(());
    }
    let cluster = Cluster::start(1)?;
    cluster.init(LONG)?;
    let dir = tempfile::tempdir()?;
    let mut child = Command::new(machine::agent_binary()?)
        .args(["fleet", "events", "-f", "--nats", &cluster.urls().join(",")])
        .env("TMPDIR", dir.path())
        .spawn()?;
    let files = || anyhow::Ok(fs::read_dir(dir.path())?.count());
    let end = Instant::now() + DEADLINE;
    while files()? == 0 {
        ensure!(Instant::now() < end, "no copy");
        std::thread::sleep(Duration::from_millis(20));
    }
    rustix::process::kill_process(Pid::from_child(&child), Signal::INT)?;
    ensure!(ended(&mut child)? == Some(130));
    ensure!(files()? == 0);
    Ok(())
}

/// How it ended.
fn ended(child: &mut Child) -> Result<Option<i32>> {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status.code());
        }
        ensure!(Instant::now() < end, "it goes on");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_reader_that_does_not_read_holds_nobody_up() -> Result<()> {
    if !nats::is_there()? {
        return Ok(());
    }
    let cluster = Cluster::start(1)?;
    cluster.init(LONG)?;
    let node = Node::new("node-1")?;
    let agent = node.start(&cluster)?;
    let dir = tempfile::tempdir()?;
    let serving = Serving::start(&cluster, dir.path())?;
    let pid = Pid::from_child(&serving.child);
    rustix::process::kill_process(pid, Signal::STOP)?;
    node.kill(&agent, 0..1000);
    agent.wait("done", |status| {
        status.behind == 0 && status.delivered == 2000
    })?;
    rustix::process::kill_process(pid, Signal::CONT)?;
    serving.has("OomKill", 1000)?;
    serving.has("OomInstance", 1000)?;
    let counts = serving.socket.json("/v1/fleet")?["counts"].clone();
    ensure!(counts["read"] == 2000 && counts["doubles"] == 0, "{counts}");
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
fn with_certificates_and_a_seed() -> Result<()> {
    // From the documentation of NATS: a secret of nobody.
    const SEED: &str = "SUACSSL3UAHUDXKFSNVUZRF5UHPMWZ6BFDTJ7M6USDXIEDNPPQYYYCU3VY\n";
    const PUBLIC: &str = "UDXU4RCSJNZOIQHZNWXHXORDPRTGNJAHAHFRGZNEEJCPQTT2M7NLCNF4";
    if !nats::is_there()? {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    let [cert, key, seed] = ["tls.crt", "tls.key", "seed"].map(|name| dir.path().join(name));
    let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
    fs::write(&key, made.signing_key.serialize_pem())?;
    fs::write(&cert, made.cert.pem())?;
    fs::write(&seed, SEED)?;
    let more = format!(
        "tls {{ cert_file: {cert:?}, key_file: {key:?} }}\nauthorization {{ users: [{{ nkey: {PUBLIC} }}] }}"
    );
    let client = Options {
        ca: Some(cert.clone()),
        creds: Some(seed.clone()),
        ..Options::default()
    };
    let cluster = Cluster::start_with(1, &more, client)?;
    cluster.init(LONG)?;
    let node = Node::new("node-1")?;
    let agent = node.start(&cluster)?;
    node.kill(&agent, 0..5);
    exactly(&cluster.wait_for(10)?, 5)?;
    agent.end();
    // Neither without the one nor without the other.
    let [cert, seed] = [&cert, &seed].map(|path| path.to_string_lossy());
    for args in [["--nats-ca", &*cert], ["--nats-creds", &*seed]] {
        let asked = oom_agent(&[&["fleet", "nodes"], &args[..]].concat(), &cluster)?;
        ensure!(asked.status.code() == Some(1), "{}", text(&asked.stderr));
    }
    let all = ["fleet", "nodes", "--nats-ca", &cert, "--nats-creds", &seed];
    let asked = oom_agent(&all, &cluster)?;
    ensure!(asked.status.success(), "{}", text(&asked.stderr));
    Ok(())
}

/// Waits until the command says so.
fn until(
    what: &str,
    cluster: &Cluster,
    args: &[&str],
    is_so: impl Fn(&Output) -> bool,
) -> Result<Output> {
    let end = Instant::now() + DEADLINE;
    loop {
        let output = oom_agent(args, cluster)?;
        if is_so(&output) {
            return Ok(output);
        }
        ensure!(
            Instant::now() < end,
            "not {what}: {}{}",
            text(&output.stdout),
            text(&output.stderr)
        );
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn real_kills_of_a_confined_agent() -> Result<()> {
    if !nats::is_there()? {
        return Ok(());
    }
    let Some(machine) = Machine::alone()? else {
        return Ok(());
    };
    let cluster = Cluster::start(3)?;
    cluster.init(LONG)?;
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
    let told = until("told", &cluster, &of_it, |output| !output.stdout.is_empty())?;
    let told: Value = serde_json::from_slice(&told.stdout)?;
    ensure!(told == report, "{told:#}\n{report:#}");
    let others = ["fleet", "events", "-o", "json", "--cluster", "us"];
    ensure!(oom_agent(&others, &cluster)?.stdout.is_empty());
    let table = oom_agent(&["fleet", "events", "-o", "table"], &cluster)?;
    ensure!(
        text(&table.stdout).contains("node-1"),
        "{}",
        text(&table.stdout)
    );
    let story = oom_agent(&["fleet", "show", id], &cluster)?;
    ensure!(
        text(&story.stdout).contains("on node-1"),
        "{}",
        text(&story.stdout)
    );
    let top = oom_agent(&["fleet", "top", "--by", "node", "-o", "json"], &cluster)?;
    let top: Value = serde_json::from_slice(&top.stdout)?;
    ensure!(top["rows"][0]["key"] == "node-1", "{top:#}");

    let nodes = ["fleet", "nodes", "-o", "json"];
    let state = |output: &Output| {
        let node: Result<Value, _> = serde_json::from_slice(&output.stdout);
        node.ok()
            .and_then(|node| node["state"].as_str().map(str::to_owned))
    };
    let is = |word: &'static str| move |output: &Output| state(output).as_deref() == Some(word);
    // Others may have killed at the same moment; that it is heard of is what counts.
    until("heard of", &cluster, &nodes, |output| {
        state(output).is_some()
    })?;
    let ended = agent.stop(Signal::TERM)?;
    ensure!(ended.status.success(), "{:#?}", ended.log);
    let stopped = until("stopped", &cluster, &nodes, is("stopped"))?;
    ensure!(stopped.status.success());

    let agent = Launch::run(&args).keeping().start()?;
    until("back", &cluster, &nodes, |output| {
        state(output).is_some_and(|state| state != "stopped")
    })?;
    drop(agent);
    let silent = until("silent", &cluster, &nodes, is("silent"))?;
    ensure!(silent.status.code() == Some(7));
    Ok(())
}

#[test]
fn the_page_is_that_of_the_fleet() -> Result<()> {
    if !nats::is_there()? {
        return Ok(());
    }
    let Some(browser) = Browser::start()? else {
        return Ok(());
    };
    let cluster = Cluster::start(1)?;
    cluster.init(LONG)?;
    let node = Node::new("node-1")?;
    let agent = node.start(&cluster)?;
    node.kill(&agent, 0..3);
    cluster.wait_for(6)?;
    // The node's own clock is not asked.
    let now = "2026-11-21T00:00:00Z";
    let sign = serde_json::json!({
        "cluster": "eu", "node": "node-1", "time": now, "started": now, "period_ms": 60_000, "stopping": false,
        "version": "0", "boot_id": null, "tier": "bpf", "detecting": true, "sources": [], "unexplained": 0,
        "losses": {}, "waiting": 0, "behind": {},
    });
    let say = |subject: &'static str, what: String| {
        cluster.runtime().block_on(async {
            let context = cluster.access()?.connect("test").await?;
            context.publish(subject, what.into()).await?.await?;
            anyhow::Ok(())
        })
    };
    say("oom-nodes.node-1", sign.to_string())?;
    let dir = tempfile::tempdir()?;
    let serving = Serving::start(&cluster, dir.path())?;
    let log = fs::read_to_string(dir.path().join("log"))?;
    let (_, at) = (log.rsplit_once("127.0.0.1:")).with_context(|| log.clone())?;
    let port: u16 = at
        .chars()
        .map_while(|c| c.to_digit(10))
        .fold(String::new(), |port, digit| format!("{port}{digit}"))
        .parse()?;
    browser.open(&format!("http://127.0.0.1:{port}/"))?;
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
    node.kill(&agent, 3..4);
    rows(4)?;
    // What it does not understand is told, in the head, too.
    say("oom.test.node-2.OomKill", "{}".to_owned())?;
    browser.run("location.reload()")?;
    browser.wait(
        "trouble",
        &format!("{state} === '1 message not understood'"),
    )?;
    drop(serving);
    agent.end();
    Ok(())
}

/// A server of the fleet; killed when dropped.
struct Serving {
    child: Child,
    socket: Socket,
}

impl Serving {
    fn start(cluster: &Cluster, dir: &Path) -> Result<Self> {
        let socket = dir.join("fleet.sock");
        let child = Command::new(machine::agent_binary()?)
            .args(["fleet", "serve", "--nats", &cluster.urls().join(",")])
            .args(["--listen", "127.0.0.1:0"])
            .arg("--store")
            .arg(dir.join("fleet.db"))
            .arg("--socket")
            .arg(&socket)
            .stderr(fs::File::create(dir.join("log"))?)
            .spawn()?;
        let serving = Self {
            child,
            socket: Socket(socket),
        };
        serving.is_ready(200)?;
        Ok(serving)
    }

    /// Waits until it answers so.
    fn is_ready(&self, status: u16) -> Result<()> {
        let end = Instant::now() + DEADLINE;
        loop {
            match self.socket.get("/readyz") {
                Ok((found, _)) if found == status => return Ok(()),
                other => ensure!(Instant::now() < end, "not {status}: {other:?}"),
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// Waits until it has so many events of a kind.
    fn has(&self, kind: &str, events: usize) -> Result<Vec<Value>> {
        let end = Instant::now() + DEADLINE;
        loop {
            let path = format!("/v1/events?kind={kind}&limit=1000");
            let page = self.socket.json(&path)?;
            let found = page["events"].as_array().context("events")?;
            if found.len() >= events {
                ensure!(found.len() == events, "{} of {events}", found.len());
                return Ok(found.clone());
            }
            ensure!(Instant::now() < end, "{} of {events}", found.len());
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    fn end(&mut self) -> Result<()> {
        let pid = Pid::from_child(&self.child);
        rustix::process::kill_process(pid, Signal::TERM)?;
        let status = self.child.wait()?;
        ensure!(status.success(), "{status}");
        Ok(())
    }
}

impl Drop for Serving {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            let _ = self.child.wait();
        }
    }
}

#[test]
fn the_fleet_is_served() -> Result<()> {
    if !nats::is_there()? {
        return Ok(());
    }
    let mut cluster = Cluster::start(3)?;
    cluster.init(LONG)?;
    let node = Node::new("node-1")?;
    let agent = node.start(&cluster)?;
    node.kill(&agent, 0..50);
    cluster.wait_for(100)?;
    let dir = tempfile::tempdir()?;
    let mut serving = Serving::start(&cluster, dir.path())?;
    serving.has("OomKill", 50)?;
    let mut stream = serving
        .socket
        .stream("/v1/events/stream?kind=OomKill", None)?;
    node.kill(&agent, 50..60);
    let live = stream.wait_for("data: ", 1, |event| event["id"] == "kill-59")?;
    ensure!(live[0]["kind"] == "OomKill");
    ensure!(serving.socket.json("/v1/fleet")?["counts"]["unreadable"] == 0);
    ensure!(serving.socket.json("/v1/nodes")?["nodes"].is_array());
    ensure!(serving.socket.json("/v1/openapi.json")?["info"]["title"] == "oom-agent fleet");
    serving.end()?;

    // While it is away, and while a server is; and what no version knows.
    node.kill(&agent, 60..80);
    let odd = r#"{"kind":"OomKill","of":"another world"}"#;
    cluster.runtime().block_on(async {
        let context = cluster.access()?.connect("test").await?;
        context
            .publish("oom.test.node-2.OomKill", odd.into())
            .await?
            .await?;
        anyhow::Ok(())
    })?;
    cluster.kill_leader()?;
    let serving = Serving::start(&cluster, dir.path())?;
    serving.has("OomKill", 80)?;
    let counts = serving.socket.json("/v1/fleet")?["counts"].clone();
    ensure!(
        counts["unreadable"] == 1 && counts["doubles"] == 0,
        "{counts}"
    );
    agent.end();
    Ok(())
}

#[test]
fn words_of_a_newer_agent_are_passed_on() -> Result<()> {
    if !nats::is_there()? {
        return Ok(());
    }
    let cluster = Cluster::start(1)?;
    cluster.init(LONG)?;
    let kills = Kills::new()?;
    let [_, _, Entry::Event(report)] = kills.entries(7) else {
        anyhow::bail!("other entries");
    };
    let mut report = serde_json::to_value(&*report)?;
    report["time"] = "2026-11-21T00:00:00Z".into();
    report["of_a_newer_agent"] = "a word".into();
    let body = report.to_string();
    cluster.runtime().block_on(async {
        let context = cluster.access()?.connect("test").await?;
        // Twice: without an id the server takes both.
        for _ in 0..2 {
            let subject = "oom.test.node-2.OomInstance";
            context.publish(subject, body.clone().into()).await?.await?;
        }
        anyhow::Ok(())
    })?;
    let since = "2026-11-01T00:00:00Z";
    let told = oom_agent(
        &["fleet", "events", "-o", "json", "--since", since],
        &cluster,
    )?;
    ensure!(
        text(&told.stdout) == format!("{body}\n"),
        "{}",
        text(&told.stdout)
    );
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
