//! `oom-agent status`: how the running agent is, in words.
//!
//! Reads its status; emits lines, what is wrong first, as `status::verdict` judges it. The exit code tells programs
//! whether kills are seen, and none was missed.

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
    render::{
        flow::{Line, Lines, Tone},
        units::{count, duration, grouped},
    },
    status::{AuditStatus, Kind, Severity, Source, Status, StoreStatus, Trouble},
};

const EXAMPLES: &str = "\
Examples:
  oom-agent status
  oom-agent status -o json | jq .losses
  oom-agent status > /dev/null || echo 'look at it'
  oom-agent status --ready   # as a readiness probe

Exit codes:
  0  every kill is told, as far as the kernel's count can prove it
  1  there is no answer
  7  it is not ready, detection does not answer, or (not with --ready) no source that can see a kill is up, or
     the kernel has counted kills that no source showed";

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
    let is_wrong = if args.ready {
        status.not_ready().is_some()
    } else {
        status.judge().iter().any(misses)
    };
    Ok(if is_wrong {
        ExitCode::from(EXIT_UNHEALTHY)
    } else {
        ExitCode::SUCCESS
    })
}

/// Whether kills are missed, or were.
fn misses(trouble: &Trouble) -> bool {
    matches!(trouble.severity, Severity::Blind | Severity::Missed)
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
    line.say("oom-agent").say(&status.version);
    if let Some(node) = &status.node {
        line.say("on").name(Tone::Strong, node);
    }
    let up = duration(now.since(status.started));
    line.say(&format!("(pid {}),", status.pid))
        .say("running for")
        .solid(Tone::Plain, &up)
        .glue(":");
    let troubles = status.judge();
    let is_open = |it: &Trouble| misses(it) || it.severity == Severity::Unproven;
    if !troubles.iter().any(is_open) {
        line.say_in(Tone::Strong, "every kill is told");
        if !troubles.is_empty() {
            line.glue(";");
        }
    }
    for (at, trouble) in troubles.iter().enumerate() {
        if at > 0 {
            line.glue(";");
        }
        let tone = match trouble.severity {
            Severity::Blind | Severity::Missed | Severity::Lost => Tone::Alarm,
            Severity::Failing | Severity::Unproven | Severity::Limited => Tone::Caution,
        };
        line.say_in(tone, &trouble.what);
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
        } else if !source.wanted {
            line.say("not used");
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

/// Harm first; what cost nobody an event is told as a fact.
fn losses(lines: &mut Lines, status: &Status) {
    let of = |kind| {
        let all = status.losses.iter();
        let of = all.filter(move |(name, lost)| **lost > 0 && Kind::of(name) == kind);
        of.map(|(name, lost)| format!("{name}={lost}"))
    };
    for (label, kind, tone) in [
        ("lost", Kind::Harm, Tone::Alarm),
        ("evidence", Kind::Evidence, Tone::Caution),
        ("details", Kind::Detail, Tone::Caution),
        ("made up", Kind::MadeUp, Tone::Plain),
        ("noted", Kind::Normal, Tone::Plain),
    ] {
        let all: Vec<_> = of(kind).collect();
        if all.is_empty() && kind == Kind::Harm {
            lines.label(label).say("nothing");
        } else if !all.is_empty() {
            lines.label(label).say_in(tone, &all.join(" "));
        }
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
