//! [`Containers`] as a table: each figure, what it is compared with, and how many times that it is.
//!
//! A figure that is not there is `-`.

use std::fmt;

use super::{Containers, Rest, Storm};
use crate::bench::report::{Unit, ratio};

/// A figure, what it is compared with, and their ratio.
struct Row {
    name: &'static str,
    unit: Unit,
    value: Option<u64>,
    beside: Option<u64>,
}

impl Containers {
    fn rows(&self) -> Vec<Row> {
        use Unit::{Bytes, Nanoseconds as Ns, Number, Share};
        let row = |name, unit, value, beside| Row {
            name,
            unit,
            value,
            beside,
        };
        let cpu = |rest: &Option<Rest>| share(rest.as_ref()?);
        let rss = |rest: &Option<Rest>| Some(rest.as_ref()?.memory.rss_bytes);
        let count = |number: usize| u64::try_from(number).ok();
        let storm = |get: fn(&Storm) -> Option<u64>| (get(&self.named), get(&self.plain));
        let latency = |name, get| {
            let (value, beside) = storm(get);
            row(name, Ns, value, beside)
        };
        let (alone, empty) = (&self.alone, None);
        let (with, without) = (self.coming_with, self.coming_without);
        vec![
            row("CPU: no containers", Share, cpu(alone), empty),
            row("CPU: 250 idle / none", Share, cpu(&self.many), cpu(alone)),
            row(
                "CPU: 50 of 250 moving / idle",
                Share,
                cpu(&self.moving),
                cpu(&self.many),
            ),
            row("CPU: 1,024 idle / none", Share, cpu(&self.most), cpu(alone)),
            row("resident: no containers", Bytes, rss(alone), empty),
            row("resident: 250 / none", Bytes, rss(&self.many), rss(alone)),
            row(
                "resident: 50 of 250 moved / none",
                Bytes,
                rss(&self.moving),
                rss(alone),
            ),
            row("resident: 1,024 / none", Bytes, rss(&self.most), rss(alone)),
            row(
                "mkdir + rmdir: agent / none, p50",
                Ns,
                with.p50_ns,
                without.p50_ns,
            ),
            row(
                "mkdir + rmdir: agent / none, p99",
                Ns,
                with.p99_ns,
                without.p99_ns,
            ),
            row(
                "kills made: containers, plain",
                Number,
                Some(self.named.kills.into()),
                Some(self.plain.kills.into()),
            ),
            row(
                "  reported",
                Number,
                count(self.named.reported),
                count(self.plain.reported),
            ),
            row(
                "  with a container's name",
                Number,
                count(self.named.named),
                count(self.plain.named),
            ),
            latency("  mark to stdout, p50", |storm| storm.latency.p50_ns),
            latency("  mark to stdout, p99", |storm| storm.latency.p99_ns),
            latency("  mark to stdout, max", |storm| storm.latency.max_ns),
            latency("  agent's own figure, p50", |storm| {
                storm.own_latency.p50_ns
            }),
            latency("  agent's own figure, p99", |storm| {
                storm.own_latency.p99_ns
            }),
        ]
    }
}

/// CPU time as a share of one CPU, in millionths.
fn share(rest: &Rest) -> Option<u64> {
    let millionths = rest.did.cpu_ns?.checked_div(1000)?;
    millionths.checked_div(rest.did.seconds)
}

impl fmt::Display for Containers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(
            f,
            "{:34}{:>12}{:>12}{:>12}",
            "containers", "", "beside", "ratio"
        )?;
        for row in self.rows() {
            let (value, beside) = (row.unit.show(row.value), row.unit.show(row.beside));
            let ratio = ratio(row.unit, row.beside, row.value);
            writeln!(f, "{:34}{value:>12}{beside:>12}{ratio:>12}", row.name)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::process::{Idle, Memory};

    #[test]
    fn shares_are_of_one_cpu() {
        let rest = |cpu_ns| Rest {
            did: Idle {
                seconds: 10,
                wakeups: 1,
                cpu_ns,
            },
            memory: Memory {
                rss_bytes: 8 << 20,
                anon_bytes: 0,
                file_bytes: 0,
                shmem_bytes: 0,
            },
        };
        let containers = Containers {
            alone: Some(rest(Some(10_000_000))),
            many: Some(rest(Some(25_000_000))),
            moving: Some(rest(None)),
            ..Containers::default()
        };
        let table = containers.to_string();
        let line = |name: &str| {
            let line = table.lines().find_map(|line| line.strip_prefix(name));
            line.map(|rest| rest.split_whitespace().collect::<Vec<_>>())
        };
        let idle = vec!["0.250", "%", "0.100", "%", "2.5"];
        assert_eq!(line("CPU: 250 idle / none"), Some(idle));
        let moving = vec!["-", "0.250", "%"];
        assert_eq!(line("CPU: 50 of 250 moving / idle"), Some(moving));
        let resident = vec!["8.00", "MiB", "8.00", "MiB", "1.0"];
        assert_eq!(line("resident: 250 / none"), Some(resident));
    }
}
