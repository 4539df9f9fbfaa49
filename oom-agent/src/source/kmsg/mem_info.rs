//! What a report says of the memory of the whole machine: `Mem-Info` (`show_free_areas`,
//! `mm/show_mem.c`).
//!
//! ```text
//! active_anon:17 inactive_anon:4 isolated_anon:0     pages, several lines, often in one record
//! Node 0 DMA32 free:4kB min:4kB low:5kB high:6kB …   a zone; without NUMA `DMA32 free:…`
//! Node 0 DMA32: 1*4kB (U) 0*8kB … = 4kB              its free blocks
//! Node 0 hugepages_total=0 … hugepages_size=2048kB
//! Free swap  = 0kB
//! 262021 pages RAM
//! ```
//!
//! Emits a [`SystemMemory`]. Adds up nothing that the kernel does not: only of one node's huge pages the
//! sizes. Refuses a second `Mem-Info` in one report, for then two are mixed, and one whose beginning was
//! not seen.

use super::scan::{leading_kilobytes, leading_number, number, pair, words};
use crate::event::{SystemMemory, Zone};

/// How it begins.
pub const MEM_INFO: &[u8] = b"Mem-Info:";

/// More zones than any machine has: at most 1024 nodes, of which few have more than two.
const MAX_ZONES: usize = 4096;

/// Longer than any zone's name.
const MAX_NAME: usize = 16;

/// Whether a message that begins with no name and number may be a line of it.
#[must_use]
pub fn looks_like_part(message: &[u8]) -> bool {
    match message.first() {
        Some(b'N' | b'D' | b'H' | b'M') => {
            message.starts_with(b"Node ") || message == MEM_INFO || zone_name(message).is_some()
        }
        Some(b'F') => message.starts_with(b"Free swap "),
        Some(b'T') => message.starts_with(b"Total swap "),
        Some(b'0'..=b'9') => {
            message.ends_with(b" pages RAM") || message.ends_with(b" pages reserved")
        }
        _ => false,
    }
}

/// The name of a zone before ` free:` or `: 1*4kB`, and what follows it.
fn zone_name(text: &[u8]) -> Option<(&str, &[u8])> {
    let end = text.iter().position(|b| !b.is_ascii_alphanumeric())?;
    let (name, rest) = text.split_at(end);
    let follows = rest.starts_with(b" free:") || rest.starts_with(b": ");
    let known = name.first()?.is_ascii_uppercase() && name.len() <= MAX_NAME;
    (known && follows).then_some((std::str::from_utf8(name).ok()?, rest))
}

/// The `Mem-Info` of one report.
#[derive(Debug, Default)]
pub(super) struct MemInfo {
    memory: SystemMemory,
    begun: bool,
    mixed: bool,
    /// A node whose zone follows in a line of its own (before 4.10).
    node: Option<u32>,
    /// The node whose huge pages were told; more than one are not added up.
    hugepages_node: Option<u32>,
}

impl MemInfo {
    /// Takes one message of it, which may be several lines.
    pub(super) fn message(&mut self, message: &[u8], page_size: u64) {
        if message == MEM_INFO {
            self.mixed |= self.begun;
            self.begun = true;
        } else if self.begun && !self.mixed {
            for line in message.split(|&b| b == b'\n') {
                self.line(line.trim_ascii(), page_size);
            }
        }
    }

    fn line(&mut self, line: &[u8], page_size: u64) {
        if let Some(rest) = line.strip_prefix(b"Node ") {
            let Some((node, rest)) = leading_number(rest) else {
                return;
            };
            let Ok(node) = u32::try_from(node) else {
                return;
            };
            let rest = rest.trim_ascii_start();
            if rest.is_empty() {
                self.node = Some(node);
            } else if rest.starts_with(b"hugepages_total=") {
                self.hugepages(node, rest);
            } else {
                self.of_zone(node, rest);
            }
        } else if let Some(rest) = line.strip_prefix(b"Free swap ") {
            let swap = kilobytes_after_equals(rest);
            self.mixed |= !set(&mut self.memory.swap_free_bytes, swap);
        } else if let Some(rest) = line.strip_prefix(b"Total swap ") {
            let swap = kilobytes_after_equals(rest);
            self.mixed |= !set(&mut self.memory.swap_total_bytes, swap);
        } else if let Some((pages, rest)) = leading_number(line) {
            let bytes = pages.checked_mul(page_size);
            match rest {
                b" pages RAM" => self.mixed |= !set(&mut self.memory.ram_bytes, bytes),
                b" pages reserved" => self.mixed |= !set(&mut self.memory.reserved_bytes, bytes),
                _ => {}
            }
        } else if zone_name(line).is_some() {
            let node = self.node.take().unwrap_or(0);
            self.of_zone(node, line);
        } else {
            self.totals(line, page_size);
        }
    }

