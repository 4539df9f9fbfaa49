//! `oom-agent completions`: what a shell needs to complete the command line.

use std::process::ExitCode;

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{
    Cli,
    output::{Failure, end, put},
};

const EXAMPLES: &str = "\
Examples:
  oom-agent completions bash > /usr/share/bash-completion/completions/oom-agent
  oom-agent completions zsh > /usr/local/share/zsh/site-functions/_oom-agent
  oom-agent completions fish > /etc/fish/completions/oom-agent.fish";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct CompletionsArgs {
    /// The shell.
    #[arg(value_enum)]
    shell: Shell,
}

pub(super) fn main(args: &CompletionsArgs) -> ExitCode {
    end(run(args))
}

fn run(args: &CompletionsArgs) -> Result<ExitCode, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "oom-agent", &mut script);
    put(&String::from_utf8_lossy(&script))?;
    Ok(ExitCode::SUCCESS)
}
