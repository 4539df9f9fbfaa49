//! `oom-agent fleet`: what the stream of a fleet has.
//!
//! The same questions and tables as of one agent, and those that only a fleet has: its streams, its nodes. Each
//! command takes the servers; none takes an agent.

mod ask;
mod init;
mod nodes;
mod serve;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::{
    events::ListArgs,
    nats::ServersArgs,
    output::{Failure, end},
    show::WhichArgs,
    top::CountArgs,
};
use crate::{
    event::Kind,
    question::{Kinds, Question, When},
};

const EXAMPLES: &str = "\
Examples:
  oom-agent fleet init --nats nats://nats:4222 --replicas 3    make the streams, once
  oom-agent fleet events --nats nats://nats:4222 --since 1h -f
  oom-agent fleet top --nats nats://nats:4222 --by node --since 7d
  oom-agent fleet nodes --nats nats://nats:4222                who is silent, and who owes a kill

OOM_AGENT_NATS may name the servers instead of --nats. `events` and `top` tell of 7 days if --since is not given; a
question about more than a million messages is refused: --since, --cluster and --node make it smaller, or ask
`oom-agent fleet serve`.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct FleetArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Make the fleet's streams, or say how those that are there differ from what is wanted.
    Init(init::InitArgs),
    /// List what happened on all nodes; and what happens, as it comes.
    Events(Box<EventsArgs>),
    /// Tell the whole story of one kill.
    Show(ShowArgs),
    /// Tell who is killed most: by cluster, node, workload, image and all that `oom-agent top` counts by.
    Top(Box<TopArgs>),
    /// List the nodes; those first that are silent, or owe a kill. Exit code 7 if there are any.
    Nodes(nodes::NodesArgs),
    /// Serve the events of all nodes as an agent serves its own, until a signal comes.
    Serve(Box<serve::FleetServeArgs>),
}

impl FleetArgs {
    /// Whether it goes on until it is told to end.
    pub(super) const fn serves(&self) -> bool {
        matches!(self.command, Command::Serve(_))
    }
}

#[derive(Debug, Args)]
struct EventsArgs {
    #[command(flatten)]
    list: ListArgs,
    #[command(flatten)]
    servers: ServersArgs,
}

#[derive(Debug, Args)]
struct ShowArgs {
    #[command(flatten)]
    which: WhichArgs,
    /// Look no further back: a time (RFC 3339), or how long ago. All of the stream, if nothing is said.
    #[arg(long, value_name = "WHEN", help_heading = "Where to look")]
    since: Option<When>,
    /// Only in this cluster.
    #[arg(long, value_name = "NAME", help_heading = "Where to look")]
    cluster: Option<String>,
    /// Only on this node.
    #[arg(long, value_name = "NAME", help_heading = "Where to look")]
    node: Option<String>,
    #[command(flatten)]
    servers: ServersArgs,
}

#[derive(Debug, Args)]
struct TopArgs {
    #[command(flatten)]
    count: CountArgs,
    #[command(flatten)]
    servers: ServersArgs,
}

pub(super) fn main(args: FleetArgs) -> ExitCode {
    end(match args.command {
        Command::Init(args) => init::run(args),
        Command::Events(args) => events(*args),
        Command::Show(args) => show(args),
        Command::Top(args) => top(*args),
        Command::Nodes(args) => nodes::run(args),
        Command::Serve(args) => return serve::main(*args),
    })
}

fn events(args: EventsArgs) -> Result<ExitCode, Failure> {
    let EventsArgs { list, servers } = args;
    let mut copy = None;
    list.run(true, |question, follow| {
        let asked = copy.insert(ask::Copy::read(servers, &ask::of_late(question), follow)?);
        asked.open()
    })
}

/// Of all nodes the alerts are read, for how often the same was hit is told, too; all else only of the node that told
/// of the kill. Where no alert is meant, that is of all nodes.
fn show(args: ShowArgs) -> Result<ExitCode, Failure> {
    let ShowArgs {
        which,
        since,
        cluster,
        node,
        servers,
    } = args;
    let (alerts, others): (Vec<_>, Vec<_>) =
        (Kind::ALL.into_iter()).partition(|kind| *kind == Kind::OomKill);
    let alerts = Question {
        since,
        cluster,
        node,
        kind: Some(Kinds(alerts)),
        ..Question::default()
    };
    let copy = ask::Copy::read(servers, &alerts, false)?;
    let place = which.place(copy.open()?.0)?.unwrap_or_default();
    copy.add(&Question {
        cluster: place.cluster.or_else(|| alerts.cluster.clone()),
        node: place.node.or_else(|| alerts.node.clone()),
        kind: Some(Kinds(others)),
        ..alerts
    })?;
    which.run(copy.open()?.0)
}

fn top(args: TopArgs) -> Result<ExitCode, Failure> {
    let TopArgs { count, servers } = args;
    let mut copy = None;
    count.run(|question: &Question| {
        let asked = copy.insert(ask::Copy::read(servers, &ask::of_late(question), false)?);
        Ok(asked.open()?.0)
    })
}
