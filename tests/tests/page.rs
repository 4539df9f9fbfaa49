//! The page in a real browser, over a real agent with real kills: what is shown is what the API says.
//!
//! `cargo test -p oom-tests --test page`, as root; needs `chromedriver`. `-- --ignored pictures` makes those of the
//! README.

#![cfg(not(target_env = "musl"))]

use std::{
    fs,
    future::IntoFuture as _,
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::Command,
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result, ensure};
use oom_agent::{
    api::router,
    clock::Now,
    store::{Batch, Store},
};
use oom_tests::{
    agent::{Agent, Launch},
    browser::Browser,
    http::Socket,
    kept::Kept,
    machine::{self, Machine},
    runtime::{
        LIMIT, Running as _,
        bundle::Bundle,
        plain::{self, Plain},
        play::{self, Dies},
    },
    scene, served,
    told::{BOOT, Kills, kill_in_pod, run},
};
use rusqlite::Connection;
use rustix::process::Signal;
use serde_json::{Value, json};
use tokio::{net::TcpListener, runtime::Builder, sync::oneshot};

/// A name that would be markup, as long as a name may be.
const HOSTILE: &[u8] = b"<img onerror=a>";

/// Ids of the rows, in their order.
const IDS: &str = "return [...document.querySelectorAll('#rows tr')].map((row) => row.dataset.id)";

/// Notes when rows come: milliseconds after the kill.
const WATCH: &str = "window.latest = {};
    new MutationObserver((all) => all.forEach((one) => one.addedNodes.forEach((node) => {
      if (node.dataset?.id) window.latest[node.dataset.id] = Date.now() - Number(node.dataset.at ?? NaN);
    }))).observe(document.getElementById('list'), { childList: true, subtree: true });";

/// Holds back answers of addresses with `window.late` in them, until `window.release()`.
const LATE: &str = "const ask = window.fetch;
    window.held = 0;
    window.passed = 0;
    const gate = new Promise((resolve) => { window.release = resolve; });
    window.fetch = async (url, options) => {
      const answer = await ask(url, options);
      if (window.late && String(url).includes(window.late)) {
        window.held += 1;
        await gate;
        window.passed += 1;
      }
      return answer;
    };";

/// A browser that keeps nothing.
const BLOCKED: &str =
    "for (const name of ['localStorage', 'sessionStorage']) Object.defineProperty(window, name, {
      get() { throw new DOMException('blocked', 'SecurityError'); } });";

/// Controls without a name, and pictures without one.
const NAMELESS: &str = "const named = (node) => node.getAttribute('aria-label') || node.textContent.trim()
      || [...(node.labels ?? [])].some((label) => label.textContent.trim())
      || document.getElementById(node.getAttribute('aria-labelledby')?.split(' ')[0])?.textContent;
    return [...document.querySelectorAll('button, a, input, select, summary, svg[role=img], [role=meter], [role=region], dialog')]
      .filter((node) => !named(node)).map((node) => node.outerHTML.slice(0, 200))";

/// An agent with a port and a socket, and a browser at its page.
struct Scene {
    kept: Kept,
    dir: tempfile::TempDir,
    browser: Browser,
}

impl Scene {
    fn new() -> Result<Option<Self>> {
        let Some(browser) = Browser::start()? else {
            return Ok(None);
        };
        Ok(Some(Self {
            kept: Kept::without_pins()?,
            dir: tempfile::tempdir()?,
            browser,
        }))
    }

    fn socket(&self) -> Socket {
        Socket(self.dir.path().join("api.sock"))
    }

    /// Starts an agent, at this port or any.
    fn agent(&self, port: u16, more: &[&str]) -> Result<(Agent, u16)> {
        let mut args = self.kept.args();
        let [socket, host_root] =
            [self.socket().0, self.dir.path().to_owned()].map(|path| path.display().to_string());
        let listen = format!("127.0.0.1:{port}");
        let own = [
            "--socket",
            &socket,
            "--host-root",
            &host_root,
            "--listen",
            &listen,
        ];
        args.extend(own.iter().chain(more).map(|word| (*word).to_owned()));
        let args: Vec<_> = args.iter().map(String::as_str).collect();
        let agent = Launch::run(&args).keeping().start()?;
        agent.watches_cgroups()?;
        let at = agent.wait_for_line("can be asked at ")?;
        let port = at.rsplit_once("127.0.0.1:").context("no address")?.1;
        Ok((agent, port.trim().parse()?))
    }

