//! What the BPF programs themselves cost, by the kernel's own clock.
//!
//! Reads `run_time_ns` and `run_cnt` from the fdinfo of an agent's programs while
//! `kernel.bpf_stats_enabled` is on (Documentation/admin-guide/sysctl/kernel.rst); emits the
//! difference. Leaves the switch as it was.

use std::{collections::BTreeMap, fs, io};

use anyhow::Result;
use serde::Serialize;

const SWITCH: &str = "/proc/sys/kernel/bpf_stats_enabled";

/// What one program did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub(super) struct Run {
    /// Runs.
    pub count: u64,
    /// Time in the program.
    pub time_ns: u64,
}

/// All programs of a process together; `None` if the kernel does not count or the process holds no program.
pub(super) fn measure(pid: u32, work: impl FnOnce() -> Result<()>) -> Result<Option<Run>> {
    let _on = match Switch::on() {
        Ok(on) => on,
        Err(error) => {
            eprintln!("bench: no BPF statistics: {SWITCH}: {error}");
            return Ok(None);
        }
    };
    let before = programs(pid)?;
    work()?;
    let mut sum = Run::default();
    let after = programs(pid)?;
    for (id, run) in &after {
        let before = before.get(id).copied().unwrap_or_default();
        sum.count += run.count.saturating_sub(before.count);
        sum.time_ns += run.time_ns.saturating_sub(before.time_ns);
    }
    Ok((!after.is_empty()).then_some(sum))
}

/// Switches the statistics on until it is dropped.
struct Switch {
    old: String,
}

impl Switch {
    fn on() -> io::Result<Self> {
        let old = fs::read_to_string(SWITCH)?;
        fs::write(SWITCH, "1")?;
        Ok(Self { old })
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        if let Err(error) = fs::write(SWITCH, self.old.trim()) {
            eprintln!("bench: {SWITCH} stays on: {error}");
        }
    }
}

/// The programs that a process holds, by id: one program may have several descriptors.
fn programs(pid: u32) -> Result<BTreeMap<u64, Run>> {
    let mut programs = BTreeMap::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo"))? {
        // A descriptor may be closed between the two reads.
        let Ok(text) = fs::read_to_string(entry?.path()) else {
            continue;
        };
        programs.extend(parse(&text));
    }
    Ok(programs)
}

fn parse(fdinfo: &str) -> Option<(u64, Run)> {
    let field = |name: &str| {
        let rest = fdinfo
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
        rest.trim().parse().ok()
    };
    Some((
        field("prog_id")?,
        Run {
            count: field("run_cnt")?,
            time_ns: field("run_time_ns")?,
        },
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_programs_have_run_times() {
        let program = "pos:\t0\nprog_type:\t26\nprog_id:\t44\nrun_time_ns:\t900\nrun_cnt:\t3\n";
        assert_eq!(
            parse(program),
            Some((
                44,
                Run {
                    count: 3,
                    time_ns: 900
                }
            ))
        );
        let link = "pos:\t0\nlink_type:\ttracing\nlink_id:\t2\nprog_id:\t44\n";
        assert_eq!(parse(link), None);
    }
}
