//! One report while its lines arrive.
//!
//! Reads what each line says; emits a [`KmsgReport`]. A part that comes twice is of two reports that the
//! log does not hold apart (before 4.2 the kernel could make two at once): such a report is refused,
//! for nobody knows whose line is whose.

use super::{
    cpu::{self, Cpu},
    line::Header,
    mem_info::MemInfo,
    stats::{Counted, Stats},
    summary::Summary,
    table::Columns,
    trace::Trace,
};
use crate::{
    allocation,
    event::{Counter, Scope},
    evidence::{Charge, KmsgReport},
    text::{Comm, printable},
};

/// Rows kept of one process table; 8192 are 0.7 MB.
pub(super) const MAX_TASKS: usize = 8192;

#[derive(Debug, Default)]
pub(super) struct Open {
    report: KmsgReport,
    stats: Stats,
    mem_info: MemInfo,
    trace: Trace,
    /// Thread and CPU of the first line that may be the trigger's.
    asker: Option<(u32, Option<u32>)>,
    /// There was another such line.
    contested: bool,
    columns: Option<Columns>,
    end: End,
    /// The summary's text, if its names could not be told apart without the victim's comm.
    ambiguous: Option<Vec<u8>>,
    /// The report before it had not ended.
    overtook: bool,
    /// The first record that bears on it: its own, or of the reports that it overtook.
    begun: u64,
    /// Whose statistics were listed.
    stats_of: Option<String>,
    /// Two reports are mixed here.
    mixed: bool,
}

/// The line that ends a report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum End {
    #[default]
    None,
    /// The summary, with the number of its record.
    Summary(u64),
    /// The choice (before 5.0).
    Choice,
}

impl Open {
    /// A report whose first line stood here; `overtook`: the one before it, if that had not ended.
    pub(super) fn new(seq: u64, monotonic_ns: u64, overtook: Option<&Self>) -> Self {
        Self {
            report: KmsgReport {
                seq,
                monotonic_ns,
                ..KmsgReport::default()
            },
            overtook: overtook.is_some(),
            begun: overtook.map_or(seq, |before| before.begun),
            ..Self::default()
        }
    }

    /// The first record that bears on it.
    pub(super) fn begun(&self) -> u64 {
        self.begun
    }

    /// Whether a part with this number cannot belong to it: a summary is the last part.
    pub(super) fn ended_before(&self, seq: u64) -> bool {
        matches!(self.end, End::Summary(end) if end != seq)
    }

    /// Whether all of it was seen: the kill must follow.
    pub(super) fn has_ended(&self) -> bool {
        self.end != End::None
    }

    fn has_header(&self) -> bool {
        self.report.trigger_comm.is_some()
    }

    /// Whether it is known who dies.
    pub(super) fn names_victim(&self) -> bool {
        self.report.victim_tid.is_some()
    }

    pub(super) fn header(&mut self, header: Header<'_>) {
        let report = &mut self.report;
        report.trigger_comm = Some(header.comm);
        report.gfp_mask = Some(header.gfp_mask);
        report.gfp_flags = header.gfp_flags.map(|flags| printable(flags).into_owned());
        report.order = Some(header.order);
        report.trigger_oom_score_adj = Some(header.oom_score_adj);
    }

    /// Another CPU's stack may come in between: only the line of the trigger's own name counts, and two
    /// such lines are not told apart.
    pub(super) fn cpu(&mut self, cpu: &Cpu<'_>) {
        let Some(after) = self.report.trigger_comm.and_then(|comm| cpu.after(comm)) else {
            self.trace.other();
            return;
        };
        let report = &mut self.report;
        report.kernel = cpu::release(after).map(str::to_owned);
        self.trace.announce();
        let line = (cpu.tid, cpu.cpu);
        self.contested |= *self.asker.get_or_insert(line) != line;
        report.trigger_tid = Some(cpu.tid).filter(|_| !self.contested);
        report.trigger_cpu = cpu.cpu.filter(|_| !self.contested);
    }

    pub(super) fn trace_begin(&mut self) {
        self.trace.begin();
    }

    pub(super) fn frame(&mut self, function: &[u8]) {
        self.trace.frame(function);
    }

    pub(super) fn trace_end(&mut self) {
        self.trace.end();
    }

    pub(super) fn counter(&mut self, of: Counted, counter: Counter) {
        self.part();
        self.mixed |= !self.stats.counter(of, counter);
    }

    /// Since 5.3 there are only those of the cgroup whose limit was hit; before, every cgroup below it has a
    /// line of its own, and the first of them may be lost.
    pub(super) fn stats_for(&mut self, seq: u64, path: &[u8], inline: &[u8]) {
        self.part();
        let listed = inline.is_empty() && path.starts_with(b"/");
        self.stats_of = listed.then(|| printable(path).into_owned());
        self.stats.stats_for(seq, inline);
    }

