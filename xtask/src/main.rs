//! `cargo xtask COMMAND`: build, run, test and measure oom-agent.
//!
//! Only the dispatch is here; each command is a file. Refuses nothing: every command says for
//! itself what it needs and what it does where that is missing.
#![forbid(unsafe_code)]

mod agent;
mod arch;
mod bench;
mod build_ebpf;
mod cross;
mod dist;
mod fuzz;
mod project;
mod python;
mod run;
mod test;
mod tool;
mod vm;

use std::process::ExitCode;

use clap::Parser;

/// Build, run, test and measure oom-agent.
#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", version)]
enum Command {
    Bench(bench::Args),
    BuildEbpf(build_ebpf::Args),
    Dist(dist::Args),
    Run(run::Args),
    Test(test::Args),
    Vm(vm::Args),
}

fn main() -> ExitCode {
    let result = match Command::parse() {
        Command::Bench(args) => bench::main(&args),
        Command::BuildEbpf(args) => build_ebpf::main(&args),
        Command::Dist(args) => dist::main(&args),
        Command::Run(args) => run::main(&args),
        Command::Test(args) => test::main(&args),
        Command::Vm(args) => vm::main(&args),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
