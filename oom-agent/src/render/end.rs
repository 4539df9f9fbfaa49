//! Ends of victims, for people: what a report says of them, and the lines of [`VictimEnd`] and [`OomStuck`].
//!
//! Reads [`End`]; emits words. Says of a bound that it is one.

use super::{
    flow::{Line, Lines, Tone},
    owner,
    text::{self, TextStyle},
    units::{bytes, duration},
};
use crate::event::{End, OomKill, OomStuck, TimeSource, Timestamp, VictimEnd};

/// Whether there is anything to say: what the reaper left is not enough.
pub(crate) const fn is_told(end: &End) -> bool {
    end.still_alive
        || end.exit_after_ns.is_some()
        || end.freed_after_ns.is_some()
        || end.reaping_started_after_ns.is_some()
}

/// Says how it ended, as far as is known.
pub(crate) fn say(line: &mut Line, end: &End) {
    if end.still_alive {
        line.say_in(Tone::Caution, "still there when this was told");
    }
    if let Some(after) = end.exit_after_ns {
        line.say(if end.at_most { "within" } else { "after" })
            .solid(Tone::Plain, &duration(after));
    }
    if let Some(after) = end.freed_after_ns {
        if end.still_alive || end.exit_after_ns.is_some() {
            line.glue(";");
        }
        if let Some(freed) = end.freed_bytes {
            line.solid(Tone::Plain, &bytes(freed));
        } else {
            line.say("its memory");
        }
        line.say("free after").solid(Tone::Plain, &duration(after));
    }
    if let Some(started) = end.reaping_started_after_ns {
        line.glue(";")
            .say("the oom_reaper came after")
            .solid(Tone::Plain, &duration(started));
        if let Some(finished) = end.reaping_finished_after_ns {
            let took = finished.saturating_sub(started);
            line.say("and took").solid(Tone::Plain, &duration(took));
        }
    }
}

/// Appends the end of a victim whose report has been told.
pub(crate) fn ended(event: &VictimEnd, style: TextStyle, out: &mut String) {
    let mut lines = Lines::default();
    let head = lines.head();
    what(head, event.time, (Tone::Strong, "VICTIM GONE"), &event.kill);
    if let Some(end) = &event.kill.end {
        say(head, end);
    }
    place(&mut lines, &event.kill);
    lines.render(style, out);
}

/// Appends the alert of one that does not end.
pub(crate) fn stuck(event: &OomStuck, style: TextStyle, out: &mut String) {
    let mut lines = Lines::default();
    let head = lines.head();
    what(head, event.time, (Tone::Alarm, "OOM STUCK"), &event.kill);
    head.say("has not ended")
        .solid(Tone::Plain, &duration(event.stuck_for_ns))
        .say("after its mark");
    if let Some(held) = event.held_bytes {
        head.glue(",")
            .say("and holds")
            .solid(Tone::Plain, &bytes(held));
    }
    place(&mut lines, &event.kill);
    if let Some(thread) = &event.thread {
        let line = lines.below();
        line.say(&format!("thread {} in state {}", thread.tid, thread.state));
        if let Some(wchan) = &thread.wchan {
            line.glue(",").say("in").name(Tone::Strong, wchan);
        }
        if let (Some(all), Some(uninterruptible)) = (event.threads, event.uninterruptible) {
            line.glue(";")
                .say(&format!("{uninterruptible} of {all} threads in state D"));
        }
    }
    lines.render(style, out);
}

fn what(line: &mut Line, time: Timestamp, (tone, word): (Tone, &str), kill: &OomKill) {
    let time = text::time(Some(time), Some(TimeSource::Kernel), None);
    line.solid(Tone::Faint, &time).solid(tone, word);
    text::process(line, &kill.victim);
}

fn place(lines: &mut Lines, kill: &OomKill) {
    let line = lines.below();
    match &kill.owner {
        Some(of) if owner::is_shown(of) => {
            owner::brief(line.say("in"), of);
            text::cgroup(line.glue(","), "", kill.cgroup.as_ref());
        }
        _ => text::cgroup(line, "in ", kill.cgroup.as_ref()),
    }
}
