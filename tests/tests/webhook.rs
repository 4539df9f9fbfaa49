//! Kills as CloudEvents, posted to a server of the test.
//!
//! `cargo test -p oom-tests --test webhook`; the last one as root. Whatever the server does, each event is taken
//! once by its id, or is a dead letter with a reason.

#![cfg(not(target_env = "musl"))]

use std::{collections::BTreeSet, time::Duration};

use anyhow::{Context as _, Result, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use hmac::{Hmac, KeyInit as _, Mac as _};
use oom_agent::{
    correlate::Host,
    deliver::Posts,
    event::Kind,
    webhook::{Options, Webhook, WebhookError},
};
use oom_tests::{
    agent::Launch,
    delivering::Place,
    kept::Kept,
    machine::Machine,
    receiver::{Fault, Receiver, Sent},
    scene,
    told::BOOT,
};
use rustix::process::Signal;
use serde_json::Value;
use sha2::Sha256;

/// How long the server may take, where it is to hang.
const PATIENCE: Duration = Duration::from_millis(500);

const KEY: &[u8] = b"a key of the tests, as long as it must be";

fn options(to: &str) -> Result<Options> {
    Ok(Options {
        to: to.parse()?,
        kinds: vec![Kind::OomInstance],
        batch: 1,
        source: None,
        secret: None,
        headers: None,
        ca: None,
        insecure: false,
    })
}

fn sink(options: &Options) -> Result<Posts<Webhook>, WebhookError> {
    Ok(Posts::new(Webhook::patient(
        options,
        &Host::new(BOOT, "node-1"),
        PATIENCE,
    )?))
}

/// The events of a request.
fn events(sent: &Sent) -> Result<Vec<Value>> {
    let body: Value = serde_json::from_slice(&sent.body)?;
    Ok(match body {
        Value::Array(events) => events,
        one => vec![one],
    })
}

/// The ids of all events that were taken, in their order.
fn ids(receiver: &Receiver) -> Result<Vec<String>> {
    let mut ids = Vec::new();
    for sent in receiver.taken() {
        for event in events(&sent)? {
            ids.push(event["id"].as_str().context("id")?.to_owned());
        }
    }
    Ok(ids)
}

fn reports(numbers: impl IntoIterator<Item = u64>) -> Vec<String> {
    let id = |n| format!("OomInstance:oom-{n}");
    numbers.into_iter().map(id).collect()
}

/// What the server says of itself is right: as a receiver checks it.
fn verify(sent: &Sent) -> Result<()> {
    let text = |name: &str| {
        sent.headers
            .get(name)
            .context("header")?
            .to_str()
            .context("text")
    };
    let (id, timestamp) = (text("webhook-id")?, text("webhook-timestamp")?);
    let signature = text("webhook-signature")?;
    let signature = signature.strip_prefix("v1,").context("v1")?;
    let mut mac = Hmac::<Sha256>::new_from_slice(KEY)?;
    mac.update(format!("{id}.{timestamp}.").as_bytes());
    mac.update(&sent.body);
    mac.verify_slice(&STANDARD.decode(signature)?)?;
    let sent_at: u64 = timestamp.parse()?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    ensure!(now.as_secs().abs_diff(sent_at) < 300, "{timestamp}");
    Ok(())
}

/// Posts two reports to a server that fails so at first; what it was asked.
fn failing(faults: Vec<Fault>, statuses: &[u16]) -> Result<Vec<Sent>> {
    let receiver = Receiver::plain()?;
    let failed = u64::try_from(faults.len())?;
    receiver.fail(faults);
    let place = Place::new()?;
    let delivering = place.deliver(sink(&options(&receiver.url("/hook"))?)?)?;
    delivering.kills(0..2);
    delivering.goes("done", |it| it.delivered == 2)?;
    let (status, dead) = delivering.end()?;
    let requests = receiver.requests();
    let told: Vec<u16> = requests.iter().map(|it| it.status).collect();
    ensure!(told == [statuses, &[200, 200]].concat(), "{told:?}");
    ensure!(ids(&receiver)? == reports(0..2), "{:?}", ids(&receiver));
    ensure!(
        status.retries == failed && status.up == Some(true),
        "{status:?}"
    );
    ensure!(dead.dead_letters.is_empty(), "{dead:?}");
    Ok(requests)
}

#[test]
fn a_busy_server_is_asked_again_when_it_says() -> Result<()> {
    let faults = vec![
        Fault::Status(429, Some("1".to_owned())),
        Fault::Status(503, None),
    ];
    let requests = failing(faults, &[429, 503])?;
    let waited = requests[1].at - requests[0].at;
    ensure!(waited >= Duration::from_secs(1), "{waited:?}");
    Ok(())
}

#[test]
fn a_server_that_hangs_or_breaks_off_is_asked_again() -> Result<()> {
    failing(vec![Fault::Hangs, Fault::Reset], &[0, 0]).map(drop)
}

#[test]
fn a_redirect_is_not_followed() -> Result<()> {
    let elsewhere = Receiver::plain()?;
    failing(vec![Fault::Redirect(elsewhere.url("/"))], &[307])?;
    ensure!(elsewhere.requests().is_empty());
    Ok(())
}

#[test]
fn an_internal_error_and_a_slip_of_the_address_are_waited_out() -> Result<()> {
    failing(
        vec![Fault::Status(500, None), Fault::Status(404, None)],
        &[500, 404],
    )
    .map(drop)
}

#[test]
fn what_is_refused_is_a_dead_letter_at_once_and_holds_up_nothing() -> Result<()> {
    let receiver = Receiver::plain()?;
    receiver.poison("OomInstance:oom-1\"", 422);
    let place = Place::new()?;
    let delivering = place.deliver(sink(&options(&receiver.url("/"))?)?)?;
    for n in 0..3 {
        delivering.kill(n);
        delivering.stored(n)?;
    }
    delivering.goes("done", |it| it.delivered == 2)?;
    let (status, dead) = delivering.end()?;
    ensure!((status.refused, status.behind) == (1, 0), "{status:?}");
    let [letter] = dead.dead_letters.as_slice() else {
        anyhow::bail!("{dead:?}");
    };
    ensure!(letter.sink == "webhook" && letter.tries == 1, "{letter:?}");
    ensure!(letter.id.as_deref() == Some("oom-1"), "{letter:?}");
    ensure!(
        letter.why == "422 Unprocessable Entity: not this",
        "{letter:?}"
    );
    ensure!(ids(&receiver)? == reports([0, 2]), "{:?}", ids(&receiver));
    Ok(())
}

/// As with a wrong secret: who has taken nothing yet may mean the agent, not the event.
#[test]
fn who_refuses_from_the_start_is_waited_for() -> Result<()> {
    failing(
        vec![Fault::Status(400, None), Fault::Status(422, None)],
        &[400, 422],
    )
    .map(drop)
}

#[test]
fn a_poison_event_becomes_a_dead_letter_once_others_are_taken() -> Result<()> {
    let receiver = Receiver::plain()?;
    receiver.poison("OomInstance:oom-0\"", 500);
    let place = Place::new()?;
    let batches = Options {
        batch: 10,
        ..options(&receiver.url("/"))?
    };
    let delivering = place.deliver(sink(&batches)?)?;
    delivering.kills(0..4);
    delivering.goes("done", |it| it.delivered == 3)?;
    let (status, dead) = delivering.end()?;
    ensure!((status.refused, status.behind) == (1, 0), "{status:?}");
    let letter = dead.dead_letters.first().context("dead letter")?;
    ensure!(
        letter.id.as_deref() == Some("oom-0") && letter.tries == 10,
        "{letter:?}"
    );
    let taken: BTreeSet<_> = ids(&receiver)?.into_iter().collect();
    ensure!(taken == reports(1..4).into_iter().collect(), "{taken:?}");
    Ok(())
}

#[test]
fn a_server_that_is_away_gets_all_once_in_batches() -> Result<()> {
    const KILLS: u64 = 100;
    let mut receiver = Receiver::plain()?;
    receiver.stop();
    let place = Place::new()?;
    let batches = Options {
        batch: 64,
        ..options(&receiver.url("/"))?
    };
    let delivering = place.deliver(sink(&batches)?)?;
    delivering.kills(0..KILLS);
    delivering.stored(KILLS - 1)?;
    delivering.goes("down", |it| it.up == Some(false))?;
    receiver.go_on()?;
    delivering.goes("done", |it| it.delivered == KILLS)?;
    let (_, dead) = delivering.end()?;
    ensure!(dead.dead_letters.is_empty(), "{dead:?}");
    ensure!(ids(&receiver)? == reports(0..KILLS));
    let requests = receiver.requests();
    ensure!(requests.len() <= 6, "{} requests", requests.len());
    let kind = &requests[0].headers["content-type"];
    ensure!(
        kind == "application/cloudevents-batch+json; charset=utf-8",
        "{kind:?}"
    );
    Ok(())
}

#[test]
fn another_agent_goes_on_where_the_last_was() -> Result<()> {
    let receiver = Receiver::plain()?;
    let place = Place::new()?;
    for n in 0..3 {
        let delivering = place.deliver(sink(&options(&receiver.url("/"))?)?)?;
        delivering.kill(n);
        delivering.stored(n)?;
        delivering.goes("done", |it| it.delivered == 1 && it.behind == 0)?;
        delivering.end()?;
    }
    ensure!(ids(&receiver)? == reports(0..3), "{:?}", ids(&receiver));
    Ok(())
}

#[test]
fn who_is_gone_is_left_alone() -> Result<()> {
    let receiver = Receiver::plain()?;
    receiver.fail([Fault::Status(410, None)]);
    let place = Place::new()?;
    let delivering = place.deliver(sink(&options(&receiver.url("/"))?)?)?;
    delivering.kill(0);
    let status = delivering.goes("down", |it| it.up == Some(false))?;
    ensure!(
        status.last_error.as_deref() == Some("410 Gone: not this"),
        "{status:?}"
    );
    let (status, dead) = delivering.end()?;
    ensure!(
        dead.dead_letters.is_empty() && status.behind > 0,
        "{status:?}"
    );
    ensure!(receiver.requests().len() == 1);
    Ok(())
}

#[test]
fn nothing_leaves_this_machine_in_the_clear_unasked() -> Result<()> {
    let mut elsewhere = options("http://192.0.2.1/")?;
    ensure!(matches!(sink(&elsewhere), Err(WebhookError::Insecure(_))));
    elsewhere.insecure = true;
    ensure!(sink(&elsewhere).is_ok());
    Ok(())
}

/// A real kill, a real agent with all its protections, over TLS, with a signature.
#[test]
fn a_confined_agent_posts_a_real_kill() -> Result<()> {
    let Some(machine) = Machine::alone()? else {
        return Ok(());
    };
    let receiver = Receiver::tls()?;
    let place = Place::new()?;
    let ca = place.file("ca.crt", receiver.authority())?;
    let secret = place.file("secret", &format!("whsec_{}\n", STANDARD.encode(KEY)))?;
    let headers = place.file("headers", "authorization: Bearer of-the-tests\n")?;
    let kept = Kept::without_pins()?;
    let mut args = kept.args();
    let text = |path: &std::path::Path| path.to_string_lossy().into_owned();
    args.extend(["--webhook".to_owned(), receiver.url("/oom?team=a")]);
    args.extend(["--webhook-ca".to_owned(), text(&ca)]);
    args.extend(["--webhook-secret-file".to_owned(), text(&secret)]);
    args.extend(["--webhook-headers-file".to_owned(), text(&headers)]);
    args.extend(["--node", "node-1", "--cluster", "prod"].map(str::to_owned));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let agent = Launch::run(&args).keeping().start()?;
    let truth = scene::one_kill(&machine.hierarchy)?;
    let (kill, instance) = agent.wait_for_death(truth.tid)?;
    let is_of = |sent: &Sent, event: &Value| {
        let told: Option<Value> = serde_json::from_slice(&sent.body).ok();
        told.is_some_and(|told| told["data"] == *event)
    };
    for event in [&kill, &instance] {
        receiver.wait("event", |requests| {
            requests.iter().any(|it| is_of(it, event))
        })?;
    }
    let finished = agent.stop(Signal::TERM)?;
    finished.says(&["confined by:", "seccomp"])?;
    for sent in receiver.requests() {
        verify(&sent)?;
        ensure!(sent.headers["authorization"] == "Bearer of-the-tests");
        ensure!(sent.headers["content-type"] == "application/cloudevents+json; charset=utf-8");
        ensure!(sent.path == "/oom");
    }
    let requests = receiver.requests();
    let sent = requests
        .iter()
        .find(|it| is_of(it, &kill))
        .context("kill")?;
    let told: Value = serde_json::from_slice(&sent.body)?;
    ensure!(
        told["specversion"] == "1.0" && told["type"] == "io.oom-agent.oom_kill",
        "{told:#}"
    );
    ensure!(told["source"] == "/oom-agent/prod/node-1", "{told:#}");
    ensure!(told["time"] == kill["time"], "{told:#}");
    ensure!(sent.headers["webhook-id"] == told["id"].as_str().context("id")?);
    Ok(())
}