    /// A kill in a pod, and its report, as they were told.
    fn kill_in_pod(
        &self,
        machine: &Machine,
        agent: &Agent,
        dies: Dies,
        limit: u64,
    ) -> Result<(Value, Value)> {
        let bundle = Bundle::in_pod(self.dir.path());
        bundle.write()?;
        let mut pod = Plain::run(
            &machine.hierarchy,
            &bundle.named,
            limit,
            &plain::payload()?,
            dies.args(),
        )?;
        let truth = play::die(&machine.hierarchy, &pod.container().clone(), None)?;
        let told = agent.wait_for_death(truth.victim.pid)?;
        pod.remove()?;
        Ok(told)
    }

    fn waits_for_row(&self, id: &Value) -> Result<()> {
        let row = format!("return document.querySelector('#rows tr[data-id={id}]') !== null");
        self.browser.wait("row", &row)?;
        Ok(())
    }

    /// The text of what this selector finds.
    fn text(&self, selector: &str) -> Result<String> {
        let script = format!("return document.querySelector({selector:?})?.textContent ?? ''");
        let found = self.browser.run(&script)?;
        Ok(found.as_str().unwrap_or_default().to_owned())
    }

    /// Nothing but what is expected where an agent is away, a token is wanted, or a pid is none.
    fn has_no_complaints(&self) -> Result<()> {
        let known = ["net::ERR_", "(Unauthorized)", "?pid=x&", "&pid=x&"];
        let bad = |line: &String| !known.iter().any(|known| line.contains(known));
        let bad: Vec<_> = self.browser.complaints()?.into_iter().filter(bad).collect();
        ensure!(bad.is_empty(), "{bad:#?}");
        Ok(())
    }
}

#[test]
fn what_is_shown_is_what_the_api_says() -> Result<()> {
    let Some(machine) = Machine::alone()? else {
        return Ok(());
    };
    let Some(scene) = Scene::new()? else {
        return Ok(());
    };
    let browser = &scene.browser;
    let (agent, port) = scene.agent(0, &["--backfill", "none"])?;
    browser.open(&format!("http://127.0.0.1:{port}/?since=1h"))?;

    // Nothing, in words; and nothing that the policy refused.
    browser.wait(
        "empty state",
        "return document.querySelector('#empty:not([hidden])')?.textContent.includes('No kills')",
    )?;
    browser.wait(
        "life",
        "return document.getElementById('live-words').textContent === 'live'",
    )?;
    browser.run(WATCH)?;
    scene.has_no_complaints()?;

    // It comes by itself, within a second: the quickest of three, for others use this machine, too.
    let mut kills = Vec::new();
    let mut slowest = Vec::new();
    for _ in 0..3 {
        let (kill, report) = scene.kill_in_pod(&machine, &agent, Dies::Main, LIMIT)?;
        scene.waits_for_row(&kill["id"])?;
        slowest.push(
            browser
                .run(&format!("return window.latest[{}]", kill["id"]))?
                .as_f64(),
        );
        kills.push((kill, report));
    }
    ensure!(
        slowest.iter().flatten().any(|ms| *ms < 1000.0),
        "{slowest:?}"
    );
    browser.wait(
        "announcement",
        "return document.getElementById('announce').textContent.includes('oom-victim')",
    )?;

    // A name that would be markup is a name.
    let truth = scene::named(&machine.hierarchy, "-hostile", HOSTILE)?;
    let (hostile, _) = agent.wait_for_death(truth.victim.pid)?;
    scene.waits_for_row(&hostile["id"])?;
    let row = scene.text(&format!("#rows tr[data-id={}] th", hostile["id"]))?;
    ensure!(
        row == format!("<img onerror=a> ({})", truth.victim.pid),
        "{row}"
    );
    ensure!(browser.run("return document.querySelectorAll('main img').length")? == 0);

    as_the_api_says(&scene)?;
    nothing_is_lost_while_it_is_read(&scene, &machine, &agent)?;
    as_the_api_says(&scene)?;
    filters_are_in_the_address(&scene, &kills[1].0)?;
    a_story_is_told(&scene, &kills[2])?;
    let nameless = browser.run(NAMELESS)?;
    ensure!(nameless == json!([]), "{nameless:#}");
    scene.has_no_complaints()?;

    // The agent goes, and comes back: so does the page.
    agent.stop(Signal::TERM)?.summary()?;
    browser.wait("banner", "return !document.getElementById('banner').hidden")?;
    let (agent, _) = scene.agent(port, &["--backfill", "none"])?;
    let (kill, _) = scene.kill_in_pod(&machine, &agent, Dies::Main, LIMIT)?;
    browser.wait(
        "recovery",
        "return document.getElementById('banner').hidden",
    )?;
    scene.waits_for_row(&kill["id"])?;
    as_the_api_says(&scene)?;
    scene.has_no_complaints()?;
    agent.stop(Signal::TERM)?.summary()?;
    Ok(())
}

