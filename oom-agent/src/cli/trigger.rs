//! `oom-agent trigger`.

use std::process::ExitCode;

use clap::Args;

use super::fail;
use crate::trigger::{Cancel, TriggerOptions, TriggerReport, one_kill, storm};

#[derive(Debug, Args)]
pub(super) struct TriggerArgs {
    /// Memory limit of the scratch cgroup in bytes.
    #[arg(long, value_name = "BYTES")]
    limit: Option<u64>,
    /// Make this many kills, as fast as the machine can, each in a cgroup of its own.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    count: u32,
    /// Print what was done as JSON, one object per kill.
    #[arg(long)]
    json: bool,
}

pub(super) fn main(args: &TriggerArgs) -> ExitCode {
    let cancel = match Cancel::on_signals() {
        Ok(cancel) => cancel,
        Err(error) => return fail(&error),
    };
    let mut options = TriggerOptions {
        cancel,
        ..TriggerOptions::default()
    };
    options.limit_bytes = args.limit.unwrap_or(options.limit_bytes);
    let result = if args.count == 1 {
        one_kill(&options).map(|kill| vec![kill])
    } else {
        storm(&options, args.count).map(|storm| storm.kills)
    };
    match result {
        Ok(kills) => {
            for kill in &kills {
                print(kill, args.json);
            }
            ExitCode::SUCCESS
        }
        Err(error) => fail(&error),
    }
}

fn print(kill: &TriggerReport, json: bool) {
    if json {
        match serde_json::to_string(kill) {
            Ok(line) => println!("{line}"),
            Err(error) => tracing::error!("{error}"),
        }
        return;
    }
    println!(
        "the kernel killed {} (pid {}) in {}: limit {} KiB",
        kill.comm,
        kill.pid,
        kill.cgroup_path.as_deref().unwrap_or("a scratch cgroup"),
        kill.limit_bytes / 1024
    );
}
