//! The eBPF source: the kernel's own structures, at the instant of the kill.
//!
//! `ring` takes the records of the programs ([`crate::bpf`]) and makes evidence of them: `stack` says what the call chain
//! tells, `complete` and `proc` add what the kernel side of an old or locked kernel could not say. Refuses to say more
//! than was read.

mod complete;
mod proc;
pub mod ring;
pub mod stack;
