//! What a cgroup or the whole machine held when it ran out, in a line.
//!
//! Reads [`CgroupMemory`] and [`SystemMemory`]; emits words. Leaves out what is unknown, and what is
//! nothing beside anonymous memory and files, which a reader looks for.

use super::{
    flow::{Line, Lines, Tone},
    units::bytes,
};
use crate::event::{CgroupMemory, FiguresSource, SystemMemory};

pub(super) fn cgroup(lines: &mut Lines, memory: &CgroupMemory, source: Option<FiguresSource>) {
    let stat = &memory.stat;
    let swap = memory.swap.map(|swap| swap.usage_bytes).or(stat.swap_bytes);
    let parts = [
        (stat.anon_bytes, "anonymous", true),
        (stat.file_bytes, "file", true),
        (stat.shmem_bytes, "of it shared", false),
        (memory.kernel_bytes(), "kernel", false),
        (stat.sock_bytes, "socket buffers", false),
        (swap, "in swap", false),
    ];
    if stat.anon_bytes.or(stat.file_bytes).or(swap).is_some() {
        list(lines.label("held"), &parts);
        say_when(lines, source);
    }
}

/// What was read by the agent is not of the moment itself: the victim may have let go of what it had.
fn say_when(lines: &mut Lines, source: Option<FiguresSource>) {
    if source == Some(FiguresSource::Read) {
        lines
            .more()
            .say_in(Tone::Faint, "as it was right after the kill");
    }
}

pub(super) fn machine(lines: &mut Lines, memory: &SystemMemory, source: Option<FiguresSource>) {
    let line = lines.label("machine");
    if let Some(ram) = memory.ram_bytes {
        line.solid(Tone::Strong, &format!("{} RAM", bytes(ram)))
            .glue(":");
    }
    let parts = [
        (memory.free_bytes, "free", true),
        (
            both(memory.active_anon_bytes, memory.inactive_anon_bytes),
            "anonymous",
            true,
        ),
        (
            both(memory.active_file_bytes, memory.inactive_file_bytes),
            "file",
            true,
        ),
        (memory.shmem_bytes, "shared", false),
        (
            both(
                memory.slab_reclaimable_bytes,
                memory.slab_unreclaimable_bytes,
            ),
            "slab",
            false,
        ),
        (memory.pagetables_bytes, "page tables", false),
        (memory.hugepages_bytes, "huge pages", false),
        (memory.unevictable_bytes, "unevictable", false),
    ];
    list(line, &parts);
    match (memory.swap_free_bytes, memory.swap_total_bytes) {
        (_, Some(0)) => _ = line.glue(";").say("no swap"),
        (Some(free), Some(total)) => {
            let swap = format!("{} of {} swap free", bytes(free), bytes(total));
            line.glue(";").say(&swap);
        }
        _ => {}
    }
    say_when(lines, source);
}

fn both(a: Option<u64>, b: Option<u64>) -> Option<u64> {
    a?.checked_add(b?)
}

/// Sizes and what they are; said even if it is nothing, or not.
fn list(line: &mut Line, parts: &[(Option<u64>, &str, bool)]) {
    let mut first = true;
    for &(size, what, always) in parts {
        let Some(size) = size.filter(|&size| always || size > 0) else {
            continue;
        };
        if !first {
            line.glue(",");
        }
        line.solid(Tone::Plain, &format!("{} {what}", bytes(size)));
        first = false;
    }
}
