//! The actors of the scenarios, each a process of its own.
use std::convert::Infallible;

use clap::Parser;
use oom_agent::trigger::hog::{self, HogArgs};

#[derive(Parser)]
enum Actor {
    /// Takes memory in a scratch cgroup until killed.
    Hog(HogArgs),
}

fn main() -> anyhow::Result<Infallible> {
    match Actor::parse() {
        Actor::Hog(args) => Ok(hog::run(&args)?),
    }
}
