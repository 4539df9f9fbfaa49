//! Which lines are one report, and whose kill it is.
//!
//! Reads [`Line`]s in the order of the log; emits [`KmsgEvidence`]. The kernel prints a report and its
//! kills under one lock (`oom_lock`), so within one caller they do not interleave; but it prints at
//! most 10 reports in 5 s, and kill lines always. So most kills of a storm have no report, and
//! refusing to hand them somebody else's is the point of this file: a report goes to the first kill
//! that follows it and fits it, or to none. What ends without a kill is counted, not merged.

use std::sync::Arc;

use super::{
    line::{Header, Killed, Line},
    record::Caller,
    summary::{Summary, is_within},
    table::Columns,
};
use crate::{
    event::Role,
    evidence::{KmsgEvidence, KmsgKill, KmsgReport},
    text::{Comm, printable},
};

/// Rows kept of one process table; 8192 are 0.7 MB.
const MAX_TASKS: usize = 8192;

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
    open: Option<Open>,
    /// From a `sacrifice child` line to the kill: the victim may be a child of the chosen task.
    may_be_child: bool,
    /// From a kill to the line after it: the kernel announces a group kill right there.
    last: Option<Last>,
    /// From a group's announcement until its members have been killed.
    group: Option<Group>,
}

#[derive(Debug, Default)]
struct Open {
    report: KmsgReport,
    columns: Option<Columns>,
    has_header: bool,
    /// Where the summary stood.
    summary_seq: Option<u64>,
    /// The summary's text, if its names could not be told apart without the victim's comm.
    ambiguous: Option<Vec<u8>>,
}

#[derive(Debug)]
struct Last {
    prefix: Option<Vec<u8>>,
    report: Option<Arc<KmsgReport>>,
}

#[derive(Debug)]
struct Group {
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

    /// Records are missing here. Only a report whose victim is known can still find its kill.
    pub fn gap(&mut self) {
        let abandoned = &mut self.abandoned;
        self.streams.retain_mut(|(_, stream)| {
            let open = stream.open.take();
            *abandoned += u64::from(open.as_ref().is_some_and(|o| o.report.victim_tid.is_none()));
            *stream = Stream {
                open: open.filter(|open| open.report.victim_tid.is_some()),
                ..Stream::default()
            };
            stream.open.is_some()
        });
    }

    /// Takes the next line.
    pub fn feed(&mut self, meta: Meta, line: Line<'_>, out: &mut Vec<KmsgEvidence>) {
        let Meta {
            seq,
            monotonic_ns,
            caller,
        } = meta;
        match line {
            Line::Other | Line::SysrqRequested | Line::SummaryFragment => {}
            Line::Malformed => out.push(KmsgEvidence::Malformed { seq: Some(seq) }),
            Line::Reaped { tid, reaped } => {
                out.push(KmsgEvidence::Reaped {
                    monotonic_ns,
                    tid,
                    reaped,
                });
            }
            Line::Suppressed { reports } => {
                // Printed when the next decision begins.
                self.stream(caller).group = None;
                out.push(KmsgEvidence::Suppressed { reports });
            }
            Line::Header(header) => self.open(meta, |open| open.header(header)),
            Line::Usage(charge) => self.part(meta, |open| {
                open.report.limit.get_or_insert(charge);
            }),
            Line::TableHeader(columns) => self.part(meta, |open| open.columns = Some(columns)),
            Line::LegacyMemcg {
                task_memcg,
                oom_memcg,
            } => self.part(meta, |open| {
                open.report.task_memcg = Some(printable(task_memcg).into_owned());
                open.report.oom_memcg = Some(printable(oom_memcg).into_owned());
            }),
            Line::Cpu { tid, comm_and_rest } => {
                if let Some(open) = self.find(caller) {
                    open.cpu(tid, comm_and_rest);
                }
            }
            Line::TableRow(row) => {
                let page_size = self.page_size;
                if let Some(open) = self.find(caller) {
                    open.row(row, page_size);
                }
            }
            Line::Summary(summary) => self.part(meta, |open| open.summary(seq, &summary)),
            Line::Choice { tid, comm } => self.choice(caller, tid, comm),
            Line::Killed(killed) => self.killed(meta, &killed, out),
            Line::GroupKill { cgroup } => {
                self.group(meta, cgroup);
                let cgroup = printable(cgroup).into_owned();
                out.push(KmsgEvidence::GroupKill {
                    seq,
                    monotonic_ns,
                    cgroup,
                });
            }
            Line::AlreadyExiting { tid, comm } => {
                let report = self.close(caller, tid, comm);
                let stream = self.stream(caller);
                if stream.group.is_none() {
                    stream.last = Some(Last {
                        prefix: None,
                        report: report.clone(),
                    });
                }
                out.push(KmsgEvidence::AlreadyExiting {
                    seq,
                    monotonic_ns,
                    tid,
                    comm,
                    report,
                });
            }
            Line::NoVictim => {
                let report = self.close_without_victim(caller);
                out.push(KmsgEvidence::NoVictim {
                    seq,
                    monotonic_ns,
                    report,
                });
            }
            Line::Panic => {
                let report = self.close_without_victim(caller);
                out.push(KmsgEvidence::Panic {
                    seq,
                    monotonic_ns,
                    report,
                });
            }
            // Said after the line for "no victim", or instead of it.
            Line::SysrqIgnored => {
                if let Some(report) = self.close_without_victim(caller) {
                    let report = Some(report);
                    out.push(KmsgEvidence::NoVictim {
                        seq,
                        monotonic_ns,
                        report,
                    });
                }
            }
        }
    }

