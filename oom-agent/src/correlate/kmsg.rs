//! Evidence from the kernel log.

use super::{Correlator, DECISIONS, InstanceKey, KillKey, instance::Instance, kill::Kill};
use crate::{
    clock::Now,
    event::{Event, Outcome, Reaper, Role},
    evidence::{KmsgEnd, KmsgEvidence, KmsgKill, Mark, Verdict},
};

impl Correlator {
    pub(super) fn kmsg(&mut self, evidence: KmsgEvidence, now: Now, out: &mut Vec<Event>) {
        let counts = &mut self.audit.counts;
        match evidence {
            KmsgEvidence::Killed(line) => self.killed(line, now, out),
            KmsgEvidence::GroupKill { decision, .. } => self.group_kill(decision, now),
            KmsgEvidence::AlreadyExiting { end, tid, .. } => self.exiting(end, tid, now),
            KmsgEvidence::NoVictim(end) => self.without_kill(Outcome::NoVictim, end, now),
            KmsgEvidence::Panic(end) => self.panic(end, now),
            KmsgEvidence::Reaped {
                tid,
                reaped,
                left_bytes,
                ..
            } => self.reaped(tid, reaped, left_bytes),
            KmsgEvidence::Suppressed { reports } => add(&mut counts.suppressed_reports, reports),
            KmsgEvidence::Abandoned { reports } => add(&mut counts.abandoned_reports, reports),
            KmsgEvidence::Lost { records } => add(&mut counts.kmsg_lost, records),
            KmsgEvidence::Forged { .. } => counts.forged += 1,
            KmsgEvidence::Malformed { .. } => counts.malformed += 1,
        }
    }

    /// The reaper comes when the victim does not end by itself. Unless BPF has seen it begin nothing waits for
    /// it. Of a kill that is not known, nothing is said.
    fn reaped(&mut self, tid: u32, reaped: bool, left_bytes: Option<u64>) {
        let said = if reaped {
            Reaper::Reaped
        } else {
            Reaper::Unable
        };
        let mut waiting = self.waiting_lines.iter_mut().rev();
        if let Some((_, line)) = waiting.find(|(_, line)| line.tid == tid) {
            (line.reaper, line.reaper_left_bytes) = (Some(said), left_bytes);
        } else if let Some(kill) = self
            .by_tid
            .get(&tid)
            .and_then(|key| self.kills.get_mut(key))
        {
            kill.reaper = Some(said);
            kill.ending.left_bytes = left_bytes;
            self.touched.push(kill.instance);
        }
        self.reaper_of_living(tid, said, left_bytes);
    }

    fn killed(&mut self, line: Box<KmsgKill>, now: Now, out: &mut Vec<Event>) {
        if let Some(key) = self.kill_named_by(&line) {
            self.confirm(key, line, now);
            return;
        }
        if let Some(at) = self
            .held_marks
            .iter()
            .position(|(_, mark)| mark.victim.tid == line.tid)
        {
            let (_, mark) = self.held_marks.remove(at);
            self.kill_after_all(mark, line, now, out);
        } else if let Some(mark) = self.take_bare_mark(line.tid) {
            self.kill_after_all(mark, line, now, out);
        } else if let Some((instance, chosen)) = self.chosen_without_mark(line.tid) {
            self.kill_in(instance, Role::Chosen, chosen, now, out);
            self.killed(line, now, out);
        } else if self.bpf_up {
            self.waiting_lines
                .push((now.monotonic_ns + self.timing.grace_ns, line));
        } else {
            self.kill_from_log(line, now.monotonic_ns, now, out);
        }
    }

    /// The known kill that this line tells of, again or for the first time. A second line means the
    /// same process only within a group kill: otherwise the pid has been used again.
    fn kill_named_by(&self, line: &KmsgKill) -> Option<KillKey> {
        let key = *self.by_tid.get(&line.tid)?;
        let kill = self.kills.get(&key)?;
        let same_group = || {
            line.role == Role::GroupMember
                && self.instance_of_log(line.decision) == Some(kill.instance)
        };
        (kill.lines == 0 || same_group()).then_some(key)
    }

