//! A fleet's stream on a real cluster of servers.
//!
//! `cargo test -p oom-tests --test fleet`; needs `nats-server`; some as root, with real kills. Every event is in the
//! stream exactly once, whatever happens to servers and agents; and whoever reads it tells each once.

#![cfg(not(target_env = "musl"))]

mod apart;
mod child;
mod commands;
mod node;
mod page;
mod publishing;
mod server;
mod serving;
mod streams;
