//! `oom-agent fleet serve`.

use std::{path::PathBuf, process::ExitCode, time::Duration};

use clap::Args;

use crate::{
    cli::{fail, nats::ServersArgs, serve::ServeArgs},
    daemon::fleet::{Options, serve},
    store::Retention,
};

/// Not that of an agent on the same machine.
const SOCKET: &str = "/run/oom-agent/fleet.sock";

#[derive(Debug, Args)]
pub(super) struct FleetServeArgs {
    /// Where the fleet's events are kept: a database of SQLite of its own.
    #[arg(
        long,
        value_name = "PATH",
        default_value = "/var/lib/oom-agent/fleet.db"
    )]
    store: PathBuf,
    /// Keep events this many days.
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    keep_days: u32,
    /// Keep this many events of each kind.
    #[arg(long, value_name = "EVENTS", default_value_t = 1_000_000, value_parser = clap::value_parser!(u64).range(1..))]
    keep_events: u64,
    /// Keep this many MiB of each kind of event.
    #[arg(long, value_name = "MIB", default_value_t = 4096, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    keep_mib: u64,
    #[command(flatten)]
    serve: ServeArgs,
    #[command(flatten)]
    servers: ServersArgs,
}

pub(super) fn main(args: FleetServeArgs) -> ExitCode {
    let options = Options {
        nats: args.servers.options(),
        store: args.store,
        retention: Retention {
            age: Duration::from_hours(24 * u64::from(args.keep_days)),
            events: args.keep_events,
            bytes: args.keep_mib << 20,
        },
        api: args.serve.options(SOCKET),
    };
    match serve(&options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&error),
    }
}
