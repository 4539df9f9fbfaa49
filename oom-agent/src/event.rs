//! The public events: `OomKill` (the alert) and `OomInstance` (the report), schema version 1.
//!
//! Reads nothing; these types *are* the contract. Serialised as `snake_case` JSON, one object per
//! line. Sizes are bytes, durations nanoseconds, times RFC 3339 UTC. A value that is not known is
//! `null`, never 0 or a guess; a value that was inferred says so. Within a schema version fields are
//! only added.

use std::{fmt, sync::Arc};

use schemars::JsonSchema;
use serde::Serialize;

pub use crate::timestamp::Timestamp;
use crate::{call_trace::CallTrace, text::Comm};

/// Version of this contract, in every event as `schema`.
pub const SCHEMA: u32 = 1;

/// One event as it leaves the agent. `kind` tells which.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[serde(tag = "kind")]
pub enum Event {
    /// One process was killed: emitted at the first trustworthy evidence.
    OomKill(Box<OomKill>),
    /// One decision of the kernel, closed and cross-checked.
    OomInstance(Box<OomInstance>),
}

/// The alert: one per killed process.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct OomKill {
    /// Version of this contract.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: u32,
    /// Deterministic: boot id, tgid and start time; boot id and log sequence if only the log saw it.
    pub id: Arc<str>,
    /// `id` of the report that this kill belongs to.
    pub instance_id: Arc<str>,
    /// Wall clock at the kernel's mark (or log line). Null only for a kill from a log that does not
    /// tell it.
    pub time: Option<Timestamp>,
    /// Where `time` is from; null with it.
    pub time_source: Option<TimeSource>,
    /// The same moment on `CLOCK_MONOTONIC`. Null only for a kill from a log that does not tell it.
    pub monotonic_ns: Option<u64>,
    /// `/proc/sys/kernel/random/boot_id`. Null only for a kill from a log that does not tell it.
    pub boot_id: Option<Arc<str>>,
    /// Node name. Null only for a kill from a log that does not tell it.
    pub node: Option<Arc<str>>,
    /// Who died.
    pub victim: Victim,
    /// What the victim held.
    pub memory: Memory,
    /// The cgroup that the victim's memory was charged to.
    pub cgroup: Option<Cgroup>,
    /// Whose cgroup that is.
    pub owner: Option<Owner>,
    /// Why this process died.
    pub role: Role,
    /// The sources that had seen the kill when this event was emitted.
    pub evidence: Vec<Source>,
    /// From the kernel's mark (or log line) until the event was handed to the outputs.
    pub detection_latency_ns: Option<u64>,
    /// What the `oom_reaper` said of the victim's memory. Null if it had not spoken when the event was
    /// made; it is needed only where the victim does not end by itself.
    pub reaper: Option<Reaper>,
}

/// Where the wall-clock time of an event is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum TimeSource {
    /// The kernel's own clock, converted on the node while it ran.
    Kernel,
    /// Whoever wrote the log noted it: later than the kill, and as exact as that logger writes.
    Logger,
    /// The log leaves out the year or the time zone; they were assumed.
    Assumed,
}

/// What the `oom_reaper` (4.6+) did with the memory of a victim that had not ended yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Reaper {
    /// It took the memory back.
    Reaped,
    /// It could not, and gave up.
    Unable,
}

/// The process that was killed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Victim {
    /// The process (tgid). Null if only the log spoke, which names a thread, or if the tracepoint
    /// carries only a thread and it was gone.
    pub pid: Option<u32>,
    /// The thread that the kernel names: one that still had the memory.
    pub tid: u32,
    /// The pid in the victim's own pid namespace.
    pub ns_pid: Option<u32>,
    /// Parent process (tgid).
    pub ppid: Option<u32>,
    /// Name of the thread; absent where it could not be read, or is empty.
    #[serde(skip_serializing_if = "Comm::is_empty")]
    #[schemars(default)]
    pub comm: Comm,
    /// Name of the parent.
    pub parent_comm: Option<Comm>,
    /// Real user id.
    pub uid: Option<u32>,
    /// When the process started.
    pub start_time: Option<Timestamp>,
    /// Threads when it was killed.
    pub threads: Option<u32>,
    /// `/proc/<pid>/oom_score_adj`, -1000 to 1000.
    pub oom_score_adj: Option<i16>,
    /// Path of the executable.
    pub exe: Option<String>,
    /// Command line; off by default, for it may hold secrets.
    pub cmdline: Option<String>,
}

/// What a process held at the moment of its death.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
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