/// A kill between the answer of the store and its coming is in the table, too.
fn nothing_is_lost_while_it_is_read(scene: &Scene, machine: &Machine, agent: &Agent) -> Result<()> {
    let browser = &scene.browser;
    browser.run(LATE)?;
    browser.run(
        "window.late = '/v1/events?'; history.pushState(null, '', '?since=2h'); dispatchEvent(new Event('asked'))",
    )?;
    browser.wait("answer", "return window.held")?;
    let (kill, _) = scene.kill_in_pod(machine, agent, Dies::Main, LIMIT)?;
    browser.wait(
        "announcement",
        &format!(
            "return document.getElementById('announce').textContent.includes('({})')",
            kill["victim"]["pid"]
        ),
    )?;
    browser.run("window.late = null; window.release()")?;
    scene.waits_for_row(&kill["id"])?;
    browser.back()?;
    scene.waits_for_row(&kill["id"])
}

/// Rows, their words, and the counts above them.
fn as_the_api_says(scene: &Scene) -> Result<()> {
    let browser = &scene.browser;
    let page = scene.socket().json("/v1/events?kind=OomKill&since=1h")?;
    let kills = page["events"].as_array().context("events")?;
    let ids: Vec<_> = kills.iter().map(|kill| kill["id"].clone()).collect();
    let script = format!("{}.join() === {:?}", IDS, words(&ids).join(","));
    browser.wait("all rows in their order", &script)?;
    for kill in kills {
        let row = scene.text(&format!("#rows tr[data-id={}]", kill["id"]))?;
        let victim = &kill["victim"];
        let time = kill["time"].as_str().context("time")?[..19].replace('T', " ");
        let pod = &kill["owner"]["pod"];
        let owner = match pod["name"].as_str() {
            Some(name) => format!("shop/{name} · app"),
            None => kill["cgroup"]["path"].as_str().context("path")?.to_owned(),
        };
        let name = format!(
            "{} ({})",
            victim["comm"].as_str().unwrap_or_default(),
            victim["pid"]
        );
        for said in [&time, &owner, &name, "eBPF"] {
            ensure!(row.contains(said), "no {said} in {row}");
        }
    }
    let counts = scene.socket().json("/v1/timeline?since=1h")?;
    ensure!(counts["total"] == kills.len(), "{counts:#}");
    let total = format!(
        "return document.querySelector('.timeline .sum .number')?.textContent === '{}'",
        kills.len()
    );
    browser.wait("count", &total)?;
    let rows = browser.run("return [...document.querySelectorAll('.timeline tbody tr')].slice(1).map((row) => row.querySelector('.number').textContent)")?;
    let counted = counts["rows"].as_array().context("rows")?.iter();
    let counted: Vec<_> = counted.map(|row| row["total"].to_string()).collect();
    ensure!(rows == json!(counted), "{rows} {counts:#}");
    let status = scene.socket().json("/v1/status")?;
    let said = scene.text("#status")?;
    let tier = status["tier"].as_str().context("tier")?;
    ensure!(said.contains(tier), "{said}");
    Ok(())
}

fn words(values: &[Value]) -> Vec<&str> {
    values.iter().filter_map(Value::as_str).collect()
}

