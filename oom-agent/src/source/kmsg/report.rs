//! Which lines are one report, and whose kill it is.
//!
//! Reads [`Line`]s in the order of the log; emits [`KmsgEvidence`]. The kernel prints a report and its
//! kills under one lock (`oom_lock`), so within one caller they do not interleave; but it prints at
//! most 10 reports in 5 s, and kill lines always. So most kills of a storm have no report, and
//! refusing to hand them somebody else's is the point of this file: a report goes to the first kill
//! that follows it and fits it, or to none. What ends without a kill is counted, not merged.

use std::sync::Arc;

use super::{
    kill::{Killed, scope},
    line::Line,
    open::Open,
    record::Caller,
    summary::is_within,
};
use crate::{
    event::{Role, Scope},
    evidence::{KmsgEnd, KmsgEvidence, KmsgKill, KmsgReport},
    text::{Comm, printable},
};

/// Callers followed at once. One holds `oom_lock` at a time; the rest are reports that never ended.
const MAX_STREAMS: usize = 8;

/// Members of a group die in one loop: a longer silence means that the loop is over. Generous,
/// because a serial console holds up every line for some 20 ms.
const GROUP_SILENCE_NS: u64 = 1_000_000_000;

/// Where and when a line stood in the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    /// Number of the record.
    pub seq: u64,
    /// `CLOCK_MONOTONIC`.
    pub monotonic_ns: u64,
    /// Who printed it, where the kernel says so.
    pub caller: Option<Caller>,
}

/// Puts lines together.
#[derive(Debug)]
pub struct Assembler {
    page_size: u64,
    /// The most recently used last.
    streams: Vec<(Option<Caller>, Stream)>,
    abandoned: u64,
}

/// The lines of one caller.
#[derive(Debug, Default)]
struct Stream {
    /// From a header (or the first line of a truncated report) to the kill.
    open: Option<Box<Open>>,
    /// From a `sacrifice child` line to the kill.
    choice: Option<Choice>,
    /// From a kill to the line after it: the kernel announces a group kill right there.
    last: Option<Last>,
    /// From a group's announcement until its members have been killed.
    group: Option<Group>,
    /// From "no killable processes" to the next report: a panic may follow.
    without_victim: Option<u64>,
    /// `CLOCK_MONOTONIC` of its last line.
    last_ns: u64,
}

impl Stream {
    /// The first record of what its next line may still belong to.
    fn begun(&self) -> Option<u64> {
        let open = self.open.as_ref().map(|open| open.begun());
        let group = self.group.as_ref().map(|group| group.decision);
        let last = self.last.as_ref().map(|last| last.decision);
        [open, group, last, self.without_victim]
            .into_iter()
            .flatten()
            .min()
    }
}

/// The victim may be a child of the chosen task.
#[derive(Clone, Copy, Debug)]
struct Choice {
    tid: u32,
    scope: Option<Scope>,
}

#[derive(Debug)]
struct Last {
    decision: u64,
    prefix: Option<Vec<u8>>,
    report: Option<Arc<KmsgReport>>,
}

#[derive(Debug)]
struct Group {
    decision: u64,
    cgroup: String,
    prefix: Option<Vec<u8>>,
    report: Option<Arc<KmsgReport>>,
    last_ns: u64,
}

impl Assembler {
    /// Nothing open. `page_size` is the kernel's, in bytes.
    #[must_use]
    pub fn new(page_size: u64) -> Self {
        Self {
            page_size,
            streams: Vec::with_capacity(MAX_STREAMS),
            abandoned: 0,
        }
    }

    /// Reports so far that ended without a line that closes them: cut short by lost records, or the
    /// victim was gone and the kernel (before 5.x) said nothing.
    #[must_use]
    pub fn abandoned(&self) -> u64 {
        self.abandoned
    }

    /// Whether a report has begun and not found its end.
    #[must_use]
    pub fn is_open(&self) -> bool {
        self.streams.iter().any(|(_, stream)| stream.open.is_some())
    }

    /// The first record without which what follows after that moment would be understood otherwise;
    /// `None` if nothing is under way.
    #[must_use]
    pub fn begun(&self, monotonic_ns: u64) -> Option<u64> {
        let goes_on = |stream: &&Stream| {
            stream.open.is_some() || monotonic_ns < stream.last_ns + GROUP_SILENCE_NS
        };
        let streams = self.streams.iter().map(|(_, stream)| stream);
        streams.filter(goes_on).filter_map(Stream::begun).min()
    }

