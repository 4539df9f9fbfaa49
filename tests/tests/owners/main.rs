//! Whose a kill was, with real kills in plain cgroups at the paths that runtimes use: what is on disk may
//! be hostile, missing, late, gone or another's.
//!
//! `cargo test -p oom-tests --test owners`, as root. No runtime is needed: what one leaves on disk is written
//! by hand into a directory that stands for the host's root.

#![cfg(not(target_env = "musl"))]

mod bundles;
mod comparing;
mod hostile;
mod news;
mod scene;
mod stderr;
