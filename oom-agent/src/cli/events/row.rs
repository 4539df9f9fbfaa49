//! One event as rows of a table: one for each process that it tells to be killed.
//!
//! Reads an event; emits cells. What an event does not tell is a dash, never 0.

use crate::{
    cli::{
        owner_cell::owner,
        short_id::short,
        table::{Cell, Column},
    },
    event::{Event, Limit, Memory, OomInstance, OomKill, Outcome, Role, Scope, Timestamp, Victim},
    render::{escape::name, flow::Tone, units},
};

/// The columns.
pub(super) const COLUMNS: [Column; 8] = [
    Column::whole("TIME (UTC)"),
    Column::number("AGE"),
    Column::whole("WHAT"),
    Column::to("OWNER", 16),
    Column::to("VICTIM", 12),
    Column::number("MEMORY"),
    Column::whole("LIMIT"),
    Column::whole("ID"),
];

/// Where the node is named, behind the age.
const NODE: usize = 2;

type Row = Vec<Cell>;

/// The columns; of a fleet, with the node.
pub(super) fn columns(of_fleet: bool) -> Vec<Column> {
    let mut columns = COLUMNS.to_vec();
    if of_fleet {
        columns.insert(NODE, Column::to("NODE", 12));
    }
    columns
}

/// The rows of an event, with its node.
pub(super) fn of_fleet(event: &Event, now: Timestamp) -> Vec<Row> {
    let mut rows = rows(event, now);
    let node = event.node();
    for row in &mut rows {
        row.insert(NODE, node.map_or_else(Cell::none, |node| Cell::plain(node)));
    }
    rows
}

/// The rows of an event.
pub(super) fn rows(event: &Event, now: Timestamp) -> Vec<Row> {
    match event {
        Event::OomKill(kill) => vec![of_kill(kill, "kill", Cell::none(), now)],
        Event::OomInstance(report) if report.kills.is_empty() => vec![of_nobody(report, now)],
        Event::OomInstance(report) => {
            let kills = report.kills.iter();
            let row = |kill| of_kill(kill, "killed", limit(report), now);
            kills.map(row).collect()
        }
        Event::VictimEnd(end) => vec![of_end(end.time, (Tone::Plain, "ended"), &end.kill, now)],
        Event::OomStuck(stuck) => {
            vec![of_end(stuck.time, (Tone::Alarm, "stuck"), &stuck.kill, now)]
        }
        Event::ContainerCreation(created) => {
            let owner = owner(Some(&created.owner), Some(&created.cgroup));
            vec![of_container("created", Some(created.time), owner, now)]
        }
        Event::ContainerDeletion(deleted) => {
            let owner = owner(Some(&deleted.owner), Some(&deleted.cgroup));
            vec![of_container("removed", Some(deleted.time), owner, now)]
        }
    }
}

fn of_kill(kill: &OomKill, what: &str, limit: Cell, now: Timestamp) -> Row {
    let group = kill.role == Role::GroupMember;
    let what = match (group, kill.backfill) {
        (false, false) => what.to_owned(),
        (true, false) => format!("{what} (group)"),
        (false, true) => format!("{what} (history)"),
        (true, true) => format!("{what} (group, history)"),
    };
    vec![
        Cell::plain(&time(kill.time)),
        Cell::plain(&age(kill.time, now)),
        Cell::new(Tone::Alarm, &what),
        text(
            Tone::Strong,
            owner(kill.owner.as_ref(), kill.cgroup.as_ref()),
        ),
        Cell::plain(&process(&kill.victim)),
        text(Tone::Plain, held(&kill.memory)),
        limit,
        Cell::new(Tone::Faint, short(&kill.id)),
    ]
}

/// What became of a victim; the time is that of the end.
fn of_end(at: Timestamp, (tone, what): (Tone, &str), kill: &OomKill, now: Timestamp) -> Row {
    let mut row = of_kill(kill, what, Cell::none(), now);
    row[0] = Cell::plain(&time(Some(at)));
    row[1] = Cell::plain(&age(Some(at), now));
    row[2] = Cell::new(tone, what);
    row
}

