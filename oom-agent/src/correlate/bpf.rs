//! Evidence from the eBPF programs: decisions and marks.

use super::{Correlator, InstanceKey, KillKey, instance::Instance, kill::Kill};
use crate::{
    clock::Now,
    event::{Event, Outcome, Role},
    evidence::{Decision, Mark, Verdict},
};

impl Correlator {
    /// The kernel has chosen; marks of the same asker belong to it.
    pub(super) fn decision(&mut self, decision: Decision, now: Now) {
        let id = format!("oom-{}-decision{}", self.host.boot, decision.monotonic_ns);
        let mut instance = Instance::new(id, decision.monotonic_ns, now);
        instance.group_possible = decision.chosen_task.as_deref().and_then(group_possible);
        instance.outcome = None;
        instance.decision = Some(decision);
        let key = self.open(instance);
        self.follow_bpf(key);
    }

    pub(super) fn mark(&mut self, mark: Mark, now: Now, out: &mut Vec<Event>) {
        if let Some(key) = self.known(&mark) {
            self.mark_again(key, mark, now);
            return;
        }
        match mark.verdict {
            Verdict::Kill => self.kill_from_mark(mark, now, out),
            Verdict::MarkOnly => {
                self.bare_mark(mark, now);
            }
            Verdict::Unknown => {
                let deadline = now.monotonic_ns + self.timing.window_ns;
                self.held_marks.push((deadline, mark));
            }
        }
    }

    /// The kill that this mark's process already died of. A kill that only the log showed has no start
    /// time to know it by: once its report is closed, the same pid is another process.
    fn known(&self, mark: &Mark) -> Option<u64> {
        let by_pid = mark.victim.pid.and_then(|pid| self.by_tid.get(&pid));
        let key = *by_pid.or_else(|| self.by_tid.get(&mark.victim.tid))?;
        let kill = self.kills.get(&key)?;
        let open = || {
            self.instances
                .get(&kill.instance)
                .is_some_and(|instance| !instance.closed)
        };
        (kill.is(mark) && (kill.mark.is_some() || open())).then_some(key)
    }

    /// The log was first, or the kernel killed another thread of the same process once more.
    fn mark_again(&mut self, key: u64, mark: Mark, now: Now) {
        let Some(kill) = self.kills.get_mut(&key) else {
            return;
        };
        let before = kill.repeats();
        let tid = mark.victim.tid;
        if mark.verdict == Verdict::Kill {
            kill.marks += 1;
        }
        if kill.mark.is_none() {
            kill.adopt(mark, now);
        } else if !kill.tids().contains(&tid) {
            kill.other_tids.push(tid);
        }
        let (tids, instance) = (kill.tids(), kill.instance);
        self.audit.counts.repeats += u64::from(kill.repeats() - before);
        for tid in tids {
            self.by_tid.insert(tid, key);
        }
        self.touched.push(instance);
    }

    pub(super) fn kill_from_mark(&mut self, mark: Mark, now: Now, out: &mut Vec<Event>) {
        // A line that was read before its mark: both tell of the same kill.
        let line = self
            .waiting_lines
            .iter()
            .position(|(_, line)| Some(line.tid) == mark.victim.pid || line.tid == mark.victim.tid)
            .map(|at| self.waiting_lines.remove(at).1);
        let instance = self.instance_of_mark(&mark, now);
        let role = mark.role.unwrap_or_else(|| self.role_in(instance));
        let key = self.kill_in(instance, role, mark, now, out);
        if let Some(line) = line {
            self.confirm(key, line, now);
        }
    }

    /// A kill of a known instance, alerted.
    pub(super) fn kill_in(
        &mut self,
        instance: InstanceKey,
        role: Role,
        mark: Mark,
        now: Now,
        out: &mut Vec<Event>,
    ) -> KillKey {
        let kill = Kill::from_mark(&self.host.boot, instance, role, mark, now);
        let key = self.admit(kill, now);
        self.emit_kill(key, now, out);
        key
    }

    /// Records are missing: what is open may lack its mark.
    pub(super) fn ring_gap(&mut self, lost: u64) {
        self.audit.counts.ring_dropped += lost;
        for key in &self.open {
            if let Some(instance) = self.instances.get_mut(key) {
                instance.ring_lost += lost;
            }
        }
    }