/// A click on an owner asks for it, and the way back is the browser's.
fn filters_are_in_the_address(scene: &Scene, kill: &Value) -> Result<()> {
    let browser = &scene.browser;
    let all = browser.run(IDS)?;
    browser.click(&format!("#rows tr[data-id={}] .owner button", kill["id"]))?;
    browser.wait(
        "one row",
        "return document.querySelectorAll('#rows tr').length === 1",
    )?;
    ensure!(browser.run(IDS)? == json!([kill["id"]]));
    let pod = kill["owner"]["pod"]["name"].as_str().context("pod")?;
    let asked = browser.run("return location.search")?;
    let asked = asked.as_str().context("address")?;
    ensure!(
        asked.contains(&format!("pod={pod}")) && asked.contains("namespace=shop"),
        "{asked}"
    );
    // What the address says is shown whoever comes with it.
    browser.run("location.reload()")?;
    browser.wait("the same row", &format!("{IDS}.join() === {}", kill["id"]))?;
    browser.back()?;
    browser.wait(
        "all rows",
        &format!("{IDS}.length === {}", all.as_array().map_or(0, Vec::len)),
    )?;
    // By keys: `/`, a value, Enter.
    browser.press("/")?;
    browser.wait("focus", "return document.activeElement.id === 'filter'")?;
    browser.press("nobody\u{e007}")?;
    browser.wait("words", "return document.querySelector('#empty:not([hidden])')?.textContent.includes('No kills that fit')")?;
    browser.back()?;
    browser.wait(
        "all rows",
        &format!("{IDS}.length === {}", all.as_array().map_or(0, Vec::len)),
    )?;
    // What is not understood is said.
    browser.run("history.pushState(null, '', '?pid=x'); dispatchEvent(new Event('asked'))")?;
    browser.wait(
        "reason",
        "return document.getElementById('list').textContent.includes('pid: ')",
    )?;
    browser.back()?;
    browser.wait(
        "all rows",
        &format!("{IDS}.length === {}", all.as_array().map_or(0, Vec::len)),
    )?;
    Ok(())
}

/// By keys to the story of a kill and back; it says what its report says.
fn a_story_is_told(scene: &Scene, (kill, report): &(Value, Value)) -> Result<()> {
    let browser = &scene.browser;
    let id = &kill["id"];
    let place = browser.run(&format!("{IDS}.indexOf({id})"))?;
    let place = place.as_u64().context("place")?;
    browser.run("document.activeElement.blur()")?;
    browser.press(&"j".repeat(usize::try_from(place)? + 1))?;
    browser.wait(
        "focus",
        &format!("return document.activeElement.closest('tr')?.dataset.id === {id}"),
    )?;
    browser.press("\u{e007}")?;
    browser.wait(
        "story",
        "return document.querySelector('.tree .hit') !== null",
    )?;
    browser.wait(
        "words",
        "return document.querySelector('#plainly:not([hidden])') !== null",
    )?;
    browser.wait(
        "history",
        "return document.querySelector('#before:not([hidden])') !== null",
    )?;
    let said = scene.text("#story")?;
    let levels = report["levels"].as_array().context("levels")?;
    ensure!(levels.len() >= 4, "{report:#}");
    let items = browser.run("return document.querySelectorAll('.tree li').length")?;
    ensure!(items == levels.len(), "{items}");
    let hit = scene.text(".tree .hit")?;
    let path = report["limit"]["cgroup"]["path"]
        .as_str()
        .context("limit")?;
    let name = path.rsplit('/').next().unwrap_or_default();
    // An id in short.
    let name = name.get(..12).unwrap_or(name);
    for one in [name, "container", "32 MiB", "limit hit"] {
        ensure!(hit.contains(one), "no {one} in {hit}");
    }
    let tasks = report["tasks"].as_array().map_or(0, Vec::len);
    let died = browser.run("return document.querySelectorAll('tr.died').length")?;
    ensure!(tasks == 0 || died == 1, "{died} of {tasks}");
    let owner = format!(
        "shop/{}",
        kill["owner"]["pod"]["name"].as_str().context("pod")?
    );
    for one in [
        &owner,
        "oom-victim",
        "first kill",
        "They agree",
        "Kernel log1 kill",
    ] {
        ensure!(said.contains(one), "no {one} in {said}");
    }
    ensure!(browser.run(NAMELESS)? == json!([]));
    browser.press("\u{e00c}")?;
    browser.wait("list", "return document.getElementById('story').hidden")?;
    browser.wait(
        "focus",
        &format!("return document.activeElement.closest('tr')?.dataset.id === {id}"),
    )?;
    Ok(())
}

