//! One report told in plain words, for a person who wants to know what to do about it.
//!
//! Reads an [`OomInstance`], wherever it is from; emits text. What is concluded is concluded in
//! [`unusual`] and [`crate::attribute`] from the event's own facts; what the event does not tell is said to be
//! unknown. Refuses to blame: the one that asked is rarely the one at fault.

mod advice;
mod died;
mod held;
mod share;
mod unusual;

use crate::{
    cgroup_path::Place,
    event::{KmsgReportState, Limit, LimitLevel, OomInstance, OwnerKind, Scope, TimeSource},
    render::{
        before::told,
        escape::name,
        flow::{Lines, Tone},
        owner,
        report::{Asked, asker_name, chosen},
        text::TextStyle,
        units::{bytes, grouped},
        words,
    },
};
use share::of_whole;

/// Appends the story of one report.
pub fn explain(event: &OomInstance, style: TextStyle, out: &mut String) {
    const SECTIONS: [fn(&mut Lines, &OomInstance); 9] = [
        died::headline,
        died::tell,
        asked,
        limit,
        before,
        held::tell,
        advice::tell,
        unusual::tell,
        unknown,
    ];
    let mut told = false;
    for section in SECTIONS {
        let mut lines = Lines::default();
        section(&mut lines, event);
        if lines.is_empty() {
            continue;
        }
        if told {
            out.push('\n');
        }
        lines.render(style, out);
        told = true;
    }
}

/// All that shares are taken of.
fn whole(event: &OomInstance) -> Option<u64> {
    Some(whole_and_name(event)?.0)
}

/// The limit, else what was in use under it, else the machine's memory; and what that is called.
fn whole_and_name(event: &OomInstance) -> Option<(u64, &'static str)> {
    let Some(limit) = &event.limit else {
        let ram = event.system_memory.as_ref()?.ram_bytes?;
        return (event.scope != Some(Scope::Memcg)).then_some((ram, "the machine's memory"));
    };
    // On cgroup v1 the limit of memory and swap together may be the one that was hit.
    let counters = event.limit_memory.as_ref();
    let memsw = counters.and_then(|memory| memory.memsw?.limit_bytes);
    limit
        .limit_bytes
        .map(|bytes| (bytes, "the limit"))
        .or(memsw.map(|bytes| (bytes, "the limit of memory and swap")))
        .or(limit.usage_bytes.map(|bytes| (bytes, "what was in use")))
}

fn heading(lines: &mut Lines, text: &str) {
    lines.head().say_in(Tone::Strong, text);
}

fn asked(lines: &mut Lines, event: &OomInstance) {
    heading(lines, "Who asked for memory");
    let line = lines.below();
    let Some(trigger) = &event.trigger else {
        line.say("Nobody can tell: no source saw it.");
        return;
    };
    if event.scope == Some(Scope::Sysrq) {
        line.say("Nobody: somebody pressed sysrq-f, or wrote f to /proc/sysrq-trigger. The kernel did it in");
        asker_name(line, trigger).glue(".");
        return;
    }
    let relation = Asked::by(trigger, event);
    asker_name(line, trigger);
    match (relation, event.kills.len()) {
        (_, 0) | (Asked::Other, _) => {}
        (Asked::Victim, 1) => _ = line.glue(",").say("the victim itself"),
        (Asked::Victim, _) => _ = line.glue(",").say("one of the killed"),
        (Asked::Unknown, _) => {
            line.glue(",")
                .say("a thread of the victim or of another process: the log names only threads");
        }
    }
    if let Some(allocation) = trigger.allocation {
        line.glue(",").say(words::allocation(allocation));
    }
    line.glue(".");
    if relation == Asked::Other && !event.kills.is_empty() {
        line.say(
            "It is not to blame for that: it was the one that asked when there was nothing left.",
        );
    }
}

fn limit(lines: &mut Lines, event: &OomInstance) {
    heading(lines, "Which limit was hit");
    let Some(limit) = &event.limit else {
        let why = words::no_limit(event.scope);
        lines.below().say(&sentence(why));
        return;
    };
    let line = lines.below();
    if let Some(size) = limit.limit_bytes {
        line.solid(Tone::Strong, &bytes(size)).glue(",");
    }
    line.say("that of").say(with_article(limit.level));
    match &limit.cgroup.path {
        Some(path) => line.solid(Tone::Strong, &name(path)),
        None => line.say("(its path is unknown)"),
    };
    if let Some(kill) = chosen(event) {
        let level = words::Level::of(limit, kill.cgroup.as_ref());
        line.glue(",").say(&level.words());
    }
    line.glue(".");
    used(lines, limit);
}

