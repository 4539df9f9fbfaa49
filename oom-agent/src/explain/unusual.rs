//! What was unusual about a report, concluded from its facts.
//!
//! Reads an [`OomInstance`]; emits [`Finding`]s. A fact that is not there leads to no finding.

use super::{bullet, heading, share::percent, whole};
use crate::{
    event::{
        Allocation, CgroupMemory, Counter, FiguresSource, KmsgReportState, OomInstance, Reaper,
        Scope, TaskRow,
    },
    render::{
        escape::name,
        flow::Lines,
        report::{chosen, is_row},
        units::{bytes, count, grouped},
    },
};

/// `PAGE_ALLOC_COSTLY_ORDER` (`include/linux/mmzone.h`): above it the kernel rather fails the allocation
/// than kills for it.
const COSTLY_ORDER: i32 = 3;
/// Shares of the whole from which on a kind of memory is worth a word, in percent.
const MUCH: u64 = 30;
const SOME: u64 = 10;
/// Hits of a limit from which on it had been tight for long.
const OFTEN: u64 = 10_000;
/// Processes that are many, where none of them is big.
const MANY: usize = 50;

/// One unusual thing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Finding {
    Sysrq,
    Group {
        killed: u64,
    },
    Fragmented {
        order: i32,
    },
    HighOrder {
        order: i32,
    },
    SwapFull {
        bytes: u64,
    },
    AtLimit {
        what: &'static str,
        bytes: u64,
    },
    Kernel {
        bytes: u64,
        percent: u64,
    },
    Unreclaimable {
        bytes: u64,
        percent: u64,
    },
    PageTables {
        bytes: u64,
        percent: u64,
    },
    Shmem {
        bytes: u64,
        percent: u64,
    },
    Dirty {
        bytes: u64,
        percent: u64,
    },
    CacheLeft {
        bytes: u64,
        percent: u64,
    },
    Locked {
        bytes: u64,
        percent: u64,
    },
    BiggerSurvived {
        pid: u32,
        comm: String,
        bytes: u64,
        adj: i16,
    },
    ManySmall {
        processes: u64,
    },
    LimitLowered,
    HitOften {
        times: u64,
    },
    ReaperUnable,
    Differ {
        fields: u64,
    },
    Suppressed,
}

pub(super) fn tell(lines: &mut Lines, event: &OomInstance) {
    let findings = findings(event);
    if findings.is_empty() {
        return;
    }
    heading(lines, "What was unusual");
    for finding in findings {
        bullet(lines).say(&words(&finding));
    }
}

/// Everything unusual, what decides first.
pub(super) fn findings(event: &OomInstance) -> Vec<Finding> {
    let mut found = Vec::new();
    if event.scope == Some(Scope::Sysrq) {
        found.push(Finding::Sysrq);
    }
    if event.group_kill == Some(true) {
        found.push(Finding::Group {
            killed: event.kills.len() as u64,
        });
    }
    found.extend(order(event));
    found.extend(swap(event));
    found.extend(other_limits(event));
    found.extend(kinds(event));
    found.extend(bigger_survivor(event));
    found.extend(many_small(event));
    let trigger = event.trigger.as_ref();
    if trigger.and_then(|trigger| trigger.allocation) == Some(Allocation::LimitWrite) {
        found.push(Finding::LimitLowered);
    }
    let times = event.limit.as_ref().and_then(|limit| limit.failcnt);
    found.extend(
        times
            .filter(|&times| times >= OFTEN)
            .map(|times| Finding::HitOften { times }),
    );
    if event
        .kills
        .iter()
        .any(|kill| kill.reaper == Some(Reaper::Unable))
    {
        found.push(Finding::ReaperUnable);
    }
    let fields = event.crosscheck.mismatches.len() as u64;
    if fields > 0 {
        found.push(Finding::Differ { fields });
    }
    if event.crosscheck.kmsg_report == KmsgReportState::Suppressed {
        found.push(Finding::Suppressed);
    }
    found
}

/// A contiguous block was wanted: there may be memory enough, but not in one piece.
fn order(event: &OomInstance) -> Option<Finding> {
    let order = event.trigger.as_ref()?.order.filter(|&order| order > 0)?;
    let fragmented = event.limit.is_none()
        && event.system_memory.as_ref().is_some_and(|memory| {
            let free = |zone: &crate::event::Zone| {
                zone.free_bytes > zone.min_bytes
                    && zone
                        .largest_free_order
                        .is_some_and(|largest| i64::from(largest) < i64::from(order))
            };
            memory.zones.iter().any(free)
        });
    Some(if fragmented {
        Finding::Fragmented { order }
    } else {
        Finding::HighOrder { order }
    })
}

