//! `oom-agent man`: the pages of the manual.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::ExitCode,
};

use clap::{Args, Command, CommandFactory as _};
use clap_mangen::Man;

use super::{
    Cli,
    output::{Failure, end, put},
};

const EXAMPLES: &str = "\
Examples:
  oom-agent man | man -l -
  oom-agent man /usr/local/share/man/man1";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ManArgs {
    /// Write all pages into this directory, one for each command; else the first is printed.
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

pub(super) fn main(args: &ManArgs) -> ExitCode {
    end(run(args))
}

fn run(args: &ManArgs) -> Result<ExitCode, Failure> {
    let mut command = Cli::command();
    command.build();
    match &args.dir {
        Some(dir) => pages(&command, "oom-agent", dir)?,
        None => put(&String::from_utf8_lossy(&page(&command)?))?,
    }
    Ok(ExitCode::SUCCESS)
}

/// The page of a command, and those below it.
fn pages(command: &Command, name: &str, dir: &Path) -> io::Result<()> {
    let page = page(&command.clone().display_name(name))?;
    fs::write(dir.join(format!("{name}.1")), page)?;
    let shown = command.get_subcommands().filter(|of| !of.is_hide_set());
    for below in shown.filter(|of| of.get_name() != "help") {
        pages(below, &format!("{name}-{}", below.get_name()), dir)?;
    }
    Ok(())
}

fn page(command: &Command) -> io::Result<Vec<u8>> {
    let mut page = Vec::new();
    Man::new(command.clone()).render(&mut page)?;
    Ok(page)
}
