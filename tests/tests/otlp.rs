//! Kills as log records, and metrics, told to collectors of the test: one on the service definitions of OTLP over
//! gRPC, and one over HTTP.
//!
//! `cargo test -p oom-tests --test otlp`; the last one as root. Whatever the collector does, each record is taken once
//! by its `log.record.uid`, or is a dead letter with a reason.

#![cfg(not(target_env = "musl"))]

use std::{
    collections::BTreeSet,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use oom_agent::{
    correlate::Host,
    deliver::Posts,
    event::Kind,
    otlp::{Counted, Options, Otlp, OtlpError, Protocol},
};
use oom_tests::{
    agent::Launch,
    collector::{Collector, Fault, records, text},
    delivering::{Delivering, Place},
    kept::Kept,
    machine::Machine,
    receiver::{self, Receiver},
    scene,
    told::BOOT,
};
use opentelemetry_proto::tonic::{
    collector::logs::v1::{
        ExportLogsPartialSuccess, ExportLogsServiceRequest, ExportLogsServiceResponse,
    },
    metrics::v1::metric::Data,
};
use prost::Message;
use rustix::process::Signal;
use tonic::{Code, Status};

/// How long the collector may take, where it is to hang.
const PATIENCE: Duration = Duration::from_millis(500);

/// `google.rpc.Status` with a `RetryInfo` of one second, as it is on the wire.
const RETRY_IN_A_SECOND: &[u8] =
    b"\x1a\x30\x0a\x28type.googleapis.com/google.rpc.RetryInfo\x12\x04\x0a\x02\x08\x01";

fn options(to: &str, protocol: Protocol) -> Result<Options> {
    Ok(Options {
        to: to.parse()?,
        protocol: Some(protocol),
        kinds: vec![Kind::OomInstance],
        resource: Vec::new(),
        headers: None,
        ca: None,
        insecure: false,
        metrics_interval: Duration::ZERO,
    })
}

fn sink(options: &Options) -> Result<Posts<Otlp>, OtlpError> {
    let otlp = Otlp::patient(
        options,
        &Host::new(BOOT, "node-1"),
        Path::new("/"),
        Counted::default(),
        PATIENCE,
    );
    Ok(Posts::new(otlp?))
}

fn by_grpc(place: &Place, collector: &Collector) -> Result<Delivering> {
    place.deliver(sink(&options(&collector.url(), Protocol::Grpc)?)?)
}

fn uids(numbers: impl IntoIterator<Item = u64>) -> Vec<String> {
    let uid = |n| format!("OomInstance:oom-{n}");
    numbers.into_iter().map(uid).collect()
}

fn taken(collector: &Collector) -> Vec<String> {
    collector.with(|taken| taken.texts("log.record.uid"))
}

/// Tells one report to a collector that fails so at first.
fn failing(faults: Vec<Fault>) -> Result<()> {
    let collector = Collector::plain()?;
    let failed = u64::try_from(faults.len())?;
    collector.fail(faults);
    let place = Place::new()?;
    let delivering = by_grpc(&place, &collector)?;
    delivering.kill(0);
    delivering.goes("done", |it| it.delivered == 1)?;
    let (status, dead) = delivering.end()?;
    ensure!(
        status.retries == failed && status.up == Some(true),
        "{status:?}"
    );
    ensure!(dead.dead_letters.is_empty(), "{dead:?}");
    ensure!(taken(&collector) == uids(0..1), "{:?}", taken(&collector));
    Ok(())
}

#[test]
fn a_busy_collector_is_asked_again_when_it_says() -> Result<()> {
    let details = RETRY_IN_A_SECOND.into();
    let busy = Status::with_details(Code::Unavailable, "busy", details);
    let begun = Instant::now();
    failing(vec![Fault::Status(busy)])?;
    ensure!(
        begun.elapsed() >= Duration::from_secs(1),
        "{:?}",
        begun.elapsed()
    );
    Ok(())
}

#[test]
fn a_collector_that_hangs_or_errs_is_asked_again() -> Result<()> {
    let internal = Fault::Status(Status::internal("out of luck"));
    failing(vec![Fault::Hangs, internal])
}

#[test]
fn of_a_partial_success_the_rest_is_told_to_be_lost() -> Result<()> {
    let mut collector = Collector::plain()?;
    collector.stop();
    let place = Place::new()?;
    let delivering = by_grpc(&place, &collector)?;
    delivering.kills(0..5);
    delivering.stored(4)?;
    collector.fail([Fault::Rejects(2)]);
    collector.go_on()?;
    delivering.goes("done", |it| it.delivered == 3)?;
    let (status, dead) = delivering.end()?;
    ensure!((status.refused, status.behind) == (2, 0), "{status:?}");
    let letter = dead.dead_letters.first().context("dead letter")?;
    ensure!(
        letter.count == 2 && letter.why == "rejected: too old",
        "{letter:?}"
    );
    ensure!(collector.with(|it| it.requests.len()) == 1, "told again");
    Ok(())
}

#[test]
fn what_is_refused_is_a_dead_letter() -> Result<()> {
    let collector = Collector::plain()?;
    let place = Place::new()?;
    let delivering = by_grpc(&place, &collector)?;
    delivering.kill(0);
    delivering.goes("told", |it| it.delivered == 1)?;
    collector.fail([Fault::Status(Status::invalid_argument("no such thing"))]);
    delivering.kill(1);
    delivering.goes("refused", |it| it.refused == 1)?;
    delivering.kill(2);
    delivering.goes("done", |it| it.delivered == 2)?;
    let (_, dead) = delivering.end()?;
    let letter = dead.dead_letters.first().context("dead letter")?;
    ensure!(
        letter.sink == "otlp" && letter.id.as_deref() == Some("oom-1"),
        "{letter:?}"
    );
    ensure!(letter.why == "InvalidArgument: no such thing", "{letter:?}");
    Ok(())
}

#[test]
fn a_collector_that_is_away_gets_all_once() -> Result<()> {
    const KILLS: u64 = 300;
    let mut collector = Collector::plain()?;
    let place = Place::new()?;
    let delivering = by_grpc(&place, &collector)?;
    delivering.kill(0);
    delivering.goes("told", |it| it.delivered == 1)?;
    // With a connection that was used.
    collector.stop();
    delivering.kills(1..KILLS);
    delivering.stored(KILLS - 1)?;
    delivering.goes("down", |it| it.up == Some(false))?;
    collector.go_on()?;
    delivering.goes("done", |it| it.delivered == KILLS)?;
    let (_, dead) = delivering.end()?;
    ensure!(dead.dead_letters.is_empty(), "{dead:?}");
    ensure!(
        taken(&collector) == uids(0..KILLS),
        "{}",
        taken(&collector).len()
    );
    // Another agent has nothing more to tell.
    let delivering = by_grpc(&place, &collector)?;
    delivering.kill(KILLS);
    delivering.goes("done", |it| it.delivered == 1)?;
    delivering.end()?;
    ensure!(taken(&collector).len() as u64 == KILLS + 1);
    Ok(())
}

#[test]
fn over_http_the_same() -> Result<()> {
    let mut receiver = Receiver::plain()?;
    receiver.stop();
    let place = Place::new()?;
    let delivering = place.deliver(sink(&options(&receiver.url("/otlp"), Protocol::Http)?)?)?;
    delivering.kills(0..4);
    delivering.stored(3)?;
    let partial = ExportLogsServiceResponse {
        partial_success: Some(ExportLogsPartialSuccess {
            rejected_log_records: 1,
            error_message: "too old".to_owned(),
        }),
    };
    receiver.answer([partial.encode_to_vec().into()]);
    receiver.fail([
        receiver::Fault::Status(429, Some("1".to_owned())),
        receiver::Fault::Reset,
    ]);
    receiver.go_on()?;
    let status = delivering.goes("done", |it| it.delivered == 3)?;
    ensure!(status.refused == 1, "{status:?}");
    delivering.end()?;
    let taken = receiver.taken();
    let told = &taken[0];
    ensure!(told.path == "/otlp/v1/logs", "{}", told.path);
    ensure!(told.headers["content-type"] == "application/x-protobuf");
    let uids_of = |body: &[u8]| -> Result<BTreeSet<String>> {
        let request = ExportLogsServiceRequest::decode(body)?;
        let of = records(&request).filter_map(|it| text(&it.attributes, "log.record.uid"));
        Ok(of.collect())
    };
    let mut all = BTreeSet::new();
    for sent in &taken {
        all.extend(uids_of(&sent.body)?);
    }
    ensure!(all == uids(0..4).into_iter().collect(), "{all:?}");
    Ok(())
}

/// A real kill, a real agent with all its protections, over TLS: the records, and the metrics.
#[test]
fn a_confined_agent_tells_a_real_kill() -> Result<()> {
    let Some(machine) = Machine::alone()? else {
        return Ok(());
    };
    let collector = Collector::tls()?;
    let place = Place::new()?;
    let ca = place.file("ca.crt", collector.authority())?;
    let headers = place.file("headers", "api-key: of-the-tests\n")?;
    let kept = Kept::without_pins()?;
    let mut args = kept.args();
    let text_of = |path: &Path| path.to_string_lossy().into_owned();
    args.extend(["--otlp".to_owned(), collector.url()]);
    args.extend(["--otlp-ca".to_owned(), text_of(&ca)]);
    args.extend(["--otlp-headers-file".to_owned(), text_of(&headers)]);
    let words = "--otlp-protocol grpc --otlp-metrics-interval 1 --socket none --node node-1 \
                 --cluster prod --otlp-resource deployment.environment.name=test";
    args.extend(words.split_whitespace().map(str::to_owned));
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let agent = Launch::run(&args).keeping().start()?;
    let truth = scene::one_kill(&machine.hierarchy)?;
    let (kill, instance) = agent.wait_for_death(truth.tid)?;
    let id = |event: &serde_json::Value| event["id"].as_str().unwrap_or_default().to_owned();
    let wanted = [
        format!("OomKill:{}", id(&kill)),
        format!("OomInstance:{}", id(&instance)),
    ];
    collector.wait("records", |taken| {
        let uids = taken.texts("log.record.uid");
        wanted.iter().all(|uid| uids.contains(uid))
    })?;
    collector.wait("metrics", |taken| {
        let kills = taken.metric("oom_kills").and_then(|it| it.data);
        let Some(Data::Sum(kills)) = kills else {
            return false;
        };
        kills.is_monotonic
            && kills
                .data_points
                .iter()
                .all(|it| it.start_time_unix_nano > 0)
            && taken.metric("container_oom_events").is_some()
            && taken.metric("oom_detection_latency_seconds").is_some()
    })?;
    let finished = agent.stop(Signal::TERM)?;
    finished.says(&["confined by:", "seccomp"])?;
    collector.with(|taken| {
        let uid = |it: &&_| text(attributes(it), "log.record.uid").as_ref() == Some(&wanted[0]);
        let record = taken.records.iter().find(uid).context("record")?;
        ensure!(
            record.event_name == "oom.kill" && record.severity_text == "ERROR",
            "{record:?}"
        );
        let pid = text(&record.attributes, "process.pid");
        ensure!(
            pid.as_deref() == Some(&*kill["victim"]["pid"].to_string()),
            "{pid:?}"
        );
        let request = taken.requests.first().context("request")?;
        let resource = request.resource_logs[0]
            .resource
            .as_ref()
            .context("resource")?;
        for (key, value) in [
            ("service.name", "oom-agent"),
            ("host.name", "node-1"),
            ("k8s.cluster.name", "prod"),
            ("deployment.environment.name", "test"),
        ] {
            let found = text(&resource.attributes, key);
            ensure!(found.as_deref() == Some(value), "{key}: {found:?}");
        }
        let key = taken.metadata.get("api-key").context("api-key")?;
        ensure!(key == "of-the-tests");
        Ok(())
    })
}

fn attributes(
    record: &opentelemetry_proto::tonic::logs::v1::LogRecord,
) -> &[opentelemetry_proto::tonic::common::v1::KeyValue] {
    &record.attributes
}
