//! Who asked for the memory, and whether that is one of those who died.
//!
//! Reads [`Trigger`] beside the kills; emits lines. Refuses to tell a thread of the victim from another process where
//! only the log spoke.

use super::is_row;
use crate::{
    event::{OomInstance, Scope, Trigger},
    render::{
        escape::name,
        flow::{Line, Lines, Tone},
        units::count,
        words,
    },
};

pub(super) fn say(lines: &mut Lines, event: &OomInstance) {
    let line = lines.label("asked by");
    let Some(trigger) = &event.trigger else {
        line.say_in(Tone::Caution, "unknown: no source could tell");
        return;
    };
    if event.scope == Some(Scope::Sysrq) {
        line.say("sysrq-f, in");
    }
    let relation = Asked::by(trigger, event);
    match (relation, event.kills.len()) {
        (_, 0) => asker_name(line, trigger),
        (Asked::Victim, 1) => line.say("the victim itself"),
        (Asked::Victim, _) => asker_name(line, trigger).glue(",").say("one of the killed"),
        (Asked::Other, _) => asker_name(line, trigger).glue(",").say("another process"),
        (Asked::Unknown, _) => asker_name(line, trigger)
            .glue(",")
            .say("perhaps a thread of the victim"),
    };
    if let Some(allocation) = trigger.allocation {
        line.glue(",").say(words::allocation(allocation));
    }
    let wanted = lines.more();
    if let Some(order) = trigger.order.and_then(|order| u32::try_from(order).ok()) {
        let pages = 1_u64
            .checked_shl(order)
            .map(|pages| count(pages, "page", "pages"));
        let pages = pages.map_or_else(String::new, |pages| format!(" ({pages})"));
        wanted.solid(Tone::Plain, &format!("order {order}{pages}"));
    }
    let gfp = match (&trigger.gfp_flags, trigger.gfp_mask) {
        (Some(flags), Some(mask)) => Some(format!("{} ({mask:#x})", flags.replace('|', " | "))),
        (Some(flags), None) => Some(flags.replace('|', " | ")),
        (None, Some(mask)) => Some(format!("{mask:#x}")),
        (None, None) => None,
    };
    if let Some(gfp) = gfp {
        wanted.glue(",").say("gfp").say(&gfp);
    }
    if let Some(cpu) = trigger.cpu {
        wanted
            .glue(",")
            .solid(Tone::Plain, &format!("on CPU {cpu}"));
    }
    if relation != Asked::Victim
        && let Some(path) = &trigger.cgroup
    {
        lines
            .more()
            .solid(Tone::Plain, &format!("in {}", name(path)));
    }
}

/// Who asked, seen from those who died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// One of them.
    Victim,
    /// None of them.
    Other,
    /// The log alone names threads: it may be another thread of the one who died.
    Unknown,
}

impl Asked {
    pub(crate) fn by(trigger: &Trigger, event: &OomInstance) -> Self {
        let mut processes = true;
        for kill in &event.kills {
            match (trigger.pid, kill.victim.pid) {
                (Some(asker), Some(victim)) if asker == victim => return Self::Victim,
                (Some(_), Some(_)) => {}
                _ if trigger.tid == Some(kill.victim.tid) => return Self::Victim,
                _ => processes = false,
            }
        }
        // The kernel's table has a row for each process, not for each thread.
        let listed = event.tasks.iter().any(|row| {
            Some(row.pid) == trigger.tid && !event.kills.iter().any(|kill| is_row(kill, row))
        });
        if processes || listed {
            Self::Other
        } else {
            Self::Unknown
        }
    }
}

pub(crate) fn asker_name<'a>(line: &'a mut Line, trigger: &Trigger) -> &'a mut Line {
    let comm = trigger.comm.map(|comm| comm.to_string());
    let comm = comm
        .as_deref()
        .map_or("a process of unknown name".into(), name);
    match (trigger.pid, trigger.tid) {
        (Some(pid), _) => line.solid(Tone::Strong, &format!("{comm} (pid {pid})")),
        (None, Some(tid)) => line.solid(Tone::Strong, &format!("{comm} (tid {tid})")),
        (None, None) => line.solid(Tone::Strong, &comm),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{OomKill, TaskRow},
        text::Comm,
    };

    fn row(pid: u32) -> TaskRow {
        TaskRow {
            pid,
            tgid: pid,
            uid: 0,
            comm: Comm::new(b"x"),
            total_vm_bytes: 0,
            rss_bytes: 0,
            pgtables_bytes: None,
            swap_bytes: None,
            oom_score_adj: 0,
        }
    }

    #[test]
    fn a_thread_that_the_log_names_may_be_the_victims() {
        let mut kill = OomKill::for_tests();
        kill.victim.tid = 7;
        let mut event = OomInstance::for_tests(vec![kill]);
        let asked = |event: &OomInstance, pid, tid| {
            let trigger = Trigger {
                pid,
                tid: Some(tid),
                ..Trigger::default()
            };
            Asked::by(&trigger, event)
        };
        assert_eq!(asked(&event, None, 7), Asked::Victim);
        assert_eq!(asked(&event, None, 8), Asked::Unknown);
        event.tasks = vec![row(7), row(9)];
        assert_eq!(asked(&event, None, 8), Asked::Unknown);
        assert_eq!(asked(&event, None, 9), Asked::Other);
        event.kills[0].victim.pid = Some(7);
        assert_eq!(asked(&event, Some(7), 8), Asked::Victim);
        assert_eq!(asked(&event, Some(9), 8), Asked::Other);
    }
}
