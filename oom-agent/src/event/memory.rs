//! Memory, in bytes: of a process, of a cgroup, of the machine, and what it did before a kill.
//!
//! Reads nothing: a part of the contract.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Cgroup, Owner};
use crate::text::Comm;

/// What a process held at the moment of its death.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Memory {
    /// Mapped address space.
    pub total_vm_bytes: Option<u64>,
    /// Resident anonymous memory.
    pub anon_bytes: Option<u64>,
    /// Resident file pages.
    pub file_bytes: Option<u64>,
    /// Resident shared memory (tmpfs, shm).
    pub shmem_bytes: Option<u64>,
    /// Swapped out.
    pub swap_bytes: Option<u64>,
    /// Page tables.
    pub pgtables_bytes: Option<u64>,
    /// High-water mark of resident memory, as far as the kernel had recorded it.
    pub peak_rss_bytes: Option<u64>,
}

impl Memory {
    /// Resident memory, if every part is known and their sum is a number of bytes.
    #[must_use]
    pub fn rss_bytes(&self) -> Option<u64> {
        let parts = [self.anon_bytes?, self.file_bytes?, self.shmem_bytes?];
        parts.into_iter().try_fold(0, u64::checked_add)
    }
}

/// What a memory cgroup held, with all below it, and against which limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CgroupMemory {
    /// Memory (`memory.max`, v1 `memory.limit_in_bytes`).
    pub memory: Option<Counter>,
    /// Swap (v2).
    pub swap: Option<Counter>,
    /// Memory and swap together (v1).
    pub memsw: Option<Counter>,
    /// Kernel memory (v1).
    pub kmem: Option<Counter>,
    /// What it was made of.
    pub stat: MemoryStat,
}

impl CgroupMemory {
    /// All kernel memory: where the kernel gives no sum, that of the parts it gives.
    #[must_use]
    pub fn kernel_bytes(&self) -> Option<u64> {
        let stat = &self.stat;
        let parts = [
            stat.kernel_stack_bytes,
            stat.pagetables_bytes,
            stat.slab_reclaimable_bytes,
            stat.slab_unreclaimable_bytes,
        ];
        stat.kernel_bytes
            .or(self.kmem.map(|kmem| kmem.usage_bytes))
            .or_else(|| parts.into_iter().flatten().reduce(u64::saturating_add))
    }
}

/// A `page_counter` as the log prints it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Counter {
    /// Charged.
    pub usage_bytes: u64,
    /// Limit; null where there is none.
    pub limit_bytes: Option<u64>,
    /// Times the limit was hit.
    pub failcnt: Option<u64>,
}

/// What the memory of a cgroup was made of: `memory.stat`, under the names of cgroup v2. What a
/// hierarchy of version 1 calls `cache`, `rss`, `mapped_file` is `file`, `anon`, `file_mapped` here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryStat {
    /// Anonymous memory.
    pub anon_bytes: Option<u64>,
    /// Page cache, tmpfs and shared memory included.
    pub file_bytes: Option<u64>,
    /// tmpfs and shared memory.
    pub shmem_bytes: Option<u64>,
    /// Page cache that is mapped.
    pub file_mapped_bytes: Option<u64>,
    /// Page cache not yet written to disk.
    pub file_dirty_bytes: Option<u64>,
    /// Page cache being written to disk.
    pub file_writeback_bytes: Option<u64>,
    /// Swapped out.
    pub swap_bytes: Option<u64>,
    /// Anonymous memory in transparent huge pages.
    pub anon_thp_bytes: Option<u64>,
    /// All kernel memory (5.18+).
    pub kernel_bytes: Option<u64>,
    /// Kernel stacks.
    pub kernel_stack_bytes: Option<u64>,
    /// Page tables.
    pub pagetables_bytes: Option<u64>,
    /// Socket buffers.
    pub sock_bytes: Option<u64>,
    /// Kernel objects that can be given back.
    pub slab_reclaimable_bytes: Option<u64>,
    /// Kernel objects that cannot.
    pub slab_unreclaimable_bytes: Option<u64>,
    /// Anonymous memory on the active list.
    pub active_anon_bytes: Option<u64>,
    /// Anonymous memory on the inactive list.
    pub inactive_anon_bytes: Option<u64>,
    /// Page cache on the active list.
    pub active_file_bytes: Option<u64>,
    /// Page cache on the inactive list.
    pub inactive_file_bytes: Option<u64>,
    /// Memory that cannot be reclaimed (`mlock`).
    pub unevictable_bytes: Option<u64>,
}

