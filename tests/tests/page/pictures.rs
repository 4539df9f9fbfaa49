//! The pictures of the documents.

use std::{fs, path::PathBuf};

use anyhow::Result;
use oom_tests::runtime::{LIMIT, play::Dies};
use rustix::process::Signal;
use serde_json::json;

use crate::{past::busy_day, scene::Scene, scripts::IDS};

/// Those of the README and `docs/api.md`: the page of a busy node, light and dark, and the story of a real kill.
#[test]
#[ignore = "writes docs/images"]
fn pictures() -> Result<()> {
    let Some(scene) = Scene::new()? else {
        return Ok(());
    };
    busy_day(&scene.kept.store())?;
    let browser = &scene.browser;
    let (agent, port) = scene.agent(0, &["--backfill", "none", "--node", "worker-7"])?;
    browser.open(&format!("http://127.0.0.1:{port}/?since=24h"))?;
    browser.wait("rows", &format!("{IDS}.length > 10"))?;
    let (kill, _) = scene.kill_in_pod(&agent, Dies::Slow, 7 * LIMIT)?;
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