    /// The state of one caller, made if need be; the one unused for longest makes room.
    fn stream(&mut self, caller: Option<Caller>) -> &mut Stream {
        let stream = match self.streams.iter().position(|(c, _)| *c == caller) {
            Some(at) => self.streams.remove(at).1,
            None => Stream::default(),
        };
        if self.streams.len() == MAX_STREAMS {
            let (_, evicted) = self.streams.remove(0);
            self.abandoned += u64::from(evicted.open.is_some());
        }
        &mut self.streams.push_mut((caller, stream)).1
    }

    /// The open report of one caller.
    fn find(&mut self, caller: Option<Caller>) -> Option<&mut Open> {
        let (_, stream) = self.streams.iter_mut().find(|(c, _)| *c == caller)?;
        stream.open.as_mut()
    }

    /// Opens a report, abandoning the one that is open.
    fn open(&mut self, meta: Meta, fill: impl FnOnce(&mut Open)) {
        let mut open = Open::default();
        open.report.seq = meta.seq;
        open.report.monotonic_ns = meta.monotonic_ns;
        fill(&mut open);
        let before = std::mem::replace(
            self.stream(meta.caller),
            Stream {
                open: Some(open),
                ..Stream::default()
            },
        );
        self.abandoned += u64::from(before.open.is_some());
    }

    /// Adds to the open report, or opens one whose beginning was not seen.
    fn part(&mut self, meta: Meta, fill: impl FnOnce(&mut Open)) {
        // A summary is the last part; what comes after it belongs to another report.
        match self.find(meta.caller) {
            Some(open) if open.summary_seq.is_none_or(|seq| seq == meta.seq) => fill(open),
            _ => self.open(meta, fill),
        }
    }

    /// Takes the open report if it is about this task; a report that is not has missed its kill.
    fn close(&mut self, caller: Option<Caller>, tid: u32, comm: Comm) -> Option<Arc<KmsgReport>> {
        let stream = self.stream(caller);
        let may_be_child = std::mem::take(&mut stream.may_be_child);
        let open = stream.open.take()?;
        if may_be_child || open.is_about(tid) {
            return Some(Arc::new(open.finish(tid, comm)));
        }
        self.abandoned += 1;
        None
    }

    fn close_without_victim(&mut self, caller: Option<Caller>) -> Option<Arc<KmsgReport>> {
        let stream = std::mem::take(self.stream(caller));
        Some(Arc::new(stream.open?.report))
    }

    fn choice(&mut self, caller: Option<Caller>, tid: u32, comm: Comm) {
        let stream = self.stream(caller);
        stream.may_be_child = true;
        stream.group = None;
        if let Some(open) = stream.open.take_if(|open| !open.is_about(tid)) {
            drop(open);
            self.abandoned += 1;
        } else if let Some(open) = &mut stream.open {
            // Before 5.0 there is no summary: the report ends with the choice.
            open.report.complete = open.has_header;
            open.report.victim_tid.get_or_insert(tid);
            open.report.victim_comm.get_or_insert(comm);
        }
    }

