//! A page behind a token: asked for, refused, taken, and kept in the tab alone.

use std::fs;

use crate::scene::Scene;
use anyhow::{Result, ensure};

#[test]
fn who_has_the_token_is_shown_and_nobody_else() -> Result<()> {
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
