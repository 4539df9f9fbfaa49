//! The BPF source: what the kernel itself says at the moment of a kill.
//!
//! [`btf`] reads the kernel's description of its own types, [`layout`] turns it into the offsets that
//! the kernel side reads by. Nothing here knows a kernel version: it asks for what it needs.

pub mod btf;
pub mod layout;