    /// `active_anon:17 inactive_anon:4 …`, in pages.
    fn totals(&mut self, line: &[u8], page_size: u64) {
        for (name, value) in words(line).filter_map(pair) {
            let memory = &mut self.memory;
            let field = match name {
                b"active_anon" => &mut memory.active_anon_bytes,
                b"inactive_anon" => &mut memory.inactive_anon_bytes,
                b"active_file" => &mut memory.active_file_bytes,
                b"inactive_file" => &mut memory.inactive_file_bytes,
                b"unevictable" => &mut memory.unevictable_bytes,
                b"dirty" => &mut memory.dirty_bytes,
                b"writeback" => &mut memory.writeback_bytes,
                b"slab_reclaimable" => &mut memory.slab_reclaimable_bytes,
                b"slab_unreclaimable" => &mut memory.slab_unreclaimable_bytes,
                b"mapped" => &mut memory.mapped_bytes,
                b"shmem" => &mut memory.shmem_bytes,
                b"pagetables" => &mut memory.pagetables_bytes,
                b"free" => &mut memory.free_bytes,
                _ => continue,
            };
            let pages: Option<u64> = number(value);
            self.mixed |= !set(field, pages.and_then(|pages| pages.checked_mul(page_size)));
        }
    }

    fn of_zone(&mut self, node: u32, text: &[u8]) {
        let Some((name, rest)) = zone_name(text) else {
            return;
        };
        let mut zones = self.memory.zones.iter_mut();
        let known = zones.find(|zone| zone.node == node && zone.name == name);
        if let Some(blocks) = rest.strip_prefix(b": ") {
            if let Some(zone) = known {
                zone.largest_free_order = largest_free_order(blocks);
            }
            return;
        }
        let is_new = known.is_none();
        match zone(node, name, rest) {
            Some(_) if !is_new || self.memory.zones.len() == MAX_ZONES => self.mixed = true,
            Some(zone) => self.memory.zones.push(zone),
            None => {}
        }
    }

    fn hugepages(&mut self, node: u32, text: &[u8]) {
        let value = |name: &[u8]| {
            let mut words = words(text);
            words.find_map(|word| word.strip_prefix(name))
        };
        let total: Option<u64> = value(b"hugepages_total=").and_then(number);
        let size = value(b"hugepages_size=").and_then(leading_kilobytes);
        let bytes = total
            .zip(size)
            .and_then(|(total, (size, _))| total.checked_mul(size));
        let before = match self.hugepages_node {
            None => Some(0),
            Some(known) if known == node => self.memory.hugepages_bytes,
            Some(_) => None,
        };
        self.hugepages_node = Some(node);
        self.memory.hugepages_bytes = before.zip(bytes).and_then(|(a, b)| a.checked_add(b));
    }

    pub(super) fn take(&mut self) -> Option<SystemMemory> {
        let memory = std::mem::take(&mut self.memory);
        let told = self.begun && !self.mixed && memory != SystemMemory::default();
        told.then_some(memory)
    }
}

/// Whether a value was the first for its field.
fn set(field: &mut Option<u64>, value: Option<u64>) -> bool {
    let first = field.is_none();
    if first {
        *field = value;
    }
    first
}

fn kilobytes_after_equals(text: &[u8]) -> Option<u64> {
    let value = text.trim_ascii_start().strip_prefix(b"=")?;
    let (bytes, rest) = leading_kilobytes(value.trim_ascii_start())?;
    rest.is_empty().then_some(bytes)
}

fn zone(node: u32, name: &str, pairs: &[u8]) -> Option<Zone> {
    let [mut free, mut min, mut low, mut high, mut managed] = [None; 5];
    for (name, value) in words(pairs).filter_map(pair) {
        let field = match name {
            b"free" => &mut free,
            b"min" => &mut min,
            b"low" => &mut low,
            b"high" => &mut high,
            b"managed" => &mut managed,
            _ => continue,
        };
        *field = field.or(leading_kilobytes(value).map(|(bytes, _)| bytes));
    }
    Some(Zone {
        node,
        name: name.to_owned(),
        free_bytes: free?,
        min_bytes: min?,
        low_bytes: low?,
        high_bytes: high?,
        managed_bytes: managed,
        largest_free_order: None,
    })
}

/// The last order of `1*4kB (U) 0*8kB … = 4kB` of which there is a block; `None` if the line is cut.
fn largest_free_order(blocks: &[u8]) -> Option<u32> {
    let mut order = 0;
    let mut largest = None;
    for word in words(blocks) {
        if word == b"=" {
            return largest;
        }
        if let Some((count, rest)) = leading_number(word)
            && rest.starts_with(b"*")
        {
            if count > 0 {
                largest = Some(order);
            }
            order += 1;
        }
    }
    None
}

#[cfg(test)]
#[path = "mem_info_tests.rs"]
mod tests;
