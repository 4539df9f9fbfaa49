//! Evidence in, events out: who was killed, once, and what one decision of the kernel did.
//!
//! Pure: no I/O, no clock; time is passed in, so every ordering, duplicate and loss is a table test.
//! Emits [`Event::OomKill`] at the first trustworthy evidence of a kill and [`Event::OomInstance`]
//! when the sources have spoken or the window is over. Refuses to alert on a bare mark, and to take
//! identity or cgroup from the log when BPF has read them from the kernel.

mod audit;
mod bpf;
mod close;
mod ending;
mod instance;
mod kill;
mod kmsg;
mod limit;
mod memory;
mod replay;
mod snapshot;
#[cfg(test)]
mod tests;
mod timing;
mod victim;

use std::collections::{HashMap, VecDeque};

pub use self::{
    audit::{Audit, Counts},
    replay::log_record,
    snapshot::Snapshot,
    timing::Timing,
};
pub use crate::{
    evidence::{Watch, Wish},
    host::Host,
};

use self::{instance::Instance, kill::Kill, victim::Victims};

use crate::{
    clock::Now,
    event::{Event, Outcome},
    evidence::{Evidence, Feed, KmsgKill, Mark},
};

/// Which sources deliver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "one for each source")]
pub struct Up {
    /// The ring.
    pub bpf: bool,
    /// The kernel log.
    pub kmsg: bool,
    /// The flight recorder.
    pub memory: bool,
    /// Who waits for victims to end.
    pub victims: bool,
}

/// Decisions of the log that are kept apart: their lines follow each other closely.
const DECISIONS: usize = 64;

/// Kills that there is room for from the start: a storm must not wait for memory.
const ROOM: usize = 1024;

type KillKey = u64;
type InstanceKey = u64;

/// The state between evidence and events.
#[derive(Debug)]
#[expect(clippy::struct_excessive_bools, reason = "one for each source")]
pub struct Correlator {
    host: Host,
    timing: Timing,
    /// Whether each source delivers now; one that is down is not waited for.
    bpf_up: bool,
    kmsg_up: bool,
    memory_up: bool,
    victims_up: bool,
    next_key: u64,
    kills: HashMap<KillKey, Kill>,
    /// The newest kill that each thread or process id stands for.
    by_tid: HashMap<u32, KillKey>,
    /// Open instances, and closed ones as long as one of their kills is remembered.
    instances: HashMap<InstanceKey, Instance>,
    /// Those that are open, oldest first; those among them that may have become complete.
    open: Vec<InstanceKey>,
    touched: Vec<InstanceKey>,
    /// Kills of closed instances, oldest first, with the time they were closed.
    closed: VecDeque<(u64, KillKey)>,
    /// The instance that BPF, and the log, spoke of last.
    bpf_current: Option<InstanceKey>,
    kmsg_current: Option<InstanceKey>,
    /// The latest decisions of the log that are known to be of an instance, and those that were
    /// announced to kill a whole cgroup.
    kmsg_decisions: VecDeque<(u64, InstanceKey)>,
    kmsg_groups: VecDeque<u64>,
    /// "Killed process" lines that wait for their mark.
    waiting_lines: Vec<(u64, Box<KmsgKill>)>,
    /// Marks of which it is not known yet whether they are kills.
    held_marks: Vec<(u64, Mark)>,
    audit: Audit,
    /// What has not been asked for yet.
    wishes: Vec<Wish>,
    victims: Victims,
}

impl Correlator {
    /// Nothing seen yet; both sources count as down until they say otherwise.
    #[must_use]
    pub fn new(host: Host, timing: Timing) -> Self {
        let room = timing.memory_kills.min(ROOM);
        Self {
            host,
            timing,
            bpf_up: false,
            kmsg_up: false,
            memory_up: false,
            victims_up: false,
            victims: Victims::default(),
            wishes: Vec::with_capacity(16),
            next_key: 0,
            kills: HashMap::with_capacity(room),
            by_tid: HashMap::with_capacity(2 * room),
            instances: HashMap::with_capacity(room),
            open: Vec::with_capacity(room),
            touched: Vec::with_capacity(16),
            closed: VecDeque::with_capacity(room),
            bpf_current: None,
            kmsg_current: None,
            kmsg_decisions: VecDeque::with_capacity(DECISIONS),
            kmsg_groups: VecDeque::with_capacity(DECISIONS),
            waiting_lines: Vec::with_capacity(64),
            held_marks: Vec::with_capacity(16),
            audit: Audit::default(),
        }
    }

    /// Takes one observation; appends the events that it completes.
    pub fn observe(&mut self, evidence: Evidence, now: Now, out: &mut Vec<Event>) {
        match evidence {
            Evidence::Mark(mark) => self.mark(*mark, now, out),
            Evidence::Decision(decision) => self.decision(*decision, now),
            Evidence::RingGap { lost } => self.ring_gap(lost),
            Evidence::Kmsg(kmsg) => self.kmsg(kmsg, now, out),
            Evidence::Counter { oom_kill, read_ns } => {
                self.audit.counter(oom_kill, read_ns);
                self.judge_held_marks(now, out);
                if self.is_quiet() {
                    self.audit.settle();
                }
            }
            Evidence::SourceState { source, up } => match source {
                Feed::Bpf => self.bpf_up = up,
                Feed::Kmsg => self.kmsg_up = up,
                Feed::Memory => self.memory_up = up,
                Feed::Victims => {
                    self.victims_up = up;
                    if up {
                        self.watch_all(now);
                    } else {
                        self.watch_none(now, out);
                    }
                }
            },
            // The way of the cgroups goes past here, to `attribute`; that of positions to the store. A replay takes
            // care of what resumed.
            Evidence::Cgroup(_) | Evidence::LogRead { .. } | Evidence::Resumed => {}
            Evidence::Memory(memory) => self.memory(*memory),
            Evidence::Victim(victim) => self.victim(*victim, now, out),
        }
        let mut touched = std::mem::take(&mut self.touched);
        self.close_ready(&touched, now, out);
        touched.clear();
        self.touched = touched;
    }

