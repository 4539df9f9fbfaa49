//! The programs in the kernel: bringing them in, keeping them there, and the records that they send.
//!
//! `load` brings the programs of `object` in (offsets from `btf` and `layout` by `kernel_types`, or from `format`),
//! `tier` and `refusal` say how far that went, `decision` hooks the decision (by `kallsyms`), `self_check` proves them,
//! `decode` reads a record field by field. `pins` keeps programs and ring when the agent is gone, `open` goes on with
//! them. `cgroups` is the watch of cgroups, `ends` that of victims, each with a ring of its own and what `watch` has of
//! both. Emits records as values, to the sources `bpf`, `cgroup` and `victim`. Refuses to say more than was read.

pub mod btf;
pub mod cgroups;
pub mod debug;
pub mod decision;
pub mod decode;
pub mod ends;
pub mod format;
pub mod generation;
mod heap;
pub mod holder;
pub(crate) mod kallsyms;
mod kernel_types;
pub mod layout;
mod link;
pub mod load;
mod object;
pub mod open;
mod pin_dir;
mod pin_name;
pub(crate) mod pinned;
pub mod pins;
mod refusal;
pub mod ring_map;
pub mod self_check;
pub mod stand_in;
mod tier;
pub mod watch;
mod wire;
