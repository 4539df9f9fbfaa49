//! Who asked for the memory, and what for.
//!
//! Reads nothing: a part of the contract.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{call_trace::CallTrace, text::Comm};

/// The task that asked for the memory. It need not be the victim.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
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
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
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
