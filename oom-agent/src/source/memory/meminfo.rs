//! What the machine held, by `/proc/meminfo` (`fs/proc/meminfo.c`).
//!
//! Reads its text; emits a [`SystemMemory`] of what means exactly the same in a kernel's report. Pure.
//! Left out: `MemTotal`, which is RAM without what is reserved, and the zones.

use super::parse;
use crate::event::SystemMemory;

/// Parses it; `None` if it tells nothing.
#[must_use]
pub fn system_memory(text: &[u8]) -> Option<SystemMemory> {
    let bytes = |name: &str| {
        let line = text
            .split(|&byte| byte == b'\n')
            .find_map(|line| line.strip_prefix(name.as_bytes())?.strip_prefix(b":"))?;
        parse::value(line.strip_suffix(b" kB")?)?.checked_mul(1024)
    };
    let memory = SystemMemory {
        free_bytes: bytes("MemFree"),
        active_anon_bytes: bytes("Active(anon)"),
        inactive_anon_bytes: bytes("Inactive(anon)"),
        active_file_bytes: bytes("Active(file)"),
        inactive_file_bytes: bytes("Inactive(file)"),
        unevictable_bytes: bytes("Unevictable"),
        dirty_bytes: bytes("Dirty"),
        writeback_bytes: bytes("Writeback"),
        slab_reclaimable_bytes: bytes("SReclaimable"),
        slab_unreclaimable_bytes: bytes("SUnreclaim"),
        mapped_bytes: bytes("Mapped"),
        shmem_bytes: bytes("Shmem"),
        pagetables_bytes: bytes("PageTables"),
        swap_total_bytes: bytes("SwapTotal"),
        swap_free_bytes: bytes("SwapFree"),
        // Of all sizes (4.16+); `HugePages_Total` is of the default size alone.
        hugepages_bytes: bytes("Hugetlb"),
        ..SystemMemory::default()
    };
    (memory != SystemMemory::default()).then_some(memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "\
MemTotal:       24684084 kB
MemFree:        23917636 kB
Active:            35996 kB
Active(anon):       1536 kB
Inactive(anon):     5788 kB
Active(file):      34460 kB
Inactive(file):    17072 kB
Unevictable:       15700 kB
SwapTotal:             0 kB
SwapFree:              0 kB
Dirty:               656 kB
Writeback:             8 kB
Mapped:            10868 kB
Shmem:              8872 kB
KReclaimable:     552064 kB
SReclaimable:     552064 kB
SUnreclaim:        42896 kB
PageTables:         1964 kB
HugePages_Total:       3
Hugepagesize:       2048 kB
Hugetlb:         6144 kB
";

    #[test]
    fn what_means_the_same_is_taken() {
        let kb = |kb: u64| Some(kb * 1024);
        let expected = SystemMemory {
            free_bytes: kb(23_917_636),
            active_anon_bytes: kb(1536),
            inactive_anon_bytes: kb(5788),
            active_file_bytes: kb(34460),
            inactive_file_bytes: kb(17072),
            unevictable_bytes: kb(15700),
            dirty_bytes: kb(656),
            writeback_bytes: kb(8),
            slab_reclaimable_bytes: kb(552_064),
            slab_unreclaimable_bytes: kb(42896),
            mapped_bytes: kb(10868),
            shmem_bytes: kb(8872),
            pagetables_bytes: kb(1964),
            swap_total_bytes: kb(0),
            swap_free_bytes: kb(0),
            hugepages_bytes: kb(6144),
            ..SystemMemory::default()
        };
        assert_eq!(system_memory(TEXT.as_bytes()), Some(expected));
    }

    #[test]
    fn damaged_lines_tell_nothing() {
        let text =
            "MemFree: -1 kB\nDirty: 5\nShmem 7 kB\nMapped: 18446744073709551615 kB\n\u{fffd}";
        assert_eq!(system_memory(text.as_bytes()), None);
    }
}
