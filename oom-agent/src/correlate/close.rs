//! When an instance is closed, and what is remembered of it then.
//!
//! Reads what its kills and sources have said, and the time; emits [`Event::OomInstance`]. Refuses to wait beyond the
//! window, and to remember more kills than [`Timing::memory_kills`](super::Timing).

use super::{Correlator, InstanceKey, instance::Instance, kill::Kill};
use crate::{clock::Now, event::Event};

impl Correlator {
    /// Closes those of `candidates` that are complete.
    pub(super) fn close_ready(
        &mut self,
        candidates: &[InstanceKey],
        now: Now,
        out: &mut Vec<Event>,
    ) {
        for &key in candidates {
            let ready = self.instances.get(&key).is_some_and(|instance| {
                !instance.closed && self.closes_at(instance) <= now.monotonic_ns
            });
            if ready {
                self.close(key, now, out);
            }
        }
    }

    pub(super) fn close(&mut self, key: InstanceKey, now: Now, out: &mut Vec<Event>) {
        self.open.retain(|&open| open != key);
        let Some(instance) = self.instances.get_mut(&key) else {
            return;
        };
        instance.closed = true;
        let kills = instance.kills.clone();
        let of: Vec<&Kill> = kills
            .iter()
            .filter_map(|kill| self.kills.get(kill))
            .collect();
        let counts = &mut self.audit.counts;
        counts.instances += 1;
        counts.possible_repeats += u64::from(instance.may_hide_repeats(&of, self.kmsg_up));
        let event = instance.event(&self.host, &of, (self.bpf_up, self.kmsg_up), now);
        for (key, told) in kills.iter().zip(&event.kills) {
            self.outlives(*key, told);
        }
        out.push(Event::OomInstance(Box::new(event)));
        if kills.is_empty() {
            self.instances.remove(&key);
        } else if let Some(instance) = self.instances.get_mut(&key) {
            instance.forget_evidence();
        }
        for key in kills {
            if let Some(kill) = self.kills.get_mut(&key) {
                kill.forget_evidence();
            }
            self.closed.push_back((now.monotonic_ns, key));
        }
    }

    /// When an instance may be closed: now (0), when its group has settled, or at the window's end.
    pub(super) fn closes_at(&self, instance: &Instance) -> u64 {
        let last = instance.waits_since_ns + self.timing.window_ns;
        if instance.is_undecided() {
            // Before it marks anybody the kernel prints its report, and a slow console holds it up for
            // seconds. A later decision proves that no mark will come; if one was lost, the log may tell.
            return match (instance.followed, instance.ring_lost) {
                (true, 0) => 0,
                (true, _) => last,
                (false, _) => instance.waits_since_ns + self.timing.decision_ns,
            };
        }
        if instance.kills.is_empty() {
            return last.min(instance.active_ns + self.timing.settle_ns);
        }
        let spoken = instance
            .kills
            .iter()
            .filter_map(|kill| self.kills.get(kill))
            .all(|kill| {
                (kill.mark.is_some() || !self.bpf_up) && (kill.line.is_some() || !self.kmsg_up)
            });
        let complete = if !spoken {
            last
        } else if instance.followed || instance.single() {
            0
        } else {
            last.min(instance.active_ns + self.timing.settle_ns)
        };
        let memory = instance.memory_until_ns.filter(|_| self.memory_up);
        let ended = !self.victims_up
            || self
                .kills_of(instance)
                .iter()
                .all(|kill| self.has_ended(kill));
        let ends = if ended { 0 } else { last };
        complete.max(memory.unwrap_or(0)).max(ends).min(last)
    }

    fn has_ended(&self, kill: &Kill) -> bool {
        kill.ending.is_complete(kill.reaper, self.kmsg_up)
    }

    pub(super) fn forget(&mut self, now: Now) {
        while let Some(&(at, key)) = self.closed.front() {
            let old = now.monotonic_ns.saturating_sub(at) > self.timing.memory_ns;
            if !old && self.closed.len() <= self.timing.memory_kills {
                break;
            }
            self.closed.pop_front();
            let Some(kill) = self.kills.remove(&key) else {
                continue;
            };
            for tid in kill.tids() {
                if self.by_tid.get(&tid) == Some(&key) {
                    self.by_tid.remove(&tid);
                }
            }
            let gone = self
                .instances
                .get_mut(&kill.instance)
                .is_some_and(|instance| {
                    instance.kills.retain(|&other| other != key);
                    instance.closed && instance.kills.is_empty()
                });
            if gone {
                self.instances.remove(&kill.instance);
            }
        }
    }
}