fn swap(event: &OomInstance) -> Option<Finding> {
    if let Some(swap) = event.limit_memory.as_ref().and_then(|memory| memory.swap) {
        let bytes = swap
            .limit_bytes
            .filter(|&limit| limit > 0 && swap.usage_bytes >= limit)?;
        return Some(Finding::SwapFull { bytes });
    }
    let memory = event.system_memory.as_ref()?;
    let total = memory.swap_total_bytes.filter(|&total| total > 0)?;
    let full = percent(memory.swap_free_bytes?, total)? < SOME;
    full.then_some(Finding::SwapFull { bytes: total })
}

/// Version 1 has limits beside that of memory; the one of them that is full was hit.
fn other_limits(event: &OomInstance) -> Vec<Finding> {
    let Some(memory) = &event.limit_memory else {
        return Vec::new();
    };
    let full = |what, counter: Option<Counter>| {
        let counter = counter?;
        let bytes = counter
            .limit_bytes
            .filter(|&limit| limit > 0 && counter.usage_bytes >= limit)?;
        Some(Finding::AtLimit { what, bytes })
    };
    let room_left = memory
        .memory
        .is_none_or(|it| it.limit_bytes.is_none_or(|limit| it.usage_bytes < limit));
    [
        full("memory and swap together (memsw)", memory.memsw).filter(|_| room_left),
        full("kernel memory (kmem)", memory.kmem),
    ]
    .into_iter()
    .flatten()
    .collect()
}

/// Kinds of memory with an uncommon share.
fn kinds(event: &OomInstance) -> Vec<Finding> {
    type Make = fn(u64, u64) -> Finding;
    let stat = event
        .limit_memory
        .as_ref()
        .map(|memory| memory.stat)
        .unwrap_or_default();
    let system = event.system_memory.clone().unwrap_or_default();
    let sum = |parts: [Option<u64>; 2]| parts.into_iter().flatten().reduce(u64::saturating_add);
    let in_cgroup = event.limit_memory.is_some();
    let kernel = event
        .limit_memory
        .as_ref()
        .and_then(CgroupMemory::kernel_bytes);
    let of = |cgroup: Option<u64>, machine: Option<u64>| if in_cgroup { cgroup } else { machine };
    let cache = stat
        .file_bytes
        .map(|file| file.saturating_sub(stat.shmem_bytes.unwrap_or(0)));
    let dirty = sum([stat.file_dirty_bytes, stat.file_writeback_bytes]);
    let cases: [(Option<u64>, u64, Make); 7] = [
        (kernel, MUCH, |bytes, percent| Finding::Kernel {
            bytes,
            percent,
        }),
        (
            of(None, system.slab_unreclaimable_bytes),
            MUCH,
            |bytes, percent| Finding::Unreclaimable { bytes, percent },
        ),
        (
            of(stat.pagetables_bytes, system.pagetables_bytes),
            SOME,
            |bytes, percent| Finding::PageTables { bytes, percent },
        ),
        (
            of(stat.shmem_bytes, system.shmem_bytes),
            MUCH,
            |bytes, percent| Finding::Shmem { bytes, percent },
        ),
        (
            of(dirty, sum([system.dirty_bytes, system.writeback_bytes])),
            SOME,
            |bytes, percent| Finding::Dirty { bytes, percent },
        ),
        (
            of(
                cache,
                sum([system.active_file_bytes, system.inactive_file_bytes]),
            ),
            MUCH,
            |bytes, percent| Finding::CacheLeft { bytes, percent },
        ),
        (
            of(stat.unevictable_bytes, system.unevictable_bytes),
            MUCH,
            |bytes, percent| Finding::Locked { bytes, percent },
        ),
    ];
    let found = cases.into_iter().filter_map(|(bytes, from, make)| {
        let bytes = bytes?;
        let percent = percent(bytes, whole(event)?)?;
        (percent >= from).then(|| make(bytes, percent))
    });
    found.collect()
}

/// A process twice as big as the victim was let live: its `oom_score_adj` speaks for it, or the
/// victim's against it.
fn bigger_survivor(event: &OomInstance) -> Option<Finding> {
    if event.group_kill == Some(true) || is_behind(event) {
        return None;
    }
    let kill = chosen(event)?;
    let own = event.tasks.iter().find(|row| is_row(kill, row))?;
    let size = |row: &TaskRow| row.rss_bytes.saturating_add(row.swap_bytes.unwrap_or(0));
    let survivors = event
        .tasks
        .iter()
        .filter(|row| !event.kills.iter().any(|kill| is_row(kill, row)));
    let biggest = survivors.max_by_key(|row| size(row))?;
    (size(biggest) / 2 > size(own)).then(|| Finding::BiggerSurvived {
        pid: biggest.tgid,
        comm: biggest.comm.to_string(),
        bytes: biggest.rss_bytes,
        adj: biggest.oom_score_adj,
    })
}

