//! The page in a real browser, over a real agent with real kills or over a store: what is shown is what the API says.
//!
//! `cargo test -p oom-tests --test page`, as root; needs `chromedriver`. `-- --ignored pictures` makes those of the
//! documents.

#![cfg(not(target_env = "musl"))]

mod files;
mod health;
mod live;
mod past;
mod pictures;
mod scene;
mod scripts;
mod stored;
mod token;
