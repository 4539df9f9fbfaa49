//! `oom-agent top`: who is killed most.
//!
//! Counts the kills that the store has; says from when on.

mod tally;

use std::{process::ExitCode, sync::Arc};

use clap::Args;
use jiff::Timestamp as Now;
use serde::Serialize;

use self::tally::{By, Row, Tally};
use super::{
    ask::AskArgs,
    events::row::{age, time},
    output::{As, Failure, OutputArgs, end, parse, put, say_unknown, terminal_width},
    table::{Cell, Column, Table},
};
use crate::{
    client::Client,
    event::{Kind, Timestamp},
    question::{Kinds, Question},
    render::{
        escape::name,
        flow::Tone,
        units::{bytes, count, grouped},
    },
    store::Order,
};

/// Events of one request: alerts are small, reports may have hundreds of rows.
const KILLS: usize = 1000;
const REPORTS: usize = 100;

const EXAMPLES: &str = "\
Examples:
  oom-agent top                               whoever is killed most, of all that is kept
  oom-agent top --by namespace --since 7d     of the last week, by namespace
  oom-agent top --by scope                    whether limits were hit, or the machine ran out
  oom-agent top --by hour --since 1d          when

Kills are counted, not reports. Nothing found is no error.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct TopArgs {
    #[command(flatten)]
    count: CountArgs,
    #[command(flatten)]
    ask: AskArgs,
}

/// What is counted, and how it is printed; whoever is asked.
#[derive(Debug, Args)]
pub(super) struct CountArgs {
    /// What kills are counted by.
    #[arg(long, value_enum, default_value = "owner")]
    by: By,
    /// So many rows; 0: all of them. Hours and days are all shown.
    #[arg(long, value_name = "N", default_value_t = 20)]
    limit: usize,
    /// Do not cut what is wider than the terminal.
    #[arg(long)]
    no_trunc: bool,
    #[command(flatten, next_help_heading = "Which kills")]
    question: Question,
    #[command(flatten, next_help_heading = "Output")]
    output: OutputArgs,
}

/// The answer for programs.
#[derive(Serialize)]
struct Answer {
    by: By,
    kills: u64,
    first: Option<Timestamp>,
    last: Option<Timestamp>,
    rows: Vec<Row>,
    rows_left_out: usize,
}

pub(super) fn main(args: TopArgs) -> ExitCode {
    let TopArgs { count, ask } = args;
    end(count.run(|_| Ok(ask.open()?.0)))
}

impl CountArgs {
    /// Counts what `open` gives for a question.
    pub(super) fn run(
        self,
        open: impl FnOnce(&Question) -> Result<Client, Failure>,
    ) -> Result<ExitCode, Failure> {
        run(self, open)
    }
}

fn run(
    args: CountArgs,
    open: impl FnOnce(&Question) -> Result<Client, Failure>,
) -> Result<ExitCode, Failure> {
    let CountArgs { by, output, .. } = args;
    let mut question = args.question;
    if question.kind.is_some() {
        let why = "--kind has no meaning here: kills are counted";
        return Err(Failure::Usage(why));
    }
    let reports = by.needs_reports() || question.scope.is_some();
    let (kind, page) = if reports {
        (Kind::OomInstance, REPORTS)
    } else {
        (Kind::OomKill, KILLS)
    };
    // Both kinds would count each kill twice.
    question.kind = Some(Kinds(vec![kind]));
    let mut client = open(&question)?;
    let mut tally = Tally::new(by);
    say_unknown(counted(&mut client, &question, page, &mut tally)?);

    let mut rows = tally.rows();
    let wanted = if args.limit == 0 || by.is_time() {
        usize::MAX
    } else {
        args.limit
    };
    let left_out = rows.len().saturating_sub(wanted);
    rows.truncate(wanted);
    if output.format() == As::Json {
        let answer = Answer {
            by,
            kills: tally.kills,
            first: tally.first,
            last: tally.last,
            rows,
            rows_left_out: left_out,
        };
        put(&format!("{}\n", serde_json::to_string(&answer)?))?;
        return Ok(ExitCode::SUCCESS);
    }
    let terminal = terminal_width().filter(|_| !args.no_trunc);
    let places = Places::of(&rows);
    let mut table = Table::new(columns(by, places), output.style(), terminal);
    let now = Timestamp::from_unix_ns(Now::now().as_nanosecond());
    let cells: Vec<_> = rows.iter().map(|row| cells(row, places, now)).collect();
    put(&table.rows(&cells))?;
    if left_out > 0 {
        let rows = count(left_out as u64, "row", "rows");
        eprintln!("oom-agent: and {rows} more; --limit 0 shows all");
    }
    if tally.kills == 0 {
        eprintln!("oom-agent: no such kills");
    } else {
        let kills = count(tally.kills, "kill", "kills");
        eprintln!("oom-agent: {kills} since {} UTC", time(tally.first));
    }
    Ok(ExitCode::SUCCESS)
}

/// Counts all of them; how many were not understood.
fn counted(
    client: &mut Client,
    question: &Question,
    limit: usize,
    tally: &mut Tally,
) -> Result<u64, Failure> {
    let (mut after, mut unknown) = (None, 0);
    loop {
        let page = client.page(question, Order::NewestFirst, after.as_deref(), limit)?;
        for event in &page.events {
            match parse(event) {
                Some(event) => tally.add(&event),
                None => unknown += 1,
            }
        }
        after = page.next;
        if after.is_none() {
            return Ok(unknown);
        }
    }
}

/// Columns for where a word is, if any row needs them.
#[derive(Clone, Copy, Debug)]
struct Places {
    cluster: bool,
    node: bool,
}

impl Places {
    fn of(rows: &[Row]) -> Self {
        Self {
            cluster: rows.iter().any(|row| row.cluster.is_some()),
            node: rows.iter().any(|row| row.node.is_some()),
        }
    }
}

fn columns(by: By, places: Places) -> Vec<Column> {
    let mut columns = vec![Column::to(by.title(), 16)];
    columns.extend(places.cluster.then_some(Column::to("CLUSTER", 8)));
    columns.extend(places.node.then_some(Column::to("NODE", 12)));
    columns.extend([
        Column::number("KILLS"),
        Column::number("SHARE"),
        Column::whole("LAST (UTC)"),
        Column::number("AGE"),
        Column::to("BIGGEST", 20),
    ]);
    columns
}

fn cells(row: &Row, places: Places, now: Timestamp) -> Vec<Cell> {
    let key = match &row.key {
        Some(key) => Cell::new(Tone::Strong, key),
        None => Cell::new(Tone::Faint, "(not known)"),
    };
    let place = |word: &Option<Arc<str>>| word.as_deref().map_or_else(Cell::none, Cell::plain);
    let biggest = row.biggest.as_ref().map(|biggest| {
        let pid = biggest.pid.unwrap_or(biggest.tid);
        format!(
            "{} {}[{pid}]",
            bytes(biggest.rss_bytes),
            name(&biggest.comm)
        )
    });
    let mut cells = vec![key];
    cells.extend(places.cluster.then(|| place(&row.cluster)));
    cells.extend(places.node.then(|| place(&row.node)));
    cells.extend([
        Cell::plain(&grouped(row.kills)),
        Cell::plain(&format!("{:.1} %", row.share_percent)),
        Cell::plain(&time(row.last)),
        Cell::plain(&age(row.last, now)),
        biggest.map_or_else(Cell::none, |text| Cell::plain(&text)),
    ]);
    cells
}
