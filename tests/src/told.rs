//! Entries for a store: events of a real kernel log, under as many ids as are wanted.

use anyhow::{Context as _, Result};
use oom_agent::{
    clock::Now,
    correlate::Host,
    event::{Event, OomKill, Owner, OwnerKind, Pod, Timestamp},
    evidence::Evidence,
    offline,
    store::{Entry, RingPlace, Run, Snapshot},
};

/// One kill and its report.
const LOG: &[u8] = include_bytes!("../../oom-agent/tests/kmsg/6.1-v1-single.kmsg");

/// The boot of these events.
pub const BOOT: &str = "5f1f2e6a-7f2b-4a63-8f0e-1d1f0d4c9a11";

/// What a kill makes, in the order of detection: evidence, the alert, the report.
#[derive(Clone, Debug)]
pub struct Kills {
    kill: Event,
    report: Event,
}

impl Kills {
    /// Reads the log.
    pub fn new() -> Result<Self> {
        let mut events = Vec::new();
        offline::read(
            LOG,
            &offline::Options::new(Timestamp::from_unix_ns(0)),
            &mut |event: Event| {
                events.push(event);
            },
        )?;
        let mut events = events.into_iter();
        Ok(Self {
            kill: events.next().context("no kill")?,
            report: events.next().context("no report")?,
        })
    }

    /// The entries of one.
    #[must_use]
    pub fn entries(&self, n: u64) -> [Entry; 3] {
        let (mut kill, mut report) = (self.kill.clone(), self.report.clone());
        if let Event::OomKill(kill) = &mut kill {
            kill.id = format!("kill-{n}").into();
        }
        if let Event::OomInstance(report) = &mut report {
            report.id = format!("oom-{n}").into();
        }
        let evidence = Entry::Evidence {
            evidence: Box::new(Evidence::RingGap { lost: n }),
            now: Now {
                monotonic_ns: n,
                ..Now::default()
            },
            ring: Some(RingPlace { end: n, seq: n }),
        };
        [
            evidence,
            Entry::Event(kill.into()),
            Entry::Event(report.into()),
        ]
    }
}

/// The report of a kill with this number in a pod of this name in the namespace `shop`, so many seconds after
/// the epoch.
#[must_use]
pub fn report_in_pod(kills: &Kills, n: u64, pod: &str, seconds: u64) -> Entry {
    let mut report = kills.report.clone();
    if let Event::OomInstance(report) = &mut report {
        report.id = format!("oom-{n}").into();
        report.time = Some(at(seconds));
        report.kills.truncate(1);
        for kill in &mut report.kills {
            place(kill, n, pod, seconds);
        }
    }
    Entry::Event(report.into())
}

/// That kill alone.
#[must_use]
pub fn kill_in_pod(kills: &Kills, n: u64, pod: &str, seconds: u64) -> Entry {
    let mut kill = kills.kill.clone();
    if let Event::OomKill(kill) = &mut kill {
        kill.instance_id = format!("oom-{n}").into();
        place(kill, n, pod, seconds);
    }
    Entry::Event(kill.into())
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_unix_ns(i128::from(seconds) * 1_000_000_000)
}

fn place(kill: &mut OomKill, n: u64, pod: &str, seconds: u64) {
    kill.id = format!("{BOOT}-{n}").into();
    kill.time = Some(at(seconds));
    kill.owner = Some(Owner {
        container_name: Some("app".to_owned()),
        pod: Some(Pod {
            namespace: Some("shop".to_owned()),
            name: Some(pod.to_owned()),
            uid: format!("uid-of-{pod}"),
            qos: None,
        }),
        ..Owner::of(OwnerKind::Container)
    });
}

/// The report of a machine full of tasks: so many rows, all alike.
#[must_use]
pub fn long_report(kills: &Kills, n: u64, rows: usize) -> Entry {
    let mut report = kills.report.clone();
    if let Event::OomInstance(report) = &mut report {
        report.id = format!("long-{n}").into();
        let row = report.tasks.first().cloned();
        report.tasks.extend(row.into_iter().cycle().take(rows));
    }
    Entry::Event(report.into())
}

/// A quiet moment behind the kill with this number.
#[must_use]
pub fn quiet(n: u64) -> Entry {
    Entry::Quiet(Box::new(Snapshot {
        monotonic_ns: n,
        state: n.to_le_bytes().to_vec(),
    }))
}

/// A node in that boot.
#[must_use]
pub fn host() -> Host {
    Host::new(BOOT, "node-1")
}

/// A start.
#[must_use]
pub fn run() -> Run {
    Run {
        pid: std::process::id(),
        pid_start_ns: None,
        started: Timestamp::from_unix_ns(0),
        version: "test".into(),
        ring_generation: None,
        first_log: None,
    }
}