#[test]
fn who_has_the_token_is_shown_and_nobody_else() -> Result<()> {
    let Some(_machine) = Machine::alone()? else {
        return Ok(());
    };
    let Some(scene) = Scene::new()? else {
        return Ok(());
    };
    let browser = &scene.browser;
    let token = scene.dir.path().join("token");
    fs::write(&token, "s3cret\n")?;
    let token = token.display().to_string();
    let (_agent, port) = scene.agent(0, &["--token-file", &token])?;
    browser.open(&format!("http://127.0.0.1:{port}/"))?;
    browser.wait("question", "return document.getElementById('token').open")?;
    ensure!(scene.text("#rows")?.is_empty() && scene.text("#status")?.is_empty());
    // No header can carry it, so nobody is asked; and who closes the question is not asked again, until he wants to.
    browser.press("čaj\u{e007}")?;
    browser.wait("a word", "return document.getElementById('token').open && !document.getElementById('token-wrong').hidden")?;
    browser.press("\u{e00c}")?;
    browser.wait("button", "return !document.getElementById('token').open && document.querySelector('#banner button') !== null")?;
    browser.click("#banner button")?;
    browser.wait("question", "return document.getElementById('token').open")?;
    browser.press("wrong\u{e007}")?;
    browser.wait("another question", "return document.getElementById('token').open && !document.getElementById('token-wrong').hidden")?;
    browser.press("s3cret\u{e007}")?;
    browser.wait(
        "life",
        "return document.getElementById('live-words').textContent === 'live'",
    )?;
    browser.wait(
        "status",
        "return document.querySelector('#status dl') !== null",
    )?;
    let kept = browser.run("return [JSON.stringify(localStorage), document.cookie, location.href].join().includes('s3cret')")?;
    ensure!(kept == false, "the token is kept beside the tab");
    scene.has_no_complaints()
}

/// So many events in a store, and one in so many of them is made by the store itself.
const MANY: u64 = 100_000;
const MADE: u64 = 2_000;

/// Seconds since the epoch.
fn now() -> Result<u64> {
    let now = Now::read();
    let ns = now.wall(now.monotonic_ns).as_unix_ns();
    Ok(u64::try_from(ns / 1_000_000_000)?)
}

/// A store with many kills: some are stored, and then copied in the database, with ids and times of their own.
fn many(path: &Path) -> Result<()> {
    let kills = Kills::new()?;
    let mut store = Store::open(path, BOOT, 0)?;
    store.begin_run(&run(), &Now::read())?;
    let mut batch = Batch::default();
    let end = now()? - 60;
    batch.extend(
        (0..MADE).map(|n| kill_in_pod(&kills, n, &format!("web-{}", n * n % 211), end - n)),
    );
    store.commit(&batch, &Now::read())?;
    drop(store);
    let mut db = Connection::open(path)?;
    db.pragma_update(None, "synchronous", "OFF")?;
    let tx = db.transaction()?;
    for copy in 1..MANY / MADE {
        let (seq, ns) = (copy * MADE, copy * MADE * 1_000_000_000);
        tx.execute_batch(&format!(
            "INSERT INTO event (seq, id, kind, time_ns, boot_id, scope, backfill, bytes, stored_ns, body)
               SELECT seq + {seq}, id || '-{copy}', kind, time_ns - {ns}, boot_id, scope, backfill, bytes, stored_ns,
                 json_set(body, '$.id', id || '-{copy}', '$.time',
                   strftime('%Y-%m-%dT%H:%M:%SZ', (time_ns - {ns}) / 1000000000, 'unixepoch'))
               FROM event WHERE seq <= {MADE};
             INSERT INTO posting (term, time_ns, seq)
               SELECT term, time_ns - {ns}, seq + {seq} FROM posting WHERE seq <= {MADE};
             INSERT INTO indexed (seq, kind, time_ns, terms)
               SELECT seq + {seq}, kind, time_ns - {ns}, terms FROM indexed WHERE seq <= {MADE};"
        ))?;
    }
    tx.execute(
        "UPDATE usage SET events = events * ?1, bytes = bytes * ?1",
        [i64::try_from(MANY / MADE)?],
    )?;
    tx.commit()?;
    Ok(())
}

