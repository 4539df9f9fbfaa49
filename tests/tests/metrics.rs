//! A container is killed and removed, the agent is restarted, and only then Prometheus comes: a query finds the
//! kill. Alerts and the dashboard are what Prometheus can ask.
//!
//! `cargo test -p oom-tests --test metrics`, as root, with Debian's `prometheus`.

#![cfg(not(target_env = "musl"))]

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};
use oom_tests::{
    agent::{Agent, DEADLINE, Launch},
    kept::Kept,
    machine::{self, Machine},
    runtime::{
        LIMIT, Running as _,
        bundle::Bundle,
        plain::{self, Plain},
        play::{self, Dies},
    },
};
use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

/// Labels of a target as service discovery finds it in Kubernetes: those of the agent's own pod.
const AS_FOUND: &str = "{pod: oom-agent-x, namespace: monitoring, container: agent}";

/// Between two questions.
const PAUSE: Duration = Duration::from_millis(100);

fn promtool(args: &[&str], stdin: &str) -> Result<()> {
    let mut child = Command::new("promtool")
        .args(args)
        .current_dir(machine::packaging("prometheus"))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    let mut pipe = child.stdin.take().context("stdin")?;
    pipe.write_all(stdin.as_bytes())?;
    drop(pipe);
    let output = child.wait_with_output()?;
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    ensure!(output.status.success(), "promtool {args:?}: {said}");
    Ok(())
}

#[test]
fn alerts_fire_when_they_should() -> Result<()> {
    if !machine::has_program("promtool")? {
        return Ok(());
    }
    promtool(&["check", "rules", "rules.yml"], "")?;
    promtool(&["test", "rules", "rules_test.yml"], "")
}

/// Debian's Prometheus does not find pods: their job is checked but for that.
#[test]
fn the_jobs_are_what_prometheus_takes() -> Result<()> {
    if !machine::has_program("promtool")? {
        return Ok(());
    }
    let dir = tempfile::tempdir()?;
    for file in ["scrape.yml", "scrape-kubernetes.yml"] {
        let job = fs::read_to_string(machine::packaging("prometheus").join(file))?;
        let found = "  kubernetes_sd_configs:\n    - role: pod\n";
        let here = "  static_configs:\n    - targets: ['localhost:9095']\n";
        ensure!(job.contains(found) || job.contains(here), "{file}");
        ensure!(job.contains("- job_name: oom-agent\n"), "{file}");
        ensure!(job.contains("  honor_labels: true\n"), "{file}");
        let config = dir.path().join(file);
        fs::write(
            &config,
            format!("scrape_configs:\n{}", job.replace(found, here)),
        )?;
        let config = config.to_string_lossy();
        promtool(&["check", "config", "--syntax-only", &config], "")?;
    }
    Ok(())
}

/// Every panel has a place and a question, and no two have the same name.
#[test]
fn the_dashboard_is_well_formed() -> Result<()> {
    let dashboard = dashboard()?;
    ensure!(dashboard["uid"] == "oom-agent" && dashboard["schemaVersion"].is_u64());
    let panels = dashboard["panels"].as_array().context("panels")?;
    let mut ids = BTreeSet::new();
    for panel in panels {
        ensure!(ids.insert(panel["id"].as_u64()), "twice: {panel:#}");
        ensure!(panel["title"].is_string(), "{panel:#}");
        let grid = &panel["gridPos"];
        let (x, w) = (grid["x"].as_u64(), grid["w"].as_u64());
        ensure!(x.zip(w).is_some_and(|(x, w)| x + w <= 24), "{panel:#}");
        let kind = panel["type"].as_str().context("type")?;
        ensure!(["row", "stat", "table", "timeseries"].contains(&kind));
        let targets = panel["targets"].as_array();
        ensure!(kind == "row" || targets.is_some_and(|it| !it.is_empty()));
    }
    ensure!(questions(&dashboard).len() > panels.len() / 2);
    Ok(())
}

