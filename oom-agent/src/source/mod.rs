//! The sources: each turns bytes of the kernel into [`crate::evidence::Evidence`] and knows nothing
//! of the others.

pub mod audit;
mod bell;
pub mod bpf;
pub mod cgroup;
pub mod kmsg;
pub mod memory;
pub mod victim;
mod worker;