    /// Lets time pass: grace periods end, windows close.
    pub fn tick(&mut self, now: Now, out: &mut Vec<Event>) {
        self.forget(now);
        let bpf_up = self.bpf_up;
        let due = |at: u64| at <= now.monotonic_ns || !bpf_up;
        let ready = self.waiting_lines.extract_if(.., |(at, _)| due(*at));
        for (at, line) in ready.collect::<Vec<_>>() {
            let read_ns = at.saturating_sub(self.timing.grace_ns);
            self.unmarked(line, read_ns, now, out);
        }
        self.drop_held_marks(now);
        let open = self.open.clone();
        self.close_ready(&open, now, out);
    }

    /// When [`Correlator::tick`] has something to do next, on `CLOCK_MONOTONIC`.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        let lines = self.waiting_lines.iter().map(|(at, _)| *at);
        let marks = self.held_marks.iter().map(|(at, _)| *at);
        let open = self.open.iter().filter_map(|key| self.instances.get(key));
        let instances = open.map(|instance| self.closes_at(instance));
        lines.chain(marks).chain(instances).min()
    }

    /// Whether a mark waits for the kernel's counter to say if it was a kill.
    #[must_use]
    pub fn wants_counter(&self) -> bool {
        !self.held_marks.is_empty()
    }

    /// Whether nothing is pending: only then does the audit judge.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.waiting_lines.is_empty() && self.held_marks.is_empty() && self.open.is_empty()
    }

    /// Which sources deliver now.
    #[must_use]
    pub const fn up(&self) -> Up {
        Up {
            bpf: self.bpf_up,
            kmsg: self.kmsg_up,
            memory: self.memory_up,
            victims: self.victims_up,
        }
    }

    /// What has been counted so far.
    #[must_use]
    pub fn counts(&self) -> Counts {
        self.audit.counts
    }

    /// The kernel's counter against what was seen.
    #[must_use]
    pub fn audit(&self) -> &Audit {
        &self.audit
    }

    /// Closes everything that is open, where nobody will say more. How a held mark or a decision without one
    /// came out stays unknown.
    pub fn finish(&mut self, now: Now, out: &mut Vec<Event>) {
        for (_, mark) in std::mem::take(&mut self.held_marks) {
            let key = self.bare_mark(mark, now);
            if let Some(instance) = self.instances.get_mut(&key) {
                instance.outcome = None;
            }
        }
        for instance in self.instances.values_mut() {
            instance.ring_lost = instance.ring_lost.max(1);
        }
        self.hand_over(now, out);
    }

    /// Closes what is open, but for what may still turn out to be a kill, at a shutdown behind which the kernel goes on
    /// recording: whoever goes on with this journal tells of that.
    pub fn hand_over(&mut self, now: Now, out: &mut Vec<Event>) {
        for (at, line) in std::mem::take(&mut self.waiting_lines) {
            let read_ns = at.saturating_sub(self.timing.grace_ns);
            self.unmarked(line, read_ns, now, out);
        }
        for key in self.open.clone() {
            let is_undecided = |instance: &Instance| {
                instance.decision.is_some()
                    && instance.kills.is_empty()
                    && instance.outcome.is_none()
                    && instance.ring_lost == 0
            };
            if !self.instances.get(&key).is_some_and(is_undecided) {
                self.close(key, now, out);
            }
        }
    }

    fn is_up(&self, feed: Feed) -> bool {
        match feed {
            Feed::Bpf => self.bpf_up,
            Feed::Kmsg => self.kmsg_up,
            Feed::Memory => self.memory_up,
            Feed::Victims => self.victims_up,
        }
    }

    fn kills_of(&self, instance: &Instance) -> Vec<&Kill> {
        let kills = instance.kills.iter();
        kills.filter_map(|kill| self.kills.get(kill)).collect()
    }

    fn key(&mut self) -> u64 {
        self.next_key += 1;
        self.next_key
    }

    /// A kill takes its place: in its instance, and under every id that may name it.
    fn admit(&mut self, kill: Kill, now: Now) -> KillKey {
        let (key, instance) = (self.key(), kill.instance);
        for tid in kill.tids() {
            self.by_tid.insert(tid, key);
        }
        self.kills.insert(key, kill);
        if let Some(open) = self.instances.get_mut(&instance) {
            open.kills.push(key);
            open.active_ns = now.monotonic_ns;
            open.outcome = Some(Outcome::Killed);
        }
        self.touched.push(instance);
        key
    }

    fn emit_kill(&mut self, key: KillKey, now: Now, out: &mut Vec<Event>) {
        let Some(kill) = self.kills.get_mut(&key) else {
            return;
        };
        let Some(instance) = self.instances.get(&kill.instance) else {
            return;
        };
        // The log's clock runs apart from the one that the counter was read at.
        let marked_ns = kill.mark.as_ref().map(|mark| mark.monotonic_ns);
        self.audit.kill(marked_ns);
        kill.latency_ns = Some(now.monotonic_ns.saturating_sub(kill.monotonic_ns()));
        let event = kill.event(&self.host, instance);
        out.push(Event::OomKill(Box::new(event)));
        let instance = kill.instance;
        self.wish(instance, now);
        self.watch(key, now);
    }
}