fn dashboard() -> Result<Value> {
    let text = fs::read_to_string(machine::packaging("grafana/oom-agent.json"))?;
    Ok(serde_json::from_str(&text)?)
}

/// The questions of all panels, with Grafana's variables filled in.
fn questions(dashboard: &Value) -> Vec<String> {
    let panels = dashboard["panels"].as_array().into_iter().flatten();
    let targets = panels.flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let filled_in = |question: &str| {
        question
            .replace("$__rate_interval", "1m")
            .replace("$__range", "1h")
            .replace("$instance", ".*")
            .replace("$namespace", ".*")
    };
    targets
        .filter_map(|target| target["expr"].as_str().map(filled_in))
        .collect()
}

/// A port of this machine that was free a moment ago.
fn free() -> Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

/// What is answered to a GET, if it is a success.
fn get(address: SocketAddr, path: &str, accept: &str) -> Result<String> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(DEADLINE))?;
    // HTTP/1.0: the answer ends with the connection.
    write!(
        stream,
        "GET {path} HTTP/1.0\r\nHost: {address}\r\nAccept: {accept}\r\n\r\n"
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    let (head, body) = answer.split_once("\r\n\r\n").context("no head")?;
    ensure!(head.contains(" 200 "), "{path}: {answer}");
    Ok(body.to_owned())
}

/// A Prometheus that scrapes one target; ended when dropped.
struct Prometheus {
    child: Child,
    address: SocketAddr,
    _dir: TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        if self.child.kill().is_ok() {
            let _ = self.child.wait();
        }
    }
}

impl Prometheus {
    fn start(target: SocketAddr) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let config = dir.path().join("prometheus.yml");
        let rules = machine::packaging("prometheus/rules.yml");
        let job = fs::read_to_string(machine::packaging("prometheus/scrape.yml"))?;
        let (before, _) = job.split_once("    - targets:").context("targets")?;
        fs::write(
            &config,
            format!(
                "global: {{scrape_interval: 200ms, evaluation_interval: 200ms}}\n\
                 rule_files: ['{}']\n\
                 scrape_configs:\n\
                 {before}    - targets: ['{target}']\n      labels: {AS_FOUND}\n",
                rules.display()
            ),
        )?;
        let address = free()?;
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", config.display()))
            .arg(format!("--storage.tsdb.path={}", dir.path().display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=error")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()?;
        Ok(Self {
            child,
            address,
            _dir: dir,
        })
    }

    fn ask(&self, path: &str) -> Result<Value> {
        let answer = get(self.address, path, "application/json")?;
        let answer: Value = serde_json::from_str(&answer)?;
        ensure!(answer["status"] == "success", "{path}: {answer}");
        Ok(answer["data"].clone())
    }

    fn query(&self, query: &str) -> Result<Vec<Value>> {
        let data = self.ask(&format!("/api/v1/query?query={}", escaped(query)))?;
        Ok(data["result"].as_array().context(query.to_owned())?.clone())
    }

    /// The series that a query finds, once it finds any.
    fn find(&self, query: &str) -> Result<Value> {
        let end = Instant::now() + DEADLINE;
        loop {
            let found = self.query(query);
            match found {
                Ok(found) if !found.is_empty() => {
                    ensure!(found.len() == 1, "{query}: {found:#?}");
                    return Ok(found[0].clone());
                }
                _ if Instant::now() < end => thread::sleep(PAUSE),
                Ok(_) => bail!(
                    "{query} finds nothing; targets: {}",
                    self.ask("/api/v1/targets")?
                ),
                Err(error) => return Err(error),
            }
        }
    }
}

fn escaped(query: &str) -> String {
    query.bytes().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "%{byte:02x}");
        text
    })
}