/// A memory cgroup.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Cgroup {
    /// Path from the root of its hierarchy, as `/proc/<pid>/cgroup` shows it on the host.
    pub path: Option<String>,
    /// kernfs id: the inode number of the cgroup's directory.
    pub id: Option<u64>,
    /// Hierarchy version, 1 or 2.
    pub version: Option<u8>,
}

/// Whose a cgroup is. What its path does not tell is null.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Owner {
    /// What kind of owner.
    pub kind: OwnerKind,
    /// What made the cgroup. Null where the path does not tell: a container of the kubelet's cgroupfs
    /// driver, for one.
    pub runtime: Option<Runtime>,
    /// 64 hexadecimal digits.
    pub container_id: Option<String>,
    /// Name of the container.
    pub container_name: Option<String>,
    /// Its image.
    pub image: Option<String>,
    /// The pod, also that of a container.
    pub pod: Option<Pod>,
    /// systemd unit, as systemd writes it (`\x2d` for a dash within a name).
    pub unit: Option<String>,
    /// Name of the machine: LXC, systemd-nspawn, libvirt.
    pub machine: Option<String>,
    /// The user in whose slice it is, or whose job it is.
    pub uid: Option<u32>,
    /// Number of the job (Slurm).
    pub job: Option<u32>,
}

impl Owner {
    /// Of a kind, and no more known.
    #[must_use]
    pub const fn of(kind: OwnerKind) -> Self {
        Self {
            kind,
            runtime: None,
            container_id: None,
            container_name: None,
            image: None,
            pod: None,
            unit: None,
            machine: None,
            uid: None,
            job: None,
        }
    }
}

/// Kinds of owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum OwnerKind {
    /// A container, in a pod or not.
    Container,
    /// A pod, but none of its containers.
    Pod,
    /// A systemd unit.
    Unit,
    /// A user: a session, or what the user's own manager runs outside of its units.
    User,
    /// A container with a system of its own (LXC, systemd-nspawn), or a virtual machine.
    Machine,
    /// A job of a workload manager (Slurm).
    Job,
    /// The system itself, or nobody who can be told by the path; that is in `cgroup.path`.
    System,
}

/// What makes cgroups for others.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Runtime {
    /// containerd: of Kubernetes, or of nerdctl.
    Containerd,
    /// CRI-O.
    Crio,
    /// Docker.
    Docker,
    /// Podman.
    Podman,
    /// Kata Containers; what is known to contain its virtual machine.
    Kata,
    /// LXC, Incus, LXD.
    Lxc,
    /// systemd-nspawn.
    Nspawn,
    /// libvirt.
    Libvirt,
    /// Slurm.
    Slurm,
}

/// A pod of Kubernetes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Pod {
    /// Its namespace.
    pub namespace: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// Its uid; a static pod has the hash of its configuration.
    pub uid: String,
    /// Its class of service.
    pub qos: Option<Qos>,
}

/// Classes of service of pods.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Qos {
    /// Limits equal to requests.
    Guaranteed,
    /// Some requests.
    Burstable,
    /// None.
    BestEffort,
}

/// Why a process died.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// The kernel chose it.
    Chosen,
    /// It shared a cgroup with `memory.oom.group` set with the chosen one.
    GroupMember,
}

/// A source of evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Source {
    /// The eBPF programs.
    Bpf,
    /// The kernel log.
    Kmsg,
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Bpf => "bpf",
            Self::Kmsg => "kmsg",
        })
    }
}

