//! What is many: the members of a group that died, and the rows of the process table.
//!
//! Reads both, the largest first; emits some of them, and the number of what was left out. Victims among the rows are
//! shown wherever they stand.

use std::cmp::Reverse;

use super::is_row;
use crate::{
    event::{FiguresSource, OomInstance, OomKill, TaskRow},
    render::{
        escape::name,
        flow::{Lines, Tone},
        text::process,
        units::{bytes, grouped},
    },
};

/// Rows of the process table that are shown, beside the victims.
const TASKS: usize = 5;
/// Members of a group that are shown.
const MEMBERS: usize = 10;

pub(super) fn group(lines: &mut Lines, event: &OomInstance, victim: Option<&OomKill>) {
    if event.group_kill != Some(true) && event.kills.len() < 2 {
        return;
    }
    let line = lines.label("group");
    if event.group_kill == Some(true) {
        match group_cgroup(event) {
            Some(path) => line
                .say("memory.oom.group is set for")
                .name(Tone::Plain, path)
                .glue(":")
                .say("all in it die together"),
            None => line.say("memory.oom.group is set: the whole cgroup dies together"),
        };
    } else {
        line.say_in(
            Tone::Caution,
            "several were killed; whether as a group is unknown",
        );
    }
    let mut members: Vec<&OomKill> = event
        .kills
        .iter()
        .filter(|kill| victim.is_none_or(|victim| victim.id != kill.id))
        .collect();
    members.sort_by_key(|kill| Reverse(kill.memory.rss_bytes()));
    for kill in members.iter().take(MEMBERS) {
        let line = lines.more();
        process(line, &kill.victim);
        if let Some(rss) = kill.memory.rss_bytes() {
            line.glue(",").solid(Tone::Plain, &bytes(rss));
        }
        let same = kill.cgroup == victim.and_then(|victim| victim.cgroup.clone());
        if !same && let Some(path) = kill.cgroup.as_ref().and_then(|it| it.path.as_ref()) {
            line.solid(Tone::Plain, &format!("in {}", name(path)));
        }
    }
    left_out(lines, members.len(), MEMBERS);
}

/// The cgroup that dies as a whole: the outermost that says so, from the victim's to that of the limit
/// (`mem_cgroup_get_oom_group`, `mm/memcontrol.c`).
fn group_cgroup(event: &OomInstance) -> Option<&str> {
    let limit = event.limit.as_ref().map(|limit| &limit.cgroup);
    let is_above = |at: usize| at > 0 && Some(&event.levels[at - 1].cgroup) == limit;
    let below = (0..event.levels.len()).take_while(|&at| !is_above(at));
    let says_so = below.filter(|&at| event.levels[at].oom_group == Some(true));
    event.levels[says_so.last()?].cgroup.path.as_deref()
}

pub(super) fn tasks(lines: &mut Lines, event: &OomInstance) {
    if event.tasks.is_empty() {
        return;
    }
    let killed = |row: &TaskRow| event.kills.iter().any(|kill| is_row(kill, row));
    let mut rows: Vec<&TaskRow> = event.tasks.iter().collect();
    rows.sort_by_key(|row| Reverse(row.rss_bytes));
    let header = format!(
        "{:>8} {:>10} {:>10} {:>6} name",
        "pid", "resident", "in swap", "adj"
    );
    lines.label("tasks").solid(Tone::Faint, &header);
    if event.tasks_source == Some(FiguresSource::Read) {
        lines
            .more()
            .say_in(Tone::Faint, "as they were right after the kill:");
    }
    let mut shown = 0;
    for (rank, row) in rows.iter().enumerate() {
        let dead = killed(row);
        // A victim that is not among the biggest is what a reader looks for first.
        if rank >= TASKS && (!dead || shown >= TASKS + MEMBERS) {
            continue;
        }
        shown += 1;
        let swap = row.swap_bytes.map_or_else(|| "?".to_owned(), bytes);
        let numbers = format!(
            "{:>8} {:>10} {swap:>10} {:>6}",
            row.pid,
            bytes(row.rss_bytes),
            row.oom_score_adj
        );
        let line = lines.more().solid(Tone::Plain, &numbers);
        line.name(
            if dead { Tone::Strong } else { Tone::Plain },
            &row.comm.to_string(),
        );
        if dead {
            line.solid(Tone::Alarm, "<- killed");
        }
    }
    left_out(lines, rows.len(), shown);
}

fn left_out(lines: &mut Lines, all: usize, shown: usize) {
    if all > shown {
        let rest = grouped((all - shown) as u64);
        lines
            .more()
            .say_in(Tone::Faint, &format!("and {rest} more"));
    }
}
