//! How the page says that an agent is: by what the agent found wrong itself, and as nothing else.

use anyhow::{Result, ensure};
use oom_agent::status::Status;
use serde_json::{Value, json};

use crate::past::{Past, busy_day};

/// Of an agent by the log alone, which was chosen.
fn status(unexplained: Option<i64>, kmsg: bool, losses: &Value) -> Result<Status> {
    let mut status: Status = serde_json::from_value(json!({
        "version": "0", "wire_version": 1, "pid": 7, "started": "2026-11-21T00:00:00Z", "node": "n", "boot_id": null,
        "tier": "kmsg (the kernel log alone)", "not_better": [], "ready": true, "detecting": true,
        "sources": [
            {"name": "bpf", "up": false, "wanted": false, "reason": "not asked for"},
            {"name": "kmsg", "up": kmsg, "wanted": true, "reason": null},
        ],
        "audit": {"kernel": unexplained, "kills": 0, "instances": 0, "repeats": 0, "unexplained": unexplained},
        "losses": losses, "store": null, "sinks": [], "subscribers": 0, "protections": [],
    }))?;
    status.troubles = status.judge();
    Ok(status)
}

#[test]
fn the_verdict_is_the_agents() -> Result<()> {
    let Some(past) = Past::new(busy_day)? else {
        return Ok(());
    };
    let browser = &past.browser;
    for (status, head, class, bad) in [
        (
            status(
                Some(0),
                true,
                &json!({"suppressed_reports": 900, "bare_marks": 2}),
            )?,
            "kmsg, all explained",
            "state good",
            json!([]),
        ),
        (
            status(None, true, &json!({}))?,
            "kmsg, no counter",
            "state muted",
            json!([]),
        ),
        (
            status(Some(0), false, &json!({}))?,
            "no source that can see a kill is up and 1 more",
            "state bad",
            json!(["✗ kmsg"]),
        ),
        (
            status(
                Some(0),
                true,
                &json!({"kmsg_lost": 5, "forged": 1, "unstored": 2}),
            )?,
            "unstored: 2",
            "state bad",
            json!(["unstored: 2"]),
        ),
    ] {
        let answer = serde_json::to_string(&status)?;
        let source = format!(
            "{{ const ask = window.fetch; window.fetch = async (url, options) => String(url).includes('v1/status')
               ? new Response({}, {{ headers: {{ 'content-type': 'application/json' }} }}) : ask(url, options); }}",
            json!(answer)
        );
        browser.command(
            "Page.addScriptToEvaluateOnNewDocument",
            &json!({ "source": source }),
        )?;
        past.open()?;
        let said = format!(
            "return document.getElementById('to-status').textContent === {}",
            json!(head)
        );
        browser.wait(head, &said)?;
        let found = browser.run(
            "return [document.getElementById('to-status').className,
                [...document.querySelectorAll('#status .bad')].map((one) => one.textContent)]",
        )?;
        ensure!(found == json!([class, bad]), "{head}: {found}");
    }
    let complaints = browser.complaints()?;
    ensure!(complaints.is_empty(), "{complaints:#?}");
    Ok(())
}