    /// The log confirms a kill.
    pub(super) fn confirm(&mut self, key: KillKey, line: Box<KmsgKill>, now: Now) {
        let Some(kill) = self.kills.get_mut(&key) else {
            return;
        };
        let before = kill.repeats();
        kill.lines += 1;
        self.audit.counts.repeats += u64::from(kill.repeats() - before);
        let instance = kill.instance;
        let decision = line.decision;
        let report = line.report.clone();
        let chosen = line.role == Role::Chosen;
        let named = report
            .as_ref()
            .is_some_and(|report| report.victim_tid == Some(line.tid));
        kill.reaper = kill.reaper.or(line.reaper);
        kill.ending.left_bytes = kill.ending.left_bytes.or(line.reaper_left_bytes);
        if kill.line.is_none() {
            kill.line = Some(line);
        }
        if let Some(open) = self.instances.get_mut(&instance) {
            if open.closed {
                self.audit.counts.late_lines += 1;
            }
            open.active_ns = now.monotonic_ns;
            if open.report.is_none() && !open.closed && (chosen || named) {
                open.report = report;
            }
        }
        self.touched.push(instance);
        self.follow_log(decision, instance);
    }

    /// A mark that had not counted as a kill was one: the log says so.
    fn kill_after_all(
        &mut self,
        mut mark: Mark,
        line: Box<KmsgKill>,
        now: Now,
        out: &mut Vec<Event>,
    ) {
        mark.verdict = Verdict::Kill;
        mark.role = Some(line.role);
        let deadline = now.monotonic_ns;
        self.waiting_lines.push((deadline, line));
        self.kill_from_mark(mark, now, out);
    }

    /// A decision whose mark the ring had no room for, or has not delivered yet.
    fn chosen_without_mark(&self, tid: u32) -> Option<(InstanceKey, Mark)> {
        self.open.iter().find_map(|key| {
            let instance = self.instances.get(key)?;
            let decision = instance.decision.as_ref()?;
            let mut chosen = decision.chosen_task.as_deref()?.clone();
            let same = decision.chosen.0 == tid || decision.chosen.1 == tid;
            chosen.verdict = Verdict::Kill;
            (same && instance.kills.is_empty()).then_some((*key, chosen))
        })
    }

    fn take_bare_mark(&mut self, tid: u32) -> Option<Mark> {
        let is_it = |instance: &Instance| {
            instance
                .bare_mark
                .as_ref()
                .is_some_and(|mark| mark.victim.tid == tid)
        };
        let at = self
            .open
            .iter()
            .position(|key| self.instances.get(key).is_some_and(is_it))?;
        let key = self.open[at];
        let instance = self.instances.get_mut(&key)?;
        let mark = instance.bare_mark.take()?;
        if instance.decision.is_none() {
            self.instances.remove(&key);
            self.open.remove(at);
        }
        self.audit.counts.bare_marks = self.audit.counts.bare_marks.saturating_sub(1);
        Some(mark)
    }

    /// A line that has waited in vain for its mark. The line before may have been of the same kill: a
    /// group's first victim is named twice.
    pub(super) fn unmarked(
        &mut self,
        line: Box<KmsgKill>,
        read_ns: u64,
        now: Now,
        out: &mut Vec<Event>,
    ) {
        match self.kill_named_by(&line) {
            Some(key) => self.confirm(key, line, now),
            None => self.kill_from_log(line, read_ns, now, out),
        }
    }

    /// A kill that only the log shows, in a line that was read at `read_ns`.
    pub(super) fn kill_from_log(
        &mut self,
        line: Box<KmsgKill>,
        read_ns: u64,
        now: Now,
        out: &mut Vec<Event>,
    ) {
        let decision = line.decision;
        let member_of = self.instance_of_log(decision).filter(|key| {
            line.role == Role::GroupMember
                && self
                    .instances
                    .get(key)
                    .is_some_and(|instance| !instance.closed)
        });
        let instance = member_of.unwrap_or_else(|| {
            let id = format!("oom-{}-kmsg{}", self.host.boot, line.seq);
            self.open(Instance {
                log_read_ns: Some(read_ns),
                ..Instance::new(id, line.monotonic_ns, now)
            })
        });
        let report = line.report.clone();
        let in_group = line.group.is_some();
        let kill = Kill::from_line(&self.host.boot, instance, line, now);
        let key = self.admit(kill, now);
        if let Some(open) = self.instances.get_mut(&instance) {
            open.group_notice |= in_group;
            if open.report.is_none() {
                open.report = report;
            }
        }
        self.follow_log(decision, instance);
        self.emit_kill(key, now, out);
    }