    /// Records are missing here. Only a report whose victim is known can still find its kill.
    pub fn gap(&mut self) {
        let abandoned = &mut self.abandoned;
        self.streams.retain_mut(|(_, stream)| {
            let open = stream.open.take();
            *abandoned += u64::from(open.as_ref().is_some_and(|open| !open.names_victim()));
            *stream = Stream {
                open: open.filter(|open| open.names_victim()),
                ..Stream::default()
            };
            stream.open.is_some()
        });
    }

    /// Takes the next line.
    pub fn feed(&mut self, meta: Meta, line: Line<'_>, out: &mut Vec<KmsgEvidence>) {
        self.take(meta, line, out);
        let of_caller = |(caller, _): &&mut (Option<Caller>, Stream)| *caller == meta.caller;
        if let Some((_, stream)) = self.streams.iter_mut().find(of_caller) {
            stream.last_ns = meta.monotonic_ns;
        }
    }

    fn take(&mut self, meta: Meta, line: Line<'_>, out: &mut Vec<KmsgEvidence>) {
        let Meta {
            seq,
            monotonic_ns,
            caller,
        } = meta;
        match line {
            Line::Other | Line::SysrqRequested | Line::Fragment => {}
            Line::Malformed => out.push(KmsgEvidence::Malformed { seq: Some(seq) }),
            Line::Reaped {
                tid,
                reaped,
                left_bytes,
            } => {
                out.push(KmsgEvidence::Reaped {
                    monotonic_ns,
                    tid,
                    reaped,
                    left_bytes,
                });
            }
            Line::Suppressed { reports } => {
                // Printed when the next decision begins.
                self.stream(caller).group = None;
                out.push(KmsgEvidence::Suppressed { reports });
            }
            Line::Header(header) => self.open(meta, |open| open.header(header)),
            Line::Counter(of, counter) => {
                self.part(meta, |open| open.counter(of, counter));
            }
            Line::StatsFor { path, inline } => {
                self.part(meta, |open| open.stats_for(seq, path, inline));
            }
            Line::TableHeader(columns) => self.part(meta, |open| open.table(columns)),
            Line::LegacyMemcg {
                task_memcg,
                oom_memcg,
            } => self.part(meta, |open| open.legacy(task_memcg, oom_memcg)),
            Line::Cpu(_)
            | Line::TraceBegin
            | Line::Frame(_)
            | Line::TraceEnd
            | Line::Listed(_)
            | Line::MemInfo(_)
            | Line::TableRow(_) => self.anybodys(caller, line),
            Line::Summary(summary) => self.part(meta, |open| open.summary(seq, &summary)),
            Line::Choice { tid, comm, scope } => self.choice(caller, tid, comm, scope),
            Line::Killed(killed) => self.killed(meta, &killed, out),
            Line::GroupKill { cgroup } => {
                let decision = self.group(meta, cgroup);
                let cgroup = printable(cgroup).into_owned();
                out.push(KmsgEvidence::GroupKill {
                    decision,
                    seq,
                    monotonic_ns,
                    cgroup,
                });
            }
            Line::AlreadyExiting { tid, comm } => {
                let report = self.close(caller, tid, comm);
                let stream = self.stream(caller);
                let decision = match &stream.group {
                    Some(group) => group.decision,
                    None => begun(report.as_ref(), seq),
                };
                if stream.group.is_none() {
                    stream.last = Some(Last {
                        decision,
                        prefix: None,
                        report: report.clone(),
                    });
                }
                let end = ended(meta, decision, report);
                out.push(KmsgEvidence::AlreadyExiting { end, tid, comm });
            }
            Line::NoVictim => {
                let report = self.close_without_victim(caller);
                out.push(self.no_victim(meta, report));
            }
            Line::Panic => {
                let without_victim = self.stream(caller).without_victim.take();
                let report = self.close_without_victim(caller);
                let decision = without_victim.unwrap_or(begun(report.as_ref(), seq));
                out.push(KmsgEvidence::Panic(ended(meta, decision, report)));
            }
            // Said after the line for "no victim", or instead of it.
            Line::SysrqIgnored => {
                if let Some(report) = self.close_without_victim(caller) {
                    out.push(self.no_victim(meta, Some(report)));
                }
            }
        }
    }