/// What the whole machine held: the `Mem-Info` of the kernel's report (`show_free_areas`,
/// `mm/show_mem.c`, before 6.3 `mm/page_alloc.c`).
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SystemMemory {
    /// RAM that the kernel manages or has reserved.
    pub ram_bytes: Option<u64>,
    /// Of it reserved.
    pub reserved_bytes: Option<u64>,
    /// Free.
    pub free_bytes: Option<u64>,
    /// Anonymous memory on the active list.
    pub active_anon_bytes: Option<u64>,
    /// Anonymous memory on the inactive list.
    pub inactive_anon_bytes: Option<u64>,
    /// Page cache on the active list.
    pub active_file_bytes: Option<u64>,
    /// Page cache on the inactive list.
    pub inactive_file_bytes: Option<u64>,
    /// Memory that cannot be reclaimed.
    pub unevictable_bytes: Option<u64>,
    /// Page cache not yet written to disk.
    pub dirty_bytes: Option<u64>,
    /// Page cache being written to disk.
    pub writeback_bytes: Option<u64>,
    /// Kernel objects that can be given back.
    pub slab_reclaimable_bytes: Option<u64>,
    /// Kernel objects that cannot.
    pub slab_unreclaimable_bytes: Option<u64>,
    /// Mapped files.
    pub mapped_bytes: Option<u64>,
    /// tmpfs and shared memory.
    pub shmem_bytes: Option<u64>,
    /// Page tables.
    pub pagetables_bytes: Option<u64>,
    /// Swap.
    pub swap_total_bytes: Option<u64>,
    /// Of it free.
    pub swap_free_bytes: Option<u64>,
    /// Huge pages set aside (`hugetlb`), used or not.
    pub hugepages_bytes: Option<u64>,
    /// The zones of memory, in the order of the report.
    pub zones: Vec<Zone>,
}

/// One zone of memory.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Zone {
    /// NUMA node.
    pub node: u32,
    /// `DMA`, `DMA32`, `Normal`, `Movable` …
    pub name: String,
    /// Free.
    pub free_bytes: u64,
    /// Below this only the kernel's emergencies may take from it.
    pub min_bytes: u64,
    /// Below this the kernel starts to reclaim.
    pub low_bytes: u64,
    /// Above this it stops.
    pub high_bytes: u64,
    /// All that the kernel manages of it.
    pub managed_bytes: Option<u64>,
    /// The largest order of which a block was free; null if nobody told, or nothing was free.
    pub largest_free_order: Option<u32>,
}

/// A row of the kernel's process table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskRow {
    /// Thread that the kernel lists.
    pub pid: u32,
    /// Its process.
    pub tgid: u32,
    /// User id.
    pub uid: u32,
    /// Process name.
    pub comm: Comm,
    /// Mapped address space.
    pub total_vm_bytes: u64,
    /// Resident memory.
    pub rss_bytes: u64,
    /// Page tables.
    pub pgtables_bytes: Option<u64>,
    /// Swapped out.
    pub swap_bytes: Option<u64>,
    /// `oom_score_adj`.
    pub oom_score_adj: i16,
}

/// One reading of a cgroup's memory by the flight recorder.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MemorySample {
    /// When, from the kill; negative before it.
    pub t_ns: i64,
    /// Charged (`memory.current`, v1 `memory.usage_in_bytes`).
    pub usage_bytes: u64,
    /// Limit (`memory.max`, v1 `memory.limit_in_bytes`); absent where there is none, or it was not read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub limit_bytes: Option<u64>,
    /// Anonymous memory. This and what follows is absent where only the usage was read.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub anon_bytes: Option<u64>,
    /// Page cache, tmpfs and shared memory included.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub file_bytes: Option<u64>,
    /// Of the page cache tmpfs and shared memory, which no file backs.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub shmem_bytes: Option<u64>,
    /// Kernel memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub kernel_bytes: Option<u64>,
    /// Swapped out.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub swap_bytes: Option<u64>,
    /// Share of the last 10 s in which some task waited for memory (`memory.pressure`, `some avg10`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub pressure_some_percent: Option<f32>,
    /// The same for all tasks at once (`full avg10`).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub pressure_full_percent: Option<f32>,
}

impl MemorySample {
    /// Of which no more than the usage is known.
    #[must_use]
    pub const fn of(t_ns: i64, usage_bytes: u64) -> Self {
        Self {
            t_ns,
            usage_bytes,
            limit_bytes: None,
            anon_bytes: None,
            file_bytes: None,
            shmem_bytes: None,
            kernel_bytes: None,
            swap_bytes: None,
            pressure_some_percent: None,
            pressure_full_percent: None,
        }
    }
}

