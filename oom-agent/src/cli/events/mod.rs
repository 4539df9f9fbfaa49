//! `oom-agent events`: what happened, as a list; and what happens, as it comes.
//!
//! The last ones, the newest at the bottom, as a journal is read. What is left out is said on stderr.

pub(super) mod row;

use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp as Now;
use serde_json::value::RawValue;

use super::{
    ask::AskArgs,
    output::{As, Failure, OutputArgs, end, parse, put, say_unknown, terminal_width},
    table::Table,
};
use crate::{
    client::{Client, Follow, News, Whom},
    event::{Kind, Timestamp},
    question::{Kinds, Question},
    store::Order,
};

/// Events that are shown if nothing is said; before those that are followed.
const SHOWN: usize = 100;
const BEFORE: usize = 10;

/// Events of one request: a report may have hundreds of rows.
const PAGE: usize = 100;

const EXAMPLES: &str = "\
Examples:
  oom-agent events                                 the last reports, the newest at the bottom
  oom-agent events --since 1h -n shop              of the last hour, of a namespace
  oom-agent events --scope system                  where the whole machine ran out
  oom-agent events -f                              and what comes from now on
  oom-agent events --kind OomKill -o json          alerts, one JSON object per line
  oom-agent events --store /mnt/var/lib/oom-agent/events.db

A report is one decision of the kernel; each process that it killed has a row. Nothing found is no error.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct EventsArgs {
    #[command(flatten)]
    list: ListArgs,
    #[command(flatten)]
    ask: AskArgs,
}

/// Which events, and how they are printed; whoever is asked.
#[derive(Debug, Args)]
pub(super) struct ListArgs {
    /// The last so many, 100 if nothing is said (10 with --follow); 0: all of them.
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// The newest first.
    #[arg(long, conflicts_with = "follow")]
    reverse: bool,
    /// Then wait, and print what comes.
    #[arg(long, short)]
    follow: bool,
    /// Do not cut what is wider than the terminal.
    #[arg(long)]
    no_trunc: bool,
    #[command(
        flatten,
        next_help_heading = "Which events (reports, if no kind is given)"
    )]
    question: Question,
    #[command(flatten, next_help_heading = "Output")]
    output: OutputArgs,
}

pub(super) fn main(args: EventsArgs) -> ExitCode {
    let EventsArgs { list, ask } = args;
    end(list.run(false, |_, _| ask.open()))
}

impl ListArgs {
    /// Lists what `open` gives for a question, and whether it is to be followed. Of a fleet, each row names the
    /// node.
    pub(super) fn run(
        self,
        of_fleet: bool,
        open: impl FnOnce(&Question, bool) -> Result<(Client, Whom), Failure>,
    ) -> Result<ExitCode, Failure> {
        run(self, of_fleet, open)
    }
}

fn run(
    args: ListArgs,
    of_fleet: bool,
    open: impl FnOnce(&Question, bool) -> Result<(Client, Whom), Failure>,
) -> Result<ExitCode, Failure> {
    let mut question = args.question;
    question
        .kind
        .get_or_insert_with(|| Kinds(vec![Kind::OomInstance]));
    let usual = if args.follow { BEFORE } else { SHOWN };
    let limit = args.limit.unwrap_or(usual);
    let mut printer = Printer::new(args.output, args.no_trunc, of_fleet);
    let (mut client, whom) = open(&question, args.follow)?;
    // First, so that nothing falls between what there is and what comes.
    let follow = args
        .follow
        .then(|| Client::open(whom)?.follow(question.clone()));
    let mut follow = follow.transpose()?;
    let shown = match limit {
        0 => printer.all(&mut client, &question, args.reverse, &mut follow),
        _ => printer.last(&mut client, &question, limit, args.reverse, &mut follow),
    }?;
    say_unknown(std::mem::take(&mut printer.unknown));
    if let Some(follow) = follow {
        return watch(follow, &mut printer);
    }
    if shown == 0 {
        eprintln!("oom-agent: no such events");
    }
    Ok(ExitCode::SUCCESS)
}

