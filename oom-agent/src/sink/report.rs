//! The report as a block: who died, who asked, which limit, and how it is known.
//!
//! Reads an [`OomInstance`]; emits [`Lines`]. Long lists are shortened with the number of what was
//! left out. What no source could tell is said or left out, never guessed.

use std::cmp::Reverse;

use super::{
    before, end,
    escape::{name, quoted},
    flow::{Line, Lines, Tone},
    held, owner,
    text::{cgroup, process, time},
    units::{bytes, count, duration, grouped},
    words::{self, Level},
};
use crate::event::{
    Crosscheck, FiguresSource, KmsgReportState, Limit, LimitSource, Memory, OomInstance, OomKill,
    Outcome, Reaper, Role, Scope, TaskRow, Trigger,
};

/// Rows of the process table that are shown, beside the victims.
const TASKS: usize = 5;
/// Members of a group that are shown.
const MEMBERS: usize = 10;

pub(crate) fn lines(event: &OomInstance) -> Lines {
    let mut lines = Lines::default();
    let victim = chosen(event);
    headline(lines.head(), event, victim);
    if let Some(kill) = victim {
        about(&mut lines, kill);
    }
    asker(&mut lines, event);
    limit(&mut lines, event, victim);
    before::history(&mut lines, event);
    if let Some(memory) = &event.limit_memory {
        held::cgroup(&mut lines, memory);
    }
    if let Some(state) = &event.limit_state {
        before::state(&mut lines, state);
    }
    if let Some(memory) = &event.system_memory {
        held::machine(&mut lines, memory);
    }
    before::top(&mut lines, &event.top_cgroups);
    group(&mut lines, event, victim);
    tasks(&mut lines, event);
    checked(&mut lines, event);
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

fn about(lines: &mut Lines, kill: &OomKill) {
    let victim = &kill.victim;
    let line = lines.label("victim");
    process(line, victim);
    if victim.pid.is_some_and(|pid| pid != victim.tid) {
        line.glue(",").say(&format!("thread {}", victim.tid));
    }
    if let Some(pid) = victim.ns_pid.filter(|&pid| Some(pid) != victim.pid) {
        line.glue(",")
            .say(&format!("pid {pid} in its own namespace"));
    }
    if let Some(threads) = victim.threads {
        line.glue(",")
            .say(&count(threads.into(), "thread", "threads"));
    }
    if let Some(uid) = victim.uid {
        line.glue(",").solid(Tone::Plain, &format!("uid {uid}"));
    }
    if let Some(adj) = victim.oom_score_adj {
        line.glue(",")
            .solid(Tone::Plain, &format!("oom_score_adj {adj}"));
    }
    if let Some(ppid) = victim.ppid {
        let parent = victim.parent_comm.map_or_else(
            || format!("pid {ppid}"),
            |comm| format!("{} (pid {ppid})", name(&comm.to_string())),
        );
        line.glue(",").say("child of").solid(Tone::Plain, &parent);
    }
    if let (Some(end), Some(start)) = (kill.time, victim.start_time) {
        let lived = end.as_unix_ns() - start.as_unix_ns();
        if let Ok(lived) = u64::try_from(lived) {
            line.glue(",")
                .say("ran for")
                .solid(Tone::Plain, &duration(lived));
        }
    }
    if let Some(exe) = &victim.exe {
        lines.label("program").name(Tone::Plain, exe);
    }
    if let Some(cmdline) = &victim.cmdline {
        lines.label("command").name(Tone::Plain, cmdline);
    }
    let line = lines.label("memory");
    memory(line, &kill.memory);
    match kill.reaper {
        Some(Reaper::Reaped) => _ = line.glue(";").say("the oom_reaper took it back"),
        Some(Reaper::Unable) => {
            line.glue(";")
                .say_in(Tone::Caution, "the oom_reaper could not take it back");
        }
        Some(Reaper::NotNeeded) | None => {}
    }
    if let Some(end) = &kill.end
        && end::is_told(end)
    {
        end::say(lines.label("ended"), end);
    }
    cgroup(lines.label("cgroup"), "", kill.cgroup.as_ref());
    if let Some(owner) = &kill.owner {
        owner::full(lines.label("owner"), owner);
    }
}

fn memory(line: &mut Line, memory: &Memory) {
    let parts = [
        (memory.rss_bytes(), "resident"),
        (memory.anon_bytes, "anonymous"),
        (memory.file_bytes, "file"),
        (memory.shmem_bytes, "shared"),
        (memory.swap_bytes, "in swap"),
        (memory.pgtables_bytes, "page tables"),
        (memory.peak_rss_bytes, "resident at most"),
        (memory.total_vm_bytes, "mapped"),
    ];
    let mut first = true;
    for (size, what) in parts {
        let Some(size) = size else { continue };
        if !first {
            line.glue(if what == "anonymous" { ":" } else { "," });
        }
        let tone = if what == "resident" {
            Tone::Strong
        } else {
            Tone::Plain
        };
        line.solid(tone, &format!("{} {what}", bytes(size)));
        first = false;
    }
    if first {
        line.say_in(Tone::Caution, "unknown");
    }
}

fn asker(lines: &mut Lines, event: &OomInstance) {
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

/// Whether a row of the table is this victim's. The log alone names a thread.
pub(crate) fn is_row(kill: &OomKill, row: &TaskRow) -> bool {
    match kill.victim.pid {
        Some(pid) => pid == row.tgid,
        None => kill.victim.tid == row.pid,
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

fn limit(lines: &mut Lines, event: &OomInstance, victim: Option<&OomKill>) {
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

fn group(lines: &mut Lines, event: &OomInstance, victim: Option<&OomKill>) {
    if event.group_kill != Some(true) && event.kills.len() < 2 {
        return;
    }
    let line = lines.label("group");
    if event.group_kill == Some(true) {
        line.say("memory.oom.group is set: the whole cgroup dies together");
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

fn tasks(lines: &mut Lines, event: &OomInstance) {
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

fn checked(lines: &mut Lines, event: &OomInstance) {
    let check = &event.crosscheck;
    let line = lines.label("checked");
    agreement(line, check, event.open_for_ns.is_some());
    match (check.kmsg_report, check.kmsg_kills) {
        (KmsgReportState::Full, _) => line.glue(";").say("the log has the kernel's full report"),
        (KmsgReportState::Partial, _) => line
            .glue(";")
            .say_in(Tone::Caution, "the log has only a part of the kernel's report"),
        (KmsgReportState::Suppressed, _) => line.glue(";").say(
            "the log has the kill alone, as where the kernel's rate limit (10 in 5 s) keeps the report back",
        ),
        (KmsgReportState::Absent, Some(_)) => line.glue(";").say("the log has no report of it"),
        (KmsgReportState::Absent, None) => line,
    };
    if check.repeats > 0 {
        let repeats = count(check.repeats.into(), "repeated kill", "repeated kills");
        lines
            .more()
            .say(&repeats)
            .say("of a process already killed, as is usual when a group dies");
    }
    for mismatch in &check.mismatches {
        let line = lines.more();
        line.say_in(Tone::Caution, "they differ:")
            .name(Tone::Plain, &mismatch.field);
        line.say("is")
            .solid(Tone::Plain, &value(&mismatch.bpf))
            .say("by BPF (kept)")
            .glue(",");
        line.solid(Tone::Plain, &value(&mismatch.kmsg))
            .say("by the log");
    }
    let line = lines.more();
    if let Some(open_for) = event.open_for_ns {
        line.say("closed")
            .solid(Tone::Plain, &duration(open_for))
            .say("after the first evidence");
    }
    if let Some(kernel) = &event.kernel {
        line.glue(";").say("kernel").name(Tone::Plain, kernel);
    }
}

/// `watched` tells that the agent was there, and no log was read afterwards.
fn agreement(line: &mut Line, check: &Crosscheck, watched: bool) {
    let kills = |number: u32| match number {
        0 => "no kill".to_owned(),
        _ => count(number.into(), "kill", "kills"),
    };
    match (check.bpf_kills, check.kmsg_kills) {
        (Some(0), Some(0)) => line.say("BPF and the kernel log agree that nothing was killed"),
        (Some(bpf), Some(log)) if bpf == log => {
            line.say(&format!("BPF and the kernel log agree on {}", kills(bpf)))
        }
        (Some(bpf), Some(log)) => line.say_in(
            Tone::Caution,
            &format!("BPF saw {}, the kernel log {}", kills(bpf), kills(log)),
        ),
        (Some(bpf), None) => line.say(&format!(
            "{} by BPF alone: the kernel log was out of reach",
            kills(bpf)
        )),
        (None, Some(log)) if watched => line.say(&format!(
            "{} by the kernel log alone: BPF was out of reach",
            kills(log)
        )),
        (None, Some(log)) => line.say(&format!("{} by a log that was read afterwards", kills(log))),
        (None, None) => line.say_in(Tone::Caution, "by no source: both were out of reach"),
    };
}

fn value(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::String(text) => quoted(text),
        other => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::Comm;

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