/// What the history says in short.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryTrend {
    /// The cgroup that was recorded: that of the limit, or else the victim's.
    pub cgroup: Cgroup,
    /// The most that was charged within the history.
    pub peak_bytes: u64,
    /// How fast it grew on its last way up; negative if it fell. Null with fewer than three readings.
    pub growth_bytes_per_s: Option<i64>,
    /// What grew; absent where no growth is told.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(default)]
    pub growth_of: Option<GrowthOf>,
    /// The time over which that was measured.
    pub growth_over_ns: Option<u64>,
    /// How long the usage had been above 80 % of the limit when the kernel killed: of the limit that
    /// was hit, as it was then, even if it had been another before; of any other cgroup's, as it was read
    /// last. 0 if it was below when it was read last. Null without a limit.
    pub since_80_percent_ns: Option<u64>,
    /// It had been above since before the history began: for that long at least. Absent if not.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub since_80_percent_at_least: bool,
}

/// What the growth of a cgroup's memory was measured by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum GrowthOf {
    /// All that was charged.
    Usage,
    /// What no file backs: anonymous and shared memory, and what of it was swapped out. Told where the usage
    /// stood still because page cache, or swap, made room for it.
    Anon,
}

/// What the cgroup of the limit (of the victim, if the machine ran out) said of itself, read right
/// after the kill.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct CgroupState {
    /// Which cgroup.
    pub cgroup: Cgroup,
    /// How long after the kill it was read: the victim may have given memory back meanwhile.
    pub after_ns: u64,
    /// Most ever charged (`memory.peak`, v1 `memory.max_usage_in_bytes`).
    pub peak_bytes: Option<u64>,
    /// `memory.events`.
    pub events: Option<MemoryEvents>,
    /// `memory.pressure`.
    pub pressure: Option<Pressure>,
    /// `memory.oom.group`; null where it is not known, and in a hierarchy of version 1, which has none.
    pub oom_group: Option<bool>,
}

/// `memory.events`: how often what happened, in this cgroup and all below it, since it was made. Of a
/// hierarchy of version 1 only `oom_kill` is known, and `max` is `memory.failcnt`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MemoryEvents {
    /// Reclaimed though below `memory.low`.
    pub low: Option<u64>,
    /// Throttled at `memory.high`.
    pub high: Option<u64>,
    /// About to exceed `memory.max`.
    pub max: Option<u64>,
    /// Allocations that failed at the limit.
    pub oom: Option<u64>,
    /// Processes killed.
    pub oom_kill: Option<u64>,
    /// Times that a whole cgroup was killed.
    pub oom_group_kill: Option<u64>,
}

/// `memory.pressure` (PSI).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Pressure {
    /// Some task waited.
    pub some: Stall,
    /// All tasks waited at once.
    pub full: Stall,
}

/// A line of PSI (Documentation/accounting/psi.rst).
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Stall {
    /// Share of the last 10 s.
    pub avg10_percent: f32,
    /// Share of the last minute.
    pub avg60_percent: f32,
    /// Share of the last five minutes.
    pub avg300_percent: f32,
    /// Time in all.
    pub total_ns: u64,
}

/// One of the cgroups that held the most when the machine ran out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TopCgroup {
    /// Which.
    pub cgroup: Cgroup,
    /// Whose.
    pub owner: Option<Owner>,
    /// Charged to it and all below it.
    pub usage_bytes: u64,
    /// Its limit.
    pub limit_bytes: Option<u64>,
}

/// Where figures are from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum FiguresSource {
    /// The kernel's report: of the moment of the kill.
    Kmsg,
    /// Read by the agent right after the kill, from the cgroup's files or `/proc`.
    Read,
}

#[cfg(test)]
mod tests {
    use super::Memory;

    #[test]
    fn resident_memory_is_known_if_its_parts_and_their_sum_are() {
        let rss = |anon_bytes, file_bytes, shmem_bytes| {
            let memory = Memory {
                anon_bytes,
                file_bytes,
                shmem_bytes,
                ..Memory::default()
            };
            memory.rss_bytes()
        };
        assert_eq!(rss(Some(1), Some(2), Some(4)), Some(7));
        assert_eq!(rss(Some(1), None, Some(4)), None);
        assert_eq!(rss(Some(u64::MAX), Some(1), Some(0)), None);
    }
}
