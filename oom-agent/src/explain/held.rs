//! Who and what held the memory: the biggest processes of the kernel's table, and the kinds of memory.

use std::cmp::Reverse;

use super::{bullet, heading, share::of_whole, whole};
use crate::{
    event::{FiguresSource, OomInstance, TaskRow},
    render::{
        escape::name,
        flow::{Lines, Tone},
        report::is_row,
        units::{bytes, count},
    },
};

/// Processes that are named.
const TOP: usize = 5;

pub(super) fn tell(lines: &mut Lines, event: &OomInstance) {
    let kinds = kinds(event);
    if event.tasks.is_empty() && kinds.is_empty() {
        return;
    }
    heading(lines, "Who held the memory");
    let read = Some(FiguresSource::Read);
    if event.tasks_source == read && !event.tasks.is_empty() {
        lines
            .below()
            .say("As it was right after the kill, without what had died:");
    }
    consumers(lines, event);
    if !kinds.is_empty() {
        let line = lines.below();
        let (of, source) = if event.limit_memory.is_some() {
            (
                "All that was charged to the limit",
                event.limit_memory_source,
            )
        } else {
            ("The machine's memory", event.system_memory_source)
        };
        line.say(of);
        if source == read {
            line.say("right after the kill");
        }
        line.glue(":");
        for (at, (what, size)) in kinds.iter().enumerate() {
            if at > 0 {
                line.glue(",");
            }
            line.solid(Tone::Plain, &bytes(*size)).say(what);
            if let Some(share) = of_whole(*size, whole(event)) {
                line.solid(Tone::Plain, &format!("({share})"));
            }
        }
        line.glue(".");
    }
}

fn consumers(lines: &mut Lines, event: &OomInstance) {
    let mut rows: Vec<&TaskRow> = event.tasks.iter().collect();
    rows.sort_by_key(|row| Reverse(row.rss_bytes));
    for row in rows.iter().take(TOP) {
        let line = bullet(lines);
        let comm = row.comm.to_string();
        line.solid(Tone::Strong, &format!("{} (pid {})", name(&comm), row.tgid));
        line.glue(",").solid(Tone::Plain, &bytes(row.rss_bytes));
        if let Some(share) = of_whole(row.rss_bytes, whole(event)) {
            line.glue(",").solid(Tone::Plain, &share);
        }
        if event.kills.iter().any(|kill| is_row(kill, row)) {
            line.glue(",").say_in(Tone::Alarm, "killed");
        }
    }
    if let Some(rest) = rows.get(TOP..).filter(|rest| !rest.is_empty()) {
        let sum = rest
            .iter()
            .map(|row| row.rss_bytes)
            .fold(0, u64::saturating_add);
        let many = count(rest.len() as u64, "other", "others");
        bullet(lines)
            .say(&format!("{many} with"))
            .solid(Tone::Plain, &bytes(sum))
            .say("together");
    }
}

/// The kinds of memory that are not nothing, each counted once.
fn kinds(event: &OomInstance) -> Vec<(&'static str, u64)> {
    let sum = |parts: [Option<u64>; 2]| parts.into_iter().flatten().reduce(u64::saturating_add);
    let kinds: Vec<(&str, Option<u64>)> = if let Some(memory) = &event.limit_memory {
        let stat = &memory.stat;
        let cache = stat
            .file_bytes
            .map(|file| file.saturating_sub(stat.shmem_bytes.unwrap_or(0)));
        vec![
            ("anonymous", stat.anon_bytes),
            ("page cache", cache),
            ("shared memory and tmpfs", stat.shmem_bytes),
            ("kernel memory", memory.kernel_bytes()),
            (
                "in swap",
                memory.swap.map(|swap| swap.usage_bytes).or(stat.swap_bytes),
            ),
        ]
    } else if let Some(memory) = &event.system_memory {
        let cache = sum([memory.active_file_bytes, memory.inactive_file_bytes]);
        // What could be swapped, tmpfs included, is on the lists of anonymous memory.
        let swappable = sum([memory.active_anon_bytes, memory.inactive_anon_bytes]);
        let shmem = memory.shmem_bytes.unwrap_or(0);
        vec![
            ("anonymous", swappable.map(|all| all.saturating_sub(shmem))),
            ("page cache", cache),
            ("shared memory and tmpfs", memory.shmem_bytes),
            (
                "kernel objects",
                sum([
                    memory.slab_reclaimable_bytes,
                    memory.slab_unreclaimable_bytes,
                ]),
            ),
            ("free", memory.free_bytes),
        ]
    } else {
        Vec::new()
    };
    kinds
        .into_iter()
        .filter_map(|(what, size)| Some((what, size.filter(|&size| size > 0)?)))
        .collect()
}
