//! One decision of the kernel: its kills and what both sources said of it, merged into an
//! [`OomInstance`].

use std::sync::Arc;

use super::{Host, KillKey, kill::Kill, kill::compare, limit, memory};
use crate::{
    call_trace::CallTrace,
    clock::Now,
    event::{
        Constraint, Crosscheck, FiguresSource, KmsgReportState, Limit, Mismatch, OomInstance,
        Outcome, SCHEMA, Scope, TimeSource, Timestamp, Trigger,
    },
    evidence::{Asker, Decision, KmsgReport, Mark, MemoryEvidence},
};

/// A decision, open until its sources have spoken.
#[derive(Debug)]
pub(super) struct Instance {
    pub(super) id: Arc<str>,
    /// When the first evidence arrived, and when the last; `CLOCK_MONOTONIC`.
    pub(super) opened_ns: u64,
    pub(super) active_ns: u64,
    /// From when on its windows count: when it was opened, or when a successor took it over.
    pub(super) waits_since_ns: u64,
    /// When it happened.
    pub(super) monotonic_ns: u64,
    /// When its first line was read, if the log told of it first.
    pub(super) log_read_ns: Option<u64>,
    pub(super) time: Timestamp,
    pub(super) decision: Option<Decision>,
    /// A mark that was no kill.
    pub(super) bare_mark: Option<Mark>,
    pub(super) kills: Vec<KillKey>,
    pub(super) report: Option<Arc<KmsgReport>>,
    /// The log said that a whole cgroup dies.
    pub(super) group_notice: bool,
    /// `memory.oom.group` on the victim's levels; `None` where it could not be read.
    pub(super) group_possible: Option<bool>,
    /// `None` while a decision has neither kill nor mark.
    pub(super) outcome: Option<Outcome>,
    /// Records that the ring lost while this was open.
    pub(super) ring_lost: u64,
    /// A later decision has begun: `oom_lock` lets one run at a time, so this one is over.
    pub(super) followed: bool,
    pub(super) closed: bool,
    /// The memory of its cgroup has been asked for, and is waited for until then.
    pub(super) memory_until_ns: Option<u64>,
    pub(super) memory: Option<Box<MemoryEvidence>>,
}

impl Instance {
    pub(super) fn new(id: String, monotonic_ns: u64, now: Now) -> Self {
        Self {
            id: id.into(),
            opened_ns: now.monotonic_ns,
            active_ns: now.monotonic_ns,
            waits_since_ns: now.monotonic_ns,
            monotonic_ns,
            log_read_ns: None,
            time: now.wall(monotonic_ns),
            decision: None,
            bare_mark: None,
            kills: Vec::new(),
            report: None,
            group_notice: false,
            group_possible: None,
            outcome: Some(Outcome::Killed),
            ring_lost: 0,
            followed: false,
            closed: false,
            memory_until_ns: None,
            memory: None,
        }
    }

    /// Whether the kernel has chosen, and nothing has come of it yet.
    pub(super) fn is_undecided(&self) -> bool {
        self.decision.is_some() && self.outcome.is_none() && self.kills.is_empty()
    }

    /// Whether it is certain that no further kill belongs to it.
    pub(super) fn single(&self) -> bool {
        self.group_possible == Some(false) && !self.group_notice
    }

    /// Whether a kill of a whole cgroup happened whose repeats only the log could have shown.
    pub(super) fn may_hide_repeats(&self, kills: &[&Kill], kmsg_up: bool) -> bool {
        !kmsg_up && self.group_kill(kills) == Some(true)
    }

