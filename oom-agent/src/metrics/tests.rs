//! Everything that a scrape shows, in both formats; what was before this start.

use std::{
    collections::BTreeSet,
    thread,
    time::{Duration, Instant},
};

use super::*;
use crate::{
    correlate::Counts,
    deliver::SinkStatus,
    detect::Tally,
    event::{Cgroup, OomInstance, OomKill, Owner, OwnerKind, Scope, Timestamp},
    hub::{Output as _, Queue},
    status::{Board, Facts, Summary},
    store::{Batch, Entry, Store},
};

const PATIENCE: Duration = Duration::from_secs(20);

fn board(detecting: bool) -> Board {
    let facts = Facts {
        tier: "bpf, full".into(),
        store: Some("/somewhere".into()),
        unwanted: ["kmsg"].into(),
        ..Facts::default()
    };
    Board::new(
        facts,
        Box::new(move || detecting.then(counted)),
        Box::new(|| 3),
        Box::new(Vec::new),
    )
}

/// With a sink.
fn status(detecting: bool) -> Status {
    let mut status = board(detecting).read();
    status.sinks.push(SinkStatus {
        sink: "kubernetes".into(),
        up: Some(true),
        since: Timestamp::from_unix_ns(0),
        last_error: None,
        delivered: 5,
        refused: 1,
        lost: 0,
        retries: 2,
        through: 9,
        behind: 7,
    });
    status
}

fn counted() -> Summary {
    let counts = Counts {
        kmsg_lost: 4,
        ..Counts::default()
    };
    Summary {
        tally: Tally {
            counts,
            unexplained: Some(-1),
            kernel_kills: Some(9),
            ..Tally::default()
        },
        ..Summary::default()
    }
}

fn kill(id: &str, path: &str, at_ns: i128) -> OomKill {
    let cgroup = Cgroup {
        path: Some(path.into()),
        id: None,
        version: None,
    };
    OomKill {
        id: id.into(),
        time: Some(Timestamp::from_unix_ns(at_ns)),
        cgroup: Some(cgroup),
        owner: Some(Owner {
            container_name: Some("cart".into()),
            container_id: Some("c".into()),
            image: Some("shop/\"app\"".into()),
            ..Owner::of(OwnerKind::Container)
        }),
        detection_latency_ns: Some(84_000),
        ..OomKill::for_tests()
    }
}

fn now_ns() -> i128 {
    let now = Now::read();
    now.wall(now.monotonic_ns).as_unix_ns()
}

/// As the daemon starts it, and the queue that the hub would have.
fn started() -> (Metrics, Queue) {
    start(&Options::default(), None).unwrap()
}

/// What a scrape shows once it has this line.
fn shown(metrics: &Metrics, line: &str) -> String {
    let end = Instant::now() + PATIENCE;
    loop {
        let text = metrics.encode(Format::OpenMetrics, &status(true));
        if text.lines().any(|it| it == line) {
            return text;
        }
        assert!(Instant::now() < end, "no {line} in\n{text}");
        thread::yield_now();
    }
}

fn container(path: &str, kills: u64) -> String {
    format!(
        "container_oom_events_total{{container=\"\",id=\"{path}\",image=\"shop/\\\"app\\\"\",\
         name=\"cart\",namespace=\"\",pod=\"\"}} {kills}"
    )
}

#[test]
fn a_scrape_shows_kills_and_how_the_agent_is() {
    let (metrics, mut queue) = started();
    shown(&metrics, "oom_container_series 0");
    let kill = kill("a", "/scratch/c", 1_500_000_000_250_000_000);
    let report = OomInstance {
        scope: Some(Scope::Memcg),
        ..OomInstance::for_tests(vec![kill.clone()])
    };
    queue.offer(&Arc::new(Event::OomKill(Box::new(kill))));
    queue.offer(&Arc::new(Event::OomInstance(Box::new(report))));
    let text = shown(
        &metrics,
        "oom_kills_total{owner=\"container\",scope=\"memcg\"} 1",
    );
    let series = container("/scratch/c", 1);
    let build = format!(
        "oom_agent_build_info{{version=\"{}\"}} 1",
        env!("CARGO_PKG_VERSION")
    );
    for line in [
        series.as_str(),
        &series
            .replace(
                "container_oom_events_total",
                "oom_container_last_kill_timestamp_seconds",
            )
            .replace("} 1", "} 1500000000.25"),
        &build,
        "oom_instances_total{outcome=\"killed\",scope=\"memcg\"} 1",
        "oom_detection_latency_seconds_count 1",
        "oom_agent_tier_info{tier=\"bpf, full\"} 1",
        "oom_agent_detecting 1",
        "oom_source_up{source=\"audit\"} 1",
        "oom_source_up{source=\"bpf\"} 0",
        "oom_source_up{source=\"victims\"} 0",
        "# TYPE oom_unexplained_kills_total unknown",
        "oom_unexplained_kills_total -1",
        "oom_kernel_kills_total 9",
        "oom_repeats_total 0",
        "oom_ring_dropped_total 0",
        "oom_kmsg_lost_records_total 4",
        "oom_unstored_total 0",
        "oom_store_waiting_events 0",
        "oom_sink_up{sink=\"kubernetes\"} 1",
        "oom_sink_behind_events{sink=\"kubernetes\"} 7",
        "oom_sink_refused_total{sink=\"kubernetes\"} 1",
        "oom_subscribers 3",
        "oom_metrics_missed_events_total 0",
        "oom_container_expired_kills_total 0",
    ] {
        assert!(text.lines().any(|it| it == line), "no {line} in\n{text}");
    }
    assert!(text.contains("\noom_agent_start_time_seconds "), "{text}");
    // Nobody has asked for it.
    assert!(!text.contains("source=\"kmsg\""), "{text}");
    assert!(text.ends_with("\n# EOF\n"));
    let comments = |line: &&str| line.starts_with("# ");
    for line in text.lines().filter(comments) {
        assert!(!line.contains('\\') && !line.ends_with(".."), "{line}");
    }
    let losses = Summary::default().losses().len();
    let shown = text.matches(" counter\noom_").count();
    assert!(shown > losses, "{shown} counters for {losses} losses");
}