#[test]
fn a_hundred_thousand_kills_are_a_page() -> Result<()> {
    let Some(browser) = Browser::start()? else {
        return Ok(());
    };
    let dir = tempfile::tempdir()?;
    let store = dir.path().join("events.db");
    many(&store)?;
    let server = Server::start(&store)?;
    let address = server.address;
    browser.open(&format!("http://{address}/"))?;
    browser.wait(
        "count",
        "return document.querySelector('.timeline .sum .number')?.textContent === '100,000'",
    )?;
    browser.wait("first page", &format!("{IDS}.length >= 100"))?;
    browser.run("scrollTo(0, document.body.scrollHeight)")?;
    browser.wait("second page", &format!("{IDS}.length >= 200"))?;
    let ids = browser.run(IDS)?;
    let ids = words(ids.as_array().context("ids")?);
    let expected: Vec<_> = (0..ids.len()).map(|n| format!("{BOOT}-{n}")).collect();
    ensure!(ids == expected, "{ids:?}");
    // One owner of them, by a click in the timeline.
    let first = browser.run("const row = document.querySelectorAll('.timeline tbody tr')[1];
        row.querySelector('button').click(); return [row.querySelector('button').textContent, row.querySelector('.number').textContent]")?;
    browser.wait(
        "its count",
        &format!(
            "return document.querySelector('.timeline .sum .number')?.textContent === {}",
            first[1]
        ),
    )?;
    browser.wait("its rows", &format!("return [...document.querySelectorAll('#rows .owner')].every((one) => one.textContent === {})", first[0]))?;
    let complaints = browser.complaints()?;
    ensure!(complaints.is_empty(), "{complaints:#?}");
    server.end()
}

#[test]
fn an_answer_that_comes_late_is_not_shown() -> Result<()> {
    let Some(browser) = Browser::start()? else {
        return Ok(());
    };
    let dir = tempfile::tempdir()?;
    let store = dir.path().join("events.db");
    past(&store)?;
    let server = Server::start(&store)?;
    // Nor is anything wanted of the browser's storage.
    browser.command(
        "Page.addScriptToEvaluateOnNewDocument",
        &json!({ "source": BLOCKED }),
    )?;
    browser.open(&format!("http://{}/", server.address))?;
    browser.wait("rows", &format!("{IDS}.length > 10"))?;
    browser.press("tt")?;
    browser.run(LATE)?;
    let ids = browser.run(IDS)?;
    let ids = words(ids.as_array().context("ids")?);
    let [one, other] = [ids[3], ids[7]];
    let open =
        |id: &str| format!("window.late = '/v1/events/{one}?'; location.hash = '#/kill/{id}'");
    browser.run(&open(one))?;
    browser.wait("answer", "return window.held")?;
    browser.run(&open(other))?;
    let json = "(document.querySelector('#story details pre')?.textContent ?? '')";
    let is_other = format!("return {json}.includes('{other}')");
    browser.wait("the other story", &is_other)?;
    browser.run("window.release()")?;
    browser.wait("the late answer", "return window.passed === window.held")?;
    // What comes of it, if anything, has come.
    browser.wait(
        "before",
        "return document.querySelector('#before:not([hidden])') !== null",
    )?;
    ensure!(
        browser.run(&is_other)? == true,
        "{one} in place of {other}: {}",
        browser.run("return document.getElementById('story').innerText")?
    );
    let complaints = browser.complaints()?;
    let bad = |line: &&String| !line.contains("404") && !line.contains("net::ERR_");
    ensure!(!complaints.iter().any(|line| bad(&line)), "{complaints:#?}");
    server.end()
}

/// The API over a store, with nobody who watches.
struct Server {
    address: SocketAddr,
    stop: oneshot::Sender<()>,
    thread: JoinHandle<io::Result<()>>,
}

impl Server {
    fn start(store: &Path) -> Result<Self> {
        let shared = served::shared(store)?;
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    served = axum::serve(listener, router(shared)).into_future() => served,
                    _ = stopped => Ok(()),
                }
            })
        });
        Ok(Self {
            address,
            stop,
            thread,
        })
    }

    fn end(self) -> Result<()> {
        drop(self.stop);
        ensure!(self.thread.join().is_ok_and(|served| served.is_ok()));
        Ok(())
    }
}

