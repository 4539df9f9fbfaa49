//! `oom-agent fleet nodes`: who is there, who has fallen silent or not come back, who owes a kill.

use std::process::ExitCode;

use clap::Args;

use super::ask;
use crate::{
    cli::{
        EXIT_UNHEALTHY,
        nats::ServersArgs,
        output::{As, Failure, OutputArgs, put, terminal_width},
        table::{Cell, Column, Table},
    },
    fleet::{self, FleetError, Node, Roll, State},
    nats::Access,
    render::{
        flow::Tone,
        units::{count, duration},
    },
    status::Severity,
};

#[derive(Debug, Args)]
pub(super) struct NodesArgs {
    /// Only nodes of this cluster.
    #[arg(long, value_name = "NAME")]
    cluster: Option<String>,
    /// Only those that somebody must look after.
    #[arg(long)]
    bad: bool,
    /// Do not cut what is wider than the terminal.
    #[arg(long)]
    no_trunc: bool,
    #[command(flatten, next_help_heading = "Output")]
    output: OutputArgs,
    #[command(flatten)]
    servers: ServersArgs,
}

pub(super) fn run(args: NodesArgs) -> Result<ExitCode, Failure> {
    let access = Access::read(&args.servers.options()).map_err(FleetError::from)?;
    let Roll {
        mut nodes,
        unreadable,
        ..
    } = ask::runtime()?.block_on(async {
        let context = ask::connect(&access).await?;
        fleet::nodes(&context, access.stream()).await
    })?;
    if args.cluster.is_some() {
        nodes.retain(|node| node.heartbeat.cluster == args.cluster);
    }
    let bad = nodes.iter().filter(|node| node.state.is_bad()).count();
    let all = nodes.len();
    if args.bad {
        nodes.retain(|node| node.state.is_bad());
    }
    if args.output.format() == As::Json {
        let mut text = String::new();
        for node in &nodes {
            text.push_str(&serde_json::to_string(node)?);
            text.push('\n');
        }
        put(&text)?;
    } else {
        let terminal = terminal_width().filter(|_| !args.no_trunc);
        let mut table = Table::new(COLUMNS, args.output.style(), terminal);
        let rows: Vec<_> = nodes.iter().map(cells).collect();
        put(&table.rows(&rows))?;
    }
    if unreadable > 0 {
        eprintln!(
            "oom-agent: {unreadable} nodes are left out: this version does not understand them"
        );
    }
    let of = count(all as u64, "node", "nodes");
    eprintln!("oom-agent: {of}, {bad} to look after");
    Ok(if bad > 0 {
        ExitCode::from(EXIT_UNHEALTHY)
    } else {
        ExitCode::SUCCESS
    })
}

const COLUMNS: [Column; 8] = [
    Column::whole("STATE"),
    Column::to("CLUSTER", 8),
    Column::to("NODE", 12),
    Column::number("HEARD"),
    Column::number("UNEXPLAINED"),
    Column::number("BEHIND"),
    Column::to("TIER", 12),
    Column::to("NOTES", 20),
];

fn cells(node: &Node) -> Vec<Cell> {
    let said = &node.heartbeat;
    let (tone, word) = match node.state {
        State::Silent => (Tone::Alarm, "silent"),
        State::Blind => (Tone::Alarm, "blind"),
        State::Unexplained => (Tone::Alarm, "unexplained"),
        State::Lossy => (Tone::Alarm, "lossy"),
        State::Failing => (Tone::Alarm, "failing"),
        State::Gone => (Tone::Alarm, "gone"),
        State::Unproven => (Tone::Plain, "unproven"),
        State::Well => (Tone::Plain, "well"),
        State::Stopped => (Tone::Faint, "stopped"),
    };
    let name = |name: &Option<String>| name.as_deref().map_or_else(Cell::none, Cell::plain);
    let unexplained = said.unexplained;
    let unexplained = unexplained.map_or_else(Cell::none, |it| Cell::plain(&it.to_string()));
    let behind: u64 = said
        .behind
        .values()
        .map(|sink| sink.behind)
        .max()
        .unwrap_or(0);
    vec![
        Cell::new(tone, word),
        name(&said.cluster),
        name(&said.node),
        Cell::plain(&format!(
            "{} ago",
            duration(node.silent_ms.saturating_mul(1_000_000))
        )),
        unexplained,
        Cell::plain(&behind.to_string()),
        Cell::plain(said.tier.split(" (").next().unwrap_or_default()),
        Cell::plain(&notes(node)),
    ]
}

/// What is not as it should be, in a few words.
fn notes(node: &Node) -> String {
    let said = &node.heartbeat;
    // What is unexplained has a column.
    let troubles = node.troubles.iter();
    let told = troubles.filter(|it| it.severity != Severity::Missed);
    let mut notes: Vec<_> = told.map(|it| it.what.clone()).collect();
    let refused = said.behind.iter().filter(|(_, sink)| sink.refused > 0);
    notes.extend(refused.map(|(name, sink)| format!("{name} refused {}", sink.refused)));
    notes.join(", ")
}
