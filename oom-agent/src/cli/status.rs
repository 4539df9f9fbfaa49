//! `oom-agent status`: how the running agent is, in words.
//!
//! Reads its status; emits lines, what is wrong first. The exit code tells programs whether every kill is told.

use std::process::ExitCode;

use clap::Args;
use jiff::Timestamp as Now;

use super::{
    EXIT_UNHEALTHY,
    ask::ServerArgs,
    output::{Failure, StoryArgs, end, put},
};
use crate::{
    confine::{Protection, State},
    deliver::SinkStatus,
    event::Timestamp,
    sink::{
        flow::{Line, Lines, Tone},
        units::{count, duration, grouped},
    },
    status::{AuditStatus, Source, Status, StoreStatus},
};

const EXAMPLES: &str = "\
Examples:
  oom-agent status
  oom-agent status -o json | jq .losses
  oom-agent status > /dev/null || echo 'look at it'
  oom-agent status --ready   # as a readiness probe

Exit codes:
  0  every kill is told
  1  there is no answer
  7  it is not ready, detection does not answer, or (not with --ready) the kernel has counted kills that no
     source showed";

#[derive(Debug, Args)]
#[command(after_help = EXAMPLES)]
pub(super) struct StatusArgs {
    /// Have the exit code tell only whether it is ready and detecting now, as /readyz does. A kill that was
    /// missed once stays missed until the machine is booted again, and is no reason to call it not ready.
    #[arg(long)]
    ready: bool,
    #[command(flatten, next_help_heading = "Output")]
    output: StoryArgs,
    #[command(flatten)]
    server: ServerArgs,
}

pub(super) fn main(args: StatusArgs) -> ExitCode {
    end(run(args))
}

fn run(args: StatusArgs) -> Result<ExitCode, Failure> {
    let json = args.server.open()?.status()?;
    let status: Status = serde_json::from_str(json.get())?;
    if args.output.is_json() {
        put(&format!("{}\n", json.get()))?;
    } else {
        let now = Timestamp::from_unix_ns(Now::now().as_nanosecond());
        let mut text = String::new();
        lines(&status, now).render(args.output.style(), &mut text);
        put(&text)?;
    }
    let wrong = if args.ready {
        not_ready(&status)
    } else {
        wrong(&status)
    };
    Ok(if wrong.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::from(EXIT_UNHEALTHY)
    })
}

/// Why it does not detect now; empty if it does.
fn not_ready(status: &Status) -> Vec<String> {
    let mut wrong = Vec::new();
    if !status.ready {
        wrong.push("it is starting or ending".to_owned());
    }
    if !status.detecting {
        wrong.push("detection does not answer".to_owned());
    }
    wrong
}

/// Why not every kill may be told; empty if all is well.
fn wrong(status: &Status) -> Vec<String> {
    let mut wrong = not_ready(status);
    if let Some(kills) = status.audit.unexplained.filter(|&kills| kills > 0) {
        let kills = count(kills.unsigned_abs(), "kill", "kills");
        wrong.push(format!(
            "{kills} that the kernel has counted, no source showed"
        ));
    }
    wrong
}

fn lines(status: &Status, now: Timestamp) -> Lines {
    let mut lines = Lines::default();
    headline(lines.head(), status, now);
    let line = lines.label("tier");
    line.say_in(Tone::Strong, &status.tier);
    for why in &status.not_better {
        lines
            .more()
            .say_in(Tone::Faint, "not better because:")
            .say(why);
    }
    sources(&mut lines, &status.sources);
    audit(lines.label("audit"), status);
    losses(&mut lines, status);
    store(lines.label("store"), status.store.as_ref());
    for sink in &status.sinks {
        delivery(lines.label("sink"), sink, now);
    }
    lines.label("watching").say(&count(
        status.subscribers,
        "live subscriber",
        "live subscribers",
    ));
    protections(&mut lines, &status.protections);
    lines
}

fn headline(line: &mut Line, status: &Status, now: Timestamp) {
    let wrong = wrong(status);
    line.say("oom-agent").say(&status.version);
    if let Some(node) = &status.node {
        line.say("on").name(Tone::Strong, node);
    }
    let up = duration(now.since(status.started));
    line.say(&format!("(pid {}),", status.pid))
        .say("running for")
        .solid(Tone::Plain, &up)
        .glue(":");
    if wrong.is_empty() {
        line.say_in(Tone::Strong, "every kill is told");
    } else {
        line.say_in(Tone::Alarm, &wrong.join("; "));
    }
}

