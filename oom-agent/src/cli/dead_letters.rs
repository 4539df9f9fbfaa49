//! `oom-agent dead-letters`: what sinks will never deliver, and why.

use std::process::ExitCode;

use clap::Args;

use super::{
    ask::AskArgs,
    events::row::time,
    output::{As, Failure, OutputArgs, end, put, terminal_width},
    table::{Cell, Column, Table},
};
use crate::{
    render::{flow::Tone, units::grouped},
    store::Given,
};

const EXAMPLES: &str = "\
Examples:
  oom-agent dead-letters                       what was given up lately, the newest first
  oom-agent dead-letters --sink webhook        by one sink
  oom-agent show ID -o json                    the event itself, to be told by hand

Nothing found is no error.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct DeadLettersArgs {
    /// Of this sink alone: kubernetes, nats, otlp, webhook.
    #[arg(long, value_name = "NAME")]
    sink: Option<String>,
    /// So many at most, the newest first.
    #[arg(long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u16).range(1..=1000))]
    limit: u16,
    /// Do not cut what is wider than the terminal.
    #[arg(long)]
    no_trunc: bool,
    #[command(flatten, next_help_heading = "Output")]
    output: OutputArgs,
    #[command(flatten)]
    ask: AskArgs,
}

pub(super) fn main(args: DeadLettersArgs) -> ExitCode {
    end(run(args))
}

fn run(args: DeadLettersArgs) -> Result<ExitCode, Failure> {
    let (mut client, _) = args.ask.open()?;
    let found = client.dead_letters(args.sink.as_deref(), args.limit)?;
    if args.output.format() == As::Json {
        for letter in &found.dead_letters {
            put(&format!("{}\n", serde_json::to_string(letter)?))?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let terminal = terminal_width().filter(|_| !args.no_trunc);
    let mut table = Table::new(COLUMNS, args.output.style(), terminal);
    let cells: Vec<_> = found.dead_letters.iter().map(cells).collect();
    put(&table.rows(&cells))?;
    let (kept, dropped) = (grouped(found.kept), grouped(found.dropped));
    eprintln!("oom-agent: {kept} kept of all sinks, {dropped} dropped since");
    Ok(ExitCode::SUCCESS)
}

const COLUMNS: [Column; 7] = [
    Column::whole("GIVEN UP (UTC)"),
    Column::whole("SINK"),
    Column::whole("KIND"),
    Column::to("EVENT", 16),
    Column::number("COUNT"),
    Column::number("TRIES"),
    Column::to("WHY", 20),
];

fn cells(letter: &Given) -> Vec<Cell> {
    let known = |text: &Option<String>| text.as_deref().map_or_else(Cell::none, Cell::plain);
    let event = letter.id.as_ref().unwrap_or(&letter.thing);
    vec![
        Cell::plain(&time(Some(letter.time))),
        Cell::new(Tone::Strong, &letter.sink),
        known(&letter.kind),
        Cell::plain(event),
        Cell::plain(&grouped(letter.count)),
        Cell::plain(&letter.tries.to_string()),
        Cell::plain(&letter.why),
    ]
}