/// What comes, until somebody ends it.
fn watch(mut follow: Follow, printer: &mut Printer) -> Result<ExitCode, Failure> {
    loop {
        match follow.next(None)? {
            Some(News::Event(event)) => {
                printer.print(&[event], &mut None)?;
                say_unknown(std::mem::take(&mut printer.unknown));
            }
            Some(News::Gap(Some(at_most))) => eprintln!(
                "oom-agent: up to {at_most} events were removed from the store before they could be shown"
            ),
            Some(News::Gap(None)) => {
                eprintln!(
                    "oom-agent: what happened meanwhile is not known: the agent did not keep it"
                );
            }
            Some(News::Gone(why)) => {
                eprintln!(
                    "oom-agent: the agent has gone, and is waited for: {}",
                    crate::error::chain(&why)
                );
            }
            Some(News::Back) => eprintln!("oom-agent: the agent is back"),
            None => {}
        }
    }
}

/// Prints events in the form that is wanted.
struct Printer {
    /// Of a table.
    table: Option<Table>,
    /// Each row names the node.
    of_fleet: bool,
    /// Events that are not in it.
    unknown: u64,
}

impl Printer {
    fn new(output: OutputArgs, no_trunc: bool, of_fleet: bool) -> Self {
        let terminal = terminal_width().filter(|_| !no_trunc);
        let table = || Table::new(row::columns(of_fleet), output.style(), terminal);
        Self {
            table: (output.format() == As::Table).then(table),
            of_fleet,
            unknown: 0,
        }
    }

    /// Each of them, page by page.
    fn all(
        &mut self,
        client: &mut Client,
        question: &Question,
        reverse: bool,
        follow: &mut Option<Follow>,
    ) -> Result<usize, Failure> {
        let order = if reverse {
            Order::NewestFirst
        } else {
            Order::OldestFirst
        };
        let (mut after, mut shown) = (None, 0);
        loop {
            let page = client.page(question, order, after.as_deref(), PAGE)?;
            shown += page.events.len();
            self.print(&page.events, follow)?;
            after = page.next;
            if after.is_none() {
                return Ok(shown);
            }
        }
    }

    /// The newest of them.
    fn last(
        &mut self,
        client: &mut Client,
        question: &Question,
        limit: usize,
        reverse: bool,
        follow: &mut Option<Follow>,
    ) -> Result<usize, Failure> {
        let (mut after, mut events) = (None, Vec::new());
        loop {
            let wanted = (limit - events.len()).min(PAGE);
            let page = client.page(question, Order::NewestFirst, after.as_deref(), wanted)?;
            events.extend(page.events);
            after = page.next;
            if after.is_none() || events.len() >= limit {
                break;
            }
        }
        if !reverse {
            events.reverse();
        }
        self.print(&events, follow)?;
        if after.is_some() && follow.is_none() {
            eprintln!("oom-agent: these are the last {limit}; --limit 0 shows all");
        }
        Ok(events.len())
    }

    fn print(
        &mut self,
        events: &[Box<RawValue>],
        follow: &mut Option<Follow>,
    ) -> Result<(), Failure> {
        if let Some(follow) = follow {
            for event in events {
                follow.is_known(event);
            }
        }
        let Some(table) = &mut self.table else {
            let mut text = String::new();
            for event in events {
                text.push_str(event.get());
                text.push('\n');
            }
            return put(&text);
        };
        let now = Timestamp::from_unix_ns(Now::now().as_nanosecond());
        let mut rows = Vec::new();
        for event in events {
            match parse(event) {
                Some(event) if self.of_fleet => rows.extend(row::of_fleet(&event, now)),
                Some(event) => rows.extend(row::rows(&event, now)),
                None => self.unknown += 1,
            }
        }
        put(&table.rows(&rows))
    }
}
