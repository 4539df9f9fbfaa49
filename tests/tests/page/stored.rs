//! The page of a store: a hundred thousand kills, and answers that come late.

use anyhow::{Context as _, Result, ensure};
use oom_tests::told::BOOT;
use serde_json::json;

use crate::{
    past::{Past, busy_day, many},
    scripts::{BLOCKED, IDS, LATE, words},
};

#[test]
fn a_hundred_thousand_kills_are_a_page() -> Result<()> {
    let Some(past) = Past::new(many)? else {
        return Ok(());
    };
    let browser = &past.browser;
    past.open()?;
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
    Ok(())
}

#[test]
fn an_answer_that_comes_late_is_not_shown() -> Result<()> {
    let Some(past) = Past::new(busy_day)? else {
        return Ok(());
    };
    let browser = &past.browser;
    // Nor is anything wanted of the browser's storage.
    browser.command(
        "Page.addScriptToEvaluateOnNewDocument",
        &json!({ "source": BLOCKED }),
    )?;
    past.open()?;
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
    Ok(())
}