    /// The instance that a kill belongs to: the open decision of the same asker, or a new one.
    fn instance_of_mark(&mut self, mark: &Mark, now: Now) -> InstanceKey {
        let current = self
            .bpf_current
            .and_then(|key| Some((key, self.instances.get(&key)?)));
        if let Some((key, instance)) = current {
            let decision = instance.decision.as_ref();
            let decided = decision.is_some_and(|decision| decision.asker.tid == mark.asker.tid);
            let chosen = decision.is_some_and(|decision| may_be_chosen(decision, mark));
            let member = match mark.role {
                Some(Role::GroupMember) => true,
                Some(Role::Chosen) => false,
                None => instance.group_possible != Some(false),
            };
            let same_asker = instance
                .kills
                .first()
                .and_then(|kill| self.kills.get(kill)?.mark.as_ref())
                .is_some_and(|first| first.asker.tid == mark.asker.tid);
            if !instance.closed
                && ((decided && chosen && instance.kills.is_empty())
                    || (member && (same_asker || decided)))
            {
                return key;
            }
        }
        let id = format!(
            "oom-{}-{}-{}",
            self.host.boot,
            mark.victim.pid.unwrap_or(mark.victim.tid),
            mark.start_boottime_ns.unwrap_or(mark.monotonic_ns)
        );
        let mut instance = Instance::new(id, mark.monotonic_ns, now);
        instance.group_possible = group_possible(mark);
        let key = self.open(instance);
        self.follow_bpf(key);
        key
    }

    fn role_in(&self, instance: InstanceKey) -> Role {
        let first = self
            .instances
            .get(&instance)
            .is_none_or(|open| open.kills.is_empty());
        if first {
            Role::Chosen
        } else {
            Role::GroupMember
        }
    }

    /// A mark without a kill: the task was exiting already. Never alerted.
    pub(super) fn bare_mark(&mut self, mark: Mark, now: Now) -> InstanceKey {
        self.audit.counts.bare_marks += 1;
        let current = self.bpf_current.filter(|key| {
            self.instances.get(key).is_some_and(|instance| {
                !instance.closed
                    && instance.kills.is_empty()
                    && instance.bare_mark.is_none()
                    && instance
                        .decision
                        .as_ref()
                        .is_some_and(|decision| decision.asker.tid == mark.asker.tid)
            })
        });
        let key = current.unwrap_or_else(|| {
            let id = format!("oom-{}-mark{}", self.host.boot, mark.monotonic_ns);
            let key = self.open(Instance::new(id, mark.monotonic_ns, now));
            self.follow_bpf(key);
            key
        });
        if let Some(instance) = self.instances.get_mut(&key) {
            instance.outcome = Some(Outcome::AlreadyExiting);
            instance.bare_mark = Some(mark);
        }
        key
    }

    /// The counter has just been read: it grew by every held mark that was a kill. An older reading
    /// would say nothing about them.
    pub(super) fn judge_held_marks(&mut self, now: Now, out: &mut Vec<Event>) {
        if self.held_marks.is_empty() || !self.waiting_lines.is_empty() {
            return;
        }
        let Some(unexplained) = self.audit.unsettled() else {
            return;
        };
        let held = i64::try_from(self.held_marks.len()).unwrap_or(i64::MAX);
        if unexplained >= held {
            for (_, mark) in std::mem::take(&mut self.held_marks) {
                self.kill_from_mark(mark, now, out);
            }
        } else if unexplained <= 0 {
            for (_, mark) in std::mem::take(&mut self.held_marks) {
                self.bare_mark(mark, now);
            }
        }
    }

    /// Marks that nobody could judge within the window end as marks; the audit says what is missing.
    pub(super) fn drop_held_marks(&mut self, now: Now) {
        let mut held = std::mem::take(&mut self.held_marks);
        held.retain(|(deadline, mark)| {
            let wait = *deadline > now.monotonic_ns;
            if !wait {
                self.bare_mark(mark.clone(), now);
            }
            wait
        });
        self.held_marks = held;
    }

    pub(super) fn open(&mut self, instance: Instance) -> InstanceKey {
        let key = self.key();
        self.instances.insert(key, instance);
        self.open.push(key);
        key
    }

    fn follow_bpf(&mut self, key: InstanceKey) {
        if let Some(before) = self.bpf_current.replace(key)
            && let Some(instance) = self.instances.get_mut(&before)
        {
            instance.followed = true;
            self.touched.push(before);
        }
    }
}

/// Whether a mark can be of the task that was chosen: another thread of it may have been marked. Where
/// the tracepoint tells only a thread, its process may be unknown.
fn may_be_chosen(decision: &Decision, mark: &Mark) -> bool {
    match mark.victim.pid {
        Some(pid) => pid == decision.chosen.1,
        None => true,
    }
}

/// Whether a level of the victim has `memory.oom.group` set; `None` if none is known to have it, and one
/// could not be read.
fn group_possible(mark: &Mark) -> Option<bool> {
    let memory = mark.levels.iter().filter(|level| level.memcg);
    let groups: Vec<Option<bool>> = memory
        .map(|level| level.charge.and_then(|charge| charge.oom_group))
        .collect();
    if groups.contains(&Some(true)) {
        return Some(true);
    }
    let all_known = !mark.levels_cut && !groups.is_empty() && !groups.contains(&None);
    all_known.then_some(false)
}