    fn group(&mut self, meta: Meta, cgroup: &[u8]) {
        let stream = self.stream(meta.caller);
        let last = stream.last.take();
        let cgroup = printable(cgroup).into_owned();
        let (prefix, report) = last.map_or((None, None), |last| (last.prefix, last.report));
        let fits = |report: &Arc<KmsgReport>| {
            let victim = report.task_memcg.as_ref();
            victim.is_none_or(|path| is_within(path.as_bytes(), cgroup.as_bytes()))
        };
        let report = report.filter(fits);
        stream.group = Some(Group {
            cgroup,
            prefix,
            report,
            last_ns: meta.monotonic_ns,
        });
    }

    fn killed(&mut self, meta: Meta, killed: &Killed<'_>, out: &mut Vec<KmsgEvidence>) {
        let mut kill = Box::new(KmsgKill {
            seq: meta.seq,
            monotonic_ns: meta.monotonic_ns,
            tid: killed.tid,
            comm: killed.comm,
            uid: killed.uid,
            oom_score_adj: killed.oom_score_adj,
            memory: killed.memory,
            role: Role::Chosen,
            group: None,
            report: None,
        });
        let stream = self.stream(meta.caller);
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
                kill.role = Role::GroupMember;
                kill.group = Some(group.cgroup.clone());
                kill.report.clone_from(&group.report);
            }
            _ => {
                kill.report = self.close(meta.caller, killed.tid, killed.comm);
                let report = kill.report.clone();
                let prefix = Some(killed.prefix.to_vec());
                self.stream(meta.caller).last = Some(Last { prefix, report });
            }
        }
        out.push(KmsgEvidence::Killed(kill));
    }
}

impl Open {
    fn header(&mut self, header: Header<'_>) {
        self.has_header = true;
        let report = &mut self.report;
        report.trigger_comm = Some(header.comm);
        report.gfp_mask = Some(header.gfp_mask);
        report.gfp_flags = header.gfp_flags.map(|flags| printable(flags).into_owned());
        report.order = Some(header.order);
        report.trigger_oom_score_adj = Some(header.oom_score_adj);
    }

    /// Another CPU's stack may come in between: only the trigger's own name counts.
    fn cpu(&mut self, tid: u32, comm_and_rest: &[u8]) {
        let rest = |comm: Comm| {
            comm_and_rest
                .strip_prefix(comm.as_bytes())
                .map(<[u8]>::first)
        };
        if self.report.trigger_comm.and_then(rest) == Some(Some(&b' ')) {
            self.report.trigger_tid.get_or_insert(tid);
        }
    }

    fn row(&mut self, row: &[u8], page_size: u64) {
        let Some(columns) = &self.columns else { return };
        match columns.row(row, page_size) {
            Some(task) if self.report.tasks.len() < MAX_TASKS => self.report.tasks.push(task),
            _ => self.report.tasks_dropped += 1,
        }
    }

    /// A summary with the same number is the first one continued (see `join`) and takes its place.
    fn summary(&mut self, seq: u64, summary: &Summary<'_>) {
        self.summary_seq = Some(seq);
        let report = &mut self.report;
        report.complete = self.has_header;
        report.constraint = summary.constraint;
        report.global = summary.global;
        report.victim_tid = Some(summary.tid);
        report.victim_uid = Some(summary.uid);
        self.ambiguous = None;
        self.names(summary, None);
        if self.report.victim_comm.is_none() {
            self.ambiguous = Some(summary.text().to_vec());
        }
        self.columns = None;
    }

    fn names(&mut self, summary: &Summary<'_>, comm: Option<Comm>) {
        let names = summary.names(comm);
        let text = |path: &[u8]| printable(path).into_owned();
        self.report.oom_memcg = names.oom_memcg.map(text);
        self.report.task_memcg = names.task_memcg.map(text);
        self.report.victim_comm = names.comm;
    }

    /// The kernel names a thread that still has memory, which need not be the one of the summary: then
    /// the table has both.
    fn is_about(&self, tid: u32) -> bool {
        let Some(victim) = self.report.victim_tid else {
            return true;
        };
        victim == tid
            || self
                .report
                .tasks
                .iter()
                .any(|t| t.pid == tid && t.tgid == victim)
    }

    fn finish(mut self, tid: u32, comm: Comm) -> KmsgReport {
        if let Some(text) = self.ambiguous.take()
            && self.report.victim_tid == Some(tid)
            && let Some(summary) = Summary::parse(&text)
        {
            self.names(&summary, Some(comm));
        }
        self.report
    }
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
