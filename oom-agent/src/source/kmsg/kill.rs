//! The lines of a kill (`__oom_kill_process`, `mm/oom_kill.c`): who died, and before 5.1 who was chosen.
//!
//! Reads `… Killed process 7 (x) total-vm:…` and `… Kill process 7 (x) score 9 or sacrifice child`. What
//! stands before tells what ran out, but may be any policy's own words. Refuses numbers that do not fit.

use std::sync::LazyLock;

use regex::bytes::Regex;

use super::{
    line::{Line, pattern},
    scan::{number, signed},
};
use crate::{
    event::{Memory, Scope},
    text::{COMM_LEN, Comm},
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

static CHOICE: LazyLock<Regex> = LazyLock::new(|| {
    pattern(r"(?s-u)^(.*?)Kill process ([0-9]+) \((.{0,15})\) score [0-9]+ or sacrifice child$")
});

/// Parses the line of a kill. Without a pattern, for in a storm every line is one.
pub(super) fn killed(message: &[u8], page_size: u64) -> Option<Line<'_>> {
    const WORDS: &[u8] = b"Killed process ";
    let words = (0..message.len()).filter(|&at| message[at] == WORDS[0]);
    let mut found = words.filter(|&at| message[at..].starts_with(WORDS));
    found.find_map(|at| {
        let (tid, rest) = digits(&message[at + WORDS.len()..])?;
        let rest = rest.strip_prefix(b" (")?;
        // The name may hold a parenthesis: the last one that the rest of the line fits.
        let mut ends = (0..COMM_LEN).rev();
        let (end, held) = ends.find_map(|end| {
            let held = rest.get(end..)?.strip_prefix(b")")?;
            Some((end, Held::parse(held)?))
        })?;
        let total_vm_bytes = kilobytes(held.total_vm)?;
        Some(Line::Killed(Killed {
            prefix: &message[..at],
            tid: number(tid)?,
            comm: Comm::new(&rest[..end]),
            memory: Memory {
                total_vm_bytes: Some(total_vm_bytes),
                anon_bytes: kilobytes(held.anon),
                file_bytes: kilobytes(held.file),
                shmem_bytes: held.shmem.and_then(kilobytes),
                pgtables_bytes: held
                    .pgtables
                    .and_then(kilobytes)
                    .and_then(|said| pgtables(said, total_vm_bytes, page_size)),
                ..Memory::default()
            },
            uid: held.uid.and_then(number),
            oom_score_adj: held.oom_score_adj.and_then(signed),
        }))
    })
}

/// What stands behind the name: digits.
struct Held<'a> {
    uid: Option<&'a [u8]>,
    total_vm: &'a [u8],
    anon: &'a [u8],
    file: &'a [u8],
    shmem: Option<&'a [u8]>,
    pgtables: Option<&'a [u8]>,
    oom_score_adj: Option<&'a [u8]>,
}

impl<'a> Held<'a> {
    /// RHEL 7 puts the uid before `total-vm`. Nothing may follow what the kernel prints last.
    fn parse(text: &'a [u8]) -> Option<Self> {
        let (uid, rest) = match between(text, b", UID ", b",") {
            Some((uid, rest)) => (Some(uid), rest),
            None => (None, text),
        };
        let (total_vm, rest) = between(rest, b" total-vm:", b"kB")?;
        let (anon, rest) = between(rest, b", anon-rss:", b"kB")?;
        let (file, rest) = between(rest, b", file-rss:", b"kB")?;
        let mut held = Self {
            uid,
            total_vm,
            anon,
            file,
            shmem: None,
            pgtables: None,
            oom_score_adj: None,
        };
        let mut rest = rest;
        if let Some((shmem, after)) = between(rest, b", shmem-rss:", b"kB") {
            held.shmem = Some(shmem);
            rest = after;
        }
        if let Some((uid, after)) = between(rest, b", UID:", b"") {
            held.uid = held.uid.or(Some(uid));
            rest = after;
        }
        if let Some((pgtables, after)) = between(rest, b" pgtables:", b"kB oom_score_adj:") {
            let sign = usize::from(after.starts_with(b"-"));
            let (adj, end) = digits(&after[sign..])?;
            held.pgtables = Some(pgtables);
            held.oom_score_adj = Some(&after[..sign + adj.len()]);
            rest = end;
        }
        rest.is_empty().then_some(held)
    }
}

/// The digits that the text begins with, at least one, and what follows them.
fn digits(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|b| !b.is_ascii_digit());
    let (digits, rest) = text.split_at(end.unwrap_or(text.len()));
    (!digits.is_empty()).then_some((digits, rest))
}

/// The digits between two texts, and what follows.
fn between<'a>(text: &'a [u8], before: &[u8], after: &[u8]) -> Option<(&'a [u8], &'a [u8])> {
    let (found, rest) = digits(text.strip_prefix(before)?)?;
    Some((found, rest.strip_prefix(after)?))
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