    /// What BPF said of one of its kills, or of whom it marked and did not kill.
    pub(super) fn any_mark<'a>(&'a self, kills: &[&'a Kill]) -> Option<&'a Mark> {
        let of_kills = kills.iter().find_map(|kill| kill.mark.as_ref());
        of_kills.or(self.bare_mark.as_ref())
    }

    /// The report, as the evidence stands now.
    pub(super) fn event(
        &self,
        host: &Host,
        kills: &[&Kill],
        (bpf_up, kmsg_up): (bool, bool),
        now: Now,
    ) -> OomInstance {
        let mark = self.any_mark(kills);
        let count = |spoke: fn(&Kill) -> bool| {
            u32::try_from(kills.iter().filter(|kill| spoke(kill)).count()).unwrap_or(u32::MAX)
        };
        let by_bpf = count(|kill| kill.mark.is_some());
        let by_log = count(|kill| kill.line.is_some());
        let mut mismatches: Vec<Mismatch> =
            kills.iter().flat_map(|kill| kill.mismatches()).collect();
        let limit = self.limit(mark, kills, &mut mismatches);
        let trigger = self.trigger(mark, &mut mismatches);
        let report = self.report.as_deref();
        let from_log = |told: bool| told.then_some(FiguresSource::Kmsg);
        let mut event = OomInstance {
            schema: SCHEMA,
            id: self.id.clone(),
            time: Some(self.time),
            time_source: Some(TimeSource::Kernel),
            monotonic_ns: Some(self.monotonic_ns),
            boot_id: host.boot_id.clone(),
            node: host.node.clone(),
            cluster: host.cluster.clone(),
            kernel: report.and_then(|report| report.kernel.clone()),
            scope: self.scope(mark, kills),
            constraint: self.constraint(),
            trigger,
            limit,
            levels: mark.map_or_else(Vec::new, limit::levels),
            outcome: self.outcome(),
            group_kill: self.group_kill(kills),
            kills: kills.iter().map(|kill| kill.reported(host, self)).collect(),
            limit_memory: report.and_then(|report| report.limit_memory.clone()),
            limit_memory_source: from_log(report.is_some_and(|it| it.limit_memory.is_some())),
            system_memory: report.and_then(|report| report.system_memory.clone()),
            system_memory_source: from_log(report.is_some_and(|it| it.system_memory.is_some())),
            memory_history: Vec::new(),
            memory_trend: None,
            limit_state: None,
            top_cgroups: Vec::new(),
            tasks: report.map_or_else(Vec::new, |report| report.tasks.clone()),
            tasks_source: from_log(report.is_some_and(|it| !it.tasks.is_empty())),
            tasks_dropped: report.map_or(0, |report| report.tasks_dropped),
            crosscheck: Crosscheck {
                bpf_kills: (bpf_up || by_bpf > 0).then_some(by_bpf),
                kmsg_kills: (kmsg_up || by_log > 0).then_some(by_log),
                repeats: kills.iter().map(|kill| kill.repeats()).sum(),
                kmsg_report: match &self.report {
                    Some(report) if report.complete => KmsgReportState::Full,
                    Some(_) => KmsgReportState::Partial,
                    None if by_log > 0 => KmsgReportState::Suppressed,
                    None => KmsgReportState::Absent,
                },
                mismatches,
            },
            open_for_ns: Some(now.monotonic_ns.saturating_sub(self.opened_ns)),
            backfill: false,
        };
        if let Some(answer) = &self.memory {
            memory::add((**answer).clone(), &mut event);
        }
        event
    }

    /// The kernel decided, killed nobody and marked nobody: the task was gone already. But where the
    /// ring lost records, one of them may have been the mark.
    fn outcome(&self) -> Option<Outcome> {
        self.outcome
            .or((self.ring_lost == 0).then_some(Outcome::AlreadyExiting))
    }

    /// Lets go of all that only the report needed.
    pub(super) fn forget_evidence(&mut self) {
        self.report = None;
        self.decision = None;
        self.bare_mark = None;
        self.memory = None;
    }

    fn constraint(&self) -> Option<Constraint> {
        let decided = self
            .decision
            .as_ref()
            .and_then(|decision| decision.constraint);
        decided.or(self.report.as_ref().and_then(|report| report.constraint))
    }

    /// From the constraint; where nobody said that, from the kernel's stack, else from the words of the
    /// log.
    pub(super) fn scope(&self, mark: Option<&Mark>, kills: &[&Kill]) -> Option<Scope> {
        let order = self
            .decision
            .as_ref()
            .map(|decision| decision.order)
            .or(self.report.as_ref().and_then(|report| report.order));
        if order == Some(-1) {
            return Some(Scope::Sysrq);
        }
        match self.constraint() {
            Some(Constraint::Memcg) => Some(Scope::Memcg),
            Some(Constraint::Cpuset) => Some(Scope::Cpuset),
            Some(Constraint::MemoryPolicy) => Some(Scope::Mempolicy),
            Some(Constraint::None) => Some(Scope::System),
            None => {
                let said = |kill: &&Kill| kill.line.as_ref().and_then(|line| line.scope);
                mark.and_then(|mark| mark.scope)
                    .or(self.report.as_ref().and_then(|report| report.scope))
                    .or_else(|| kills.iter().find_map(said))
            }
        }
    }

    pub(super) fn limit(
        &self,
        mark: Option<&Mark>,
        kills: &[&Kill],
        mismatches: &mut Vec<Mismatch>,
    ) -> Option<Limit> {
        if self.scope(mark, kills) != Some(Scope::Memcg) {
            return None;
        }
        let decided = self.decision.as_ref().and_then(limit::decided);
        let reported = self
            .report
            .as_ref()
            .and_then(|report| limit::reported(report, mark));
        if let (Some(decided), Some(reported)) = (&decided, &reported) {
            let (bpf, kmsg) = (decided.cgroup.path.clone(), reported.cgroup.path.clone());
            compare(mismatches, "limit.cgroup.path", bpf, kmsg);
        }
        decided
            .or(reported)
            .or_else(|| mark.and_then(limit::inferred))
    }

    fn trigger(&self, mark: Option<&Mark>, mismatches: &mut Vec<Mismatch>) -> Option<Trigger> {
        let asker: Option<&Asker> = self
            .decision
            .as_ref()
            .map(|decision| &decision.asker)
            .or(mark.map(|mark| &mark.asker));
        let report = self.report.as_deref();
        // A report whose header is missing does not tell who asked.
        if asker.is_none() && report.is_none_or(|report| report.trigger_comm.is_none()) {
            return None;
        }
        if let (Some(asker), Some(report)) = (asker, report) {
            compare(
                mismatches,
                "trigger.comm",
                Some(asker.comm),
                report.trigger_comm,
            );
            compare(
                mismatches,
                "trigger.tid",
                Some(asker.tid),
                report.trigger_tid,
            );
        }
        let decision = self.decision.as_ref();
        Some(Trigger {
            pid: asker.map(|asker| asker.pid),
            tid: asker
                .map(|asker| asker.tid)
                .or(report.and_then(|report| report.trigger_tid)),
            comm: asker
                .map(|asker| asker.comm)
                .or(report.and_then(|report| report.trigger_comm)),
            cgroup: asker.and_then(|asker| asker.cgroup.clone()),
            gfp_mask: decision
                .map(|it| it.gfp_mask)
                .or(report.and_then(|it| it.gfp_mask)),
            gfp_flags: report.and_then(|report| report.gfp_flags.clone()),
            order: decision
                .map(|it| it.order)
                .or(report.and_then(|it| it.order)),
            oom_score_adj: asker
                .and_then(|asker| asker.oom_score_adj)
                .or(report.and_then(|report| report.trigger_oom_score_adj)),
            allocation: mark
                .and_then(|mark| mark.allocation)
                .or(report.and_then(|report| report.allocation)),
            cpu: report.and_then(|report| report.trigger_cpu),
            call_trace: report.map_or_else(CallTrace::default, |report| report.call_trace.clone()),
        })
    }

    /// Certain when the log announced it or a member was seen; certainly not when no level has
    /// `memory.oom.group` set.
    fn group_kill(&self, kills: &[&Kill]) -> Option<bool> {
        let member = kills
            .iter()
            .any(|kill| kill.role == crate::event::Role::GroupMember);
        if self.group_notice || member {
            Some(true)
        } else {
            self.group_possible.filter(|set| !set)
        }
    }
}
