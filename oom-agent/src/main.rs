//! The `oom-agent` binary: log to stderr, parse the command line, do it.

use std::{io::IsTerminal, process::ExitCode};

use clap::Parser;
use oom_agent::cli;
use tracing_subscriber::EnvFilter;

fn main() -> ExitCode {
    let filter =
        EnvFilter::try_from_env("OOM_AGENT_LOG").unwrap_or_else(|_| EnvFilter::new("info"));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none())
        .with_target(false)
        .without_time()
        .init();
    cli::main(cli::Cli::parse())
}
