//! The eBPF source.

pub mod decode;
pub mod stack;
