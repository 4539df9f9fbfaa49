//! The report as a block: who died, who asked, which limit, and how it is known.
//!
//! Reads an [`OomInstance`]; emits [`Lines`]. Long lists are shortened with the number of what was
//! left out. What no source could tell is said or left out, never guessed.

mod asker;
mod checked;
mod limit;
mod many;
mod victim;

pub(crate) use self::asker::{Asked, asker_name};
use super::{
    before,
    flow::{Line, Lines, Tone},
    held,
    text::{process, time},
    units::count,
    words,
};
use crate::event::{OomInstance, OomKill, Outcome, Role, TaskRow};

pub(crate) fn lines(event: &OomInstance) -> Lines {
    let mut lines = Lines::default();
    let victim = chosen(event);
    headline(lines.head(), event, victim);
    if let Some(kill) = victim {
        victim::say(&mut lines, kill);
    }
    asker::say(&mut lines, event);
    limit::say(&mut lines, event, victim);
    before::history(&mut lines, event);
    if let Some(memory) = &event.limit_memory {
        held::cgroup(&mut lines, memory, event.limit_memory_source);
    }
    if let Some(state) = &event.limit_state {
        before::state(&mut lines, state);
    }
    if let Some(memory) = &event.system_memory {
        held::machine(&mut lines, memory, event.system_memory_source);
    }
    before::top(&mut lines, &event.top_cgroups);
    many::group(&mut lines, event, victim);
    many::tasks(&mut lines, event);
    checked::say(&mut lines, event);
    lines
}

/// The process that the kernel chose; any of the killed if that one was lost.
pub(crate) fn chosen(event: &OomInstance) -> Option<&OomKill> {
    event
        .kills
        .iter()
        .find(|kill| kill.role == Role::Chosen)
        .or(event.kills.first())
}

/// Whether a row of the table is this victim's. The log alone names a thread.
pub(crate) fn is_row(kill: &OomKill, row: &TaskRow) -> bool {
    match kill.victim.pid {
        Some(pid) => pid == row.tgid,
        None => kill.victim.tid == row.pid,
    }
}

fn headline(line: &mut Line, event: &OomInstance, victim: Option<&OomKill>) {
    let tone = match event.outcome {
        Some(Outcome::Killed | Outcome::Panic) => Tone::Alarm,
        Some(Outcome::AlreadyExiting | Outcome::NoVictim) | None => Tone::Caution,
    };
    line.solid(
        Tone::Faint,
        &time(event.time, event.time_source, event.monotonic_ns),
    )
    .solid(tone, "OOM REPORT");
    let cause = words::cause(event.scope);
    match (event.outcome, victim) {
        (Some(Outcome::Killed), Some(kill)) if event.kills.len() == 1 => {
            process(line, &kill.victim);
            line.say("was killed:").say(cause)
        }
        (Some(Outcome::Killed), _) => {
            let killed = count(event.kills.len() as u64, "process was", "processes were");
            line.say(&killed).say("killed:").say(cause)
        }
        (Some(Outcome::AlreadyExiting), _) => line
            .say(cause)
            .glue(";")
            .say("nothing was killed: the chosen process was exiting already"),
        (Some(Outcome::NoVictim), _) => line
            .say(cause)
            .glue(";")
            .say("nothing was killed: no process could be"),
        (Some(Outcome::Panic), _) => line
            .say(cause)
            .glue(";")
            .say("the kernel panics instead of killing"),
        (None, _) => line
            .say(cause)
            .glue(";")
            .say("whether anybody was killed is unknown: the record of it was lost"),
    };
}
