//! Events for people: short at the alert, complete in the report.
//!
//! Reads [`OomKill`] and [`OomInstance`]; emits lines of text. Unknown values are left out or said to
//! be unknown, never shown as 0. Refuses to pass on control characters: see `escape`.

use super::{
    escape::name,
    flow::{Line, Lines, Tone},
    owner, report,
    units::{bytes, duration},
};
use crate::event::{
    Cgroup, Memory, OomInstance, OomKill, Role, Source, TimeSource, Timestamp, Victim,
};

/// How to write.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TextStyle {
    /// With the terminal's colours.
    pub colour: bool,
    /// Columns to wrap at.
    pub width: usize,
}

impl Default for TextStyle {
    fn default() -> Self {
        Self {
            colour: false,
            width: 100,
        }
    }
}

/// Appends the alert: who, how much, how fast on one line; whose it was and the cgroup on
/// the next.
pub fn kill(event: &OomKill, style: TextStyle, out: &mut String) {
    let mut lines = Lines::default();
    let head = lines.head().solid(
        Tone::Faint,
        &time(event.time, event.time_source, event.monotonic_ns),
    );
    head.solid(Tone::Alarm, "OOM KILL");
    if event.role == Role::GroupMember {
        head.say("(group)");
    }
    process(head, &event.victim);
    held(head, &event.memory);
    if let Some(latency) = event.detection_latency_ns {
        head.glue(",")
            .say("known")
            .solid(Tone::Plain, &format!("after {}", duration(latency)));
        if !event.evidence.contains(&Source::Bpf) {
            head.say("from the log");
        }
    }
    let place = lines.below();
    match &event.owner {
        Some(of) if owner::is_shown(of) => {
            owner::brief(place.say("in"), of);
            cgroup(place.glue(","), "", event.cgroup.as_ref());
        }
        _ => cgroup(place, "in ", event.cgroup.as_ref()),
    }
    lines.render(style, out);
}

/// Appends the report: a block of labelled lines.
pub fn instance(event: &OomInstance, style: TextStyle, out: &mut String) {
    report::lines(event).render(style, out);
}

/// Milliseconds are enough for a reader. Where a log does not tell the time, its own stamp, as the log has
/// it.
pub(crate) fn time(
    time: Option<Timestamp>,
    source: Option<TimeSource>,
    monotonic_ns: Option<u64>,
) -> String {
    let Some(time) = time else {
        return match monotonic_ns {
            Some(ns) => format!("[{:5}.{:06}]", ns / 1_000_000_000, ns / 1_000 % 1_000_000),
            None => "(time unknown)".to_owned(),
        };
    };
    let text = time.to_string();
    let assumed = if source == Some(TimeSource::Assumed) {
        " (assumed)"
    } else {
        ""
    };
    match (text.get(..10), text.get(11..23)) {
        (Some(date), Some(clock)) => format!("{date} {clock}Z{assumed}"),
        _ => text + assumed,
    }
}

/// `hog (pid 17498)`; where the log alone spoke it named a thread.
pub(crate) fn process(line: &mut Line, victim: &Victim) {
    let comm = victim.comm.to_string();
    let comm = name(&comm);
    let text = match victim.pid {
        Some(pid) => format!("{comm} (pid {pid})"),
        None => format!("{comm} (tid {})", victim.tid),
    };
    line.solid(Tone::Strong, &text);
}

/// `held 1.9 MiB`: the sum only if every part of it is known.
fn held(line: &mut Line, memory: &Memory) {
    let parts = [
        (memory.rss_bytes(), ""),
        (
            memory.anon_bytes.filter(|_| memory.rss_bytes().is_none()),
            " anonymous",
        ),
        (memory.swap_bytes.filter(|&swapped| swapped > 0), " in swap"),
    ];
    let known: Vec<String> = parts
        .iter()
        .filter_map(|(size, what)| Some(format!("{}{what}", bytes((*size)?))))
        .collect();
    if known.is_empty() {
        line.glue(",").say("memory unknown");
    } else {
        line.say("held").solid(Tone::Plain, &known.join(" and "));
    }
}

/// The path after a preposition, or what is known instead of it.
pub(crate) fn cgroup(line: &mut Line, preposition: &str, cgroup: Option<&Cgroup>) {
    match cgroup.map(|cgroup| (&cgroup.path, cgroup.id)) {
        Some((Some(path), _)) => {
            line.solid(Tone::Strong, &format!("{preposition}{}", name(path)));
        }
        Some((None, Some(id))) => {
            let text = format!("{preposition}a cgroup of unknown path, id {id}");
            line.say_in(Tone::Caution, &text);
        }
        Some((None, None)) | None => {
            line.say_in(Tone::Caution, &format!("{preposition}an unknown cgroup"));
        }
    }
}
