//! The lines of a kill (`__oom_kill_process`, `mm/oom_kill.c`): who died, and before 5.1 who was chosen.
//!
//! Reads `… Killed process 7 (x) total-vm:…` and `… Kill process 7 (x) score 9 or sacrifice child`. What
//! stands before tells what ran out, but may be any policy's own words. Refuses numbers that do not fit.

use std::sync::LazyLock;

use regex::bytes::Regex;

use super::{
    line::{Line, pattern},
    scan::number,
};
use crate::{
    event::{Memory, Scope},
    text::Comm,
};

/// `Killed process …`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Killed<'a> {
    /// What stands before: `Memory cgroup out of memory: `, or nothing, or a policy's own words.
    pub prefix: &'a [u8],
    /// Thread.
    pub tid: u32,
    /// Its name.
    pub comm: Comm,
    /// What it held.
    pub memory: Memory,
    /// Real uid (5.4+).
    pub uid: Option<u32>,
    /// 5.4+.
    pub oom_score_adj: Option<i16>,
}

/// RHEL 7 puts the uid before `total-vm`.
static KILLED: LazyLock<Regex> = LazyLock::new(|| {
    pattern(
        r"(?s-u)^(.*?)Killed process ([0-9]+) \((.{0,15})\)(?:, UID ([0-9]+),)? total-vm:([0-9]+)kB, anon-rss:([0-9]+)kB, file-rss:([0-9]+)kB(?:, shmem-rss:([0-9]+)kB)?(?:, UID:([0-9]+)(?: pgtables:([0-9]+)kB oom_score_adj:(-?[0-9]+))?)?$",
    )
});

static CHOICE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?s-u)^(.*?)Kill process ([0-9]+) \((.{0,15})\) score [0-9]+ or sacrifice child$")
});

/// Parses the line of a kill.
pub(super) fn killed(message: &[u8], page_size: u64) -> Option<Line<'_>> {
    let found = KILLED.captures(message)?;
    let bytes = |i| kilobytes(found.get(i)?.as_bytes());
    let uid = found.get(4).or(found.get(9));
    let total_vm_bytes = bytes(5)?;
    Some(Line::Killed(Killed {
        prefix: found.get(1)?.as_bytes(),
        tid: number(found.get(2)?.as_bytes())?,
        comm: Comm::new(found.get(3)?.as_bytes()),
        memory: Memory {
            total_vm_bytes: Some(total_vm_bytes),
            anon_bytes: bytes(6),
            file_bytes: bytes(7),
            shmem_bytes: bytes(8),
            pgtables_bytes: bytes(10).and_then(|said| pgtables(said, total_vm_bytes, page_size)),
            ..Memory::default()
        },
        uid: uid.and_then(|uid| number(uid.as_bytes())),
        oom_score_adj: found.get(11).and_then(|adj| number(adj.as_bytes())),
    }))
}

/// The first 5.4 kernels print bytes and call them kB (fixed by 941f762bcb27). Bytes are always whole
/// pages; a number that is not cannot be meant as bytes, and one above the address space must be.
/// What could be either is unknown.
fn pgtables(said_bytes: u64, total_vm_bytes: u64, page_size: u64) -> Option<u64> {
    let said = said_bytes / 1024;
    if said == 0 || !said.is_multiple_of(page_size) {
        Some(said_bytes)
    } else if said_bytes > total_vm_bytes {
        Some(said)
    } else {
        None
    }
}

/// What ran out, by what stands before a kill. Kernels tell no more apart; other words, of a policy
/// that is not the kernel's own, tell nothing.
#[must_use]
pub fn scope(prefix: &[u8]) -> Option<Scope> {
    match prefix {
        b"Memory cgroup out of memory: " => Some(Scope::Memcg),
        b"Out of memory: " | b"Out of memory (oom_kill_allocating_task): " => Some(Scope::System),
        _ => None,
    }
}

/// Parses the line of a choice.
pub(super) fn choice(message: &[u8]) -> Option<Line<'_>> {
    let [prefix, tid, comm] = CHOICE.captures(message)?.extract().1;
    Some(Line::Choice {
        tid: number(tid)?,
        comm: Comm::new(comm),
        scope: scope(prefix),
    })
}

fn kilobytes(digits: &[u8]) -> Option<u64> {
    Some(number::<u64>(digits)?.saturating_mul(1024))
}