fn of_nobody(report: &OomInstance, now: Timestamp) -> Row {
    let what = match report.outcome {
        Some(Outcome::AlreadyExiting) => "exiting",
        Some(Outcome::NoVictim) => "no victim",
        Some(Outcome::Panic) => "panic",
        Some(Outcome::Killed) | None => "unknown",
    };
    let cgroup = report.limit.as_ref().map(|limit| &limit.cgroup);
    vec![
        Cell::plain(&time(report.time)),
        Cell::plain(&age(report.time, now)),
        Cell::new(Tone::Caution, what),
        text(Tone::Strong, owner(None, cgroup)),
        Cell::none(),
        Cell::none(),
        limit(report),
        Cell::new(Tone::Faint, short(&report.id)),
    ]
}

fn of_container(what: &str, at: Option<Timestamp>, owner: Option<String>, now: Timestamp) -> Row {
    vec![
        Cell::plain(&time(at)),
        Cell::plain(&age(at, now)),
        Cell::plain(what),
        text(Tone::Strong, owner),
        Cell::none(),
        Cell::none(),
        Cell::none(),
        Cell::none(),
    ]
}

fn text(tone: Tone, text: Option<String>) -> Cell {
    text.map_or_else(Cell::none, |text| Cell::new(tone, &text))
}

/// `hog[17498]`.
pub(in crate::cli) fn process(victim: &Victim) -> String {
    let comm = victim.comm.to_string();
    let named = if comm.is_empty() {
        "".into()
    } else {
        name(&comm)
    };
    format!("{named}[{}]", victim.pid.unwrap_or(victim.tid))
}

/// What is resident, if all of it is known.
pub(in crate::cli) fn held(memory: &Memory) -> Option<String> {
    let resident = memory.rss_bytes().or(memory.anon_bytes)?;
    Some(units::bytes(resident))
}

/// What ran out, in few words.
fn limit(report: &OomInstance) -> Cell {
    let tone = Tone::Plain;
    match (report.scope, &report.limit) {
        (Some(Scope::Memcg) | None, Some(limit)) => Cell::new(tone, &of_cgroup(limit)),
        (Some(Scope::Memcg), None) => Cell::new(tone, "cgroup limit"),
        (Some(Scope::System), _) => Cell::new(tone, "whole machine"),
        (Some(Scope::Cpuset), _) => Cell::new(tone, "cpuset"),
        (Some(Scope::Mempolicy), _) => Cell::new(tone, "memory policy"),
        (Some(Scope::Sysrq), _) => Cell::new(tone, "sysrq-f"),
        (None, None) => Cell::none(),
    }
}

fn of_cgroup(limit: &Limit) -> String {
    let level = limit.level.map(level);
    match (limit.limit_bytes, level) {
        (Some(size), Some(level)) => format!("{} {level}", units::bytes(size)),
        (Some(size), None) => units::bytes(size),
        (None, Some(level)) => level.to_owned(),
        (None, None) => "cgroup limit".to_owned(),
    }
}

/// Whose limit, in a word.
pub(in crate::cli) const fn level(level: crate::event::LimitLevel) -> &'static str {
    use crate::event::LimitLevel as Of;
    match level {
        Of::Container => "container",
        Of::Pod => "pod",
        Of::Qos => "class of pods",
        Of::Pods => "all pods",
        Of::Unit => "unit",
        Of::Slice => "slice",
        Of::User => "user",
        Of::Machine => "machine",
        Of::Job => "job",
        Of::Nested => "inner cgroup",
        Of::Node => "root",
        Of::Cgroup => "cgroup",
    }
}

/// To the second.
pub(in crate::cli) fn time(time: Option<Timestamp>) -> String {
    let text = time.map(|time| time.to_string());
    let parts = text
        .as_deref()
        .and_then(|text| text.get(..10).zip(text.get(11..19)));
    parts.map_or_else(
        || "unknown".to_owned(),
        |(date, clock)| format!("{date} {clock}"),
    )
}

/// How long ago, in the unit that leaves one to three digits.
pub(in crate::cli) fn age(time: Option<Timestamp>, now: Timestamp) -> String {
    const MINUTE: u64 = 60;
    const HOUR: u64 = 60 * MINUTE;
    const DAY: u64 = 24 * HOUR;
    let Some(time) = time else {
        return "-".to_owned();
    };
    match now.since(time) / 1_000_000_000 {
        seconds @ ..MINUTE => format!("{seconds}s"),
        seconds @ MINUTE..HOUR => format!("{}m", seconds / MINUTE),
        seconds @ HOUR..DAY => format!("{}h", seconds / HOUR),
        seconds => format!("{}d", seconds / DAY),
    }
}

#[cfg(test)]
#[path = "row_tests.rs"]
mod tests;
