//! What the memory controller writes alike in its files and into the log (`mm/memcontrol.c`).
//!
//! Reads lines of `memory.stat`, and limits; emits a [`MemoryStat`]. `memory.stat` of version 1 tells of a cgroup with
//! and without those below it: the `total_` values are taken. Refuses names that it does not know, and numbers that
//! do not fit.

use super::scan::number;
use crate::event::MemoryStat;

/// Whether a number of kB is a limit, rather than none: `PAGE_COUNTER_MAX`
/// (`include/linux/page_counter.h`).
pub(super) fn is_limit(kilobytes: u64) -> bool {
    /// With 64 KiB pages, its smallest value on 64 bits; with 4 KiB pages it is 9007199254740988.
    /// `RESOURCE_MAX` before 3.19 is larger.
    const NONE_KB: u64 = 9_007_199_254_740_928;
    /// On 32 bits with 4 KiB pages.
    const NONE_32_KB: u64 = 8_589_934_588;
    kilobytes < NONE_KB && kilobytes != NONE_32_KB
}

/// What `memory.stat`, of either version, says.
pub(super) fn memory_stat(text: &[u8]) -> MemoryStat {
    let mut stat = MemoryStat::default();
    for line in text.split(|&b| b == b'\n') {
        list(&mut stat, line);
    }
    stat
}

/// One line of `memory.stat`.
pub(super) fn list(stat: &mut MemoryStat, line: &[u8]) {
    let Some(space) = line.iter().position(|&b| b == b' ') else {
        return;
    };
    let (name, value) = (&line[..space], number(&line[space + 1..]));
    if let Some(name) = name.strip_prefix(b"total_") {
        if let Some(field) = field(stat, name) {
            *field = value;
        }
    } else if let Some(field) = field(stat, name) {
        *field = field.or(value);
    }
}

/// The field of a name, of either version (`memory_stats` and `memcg1_stat_names`).
pub(super) fn field<'a>(stat: &'a mut MemoryStat, name: &[u8]) -> Option<&'a mut Option<u64>> {
    Some(match name {
        b"anon" | b"rss" => &mut stat.anon_bytes,
        b"file" | b"cache" => &mut stat.file_bytes,
        b"shmem" => &mut stat.shmem_bytes,
        b"file_mapped" | b"mapped_file" => &mut stat.file_mapped_bytes,
        b"file_dirty" | b"dirty" => &mut stat.file_dirty_bytes,
        b"file_writeback" | b"writeback" => &mut stat.file_writeback_bytes,
        b"swap" => &mut stat.swap_bytes,
        b"anon_thp" | b"rss_huge" => &mut stat.anon_thp_bytes,
        b"kernel" => &mut stat.kernel_bytes,
        b"kernel_stack" => &mut stat.kernel_stack_bytes,
        b"pagetables" => &mut stat.pagetables_bytes,
        b"sock" => &mut stat.sock_bytes,
        b"slab_reclaimable" => &mut stat.slab_reclaimable_bytes,
        b"slab_unreclaimable" => &mut stat.slab_unreclaimable_bytes,
        b"active_anon" => &mut stat.active_anon_bytes,
        b"inactive_anon" => &mut stat.inactive_anon_bytes,
        b"active_file" => &mut stat.active_file_bytes,
        b"inactive_file" => &mut stat.inactive_file_bytes,
        b"unevictable" => &mut stat.unevictable_bytes,
        _ => return None,
    })
}