/// The report: one per decision of the kernel.
#[derive(Clone, Debug, Serialize, JsonSchema)]
pub struct OomInstance {
    /// Version of this contract.
    #[schemars(extend("const" = SCHEMA))]
    pub schema: u32,
    /// Deterministic; `instance_id` of its kills.
    pub id: Arc<str>,
    /// Wall clock of the first evidence. Null only for a report from a log that does not tell it.
    pub time: Option<Timestamp>,
    /// Where `time` is from; null with it.
    pub time_source: Option<TimeSource>,
    /// The same moment on `CLOCK_MONOTONIC`. Null only for a report from a log that does not tell it.
    pub monotonic_ns: Option<u64>,
    /// `/proc/sys/kernel/random/boot_id`. Null only for a report from a log that does not tell it.
    pub boot_id: Option<Arc<str>>,
    /// Node name. Null only for a report from a log that does not tell it.
    pub node: Option<Arc<str>>,
    /// Release of the kernel, as its report names it (`6.12.9+deb13-cloud-amd64`).
    pub kernel: Option<String>,
    /// What ran out. Null where no source could tell.
    pub scope: Option<Scope>,
    /// The kernel's `enum oom_constraint` by name.
    pub constraint: Option<Constraint>,
    /// Who asked for the memory.
    pub trigger: Option<Trigger>,
    /// The limit that was hit; null when the scope is not `memcg` or it is not known.
    pub limit: Option<Limit>,
    /// How it ended. Null if the kernel decided, and what would tell the end was lost.
    pub outcome: Option<Outcome>,
    /// Whether the kernel killed a whole cgroup (`memory.oom.group`). Null where no source could tell.
    pub group_kill: Option<bool>,
    /// Every process that was killed, final.
    pub kills: Vec<OomKill>,
    /// What the cgroup whose limit was hit held, with all below it. Null if nobody told.
    pub limit_memory: Option<CgroupMemory>,
    /// What the whole machine held. Null if nobody told; the kernel prints it when the machine, or
    /// some of its nodes, ran out.
    pub system_memory: Option<SystemMemory>,
    /// The process table that the kernel printed, if it did.
    pub tasks: Vec<TaskRow>,
    /// Rows of that table that are not in `tasks`: too many, or not understood.
    pub tasks_dropped: u32,
    /// What each source said, and where they differ.
    pub crosscheck: Crosscheck,
    /// From the first evidence until this report was closed. Null for a report from a log that was read
    /// afterwards.
    pub open_for_ns: Option<u64>,
}

/// What ran out of memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// A memory cgroup reached its limit.
    Memcg,
    /// The whole machine.
    System,
    /// The nodes that a cpuset allows.
    Cpuset,
    /// The nodes that a memory policy allows.
    Mempolicy,
    /// Somebody asked for it with sysrq-f.
    Sysrq,
}

/// `enum oom_constraint` (include/linux/oom.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub enum Constraint {
    /// No constraint: the whole machine.
    #[serde(rename = "CONSTRAINT_NONE")]
    None,
    /// A cpuset.
    #[serde(rename = "CONSTRAINT_CPUSET")]
    Cpuset,
    /// A NUMA memory policy.
    #[serde(rename = "CONSTRAINT_MEMORY_POLICY")]
    MemoryPolicy,
    /// A memory cgroup.
    #[serde(rename = "CONSTRAINT_MEMCG")]
    Memcg,
}

/// The task that asked for the memory. It need not be the victim.
#[derive(Clone, Debug, Default, PartialEq, Serialize, JsonSchema)]
pub struct Trigger {
    /// Process (tgid); null if only the log spoke (it names a thread).
    pub pid: Option<u32>,
    /// Thread.
    pub tid: Option<u32>,
    /// Process name.
    pub comm: Option<Comm>,
    /// Memory cgroup of the trigger.
    pub cgroup: Option<String>,
    /// `gfp_t` of the allocation, as a number (its bits differ between kernels).
    pub gfp_mask: Option<u32>,
    /// The same, as the kernel's log names it.
    pub gfp_flags: Option<String>,
    /// The allocation asked for 2^order pages.
    pub order: Option<i32>,
    /// `oom_score_adj` of the trigger.
    pub oom_score_adj: Option<i16>,
    /// What was being allocated, from the kernel stack.
    pub allocation: Option<Allocation>,
    /// The CPU that it ran on.
    pub cpu: Option<u32>,
    /// Functions of its kernel stack as the log names them, the innermost first; empty if the log has
    /// none.
    pub call_trace: CallTrace,
}

/// What was being allocated when memory ran out, named from the kernel stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Allocation {
    /// A page fault on anonymous memory.
    AnonPageFault,
    /// A page fault on a file mapping.
    FilePageFault,
    /// Copy on write.
    CopyOnWrite,
    /// A page read or written through the page cache.
    PageCache,
    /// Shared memory or tmpfs.
    Shmem,
    /// Kernel objects charged to the cgroup.
    Slab,
    /// Page tables.
    PageTable,
    /// A page coming back from swap.
    SwapIn,
    /// Socket buffers.
    Socket,
    /// A transparent or explicit huge page.
    HugePage,
    /// `vmalloc`, kernel stacks and the like.
    Vmalloc,
    /// Lowering the limit below what was in use.
    LimitWrite,
    /// Other kernel memory.
    OtherKernel,
}

/// The limit that was hit.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Limit {
    /// The cgroup whose limit it is: the victim's own or one above it.
    pub cgroup: Cgroup,
    /// Which level of the tree that is, by its path. Null if the path is not known.
    pub level: Option<LimitLevel>,
    /// The limit.
    pub limit_bytes: Option<u64>,
    /// What was charged to it at that moment.
    pub usage_bytes: Option<u64>,
    /// How often the limit had been hit.
    pub failcnt: Option<u64>,
    /// How this is known.
    pub source: LimitSource,
}

