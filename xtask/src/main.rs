//! Development commands, one file each: `cargo xtask --help`.

mod btf_extract;
mod vm;

use anyhow::Result;
use clap::Parser;

/// Development commands of oom-agent.
#[derive(Parser)]
enum Command {
    /// Cut a kernel's BTF down to what the agent asks it: the fixtures of the layout tests.
    BtfExtract(btf_extract::Args),
    /// Run a command under another kernel, in QEMU.
    Vm(vm::Args),
}

fn main() -> Result<()> {
    match Command::parse() {
        Command::BtfExtract(args) => btf_extract::run(&args),
        Command::Vm(args) => vm::run(&args),
    }
}