#[test]
fn every_script_is_one() -> Result<()> {
    if !machine::has_program("node")? {
        return Ok(());
    }
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../oom-agent/page");
    let dir = tempfile::tempdir()?;
    for entry in fs::read_dir(page)? {
        let path = entry?.path();
        if path.extension().is_some_and(|of| of == "js") {
            // As a module.
            let copy = dir.path().join("module.mjs");
            fs::copy(&path, &copy)?;
            let said = Command::new("node").arg("--check").arg(&copy).output()?;
            ensure!(said.status.success(), "{}: {said:?}", path.display());
        }
    }
    Ok(())
}

/// Those of the README: the page of a busy node, light and dark, and the story of a real kill.
#[test]
#[ignore = "writes docs/images"]
fn pictures() -> Result<()> {
    let Some(machine) = Machine::alone()? else {
        return Ok(());
    };
    let Some(scene) = Scene::new()? else {
        return Ok(());
    };
    past(&scene.kept.store())?;
    let browser = &scene.browser;
    let (agent, port) = scene.agent(0, &["--backfill", "none", "--node", "worker-7"])?;
    browser.open(&format!("http://127.0.0.1:{port}/?since=24h"))?;
    browser.wait("rows", &format!("{IDS}.length > 10"))?;
    let (kill, _) = scene.kill_in_pod(&machine, &agent, Dies::Slow, 7 * LIMIT)?;
    scene.waits_for_row(&kill["id"])?;
    let pictures = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../docs/images");
    fs::create_dir_all(&pictures)?;
    let picture = |name: &str, theme: &str| {
        browser.run(&format!("document.documentElement.dataset.theme = '{theme}'; document.querySelectorAll('.new').forEach((row) => row.classList.remove('new'))"))?;
        browser.picture(&pictures.join(name))
    };
    browser.wait(
        "count",
        "return document.querySelector('.timeline .sum .number') !== null",
    )?;
    browser.wait(
        "audit",
        "return document.getElementById('to-status').textContent.includes('all explained')",
    )?;
    picture("page-light.png", "light")?;
    picture("page-dark.png", "dark")?;
    browser.run(&format!("location.hash = '#/kill/' + {}", kill["id"]))?;
    browser.wait("story", "return document.querySelector('.tree .hit') !== null && document.querySelector('#before:not([hidden])') !== null")?;
    let height = browser.run("return Math.min(1160, document.documentElement.scrollHeight)")?;
    browser.command(
        "Emulation.setDeviceMetricsOverride",
        &json!({ "width": 1360, "height": height, "deviceScaleFactor": 1, "mobile": false }),
    )?;
    picture("story.png", "light")?;
    browser.command(
        "Emulation.setDeviceMetricsOverride",
        &json!({ "width": 390, "height": 844, "deviceScaleFactor": 1, "mobile": true }),
    )?;
    browser.run("location.hash = '#/'; scrollTo(0, 0)")?;
    if std::env::var_os("PAGE_SMALL").is_some() {
        picture("small.png", "light")?;
    }
    agent.stop(Signal::TERM)?.summary()?;
    Ok(())
}

/// A day of a busy node: a few owners die often, others now and then.
fn past(path: &Path) -> Result<()> {
    const OWNERS: [(&str, u64); 9] = [
        ("cart-7d9f", 5),
        ("search-0", 11),
        ("checkout-5c6b", 17),
        ("reports-28f", 23),
        ("images-6b8d", 37),
        ("mail-0", 53),
        ("ci-runner-4", 71),
        ("web-79c", 97),
        ("db-0", 131),
    ];
    let kills = Kills::new()?;
    let mut store = Store::open(path, BOOT, 0)?;
    store.begin_run(&run(), &Now::read())?;
    let now = now()?;
    let mut batch = Batch::default();
    let minutes = (0..1430_u64)
        .rev()
        .filter(|minute| minute * minute / 311 % 9 < 2);
    for minute in minutes {
        let dies = OWNERS
            .iter()
            .find(|(_, each)| (minute * 7 + minute / 90).is_multiple_of(*each));
        if let Some((pod, _)) = dies {
            batch.extend([kill_in_pod(&kills, minute, pod, now - minute * 60)]);
        }
    }
    store.commit(&batch, &Now::read())?;
    Ok(())
}
