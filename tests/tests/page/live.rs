//! The page of an agent that watches: rows that come by themselves, counts, filters, stories, and an agent that
//! goes and comes back.

use anyhow::{Context as _, Result, ensure};
use oom_tests::{
    agent::Agent,
    runtime::{LIMIT, play::Dies},
    scene::named,
};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::{
    scene::Scene,
    scripts::{IDS, LATE, NAMELESS, WATCH, words},
};

/// A name that would be markup, as long as a name may be.
const HOSTILE: &[u8] = b"<img onerror=a>";

#[test]
fn what_is_shown_is_what_the_api_says() -> Result<()> {
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
        let (kill, report) = scene.kill_in_pod(&agent, Dies::Main, LIMIT)?;
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
    let truth = named(&scene.machine.hierarchy, "-hostile", HOSTILE)?;
    let (hostile, _) = agent.wait_for_death(truth.victim.pid)?;
    scene.waits_for_row(&hostile["id"])?;
    let row = scene.text(&format!("#rows tr[data-id={}] th", hostile["id"]))?;
    ensure!(
        row == format!("<img onerror=a> ({})", truth.victim.pid),
        "{row}"
    );
    ensure!(browser.run("return document.querySelectorAll('main img').length")? == 0);

    as_the_api_says(&scene)?;
    nothing_is_lost_while_it_is_read(&scene, &agent)?;
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
    let (kill, _) = scene.kill_in_pod(&agent, Dies::Main, LIMIT)?;
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
fn nothing_is_lost_while_it_is_read(scene: &Scene, agent: &Agent) -> Result<()> {
    let browser = &scene.browser;
    browser.run(LATE)?;
    browser.run(
        "window.late = '/v1/events?'; history.pushState(null, '', '?since=2h'); dispatchEvent(new Event('asked'))",
    )?;
    browser.wait("answer", "return window.held")?;
    let (kill, _) = scene.kill_in_pod(agent, Dies::Main, LIMIT)?;
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

/// A click on an owner asks for it, and the way back is the browser's.
fn filters_are_in_the_address(scene: &Scene, kill: &Value) -> Result<()> {
    let browser = &scene.browser;
    let all = browser.run(IDS)?.as_array().map_or(0, Vec::len);
    let all_are_back = || browser.wait("all rows", &format!("{IDS}.length === {all}"));
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
    all_are_back()?;
    // By keys: `/`, a value, Enter.
    browser.press("/")?;
    browser.wait("focus", "return document.activeElement.id === 'filter'")?;
    browser.press("nobody\u{e007}")?;
    browser.wait("words", "return document.querySelector('#empty:not([hidden])')?.textContent.includes('No kills that fit')")?;
    browser.back()?;
    all_are_back()?;
    // What ran out is told by reports alone: they are shown then.
    browser
        .run("history.pushState(null, '', '?scope=memcg'); dispatchEvent(new Event('asked'))")?;
    browser.wait(
        "reports",
        "const rows = [...document.querySelectorAll('#rows tr')]; \
         return rows.length > 0 && rows.every((row) => row.dataset.kind === 'OomInstance')",
    )?;
    let shown = browser.run("return document.querySelector('#filters select[name=kind]').value")?;
    ensure!(shown == "OomInstance", "{shown}");
    browser.back()?;
    all_are_back()?;
    // What is not understood is said.
    browser.run("history.pushState(null, '', '?pid=x'); dispatchEvent(new Event('asked'))")?;
    browser.wait(
        "reason",
        "return document.getElementById('list').textContent.includes('pid: ')",
    )?;
    browser.back()?;
    all_are_back()?;
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