/// What the alerts and the dashboard ask for.
#[test]
fn every_metric_that_is_asked_for_is_shown() {
    let (metrics, mut queue) = started();
    queue.offer(&Arc::new(Event::OomKill(Box::new(kill("a", "/c", 0)))));
    let text = shown(&metrics, &container("/c", 1));
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    let shown: BTreeSet<_> = samples
        .filter_map(|line| line.split(['{', ' ']).next())
        .collect();
    let asked_for = regex::Regex::new(r"\b(?:container_oom|oom)_[a-z_]+").unwrap();
    let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging");
    for file in ["prometheus/rules.yml", "grafana/oom-agent.json"] {
        let text = std::fs::read_to_string(packaging.join(file)).unwrap();
        let names: BTreeSet<_> = asked_for.find_iter(&text).map(|it| it.as_str()).collect();
        assert!(names.len() > 10);
        let missing: Vec<_> = names.difference(&shown).collect();
        assert!(missing.is_empty(), "{file} asks for {missing:?}");
    }
}

#[test]
fn a_detection_that_does_not_answer_shows_no_counts() {
    let (metrics, _queue) = started();
    let text = metrics.encode(Format::Classic, &status(false));
    assert!(text.contains("\noom_agent_detecting 0\n"), "{text}");
    assert!(text.contains("\noom_sink_up{sink=\"kubernetes\"} 1\n"));
    for absent in ["oom_source_up", "oom_unexplained", "oom_ring_dropped"] {
        assert!(!text.contains(absent), "{text}");
    }
}

fn commit(store: &mut Store, kills: impl IntoIterator<Item = OomKill>) {
    let mut batch = Batch::default();
    let events = kills.into_iter().map(Box::new).map(Event::OomKill);
    batch.extend(events.map(|event| Entry::Event(Arc::new(event))));
    store.commit(&batch, &Now::read()).unwrap();
}

#[test]
fn containers_that_were_killed_before_this_start_are_shown() {
    const HOUR: i128 = 3_600_000_000_000;
    let dir = tempfile::tempdir().unwrap();
    let now = now_ns();
    let mut history = kill("h", "/scratch/c", now);
    history.backfill = true;
    let many = (0..600).map(|n| kill(&format!("many-{n}"), "/many", now - 2 * HOUR));
    let kills = [
        kill("a", "/scratch/c", now - 40 * HOUR),
        kill("d", "/long-ago", now - 30 * HOUR),
        kill("b", "/scratch/c", now - 20 * HOUR),
        kill("c", "/scratch/c", now - HOUR),
        // As a clock that was set back leaves it.
        kill("e", "/to-come", now + HOUR),
        history,
    ]
    .into_iter()
    .chain(many);
    let path = dir.path().join("events.db");
    let mut store = Store::open(&path, "boot", 0).unwrap();
    commit(&mut store, kills);
    let (metrics, mut queue) = start(&Options::default(), Some(&path)).unwrap();
    // What is stored from now on comes by the queue.
    commit(&mut store, [kill("late", "/late", now)]);
    // What goes on over the hours goes on with its number.
    let text = shown(&metrics, &container("/scratch/c", 3));
    for line in [
        container("/many", 600),
        container("/to-come", 1),
        "oom_container_series 3".to_owned(),
        "oom_container_expired_kills_total 1".to_owned(),
        // Those of this start.
        "oom_kills_total{owner=\"container\",scope=\"memcg\"} 0".to_owned(),
    ] {
        assert!(text.lines().any(|it| it == line), "no {line} in\n{text}");
    }
    assert!(!text.contains("/late"), "{text}");
    queue.offer(&Arc::new(Event::OomKill(Box::new(kill("f", "/many", now)))));
    shown(&metrics, &container("/many", 601));
}

#[test]
fn no_series_are_shown_before_those_of_before_are_read() {
    let queued = Arc::new(queue().1);
    let metrics = Metrics::new(queued, Now::read());
    let scrape = || metrics.encode(Format::OpenMetrics, &board(false).read());
    assert!(!scrape().contains("container_oom_events"));
    metrics.begin(
        Book::new(Limits {
            keep_ns: 1,
            series: 1,
        }),
        None,
    );
    assert!(scrape().contains("# TYPE container_oom_events counter"));
}

#[test]
fn what_has_no_room_is_one_series_and_what_was_kept_long_enough_ends() {
    let queued = Arc::new(queue().1);
    let metrics = Metrics::new(queued, Now::read());
    metrics.begin(
        Book::new(Limits {
            keep_ns: u64::MAX,
            series: 1,
        }),
        None,
    );
    let now = Now::read();
    for path in ["/a", "/b"] {
        metrics.count(&Event::OomKill(Box::new(kill(path, path, 0))), &now);
    }
    let text = metrics.encode(Format::OpenMetrics, &board(false).read());
    let overflow = "container_oom_events_total{container=\"\",id=\"overflow\",image=\"\",name=\"\",\
                    namespace=\"\",pod=\"\"} 1";
    for line in [overflow, &container("/b", 1), "oom_container_series 1"] {
        assert!(text.lines().any(|it| it == line), "no {line} in\n{text}");
    }
}
