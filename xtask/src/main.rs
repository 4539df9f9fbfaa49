//! Development commands, one file each: `cargo xtask --help`.

mod btf_extract;

use anyhow::Result;
use clap::Parser;

/// Development commands of oom-agent.
#[derive(Parser)]
enum Command {
    /// Cut a kernel's BTF down to what the agent asks it: the fixtures of the layout tests.
    BtfExtract(btf_extract::Args),
}

fn main() -> Result<()> {
    match Command::parse() {
        Command::BtfExtract(args) => btf_extract::run(&args),
    }
}