    /// The state of one caller, made if need be; the one unused for longest makes room.
    fn stream(&mut self, caller: Option<Caller>) -> &mut Stream {
        if let Some(at) = self.streams.iter().position(|(c, _)| *c == caller) {
            self.streams[at..].rotate_left(1);
        } else {
            if self.streams.len() == MAX_STREAMS {
                let (_, evicted) = self.streams.remove(0);
                self.abandoned += u64::from(evicted.open.is_some());
            }
            self.streams.push((caller, Stream::default()));
        }
        let newest = self.streams.len() - 1;
        &mut self.streams[newest].1
    }

    /// The open report of one caller.
    fn find(&mut self, caller: Option<Caller>) -> Option<&mut Open> {
        let (_, stream) = self.streams.iter_mut().find(|(c, _)| *c == caller)?;
        stream.open.as_deref_mut()
    }

    /// Opens a report, abandoning the one that is open.
    fn open(&mut self, meta: Meta, fill: impl FnOnce(&mut Open)) {
        let stream = self.stream(meta.caller);
        let before = stream.open.take();
        let overtook = before.as_deref().filter(|before| !before.has_ended());
        let mut open = Box::new(Open::new(meta.seq, meta.monotonic_ns, overtook));
        fill(&mut open);
        *stream = Stream {
            open: Some(open),
            ..Stream::default()
        };
        self.abandoned += u64::from(before.is_some());
    }

    /// Lines that others print too: they add to a report, but do not open one.
    fn anybodys(&mut self, caller: Option<Caller>, line: Line<'_>) {
        let page_size = self.page_size;
        let Some(open) = self.find(caller) else {
            return;
        };
        match line {
            Line::Cpu(cpu) => open.cpu(&cpu),
            Line::TraceBegin => open.trace_begin(),
            Line::Frame(function) => open.frame(function),
            Line::TraceEnd => open.trace_end(),
            Line::Listed(text) => open.listed(text),
            Line::MemInfo(text) => open.mem_info(text, page_size),
            Line::TableRow(row) => open.row(row, page_size),
            _ => {}
        }
    }

    /// Adds to the open report, or opens one whose beginning was not seen.
    fn part(&mut self, meta: Meta, fill: impl FnOnce(&mut Open)) {
        match self.find(meta.caller) {
            Some(open) if !open.ended_before(meta.seq) => fill(open),
            _ => self.open(meta, fill),
        }
    }

    /// Takes the open report if it is about this task; a report that is not has missed its kill.
    fn close(&mut self, caller: Option<Caller>, tid: u32, comm: Comm) -> Option<Arc<KmsgReport>> {
        let stream = self.stream(caller);
        let may_be_child = stream.choice.take().is_some();
        let open = stream.open.take()?;
        let report = (may_be_child || open.is_about(tid))
            .then(|| open.finish(Some((tid, comm))))
            .flatten();
        self.abandoned += u64::from(report.is_none());
        report.map(Arc::new)
    }

    fn close_without_victim(&mut self, caller: Option<Caller>) -> Option<Arc<KmsgReport>> {
        let stream = std::mem::take(self.stream(caller));
        let report = stream.open?.finish(None);
        self.abandoned += u64::from(report.is_none());
        report.map(Arc::new)
    }

    fn no_victim(&mut self, meta: Meta, report: Option<Arc<KmsgReport>>) -> KmsgEvidence {
        let decision = begun(report.as_ref(), meta.seq);
        self.stream(meta.caller).without_victim = Some(decision);
        KmsgEvidence::NoVictim(ended(meta, decision, report))
    }

    fn choice(&mut self, caller: Option<Caller>, tid: u32, comm: Comm, scope: Option<Scope>) {
        let stream = self.stream(caller);
        stream.choice = Some(Choice { tid, scope });
        stream.group = None;
        if let Some(open) = stream.open.take_if(|open| !open.is_about(tid)) {
            drop(open);
            self.abandoned += 1;
        } else if let Some(open) = &mut stream.open {
            open.choice(tid, comm, scope);
        }
    }

