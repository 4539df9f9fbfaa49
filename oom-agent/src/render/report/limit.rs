//! The limit that was hit: how much, whose, and how that is known.
//!
//! Reads [`Limit`]; emits lines. Where there is none it says why.

use crate::{
    event::{Limit, LimitSource, OomInstance, OomKill, Scope},
    render::{
        flow::{Line, Lines, Tone},
        owner,
        text::cgroup,
        units::{bytes, count},
        words::{self, Level},
    },
};

pub(super) fn say(lines: &mut Lines, event: &OomInstance, victim: Option<&OomKill>) {
    let line = lines.label("limit");
    let Some(limit) = &event.limit else {
        let unknown = matches!(event.scope, Some(Scope::Memcg) | None);
        let tone = if unknown { Tone::Caution } else { Tone::Plain };
        line.say_in(tone, words::no_limit(event.scope));
        return;
    };
    amounts(line, limit);
    let whose = lines.more();
    match limit.level.and_then(owner::level) {
        Some(level) => cgroup(whose.say("of").say(level), "", Some(&limit.cgroup)),
        None => cgroup(whose, "of ", Some(&limit.cgroup)),
    }
    let place = lines.more();
    if let Some(kill) = victim {
        place
            .say(&Level::of(limit, kill.cgroup.as_ref()).words())
            .glue(";");
    }
    let inferred = limit.source == LimitSource::Inferred;
    let tone = if inferred { Tone::Caution } else { Tone::Plain };
    place.say_in(tone, words::known_from(limit.source));
}

fn amounts(line: &mut Line, limit: &Limit) {
    match (limit.usage_bytes, limit.limit_bytes) {
        (Some(usage), Some(limit)) => line
            .solid(Tone::Strong, &bytes(usage))
            .say("in use of")
            .solid(Tone::Strong, &bytes(limit)),
        (None, Some(limit)) => line
            .solid(Tone::Strong, &bytes(limit))
            .glue(",")
            .say("use unknown"),
        (Some(usage), None) => line
            .say("unknown,")
            .solid(Tone::Strong, &bytes(usage))
            .say("in use"),
        (None, None) => line.say("of unknown size"),
    };
    match limit.failcnt {
        // Some kernels keep no count: 6.18 prints 0 for a limit that it has just run into.
        Some(0) => _ = line.glue(",").say("failcnt 0"),
        Some(times) => {
            let times = count(times, "time", "times");
            line.glue(",").say("hit").solid(Tone::Plain, &times);
        }
        None => {}
    }
}
