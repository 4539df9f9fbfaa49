//! The eBPF source: the kernel's own structures, at the instant of the kill.
//!
//! `load` brings the programs of `object` in (offsets from `btf` and `layout` by `kernel_types`, or from `format`),
//! `tier` and `refusal` say how far that went, `decision` hooks the decision, `self_check` proves them, `decode` and `stack` turn a record into evidence, `complete` and `proc` add what the
//! kernel side of an old or locked kernel could not say. `pins` keeps programs and ring when the agent is
//! gone, `open` goes on with them. `cgroups` is the watch of cgroups, `ends`
//! that of victims, each with a ring of its own and what `watch` has of both. Refuses to say more than was read.

pub mod btf;
pub mod cgroups;
mod complete;
pub mod debug;
pub mod decision;
pub mod decode;
pub mod ends;
pub mod format;
pub mod generation;
mod heap;
pub mod holder;
mod kernel_types;
pub mod layout;
mod link;
pub mod load;
mod object;
pub mod open;
mod pin_dir;
mod pin_name;
mod pinned;
pub mod pins;
mod proc;
mod refusal;
pub mod ring;
pub mod ring_map;
pub mod self_check;
pub mod stack;
pub mod stand_in;
mod tier;
pub mod watch;
mod wire;