fn start(kept: &Kept, root: &TempDir, address: SocketAddr) -> Result<Agent> {
    let root = root.path().to_str().context("path")?;
    let (args, address) = (kept.args(), address.to_string());
    let mut all = vec![
        "--host-root",
        root,
        "--socket",
        "none",
        "--listen",
        &address,
    ];
    all.extend(args.iter().map(String::as_str));
    let agent = Launch::run(&all).keeping().start()?;
    agent.watches_cgroups()?;
    Ok(agent)
}

/// A process dies in a container of a pod, and the container goes.
fn kill(machine: &Machine, bundle: &Bundle, agent: &Agent) -> Result<()> {
    bundle.write()?;
    let reads = bundle.reads()?;
    let payload = plain::payload()?;
    let args = Dies::Main.args();
    let mut plain = Plain::run(&machine.hierarchy, &bundle.named, LIMIT, &payload, args)?;
    reads.wait()?;
    let container = plain.container().clone();
    let death = play::die(&machine.hierarchy, &container, None)?;
    plain.remove()?;
    let gone = machine.hierarchy.dir_of(&bundle.named.path);
    ensure!(gone.is_some_and(|dir| !dir.exists()), "it is still there");
    agent.wait_for_death(death.victim.pid)?;
    Ok(())
}

#[test]
fn prometheus_finds_the_kill_of_a_container_that_is_gone() -> Result<()> {
    let Some(machine) = Machine::alone()? else {
        return Ok(());
    };
    if !machine::has_program("prometheus")? || !machine::has_program("promtool")? {
        return Ok(());
    }
    let (kept, root) = (Kept::without_pins()?, tempfile::tempdir()?);
    let before = Bundle::in_pod(root.path());
    let agent = start(&kept, &root, free()?)?;
    kill(&machine, &before, &agent)?;
    agent.stop(Signal::TERM)?.summary()?;

    // Nobody has scraped that agent, and nobody will.
    let address = free()?;
    let agent = start(&kept, &root, address)?;
    let prometheus = Prometheus::start(address)?;
    let owner = &before.named.owner;
    let pod = owner.pod.as_ref().and_then(|pod| pod.name.as_deref());
    let pod = pod.context("pod")?;
    let query = format!("container_oom_events_total{{namespace=\"shop\",pod=\"{pod}\"}}");
    let found = prometheus.find(&query)?;
    ensure!(found["value"][1] == "1", "{found:#}");
    for (label, value) in [
        ("container", owner.container_name.as_deref()),
        ("id", Some(before.named.path.as_str())),
        ("image", owner.image.as_deref()),
        ("name", owner.container_id.as_deref()),
    ] {
        ensure!(
            found["metric"][label].as_str() == value,
            "{label}: {found:#}"
        );
    }
    prometheus.find(&format!(
        "ALERTS{{alertname=\"ContainerOomKilled\",alertstate=\"firing\",pod=\"{pod}\"}}"
    ))?;

    // One while it is scraped.
    let after = Bundle::in_pod(root.path());
    kill(&machine, &after, &agent)?;
    prometheus.find("increase(oom_kills_total{owner=\"container\",scope=\"memcg\"}[1m]) > 0")?;
    prometheus.find(&format!(
        "container_oom_events_total{{id=\"{}\"}} == 1",
        after.named.path
    ))?;
    prometheus.find("oom_detection_latency_seconds_count == 1")?;
    prometheus.find("oom_unexplained_kills_total == 0")?;

    for question in questions(&dashboard()?) {
        prometheus.query(&question)?;
    }
    let rules = prometheus.ask("/api/v1/rules")?;
    let groups = rules["groups"].as_array().context("groups")?;
    for rule in groups
        .iter()
        .filter_map(|group| group["rules"].as_array())
        .flatten()
    {
        ensure!(rule["health"] == "ok", "{rule:#}");
    }
    promtool(&["check", "metrics"], &get(address, "/metrics", "*/*")?)?;
    drop(prometheus);
    let summary = agent.stop(Signal::TERM)?.summary()?;
    ensure!(summary.get("unexplained")? == 0, "{summary:?}");
    Ok(())
}