/// The processes were read when the victim had gone: what it had does not show.
fn is_behind(event: &OomInstance) -> bool {
    event.tasks_source == Some(FiguresSource::Read)
}

fn many_small(event: &OomInstance) -> Option<Finding> {
    if is_behind(event) {
        return None;
    }
    let whole = whole(event)?;
    let biggest = event.tasks.iter().map(|row| row.rss_bytes).max()?;
    let none_is_big = percent(biggest, whole)? < SOME;
    (event.tasks.len() >= MANY && none_is_big).then_some(Finding::ManySmall {
        processes: event.tasks.len() as u64,
    })
}

fn words(finding: &Finding) -> String {
    match finding {
        Finding::Sysrq => "The kill was asked for with sysrq-f; nothing need have run out.".to_owned(),
        Finding::Group { killed } => format!(
            "A whole cgroup was killed at once ({}), because memory.oom.group is set.",
            count(*killed, "process", "processes")
        ),
        Finding::Fragmented { order } => format!(
            "{} in one piece were wanted (order {order}). There was free memory, but no piece of that size: it was fragmented.",
            pages(*order)
        ),
        Finding::HighOrder { order } if *order > COSTLY_ORDER => format!(
            "{} in one piece were wanted (order {order}); for so many the kernel usually fails the allocation rather than kill.",
            pages(*order)
        ),
        Finding::HighOrder { order } => {
            format!("{} in one piece were wanted (order {order}), not just one.", pages(*order))
        }
        Finding::SwapFull { bytes: size } => format!("Swap was full ({}).", bytes(*size)),
        Finding::AtLimit { what, bytes: size } => {
            format!("The limit of {what} was full: {}.", bytes(*size))
        }
        Finding::Kernel { bytes: size, percent } => format!(
            "{} ({percent} %) was kernel memory, which no process of the table shows.",
            bytes(*size)
        ),
        Finding::Unreclaimable { bytes: size, percent } => format!(
            "{} ({percent} %) were kernel objects that cannot be given back: look at /proc/slabinfo.",
            bytes(*size)
        ),
        Finding::PageTables { bytes: size, percent } => {
            format!("{} ({percent} %) were page tables.", bytes(*size))
        }
        Finding::Shmem { bytes: size, percent } => format!(
            "{} ({percent} %) was tmpfs or shared memory. Killing a process need not free it: files in a tmpfs stay.",
            bytes(*size)
        ),
        Finding::Dirty { bytes: size, percent } => format!(
            "{} ({percent} %) was page cache that waited for the disk: the disk may have been too slow to make room.",
            bytes(*size)
        ),
        Finding::CacheLeft { bytes: size, percent } => format!(
            "{} ({percent} %) was still page cache, which the kernel could not take back in time.",
            bytes(*size)
        ),
        Finding::Locked { bytes: size, percent } => format!(
            "{} ({percent} %) cannot be reclaimed (mlock, ramfs).",
            bytes(*size)
        ),
        Finding::BiggerSurvived { pid, comm, bytes: size, adj } => format!(
            "{} (pid {pid}) is bigger ({}) and was let live; its oom_score_adj is {adj}.",
            name(comm),
            bytes(*size)
        ),
        Finding::ManySmall { processes } => format!(
            "No process is big: {} share the memory.",
            count(*processes, "process", "processes")
        ),
        Finding::LimitLowered => {
            "Somebody lowered the limit below what was in use, and that made the kernel kill.".to_owned()
        }
        Finding::HitOften { times } => format!(
            "The limit had been hit {} times: memory was tight long before the kill.",
            grouped(*times)
        ),
        Finding::ReaperUnable => {
            "The oom_reaper could not take the victim's memory back: it was held up in the kernel.".to_owned()
        }
        Finding::Differ { fields } => format!(
            "BPF and the kernel log differ on {}.",
            count(*fields, "fact", "facts")
        ),
        Finding::Suppressed => {
            "The log has the kill alone. The kernel prints at most 10 reports in 5 seconds, so there may have been many kills.".to_owned()
        }
    }
}

fn pages(order: i32) -> String {
    let pages = u32::try_from(order)
        .ok()
        .and_then(|order| 1_u64.checked_shl(order));
    pages.map_or_else(|| "Pages".to_owned(), |pages| count(pages, "page", "pages"))
}

#[cfg(test)]
#[path = "unusual_tests.rs"]
mod tests;
