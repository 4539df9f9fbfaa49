//! The sources: each turns bytes of the kernel into [`crate::evidence::Evidence`] and knows nothing
//! of the others.
//!
//! Not sources, but what they have in common: `bell` and `worker` of their threads, `memcg` and `scan` of what the
//! kernel writes. The programs in the kernel are in [`crate::bpf`].

pub mod audit;
mod bell;
pub mod bpf;
pub mod cgroup;
pub mod kmsg;
mod memcg;
pub mod memory;
mod scan;
pub mod victim;
pub(crate) mod worker;
