//! Who died, or why nobody did.

use super::{heading, level_of, share::of_whole, whole_and_name, with_article};
use crate::{
    cgroup_path::attribute,
    event::{OomInstance, OomKill, Outcome, Reaper, Role},
    render::{
        escape::name,
        flow::{Line, Lines, Tone},
        owner,
        report::chosen,
        text::{process, time},
        units::{bytes, count, duration},
        words,
    },
};

/// Members of a group that are named.
const MEMBERS: usize = 10;

pub(super) fn tell(lines: &mut Lines, event: &OomInstance) {
    heading(lines, "Who died");
    match (event.outcome, chosen(event)) {
        (Some(Outcome::Killed), Some(kill)) => victim(lines, event, kill),
        (outcome, _) => {
            lines.below().say(nobody(outcome));
        }
    }
    let others = event.kills.len().saturating_sub(1);
    if others > 0 {
        members(lines, event, others);
    }
}

pub(super) fn headline(lines: &mut Lines, event: &OomInstance) {
    let line = lines.head();
    match (event.time, event.monotonic_ns) {
        (Some(_), _) => line
            .say("On")
            .solid(Tone::Strong, &time(event.time, event.time_source, None)),
        (None, Some(ns)) => line
            .solid(Tone::Strong, &duration(ns))
            .say("after the machine was started")
            .solid(Tone::Faint, &time(None, None, Some(ns))),
        (None, None) => line.say("At a time that the log does not tell"),
    };
    if let Some(node) = &event.node {
        line.say("on").name(Tone::Plain, node);
    }
    line.glue(",").say(words::cause(event.scope)).glue(".");
}

fn nobody(outcome: Option<Outcome>) -> &'static str {
    match outcome {
        Some(Outcome::Killed) => "Somebody did, but no source could tell who.",
        Some(Outcome::AlreadyExiting) => {
            "Nobody was killed: the process that the kernel chose was exiting already, and was let finish."
        }
        Some(Outcome::NoVictim) => "Nobody: there was no process that the kernel may kill.",
        Some(Outcome::Panic) => "Everybody: the kernel panicked instead of killing.",
        None => "Unknown: the kernel chose somebody, but the record of what came of it was lost.",
    }
}

fn victim(lines: &mut Lines, event: &OomInstance, kill: &OomKill) {
    let line = lines.below();
    process(line, &kill.victim);
    if let Some(uid) = kill.victim.uid {
        line.glue(",").say(&format!("uid {uid}"));
    }
    if let (Some(end), Some(start)) = (kill.time, kill.victim.start_time)
        && let Ok(lived) = u64::try_from(end.as_unix_ns() - start.as_unix_ns())
    {
        line.glue(",")
            .say("after running for")
            .solid(Tone::Plain, &duration(lived));
    }
    line.glue(".");
    held(line, event, kill);
    let line = lines.below();
    match kill
        .cgroup
        .as_ref()
        .and_then(|cgroup| cgroup.path.as_deref())
    {
        Some(path) => {
            let place = with_article(Some(level_of(&attribute(path))));
            line.say("It belonged to")
                .say(place)
                .solid(Tone::Plain, &name(path))
                .glue(".");
        }
        None => {
            line.say_in(Tone::Caution, "Which cgroup it belonged to is not known.");
        }
    }
    if let Some(of) = kill.owner.as_ref().filter(|of| owner::is_shown(of)) {
        owner::full(line.say("Its owner:"), of);
        line.glue(".");
    }
    match kill.reaper {
        Some(Reaper::Reaped) => _ = line.say("The oom_reaper took its memory back."),
        Some(Reaper::Unable) => {
            line.say_in(
                Tone::Caution,
                "The oom_reaper could not take its memory back.",
            );
        }
        Some(Reaper::NotNeeded) | None => {}
    }
}

fn held(line: &mut Line, event: &OomInstance, kill: &OomKill) {
    let Some(resident) = kill.memory.rss_bytes().or(kill.memory.anon_bytes) else {
        line.say("What it held is not known.");
        return;
    };
    line.say("It held").solid(Tone::Strong, &bytes(resident));
    if let Some((whole, name)) = whole_and_name(event)
        && let Some(share) = of_whole(resident, Some(whole))
    {
        line.glue(",")
            .solid(Tone::Plain, &share)
            .say("of")
            .say(name);
        if resident > whole {
            line.glue(":")
                .say("what it shares with others may be charged elsewhere");
        }
    }
    if let Some(swap) = kill.memory.swap_bytes.filter(|&swap| swap > 0) {
        line.glue(",")
            .say("and")
            .solid(Tone::Plain, &bytes(swap))
            .say("in swap");
    }
    line.glue(".");
    if let Some(adj) = kill.victim.oom_score_adj.filter(|&adj| adj != 0) {
        let more = if adj > 0 { "likelier" } else { "less likely" };
        line.say(&format!(
            "Its oom_score_adj of {adj} made it {more} to be chosen."
        ));
    }
}

fn members(lines: &mut Lines, event: &OomInstance, others: usize) {
    let group = event.group_kill == Some(true);
    let why = if group {
        "died with it, because memory.oom.group makes the whole cgroup die together:"
    } else {
        "were killed by the same decision:"
    };
    let many = count(others as u64, "other", "others");
    lines.below().say(&many).say(why);
    let first = chosen(event).map(|kill| &kill.id);
    let rest = event.kills.iter().filter(|kill| Some(&kill.id) != first);
    for kill in rest.take(MEMBERS) {
        let line = super::bullet(lines);
        process(line, &kill.victim);
        if let Some(rss) = kill.memory.rss_bytes() {
            line.glue(",").solid(Tone::Plain, &bytes(rss));
        }
        if group && kill.role == Role::Chosen {
            line.say("(chosen)");
        }
    }
    if others > MEMBERS {
        super::bullet(lines).say(&format!("and {} more", others - MEMBERS));
    }
}
