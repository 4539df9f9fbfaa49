//! The figures of one run: a table for people, JSON for the rest.
//!
//! Reads what the other modules measured; emits it twice, in the same words. A figure that is not
//! there is `-` and null.

use std::{collections::HashMap, fmt, fs, thread};

use serde::Serialize;

use super::{
    bpf_stats::Run,
    containers::Containers,
    process::{Idle, Memory},
    summary::Summary,
    watched::Kill,
};

/// All of one run.
#[derive(Debug, Serialize)]
pub(super) struct Report {
    /// `uname -r`.
    pub kernel: Option<String>,
    /// CPUs that the run could use.
    pub cpus: Option<usize>,
    /// The agent that reads BPF.
    pub bpf: Figures,
    /// The agent that reads the kernel log.
    pub kmsg: Figures,
    /// What containers cost.
    pub containers: Option<Containers>,
}

/// What one agent did.
#[derive(Debug, Default, Serialize)]
pub(super) struct Figures {
    /// From exec to armed.
    pub start: Summary,
    /// Kills with a pause between them.
    pub single: Option<Phase>,
    /// Kills as fast as the machine makes them.
    pub storm: Option<Phase>,
    /// Two seconds after the start.
    pub memory_idle: Option<Memory>,
    /// After the storm.
    pub memory_storm: Option<Memory>,
    /// While nothing happened.
    pub idle: Option<Idle>,
    /// All programs together, over as many kills as `single` has.
    pub programs: Option<Run>,
}

/// How fast some kills were seen.
#[derive(Debug, PartialEq, Eq, Serialize)]
pub(super) struct Phase {
    /// Kills made.
    pub kills: u32,
    /// Kills that the agent reported.
    pub reported: usize,
    /// From the kernel's mark until the event had been read from stdout.
    pub latency: Summary,
    /// The agent's own `detection_latency_ns`.
    pub own_latency: Summary,
}

impl Phase {
    /// `marks`: the time of the kernel's mark by thread. A kill without one is counted, not timed.
    pub(super) fn of(kills: &[Kill], marks: &HashMap<u32, u64>, made: u32) -> Self {
        let latency = kills
            .iter()
            .filter_map(|kill| kill.seen_ns.checked_sub(*marks.get(&kill.tid)?));
        Self {
            kills: made,
            reported: kills.len(),
            latency: Summary::of(latency),
            own_latency: Summary::of(kills.iter().filter_map(|kill| kill.detection_latency_ns)),
        }
    }
}

impl Report {
    pub(super) fn new() -> Self {
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").ok();
        Self {
            kernel: kernel.map(|text| text.trim().to_owned()),
            cpus: thread::available_parallelism().ok().map(Into::into),
            bpf: Figures::default(),
            kmsg: Figures::default(),
            containers: None,
        }
    }

    /// The figures of `--source`.
    pub(super) fn of(&mut self, source: &str) -> &mut Figures {
        if source == "bpf" {
            &mut self.bpf
        } else {
            &mut self.kmsg
        }
    }
}

/// How a number is shown.
#[derive(Clone, Copy)]
pub(super) enum Unit {
    Nanoseconds,
    Bytes,
    Number,
    /// Millionths of one.
    Share,
}

