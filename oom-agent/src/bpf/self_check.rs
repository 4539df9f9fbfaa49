//! The agent, seen by its own program: proof that offsets, attachment and ring are right.
//!
//! Writes the agent's own `oom_score_adj` (the value that it has), which fires
//! `oom:oom_score_adj_update`, and compares the record that comes back with `/proc/self`. Refuses the
//! BPF source when they differ: wrong offsets would name the wrong process.

use std::{fs, io};

use thiserror::Error;

use super::{
    decode::{Decoded, decode},
    ring_map::RingMap,
};
use crate::{evidence::Mark, text::Comm};

/// Why the self-check failed.
#[derive(Debug, Error)]
pub enum SelfCheckError {
    /// `/proc/self` cannot be read or written.
    #[error("self-check: cannot use /proc/self/{file}")]
    Proc {
        /// Which file.
        file: &'static str,
        /// Why.
        #[source]
        error: io::Error,
    },
    /// Nothing came back.
    #[error("self-check: the program did not report the agent's own task")]
    Silent,
    /// A field is wrong.
    #[error("self-check: the program read {field} = {read}, but it is {known}: offsets are wrong")]
    Wrong {
        /// Which field.
        field: &'static str,
        /// What the program read.
        read: String,
        /// What /proc says.
        known: String,
    },
}

/// Wrong offsets are wrong each time. Threads and mapped memory may change between the program's look and
/// ours: a thread of this process that reads the symbols ends just about now.
const ATTEMPTS: usize = 5;

/// Triggers the program and compares; gives the number of the last record. `names`: whether cgroup names
/// could be read.
pub fn run(ring: &mut RingMap, wire_version: u16, names: bool) -> Result<u64, SelfCheckError> {
    let mut outcome = once(ring, wire_version, names);
    for _ in 1..ATTEMPTS {
        if !matches!(outcome, Err(SelfCheckError::Wrong { .. })) {
            break;
        }
        outcome = once(ring, wire_version, names);
    }
    outcome
}

fn once(ring: &mut RingMap, wire_version: u16, names: bool) -> Result<u64, SelfCheckError> {
    let adj = proc("oom_score_adj")?;
    fs::write("/proc/self/oom_score_adj", &adj).map_err(|error| SelfCheckError::Proc {
        file: "oom_score_adj",
        error,
    })?;
    // The program runs within the write above: its record is there now.
    let page_size = rustix::param::page_size() as u64;
    let mut seen = None;
    while let Some(record) = ring.take() {
        if let Ok(Decoded::SelfCheck(mark)) = decode(record, page_size, wire_version) {
            seen = Some(mark);
        }
    }
    let seen = seen.ok_or(SelfCheckError::Silent)?;
    compare(&seen, adj.trim(), names)?;
    Ok(seen.seq)
}

fn compare(seen: &Mark, adj: &str, names: bool) -> Result<(), SelfCheckError> {
    let status = proc("status")?;
    let stat = proc("stat")?;
    let field = |name: &str| {
        status
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))
            .map(|value| {
                value
                    .split_whitespace()
                    .next()
                    .unwrap_or_default()
                    .to_owned()
            })
            .unwrap_or_default()
    };
    let comm = proc("comm")?;
    // comm may hold anything, so fields are counted from the last parenthesis: the 20th is starttime.
    let ticks = stat
        .rsplit(") ")
        .next()
        .and_then(|rest| rest.split(' ').nth(19));
    let ticks: u64 = ticks
        .and_then(|ticks| ticks.parse().ok())
        .unwrap_or_default();
    let tick_ns = 1_000_000_000 / rustix::param::clock_ticks_per_second();
    let victim = &seen.victim;
    let show = |value: Option<u32>| value.map_or_else(|| "nothing".to_owned(), |it| it.to_string());

    check("tgid", &show(victim.pid), &std::process::id().to_string())?;
    // /proc/self is the process, whichever of its threads asks: the task is the main thread.
    check(
        "tid",
        &victim.tid.to_string(),
        &std::process::id().to_string(),
    )?;
    check("ppid", &show(victim.ppid), &field("PPid"))?;
    check(
        "comm",
        &victim.comm.to_string(),
        &Comm::new(comm.trim_end_matches('\n').as_bytes()).to_string(),
    )?;
    check("uid", &show(victim.uid), &field("Uid"))?;
    check("threads", &show(victim.threads), &field("Threads"))?;
    check(
        "start_time",
        &(seen.start_boottime_ns.unwrap_or_default() / tick_ns).to_string(),
        &ticks.to_string(),
    )?;
    let read_adj = victim
        .oom_score_adj
        .map_or_else(|| "nothing".to_owned(), |adj| adj.to_string());
    check("oom_score_adj", &read_adj, adj)?;
    let vm = seen
        .memory
        .total_vm_bytes
        .map(|bytes| (bytes / 1024).to_string())
        .unwrap_or_default();
    check("total_vm", &vm, &field("VmSize"))?;
    if let Some(level) = seen.memcg().filter(|_| names) {
        let path = level.path.clone().unwrap_or_default();
        check("cgroup", &path, &own_cgroup(seen)?)?;
    }
    Ok(())
}

/// The agent's memory cgroup as the kernel names it from the root of the hierarchy. Seen from inside
/// a cgroup namespace the path starts elsewhere: then only its end can be compared.
fn own_cgroup(seen: &Mark) -> Result<String, SelfCheckError> {
    let table = proc("cgroup")?;
    let path = table
        .lines()
        .find_map(|line| {
            let (_, rest) = line.split_once(':')?;
            let (controllers, path) = rest.split_once(':')?;
            controllers
                .split(',')
                .any(|name| name == "memory")
                .then_some(path)
        })
        .or_else(|| table.lines().find_map(|line| line.strip_prefix("0::")))
        .unwrap_or_default()
        .to_owned();
    let seen_paths = seen.levels.iter().filter_map(|level| level.path.as_deref());
    let mut ends = seen_paths.filter(|seen| seen.ends_with(&path) || path == "/");
    let memcg = seen
        .memcg()
        .and_then(|level| level.path.clone())
        .unwrap_or_default();
    // In a namespace, or where the controller ends above the task's own cgroup.
    Ok(if ends.next().is_some() { memcg } else { path })
}

fn check(field: &'static str, read: &str, known: &str) -> Result<(), SelfCheckError> {
    if read == known {
        return Ok(());
    }
    Err(SelfCheckError::Wrong {
        field,
        read: read.to_owned(),
        known: known.to_owned(),
    })
}

fn proc(file: &'static str) -> Result<String, SelfCheckError> {
    fs::read_to_string(format!("/proc/self/{file}"))
        .map_err(|error| SelfCheckError::Proc { file, error })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::Victim;

    #[test]
    fn a_field_that_is_not_what_proc_says_is_named() {
        let somebody_else = Mark {
            victim: Victim {
                pid: Some(std::process::id() + 1),
                ..Victim::default()
            },
            ..Mark::default()
        };
        let error = compare(&somebody_else, "0", false).unwrap_err();
        assert!(matches!(error, SelfCheckError::Wrong { field: "tgid", .. }));
        let wrong_thread = Mark {
            victim: Victim {
                pid: Some(std::process::id()),
                ..Victim::default()
            },
            ..Mark::default()
        };
        let error = compare(&wrong_thread, "0", false).unwrap_err();
        assert!(matches!(error, SelfCheckError::Wrong { field: "tid", .. }));
    }
}