/// Only the agent's own recording tells: there is none of a log that somebody kept.
fn before(lines: &mut Lines, event: &OomInstance) {
    if event.memory_trend.is_some() {
        heading(lines, "What its memory did before");
        told(lines, event, Lines::below, Lines::below);
    }
}

fn used(lines: &mut Lines, limit: &Limit) {
    let line = lines.below();
    if let Some(usage) = limit.usage_bytes {
        line.solid(Tone::Plain, &bytes(usage)).say("of it");
        if let Some(share) = of_whole(usage, limit.limit_bytes) {
            line.solid(Tone::Plain, &format!("({share})"));
        }
        line.say("were in use.");
    }
    if let Some(times) = limit.failcnt.filter(|&times| times > 1) {
        line.say(&format!("It had been hit {} times.", grouped(times)));
    }
    line.say(&format!("This is {}.", words::known_from(limit.source)));
}

fn unknown(lines: &mut Lines, event: &OomInstance) {
    let gaps = gaps(event);
    if gaps.is_empty() {
        return;
    }
    heading(lines, "What is not known");
    for gap in gaps {
        bullet(lines).say(gap);
    }
}

/// What no source told, and why.
fn gaps(event: &OomInstance) -> Vec<&'static str> {
    let mut gaps = Vec::new();
    if event.time.is_none() {
        gaps.push("The date: the log does not tell it.");
    }
    if event.time_source == Some(TimeSource::Assumed) {
        gaps.push("The year or the time zone: the log leaves it out, and it was assumed.");
    }
    let limit = event.limit.is_none() && matches!(event.scope, Some(Scope::Memcg) | None);
    if limit || event.trigger.is_none() {
        gaps.push(match event.crosscheck.kmsg_report {
            KmsgReportState::Full => "Some of it: the kernel's report does not tell it.",
            KmsgReportState::Partial => {
                "Some of it: the log has only a part of the kernel's report."
            }
            KmsgReportState::Suppressed => {
                "Who asked, and which limit it was: the log has the kill alone."
            }
            KmsgReportState::Absent => {
                "Who asked, and which limit it was: there was no log to read it from."
            }
        });
    }
    if event.tasks_dropped > 0 {
        gaps.push("Some processes: too many, or not understood.");
    }
    gaps
}

/// The level of the container, if it is somewhere within one.
fn level_of(place: &Place) -> LimitLevel {
    match (place.level, place.owner.kind) {
        (LimitLevel::Nested, OwnerKind::Container) => LimitLevel::Container,
        (level, _) => level,
    }
}

/// What a cgroup is called.
fn with_article(level: Option<LimitLevel>) -> &'static str {
    level.and_then(owner::level).unwrap_or("the cgroup")
}

fn bullet(lines: &mut Lines) -> &mut crate::render::flow::Line {
    let line = lines.at(4, 6);
    line.say("-")
}

/// With a capital and a full stop.
fn sentence(text: &str) -> String {
    let mut chars = text.chars();
    let first = chars
        .next()
        .map(|first| first.to_uppercase().collect::<String>());
    format!("{}{}.", first.unwrap_or_default(), chars.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Cgroup, GrowthOf, MemorySample, MemoryTrend};

    #[test]
    fn what_was_recorded_before_is_told_if_it_was() {
        let mut event = OomInstance::for_tests(Vec::new());
        let story = |event: &OomInstance| {
            let mut story = String::new();
            explain(event, TextStyle::default(), &mut story);
            story
        };
        assert!(!story(&event).contains("before"));
        event.memory_history = [(-4, 100), (-2, 400), (0, 800)]
            .map(|(t_s, usage)| MemorySample::of(t_s * 1_000_000_000, usage << 20))
            .into();
        event.memory_trend = Some(MemoryTrend {
            cgroup: Cgroup {
                path: Some("/a".into()),
                id: None,
                version: None,
            },
            peak_bytes: 800 << 20,
            growth_bytes_per_s: Some(175 << 20),
            growth_of: Some(GrowthOf::Usage),
            growth_over_ns: Some(4_000_000_000),
            since_80_percent_ns: None,
            since_80_percent_at_least: false,
        });
        let expected = "
What its memory did before
    ▂▅█ 100.0 MiB 4.0 s before the kill, 800.0 MiB at most
    grew by 175.0 MiB/s over the last 4.0 s
    recorded of /a
";
        let story = story(&event);
        assert!(story.contains(expected), "{story}");
    }
}