    /// "Tasks in X are going to be killed": the chosen one's line may still wait for its mark.
    fn group_kill(&mut self, decision: u64, now: Now) {
        if self.kmsg_groups.len() == DECISIONS {
            self.kmsg_groups.pop_front();
        }
        self.kmsg_groups.push_back(decision);
        if let Some(key) = self.instance_of_log(decision)
            && let Some(instance) = self.instances.get_mut(&key)
        {
            instance.group_notice = true;
            instance.active_ns = now.monotonic_ns;
        }
    }

    /// "is already exiting": part of a group kill, the end of an open decision, or one of its own.
    fn exiting(&mut self, end: KmsgEnd, tid: u32, now: Now) {
        if self.kmsg_groups.contains(&end.decision) {
            return;
        }
        let decided = self.open.iter().copied().find(|key| {
            self.instances.get(key).is_some_and(|instance| {
                instance.kills.is_empty()
                    && instance.decision.as_ref().is_some_and(|decision| {
                        decision.chosen.0 == tid || decision.chosen.1 == tid
                    })
            })
        });
        let Some(key) = decided else {
            self.without_kill(Outcome::AlreadyExiting, end, now);
            return;
        };
        if let Some(instance) = self.instances.get_mut(&key) {
            instance.outcome = Some(Outcome::AlreadyExiting);
            instance.report = end.report;
        }
        self.follow_log(end.decision, key);
    }

    /// A panic, on its own or because nobody could be killed.
    fn panic(&mut self, end: KmsgEnd, now: Now) {
        let without_victim = self
            .instance_of_log(end.decision)
            .and_then(|key| self.instances.get_mut(&key))
            .filter(|instance| !instance.closed);
        match without_victim {
            Some(instance) => instance.outcome = Some(Outcome::Panic),
            None => self.without_kill(Outcome::Panic, end, now),
        }
    }

    fn without_kill(&mut self, outcome: Outcome, end: KmsgEnd, now: Now) {
        let id = format!("oom-{}-kmsg{}", self.host.boot, end.seq);
        let mut instance = Instance::new(id, end.monotonic_ns, now);
        instance.log_read_ns = Some(now.monotonic_ns);
        instance.outcome = Some(outcome);
        instance.report = end.report;
        let key = self.open(instance);
        self.follow_log(end.decision, key);
    }

    /// The instance of a decision that the log told of.
    fn instance_of_log(&self, decision: u64) -> Option<InstanceKey> {
        let mut known = self.kmsg_decisions.iter().rev();
        known
            .find(|(known, _)| *known == decision)
            .map(|(_, key)| *key)
    }

    /// A decision of the log is of this instance. Without BPF it is the log that shows that the decision
    /// before is over; that of a group may have lines that another caller's overtook.
    fn follow_log(&mut self, decision: u64, key: InstanceKey) {
        if self.instance_of_log(decision) != Some(key) {
            if self.kmsg_decisions.len() == DECISIONS {
                self.kmsg_decisions.pop_front();
            }
            self.kmsg_decisions.push_back((decision, key));
        }
        if self.kmsg_groups.contains(&decision)
            && let Some(instance) = self.instances.get_mut(&key)
        {
            instance.group_notice = true;
        }
        let before = self.kmsg_current.replace(key);
        if let Some(before) = before
            && before != key
            && !self.bpf_up
            && let Some(instance) = self.instances.get_mut(&before)
            && !instance.group_notice
        {
            instance.followed = true;
            self.touched.push(before);
        }
    }
}

/// Numbers from a log may be anything.
fn add(count: &mut u64, more: u64) {
    *count = count.saturating_add(more);
}