    pub(super) fn listed(&mut self, text: &[u8]) {
        self.stats.listed(text);
    }

    pub(super) fn mem_info(&mut self, text: &[u8], page_size: u64) {
        self.trace.end();
        self.mem_info.message(text, page_size);
    }

    pub(super) fn legacy(&mut self, task_memcg: Option<&[u8]>, oom_memcg: Option<&[u8]>) {
        self.part();
        let report = &mut self.report;
        self.mixed |= report.task_memcg.is_some() || report.oom_memcg.is_some();
        let text = |path: &[u8]| printable(path).into_owned();
        report.task_memcg = task_memcg.map(text);
        report.oom_memcg = oom_memcg.map(text);
    }

    pub(super) fn table(&mut self, columns: Columns) {
        self.part();
        self.mixed |= self.columns.replace(columns).is_some();
    }

    pub(super) fn row(&mut self, row: &[u8], page_size: u64) {
        if self.end != End::None {
            return;
        }
        let Some(columns) = &self.columns else { return };
        match columns.row(row, page_size) {
            Some(task) if self.report.tasks.len() < MAX_TASKS => self.report.tasks.push(task),
            _ => self.report.tasks_dropped = self.report.tasks_dropped.saturating_add(1),
        }
    }

    /// A summary with the same number is the first one continued (see `join`) and takes its place.
    /// Since there are summaries, one report is made at a time.
    pub(super) fn summary(&mut self, seq: u64, summary: &Summary<'_>) {
        self.part();
        self.overtook = false;
        self.end = End::Summary(seq);
        let report = &mut self.report;
        report.complete = report.trigger_comm.is_some();
        report.constraint = summary.constraint;
        report.global = summary.global;
        report.victim_tid = Some(summary.tid);
        report.victim_uid = Some(summary.uid);
        self.ambiguous = None;
        self.names(summary, None);
        if self.report.victim_comm.is_none() {
            self.ambiguous = Some(summary.text().to_vec());
        }
    }

    /// Before 5.0 there is no summary: the report ends with the choice.
    pub(super) fn choice(&mut self, tid: u32, comm: Comm, scope: Option<Scope>) {
        self.part();
        self.mixed |= self.overtook;
        if self.end == End::None {
            self.end = End::Choice;
        }
        self.report.complete = self.has_header();
        self.report.victim_tid.get_or_insert(tid);
        self.report.victim_comm.get_or_insert(comm);
        self.report.scope = self.report.scope.or(scope);
    }

    /// Some part other than those that may be anybody's.
    fn part(&mut self) {
        self.trace.end();
        self.stats.end();
        self.mixed |= self.end == End::Choice;
    }

    fn names(&mut self, summary: &Summary<'_>, comm: Option<Comm>) {
        let names = summary.names(comm);
        let text = |path: &[u8]| printable(path).into_owned();
        self.report.oom_memcg = names.oom_memcg.map(text);
        self.report.task_memcg = names.task_memcg.map(text);
        self.report.victim_comm = names.comm;
    }

    /// Whether it can be about this thread.
    pub(super) fn is_about(&self, tid: u32) -> bool {
        self.report.victim_tid.is_none() || self.report.names(tid)
    }

    /// The report, now that its victim is known (or that there is none); `None` if it is two.
    pub(super) fn finish(mut self: Box<Self>, victim: Option<(u32, Comm)>) -> Option<KmsgReport> {
        if self.mixed {
            return None;
        }
        if let Some((tid, comm)) = victim
            && let Some(text) = self.ambiguous.take()
            && self.report.victim_tid == Some(tid)
            && let Some(summary) = Summary::parse(&text)
        {
            self.names(&summary, Some(comm));
        }
        let mut report = self.report;
        // Where nobody can be killed there is no summary, and hostile names may hide the limit in it.
        if !report.global {
            report.oom_memcg = report.oom_memcg.or(self.stats_of);
        }
        report.complete |= victim.is_none() && report.trigger_comm.is_some();
        report.limit = self.stats.limit().map(|counter| Charge {
            usage_bytes: counter.usage_bytes,
            limit_bytes: counter.limit_bytes,
            failcnt: counter.failcnt.unwrap_or(0),
            oom_group: None,
        });
        report.limit_memory = self.stats.take();
        report.system_memory = self.mem_info.take();
        report.call_trace = self.trace.take();
        report.allocation = allocation::of(report.call_trace.iter());
        report.scope = report.scope.or(scope(&report));
        Some(report)
    }
}

/// What ran out, where the constraint is not said: the kernel names a cgroup, or prints its memory, only
/// if its limit was hit, and the machine's only if not.
fn scope(report: &KmsgReport) -> Option<Scope> {
    if report.oom_memcg.is_some() || report.limit_memory.is_some() {
        Some(Scope::Memcg)
    } else if report.global || report.system_memory.is_some() {
        Some(Scope::System)
    } else {
        None
    }
}