/// What a cgroup is a level of, and so whose limit its limit is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LimitLevel {
    /// The container's own.
    Container,
    /// The pod's.
    Pod,
    /// All pods of a class of service.
    Qos,
    /// All pods of the node: what it has to allocate.
    Pods,
    /// A service's, a scope's, a session's.
    Unit,
    /// A slice's: of all units in it.
    Slice,
    /// All that is a user's.
    User,
    /// The machine's: LXC, systemd-nspawn, libvirt.
    Machine,
    /// The job's.
    Job,
    /// A cgroup that an owner has made within its own.
    Nested,
    /// The whole node: the root of the hierarchy.
    Node,
    /// Any other cgroup.
    Cgroup,
}

/// What a memory cgroup held, with all below it, and against which limits.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
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
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
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
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, JsonSchema)]
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
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
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

/// How the limit is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LimitSource {
    /// Read from the kernel's decision.
    OomControl,
    /// Named by the kernel log.
    Kmsg,
    /// The level whose usage stood at its limit.
    Inferred,
}

/// How a decision ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// At least one process was killed.
    Killed,
    /// The task that the kernel would have killed was exiting already: marked, not killed.
    AlreadyExiting,
    /// Nothing could be killed.
    NoVictim,
    /// The kernel panicked (`vm.panic_on_oom`).
    Panic,
}

/// A row of the kernel's process table.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
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

/// What each source said.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Crosscheck {
    /// Kills of this instance that BPF saw; null when that source was down.
    pub bpf_kills: Option<u32>,
    /// Distinct kills of this instance that the log named; null when that source was down.
    pub kmsg_kills: Option<u32>,
    /// Further log lines for victims already killed (group kills name the first victim twice).
    pub repeats: u32,
    /// How much of its report the kernel wrote to the log.
    pub kmsg_report: KmsgReportState,
    /// Fields on which the sources disagree.
    pub mismatches: Vec<Mismatch>,
}

/// How much of its report the kernel wrote to the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum KmsgReportState {
    /// Header, summary and kill line.
    Full,
    /// A part of it: the rest was lost on the way, or is not in the log that was read.
    Partial,
    /// The kill line alone, as where the kernel's rate limit (10 reports in 5 s) swallows the rest.
    Suppressed,
    /// Nothing: not readable, or lost before it was read.
    Absent,
}

/// A field on which the sources disagree; the BPF value is kept.
#[derive(Clone, Debug, PartialEq, Serialize, JsonSchema)]
pub struct Mismatch {
    /// Dotted name of the field.
    pub field: String,
    /// What BPF read.
    pub bpf: serde_json::Value,
    /// What the log said.
    pub kmsg: serde_json::Value,
}

/// The JSON Schema of [`Event`], generated from these types.
#[must_use]
pub fn json_schema() -> schemars::Schema {
    schemars::schema_for!(Event)
}

#[cfg(test)]
impl OomInstance {
    /// A closed report of which nothing is known.
    pub(crate) fn for_tests(kills: Vec<OomKill>) -> Self {
        Self {
            schema: SCHEMA,
            id: "instance".into(),
            time: Some(Timestamp::from_unix_ns(0)),
            time_source: Some(TimeSource::Kernel),
            monotonic_ns: Some(0),
            boot_id: Some("boot".into()),
            node: Some("node".into()),
            kernel: None,
            scope: None,
            constraint: None,
            trigger: None,
            limit: None,
            outcome: Some(Outcome::Killed),
            group_kill: None,
            kills,
            limit_memory: None,
            system_memory: None,
            tasks: Vec::new(),
            tasks_dropped: 0,
            crosscheck: Crosscheck {
                bpf_kills: None,
                kmsg_kills: None,
                repeats: 0,
                kmsg_report: KmsgReportState::Full,
                mismatches: Vec::new(),
            },
            open_for_ns: None,
        }
    }
}

#[cfg(test)]
impl OomKill {
    /// A kill of which nothing is known.
    pub(crate) fn for_tests() -> Self {
        Self {
            schema: SCHEMA,
            id: "id".into(),
            instance_id: "instance".into(),
            time: Some(Timestamp::from_unix_ns(0)),
            time_source: Some(TimeSource::Kernel),
            monotonic_ns: Some(0),
            boot_id: Some("boot".into()),
            node: Some("node".into()),
            victim: Victim::default(),
            memory: Memory::default(),
            cgroup: None,
            owner: None,
            role: Role::Chosen,
            evidence: Vec::new(),
            detection_latency_ns: None,
            reaper: None,
        }
    }
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
