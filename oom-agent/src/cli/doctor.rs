//! `oom-agent doctor`.

use std::{
    io::{self, IsTerminal},
    path::PathBuf,
    process::ExitCode,
};

use clap::Args;

use super::{EXIT_FAILED, fail};
use crate::{
    doctor::{self, render},
    render::text::TextStyle,
};

#[derive(Debug, Args)]
pub(super) struct DoctorArgs {
    /// Print the findings as JSON.
    #[arg(long)]
    json: bool,
    /// Where the host's files are: what container runtimes leave on disk is read below it.
    #[arg(long, value_name = "DIR", default_value = "/")]
    host_root: PathBuf,
}

pub(super) fn main(args: &DoctorArgs) -> ExitCode {
    let report = doctor::run(&args.host_root);
    if args.json {
        match serde_json::to_string_pretty(&report) {
            Ok(json) => println!("{json}"),
            Err(error) => return fail(&error),
        }
    } else {
        let style = TextStyle {
            colour: io::stdout().is_terminal() && std::env::var_os("NO_COLOR").is_none(),
            ..TextStyle::default()
        };
        let mut text = String::new();
        render::text(&report, style, &mut text);
        print!("{text}");
    }
    if report.usable {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_FAILED)
    }
}
