//! `oom-agent fleet init`: the streams.

use std::{fmt::Write as _, process::ExitCode, time::Duration};

use clap::Args;

use super::ask;
use crate::{
    cli::{
        EXIT_UNHEALTHY,
        nats::ServersArgs,
        output::{Failure, put},
    },
    fleet::FleetError,
    nats::{
        Access,
        streams::{self, Made, Wanted},
    },
};

const AFTER: &str = "\
A stream that is there is compared with what is asked for, and left as it is: --update changes it. Nothing is ever
removed. Exit code 7 if something differs.";

#[derive(Debug, Args)]
#[command(after_help = AFTER)]
pub(super) struct InitArgs {
    /// Servers that keep each message: 3 outlive the loss of one.
    #[arg(long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u8).range(1..=5))]
    replicas: u8,
    /// Keep events this many days.
    #[arg(long, value_name = "DAYS", default_value_t = 30, value_parser = clap::value_parser!(u32).range(1..=36_500))]
    max_age: u32,
    /// Keep this many bytes of events, on each server that keeps them; the oldest go first. No limit but the server's
    /// if nothing is said.
    #[arg(long, value_name = "BYTES", value_parser = clap::value_parser!(u64).range(1 << 20..=i64::MAX as u64))]
    max_bytes: Option<u64>,
    /// Change what differs.
    #[arg(long)]
    update: bool,
    #[command(flatten)]
    servers: ServersArgs,
}

pub(super) fn run(args: InitArgs) -> Result<ExitCode, Failure> {
    let access = Access::read(&args.servers.options()).map_err(FleetError::from)?;
    let wanted = Wanted {
        replicas: args.replicas.into(),
        max_age: Duration::from_hours(24 * u64::from(args.max_age)),
        max_bytes: args.max_bytes,
        ..Wanted::new(access.stream())
    };
    let made = ask::runtime()?.block_on(async {
        let context = ask::connect(&access).await?;
        let made = streams::init(&context, &wanted, args.update).await;
        made.map_err(FleetError::from)
    })?;
    let (mut text, mut differs) = (String::new(), false);
    for (name, made) in made {
        let (what, differences) = match made {
            Made::Created => ("made", Vec::new()),
            Made::Fits => ("as it should be", Vec::new()),
            Made::Differs(differences) => ("differs, and is left as it is", differences),
            Made::Changed(differences) => ("changed", differences),
        };
        differs |= what.starts_with("differs");
        let _ = writeln!(text, "{name}: {what}");
        for difference in differences {
            let _ = writeln!(text, "  {difference}");
        }
    }
    put(&text)?;
    if differs {
        eprintln!("oom-agent: --update changes what differs");
        return Ok(ExitCode::from(EXIT_UNHEALTHY));
    }
    Ok(ExitCode::SUCCESS)
}
