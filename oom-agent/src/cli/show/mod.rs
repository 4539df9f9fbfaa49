//! `oom-agent show`: the whole story of one kill.
//!
//! The report told in plain words, and how often its owner was hit before and since. Where there is no
//! report (yet), what the alert told.

mod find;
mod history;

use std::process::ExitCode;

use clap::Args;

use self::find::Found;
use super::{
    ask::AskArgs,
    output::{Failure, StoryArgs, end, parse, put},
};
use crate::{
    client::Client,
    event::{Event, Kind, OomKill},
    explain::explain,
    render::{flow::Lines, report::chosen, text},
};

const EXAMPLES: &str = "\
Examples:
  oom-agent show 22071-381123       by the id in the table of `oom-agent events`
  oom-agent show 22071              the last kill of a process with this id
  oom-agent show 5f1f2e6a7f2b4a638f0e1d1f0d4c9a11-22071-38112345678901
  oom-agent show 22071 -o json      the report as it is stored

Exit code 6 if there is no such kill.";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct ShowArgs {
    #[command(flatten)]
    story: WhichArgs,
    #[command(flatten)]
    ask: AskArgs,
}

/// Which kill, and how it is told; whoever is asked.
#[derive(Debug, Args)]
pub(super) struct WhichArgs {
    /// Id of a kill, a report or the news of a container; its beginning behind the boot is enough, or the id
    /// of the process that died. Between processes of several nodes it does not choose, and lists them.
    #[arg(value_name = "ID")]
    id: String,
    #[command(flatten, next_help_heading = "Output")]
    output: StoryArgs,
}

/// Who told of a kill.
#[cfg(feature = "nats")]
#[derive(Debug, Default, serde::Deserialize)]
pub(super) struct Place {
    pub(super) cluster: Option<String>,
    pub(super) node: Option<String>,
}

pub(super) fn main(args: ShowArgs) -> ExitCode {
    let ShowArgs { story, ask } = args;
    end(ask.open().and_then(|(client, _)| story.run(client)))
}

impl WhichArgs {
    /// Where it happened, if this client knows of it: the cluster and the node.
    #[cfg(feature = "nats")]
    pub(super) fn place(&self, mut client: Client) -> Result<Option<Place>, Failure> {
        let found = find::find(&mut client, &self.id)?;
        let place = found.map(|found| serde_json::from_str(found.json.get()));
        Ok(place.transpose()?)
    }

    /// Tells what this client knows.
    pub(super) fn run(self, client: Client) -> Result<ExitCode, Failure> {
        run(&self, client)
    }
}

fn run(args: &WhichArgs, mut client: Client) -> Result<ExitCode, Failure> {
    let Some(Found { mut json, others }) = find::find(&mut client, &args.id)? else {
        let text = format!("there is no kill {:?}", args.id);
        return Err(Failure::NotFound(text));
    };
    let mut alert = None;
    if let Some(Event::OomKill(kill)) = parse(&json)
        && let Some(report) = client.event(Some(Kind::OomInstance), &kill.instance_id)?
    {
        json = report;
        alert = Some(kill);
    }
    if args.output.is_json() {
        put(&format!("{}\n", json.get()))?;
    } else {
        let event: Event = serde_json::from_str(json.get())?;
        let text = story(&mut client, &event, alert.as_deref(), args.output.style())?;
        put(&text)?;
    }
    if others > 0 {
        eprintln!(
            "oom-agent: this was the last of {} kills of a process {}; `oom-agent events --pid {1}` lists them",
            others + 1,
            args.id
        );
    }
    Ok(ExitCode::SUCCESS)
}

fn story(
    client: &mut Client,
    event: &Event,
    alert: Option<&OomKill>,
    style: text::TextStyle,
) -> Result<String, Failure> {
    let mut out = String::new();
    let kill = match event {
        Event::OomInstance(report) => {
            explain(report, style, &mut out);
            alert.or_else(|| chosen(report))
        }
        Event::OomKill(kill) => {
            text::kill(kill, style, &mut out);
            let mut lines = Lines::default();
            lines
                .below()
                .say("There is no report of it: it is open still, or was not kept.");
            lines.render(style, &mut out);
            Some(&**kill)
        }
        Event::ContainerCreation(created) => {
            crate::render::container::created(created, style, &mut out);
            None
        }
        Event::ContainerDeletion(deleted) => {
            crate::render::container::deleted(deleted, style, &mut out);
            None
        }
        Event::VictimEnd(ended) => {
            crate::render::end::ended(ended, style, &mut out);
            Some(&ended.kill)
        }
        Event::OomStuck(stuck) => {
            crate::render::end::stuck(stuck, style, &mut out);
            Some(&stuck.kill)
        }
    };
    if let Some(kill) = kill {
        history::tell(client, kill, style, &mut out)?;
    }
    Ok(out)
}
