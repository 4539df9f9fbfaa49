//! Containers that came and went, for people: a line each.
//!
//! Reads [`ContainerCreation`] and [`ContainerDeletion`]; emits lines of text.

use super::{
    flow::{Line, Lines, Tone},
    owner,
    text::{self, TextStyle},
    units::duration,
};
use crate::event::{Cgroup, ContainerCreation, ContainerDeletion, Owner, TimeSource, Timestamp};

/// Appends what came.
pub(crate) fn created(event: &ContainerCreation, style: TextStyle, out: &mut String) {
    let mut lines = Lines::default();
    let line = lines.head();
    what(line, event.time, "created", &event.owner, &event.cgroup);
    if event.late {
        line.glue(",").say("found late");
    }
    lines.render(style, out);
}

/// Appends what went.
pub(crate) fn deleted(event: &ContainerDeletion, style: TextStyle, out: &mut String) {
    let mut lines = Lines::default();
    let line = lines.head();
    what(line, event.time, "removed", &event.owner, &event.cgroup);
    if let Some(created) = event.created {
        let age = event.time.since(created);
        line.glue(",")
            .say("after")
            .solid(Tone::Plain, &duration(age));
    }
    if event.exit_code >= 0 {
        line.glue(",")
            .say(&format!("exit code {}", event.exit_code));
    }
    if event.late {
        line.glue(",").say("missed late");
    }
    lines.render(style, out);
}

fn what(line: &mut Line, time: Timestamp, verb: &str, of: &Owner, cgroup: &Cgroup) {
    let time = text::time(Some(time), Some(TimeSource::Kernel), None);
    line.solid(Tone::Faint, &time).say(verb);
    if owner::is_shown(of) {
        owner::brief(line, of);
        text::cgroup(line.glue(","), "", Some(cgroup));
    } else {
        text::cgroup(line, "", Some(cgroup));
    }
}