/// A line of the table, and where its number is.
type Row = (&'static str, Unit, fn(&Figures) -> Option<u64>);

const ROWS: &[Row] = {
    use Unit::{Bytes, Nanoseconds as Ns, Number};
    &[
        ("single: kills made", Number, |f| {
            Some(f.single.as_ref()?.kills.into())
        }),
        ("single: kills reported", Number, |f| {
            count(f.single.as_ref()?.reported)
        }),
        ("single: mark to stdout, p50", Ns, |f| {
            f.single.as_ref()?.latency.p50_ns
        }),
        ("single: mark to stdout, p99", Ns, |f| {
            f.single.as_ref()?.latency.p99_ns
        }),
        ("single: mark to stdout, max", Ns, |f| {
            f.single.as_ref()?.latency.max_ns
        }),
        ("single: agent's own figure, p50", Ns, |f| {
            f.single.as_ref()?.own_latency.p50_ns
        }),
        ("single: agent's own figure, p99", Ns, |f| {
            f.single.as_ref()?.own_latency.p99_ns
        }),
        ("single: agent's own figure, max", Ns, |f| {
            f.single.as_ref()?.own_latency.max_ns
        }),
        ("storm: kills made", Number, |f| {
            Some(f.storm.as_ref()?.kills.into())
        }),
        ("storm: kills reported", Number, |f| {
            count(f.storm.as_ref()?.reported)
        }),
        ("storm: mark to stdout, p50", Ns, |f| {
            f.storm.as_ref()?.latency.p50_ns
        }),
        ("storm: mark to stdout, p99", Ns, |f| {
            f.storm.as_ref()?.latency.p99_ns
        }),
        ("storm: mark to stdout, max", Ns, |f| {
            f.storm.as_ref()?.latency.max_ns
        }),
        ("storm: agent's own figure, p50", Ns, |f| {
            f.storm.as_ref()?.own_latency.p50_ns
        }),
        ("storm: agent's own figure, p99", Ns, |f| {
            f.storm.as_ref()?.own_latency.p99_ns
        }),
        ("storm: agent's own figure, max", Ns, |f| {
            f.storm.as_ref()?.own_latency.max_ns
        }),
        ("exec to READY, p50", Ns, |f| f.start.p50_ns),
        ("exec to READY, max", Ns, |f| f.start.max_ns),
        ("resident, idle", Bytes, |f| Some(f.memory_idle?.rss_bytes)),
        ("  anonymous", Bytes, |f| Some(f.memory_idle?.anon_bytes)),
        ("  program and libraries", Bytes, |f| {
            Some(f.memory_idle?.file_bytes)
        }),
        ("  shared", Bytes, |f| Some(f.memory_idle?.shmem_bytes)),
        ("resident, after the storm", Bytes, |f| {
            Some(f.memory_storm?.rss_bytes)
        }),
        ("  anonymous", Bytes, |f| Some(f.memory_storm?.anon_bytes)),
        ("  program and libraries", Bytes, |f| {
            Some(f.memory_storm?.file_bytes)
        }),
        ("  shared", Bytes, |f| Some(f.memory_storm?.shmem_bytes)),
        ("idle: seconds", Number, |f| Some(f.idle?.seconds)),
        ("idle: wake-ups", Number, |f| Some(f.idle?.wakeups)),
        ("idle: CPU time", Ns, |f| f.idle?.cpu_ns),
        ("BPF programs: runs", Number, |f| Some(f.programs?.count)),
        ("BPF programs: time per kill", Ns, |f| {
            f.programs?
                .time_ns
                .checked_div(f.single.as_ref()?.kills.into())
        }),
    ]
};

fn count(number: usize) -> Option<u64> {
    number.try_into().ok()
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kernel = self.kernel.as_deref().unwrap_or("unknown");
        let cpus = self.cpus.map_or("?".into(), |cpus| cpus.to_string());
        writeln!(f, "Linux {kernel}, {cpus} CPUs")?;
        writeln!(
            f,
            "{:34}{:>12}{:>12}{:>12}",
            "", "bpf", "kmsg", "kmsg / bpf"
        )?;
        for (name, unit, value) in ROWS {
            let (bpf, kmsg) = (value(&self.bpf), value(&self.kmsg));
            let (shown_bpf, shown_kmsg) = (unit.show(bpf), unit.show(kmsg));
            writeln!(
                f,
                "{name:34}{shown_bpf:>12}{shown_kmsg:>12}{:>12}",
                ratio(*unit, bpf, kmsg)
            )?;
        }
        match &self.containers {
            Some(containers) => containers.fmt(f),
            None => Ok(()),
        }
    }
}

impl Unit {
    #[expect(clippy::cast_precision_loss, reason = "three digits are shown")]
    pub(super) fn show(self, value: Option<u64>) -> String {
        let Some(value) = value else {
            return "-".into();
        };
        let number = value as f64;
        match self {
            Self::Number => value.to_string(),
            Self::Bytes => format!("{:.2} MiB", number / f64::from(1 << 20)),
            Self::Share => format!("{:.3} %", number / 1e4),
            Self::Nanoseconds if value < 10_000 => format!("{value} ns"),
            Self::Nanoseconds if value < 10_000_000 => format!("{:.1} µs", number / 1e3),
            Self::Nanoseconds => format!("{:.1} ms", number / 1e6),
        }
    }
}

/// How many times `one` the `other` is; nothing for plain numbers.
#[expect(clippy::cast_precision_loss, reason = "a few digits are shown")]
pub(super) fn ratio(unit: Unit, one: Option<u64>, other: Option<u64>) -> String {
    match (unit, one, other) {
        (Unit::Number, ..) => String::new(),
        (_, Some(one), Some(other)) if one > 0 => {
            let ratio = other as f64 / one as f64;
            format!("{ratio:.*}", if ratio < 1.0 { 3 } else { 1 })
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_paths_are_timed_from_the_mark() {
        let kill = |tid, monotonic_ns, seen_ns| Kill {
            tid,
            monotonic_ns,
            seen_ns,
            detection_latency_ns: None,
            path: None,
            named: false,
        };
        let marks = HashMap::from([(1, 100), (2, 200)]);
        let phase = Phase::of(
            &[kill(1, 150, 180), kill(2, 250, 290), kill(3, 300, 310)],
            &marks,
            4,
        );
        assert_eq!((phase.kills, phase.reported), (4, 3));
        assert_eq!(
            phase.latency,
            Summary {
                count: 2,
                p50_ns: Some(80),
                p99_ns: Some(90),
                max_ns: Some(90)
            }
        );
        assert_eq!(phase.own_latency, Summary::default());
    }

    #[test]
    fn what_was_not_measured_is_a_dash() {
        let mut report = Report::new();
        report.bpf.start = Summary::of([20_000_000]);
        report.kmsg.start = Summary::of([50_000_000]);
        let table = report.to_string();
        let line = |name: &str| {
            table
                .lines()
                .find(|line| line.starts_with(name))
                .map(str::split_whitespace)
                .map(Vec::from_iter)
        };
        assert_eq!(
            line("exec to READY, p50"),
            Some(vec![
                "exec", "to", "READY,", "p50", "20.0", "ms", "50.0", "ms", "2.5"
            ])
        );
        assert_eq!(
            line("idle: wake-ups"),
            Some(vec!["idle:", "wake-ups", "-", "-"])
        );
    }
}
