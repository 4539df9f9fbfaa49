//! The kernel side: reads and counts, never decides.
//!
//! One file per program (`mark`, `classic`, `decision`, `self_check`, `cgroup_watch`, `victim_end`), one for reading kernel
//! memory (`read`), one for a task (`task`), one for its cgroups (`cgroup`), one for the ring and its
//! counters (`ring`). Emits [`oom_common::Record`], [`oom_common::CgroupEvent`] and
//! [`oom_common::EndRecord`]. Refuses policy: what a mark means is for user space to say.
#![no_std]
#![no_main]
#![expect(
    clippy::inline_always,
    reason = "a call takes stack, of which a program has 512 bytes, and loses the pointer types that the verifier follows"
)]
#![expect(
    clippy::cast_possible_truncation,
    reason = "pointers have 64 bits here, and what is narrowed is bounded or the half that is meant"
)]
#![expect(
    clippy::needless_pass_by_value,
    reason = "the program macros hand over the context by value"
)]

mod cgroup;
mod cgroup_watch;
mod classic;
mod decision;
mod mark;
mod read;
mod ring;
mod self_check;
mod task;
mod victim_end;

/// `bpf_probe_read_kernel` and the ring helpers are for GPL-compatible programs only.
#[unsafe(no_mangle)]
#[unsafe(link_section = "license")]
static LICENSE: [u8; 13] = *b"Dual MIT/GPL\0";

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