    /// Opens a group; gives its decision.
    fn group(&mut self, meta: Meta, cgroup: &[u8]) -> u64 {
        let stream = self.stream(meta.caller);
        let last = stream.last.take();
        let decision = last.as_ref().map_or(meta.seq, |last| last.decision);
        let cgroup = printable(cgroup).into_owned();
        let (prefix, report) = last.map_or((None, None), |last| (last.prefix, last.report));
        let fits = |report: &Arc<KmsgReport>| {
            let victim = report.task_memcg.as_ref();
            victim.is_none_or(|path| is_within(path.as_bytes(), cgroup.as_bytes()))
        };
        let report = report.filter(fits);
        stream.group = Some(Group {
            decision,
            cgroup,
            prefix,
            report,
            last_ns: meta.monotonic_ns,
        });
        decision
    }

    fn killed(&mut self, meta: Meta, killed: &Killed<'_>, out: &mut Vec<KmsgEvidence>) {
        let mut kill = Box::new(KmsgKill {
            decision: meta.seq,
            seq: meta.seq,
            monotonic_ns: meta.monotonic_ns,
            tid: killed.tid,
            comm: killed.comm,
            uid: killed.uid,
            oom_score_adj: killed.oom_score_adj,
            memory: killed.memory,
            role: Role::Chosen,
            scope: scope(killed.prefix),
            group: None,
            report: None,
            sacrificed: false,
            reaper: None,
            reaper_left_bytes: None,
        });
        let stream = self.stream(meta.caller);
        kill.scope = kill.scope.or(stream.choice.and_then(|choice| choice.scope));
        if stream
            .group
            .as_ref()
            .is_some_and(|group| group.is_over(&meta, killed))
        {
            stream.group = None;
        }
        match &mut stream.group {
            Some(group) if group.may_hold(killed.tid) => {
                group.last_ns = meta.monotonic_ns;
                kill.decision = group.decision;
                kill.role = Role::GroupMember;
                kill.group = Some(group.cgroup.clone());
                kill.report.clone_from(&group.report);
            }
            _ => {
                let child = stream.choice.is_some_and(|choice| choice.tid != killed.tid);
                kill.report = self.close(meta.caller, killed.tid, killed.comm);
                kill.sacrificed = child
                    && kill
                        .report
                        .as_ref()
                        .is_some_and(|report| !report.names(killed.tid));
                kill.decision = begun(kill.report.as_ref(), meta.seq);
                let stream = self.stream(meta.caller);
                stream.without_victim = None;
                stream.last = Some(Last {
                    decision: kill.decision,
                    prefix: Some(killed.prefix.to_vec()),
                    report: kill.report.clone(),
                });
            }
        }
        out.push(KmsgEvidence::Killed(kill));
    }
}

fn ended(meta: Meta, decision: u64, report: Option<Arc<KmsgReport>>) -> KmsgEnd {
    KmsgEnd {
        decision,
        seq: meta.seq,
        monotonic_ns: meta.monotonic_ns,
        report,
    }
}

/// Where a decision began: with its report, else with the line itself.
fn begun(report: Option<&Arc<KmsgReport>>, seq: u64) -> u64 {
    report.map_or(seq, |report| report.seq)
}

impl Group {
    /// The kernel passes one prefix to all kills of a decision, and makes no pause.
    fn is_over(&self, meta: &Meta, killed: &Killed<'_>) -> bool {
        let other_prefix = self
            .prefix
            .as_ref()
            .is_some_and(|prefix| prefix != killed.prefix);
        other_prefix || meta.monotonic_ns.saturating_sub(self.last_ns) > GROUP_SILENCE_NS
    }

    /// Whether a thread can be a member. The table of a cgroup's report lists all of them, but those
    /// forked since; whoever is not in it is reported as on its own rather than with a wrong cgroup.
    fn may_hold(&self, tid: u32) -> bool {
        let Some(report) = &self.report else {
            return true;
        };
        let listed = report.complete && report.oom_memcg.is_some() && report.tasks_dropped == 0;
        !listed
            || report.tasks.is_empty()
            || report
                .tasks
                .iter()
                .any(|task| task.pid == tid || task.tgid == tid)
    }
}

#[cfg(test)]
#[path = "report_tests.rs"]
mod tests;