fn sources(lines: &mut Lines, sources: &[Source]) {
    for (at, source) in sources.iter().enumerate() {
        let line = if at == 0 {
            lines.label("sources")
        } else {
            lines.more()
        };
        line.solid(Tone::Plain, &format!("{:<8}", source.name));
        if source.up {
            line.say("up");
        } else {
            line.say_in(Tone::Caution, "down");
        }
        if let Some(reason) = &source.reason {
            line.glue(":").say(reason);
        }
    }
}

fn audit(line: &mut Line, status: &Status) {
    let AuditStatus {
        kernel,
        kills,
        instances,
        repeats,
        unexplained,
    } = status.audit;
    if !status.detecting {
        line.say_in(Tone::Caution, "unknown: detection does not answer");
        return;
    }
    line.say(&format!(
        "{}, {}",
        count(kills, "kill told", "kills told"),
        count(instances, "report", "reports")
    ));
    let Some(kernel) = kernel else {
        line.glue(";")
            .say("this kernel has no counter to compare them with");
        return;
    };
    line.glue(";")
        .say(&format!("the kernel counts {}", grouped(kernel)));
    if repeats > 0 {
        let repeats = count(repeats, "of them a repeat", "of them repeats");
        line.glue(",").say(&repeats);
    }
    match unexplained {
        Some(0) => line.glue(":").say("none unexplained"),
        Some(kills @ 1..) => line.glue(":").say_in(
            Tone::Alarm,
            &format!("{} unexplained", grouped(kills.unsigned_abs())),
        ),
        Some(kills) => line.glue(",").say(&format!(
            "{} fewer, told since it was read or counted before the audit began",
            grouped(kills.unsigned_abs())
        )),
        None => line.glue(",").say("which cannot be compared now"),
    };
}

fn losses(lines: &mut Lines, status: &Status) {
    let lost = status.losses.iter().filter(|(_, lost)| **lost > 0);
    let mut any = false;
    for (name, lost) in lost {
        let line = if any {
            lines.more()
        } else {
            lines.label("lost")
        };
        any = true;
        line.solid(Tone::Caution, &format!("{name}={lost}"));
    }
    if !any {
        lines.label("lost").say("nothing");
    }
}

fn store(line: &mut Line, store: Option<&StoreStatus>) {
    let Some(store) = store else {
        line.say_in(Tone::Caution, "none: what is told is not kept");
        return;
    };
    line.name(Tone::Plain, &store.path).glue(":");
    line.say(&format!("{} stored since the start", grouped(store.stored)));
    if store.removed > 0 {
        line.glue(",")
            .say(&format!("{} removed with age", grouped(store.removed)));
    }
    if store.waiting > 0 {
        let waiting = count(store.waiting, "event waits", "events wait");
        line.glue(",")
            .say_in(Tone::Caution, &format!("{waiting} for the disk"));
    }
}

fn delivery(line: &mut Line, sink: &SinkStatus, now: Timestamp) {
    line.name(Tone::Plain, &sink.sink).glue(":");
    line.say(&format!("{} delivered", grouped(sink.delivered)));
    for (number, what) in [
        (sink.behind, "stored behind that"),
        (sink.refused, "refused"),
        (sink.lost, "lost at most"),
        (sink.retries, "failed tries"),
    ] {
        if number > 0 {
            line.glue(",").say(&format!("{} {what}", grouped(number)));
        }
    }
    if sink.up == Some(false) {
        let how_long = duration(now.since(sink.since));
        line.glue(";")
            .say_in(Tone::Caution, "failing for")
            .solid(Tone::Caution, &how_long);
        if let Some(error) = &sink.last_error {
            line.glue(":").say(error);
        }
    }
}

fn protections(lines: &mut Lines, protections: &[Protection]) {
    let line = lines.label("confined");
    let on = protections.iter().filter(|of| of.state == State::On);
    let names: Vec<_> = on.map(|of| of.name.to_string()).collect();
    line.say(&if names.is_empty() {
        "by nothing".to_owned()
    } else {
        format!("by {}", names.join(", "))
    });
    for Protection { name, state } in protections {
        let (how, why) = match state {
            State::On => continue,
            State::Later => ("not yet by", None),
            State::Partly(why) => ("in part by", Some(why)),
            State::Off(why) => ("not by", Some(why)),
        };
        let line = lines.more();
        line.say_in(Tone::Caution, &format!("{how} {name}"));
        if let Some(why) = why {
            line.glue(":").say(why);
        }
    }
}

#[cfg(test)]
#[path = "status_tests.rs"]
mod tests;
