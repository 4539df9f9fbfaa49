//! Evidence in, events out: who was killed, once, and what one decision of the kernel did.
//!
//! Pure: no I/O, no clock; time is passed in, so every ordering, duplicate and loss is a table test.
//! Emits [`Event::OomKill`] at the first trustworthy evidence of a kill and [`Event::OomInstance`]
//! when the sources have spoken or the window is over. Refuses to alert on a bare mark, and to take
//! identity or cgroup from the log when BPF has read them from the kernel.

mod audit;
mod bpf;
mod ending;
mod instance;
mod kill;
mod kmsg;
mod limit;
mod memory;
mod replay;
#[cfg(test)]
mod tests;
mod victim;

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

pub use audit::{Audit, Counts};
use instance::Instance;
use kill::Kill;
pub use replay::log_record;
use victim::{Living, Victims};

use serde::{Deserialize, Serialize};

use crate::{
    clock::Now,
    event::{Event, Outcome},
    evidence::{Evidence, Feed, KmsgKill, Mark},
};

/// How long to wait for what, in nanoseconds, and how much to keep.
#[derive(Clone, Copy, Debug)]
pub struct Timing {
    /// An instance is closed at the latest this long after its first evidence: a slow console can
    /// make the log late.
    pub window_ns: u64,
    /// A "Killed process" line waits this long for the mark that must have preceded it.
    pub grace_ns: u64,
    /// A decision waits this long for its mark or its kill.
    pub decision_ns: u64,
    /// A group kill is complete when nothing has followed for this long.
    pub settle_ns: u64,
    /// A report waits this long for the memory of its cgroup.
    pub memory_answer_ns: u64,
    /// Kills are remembered this long after their instance closed, to know late lines and repeats.
    pub memory_ns: u64,
    /// Closed kills that are remembered at most, whatever their age.
    pub memory_kills: usize,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            window_ns: 2_000_000_000,
            grace_ns: 250_000_000,
            decision_ns: 60_000_000_000,
            settle_ns: 250_000_000,
            memory_answer_ns: 1_000_000_000,
            memory_ns: 60_000_000_000,
            memory_kills: 65_536,
        }
    }
}

/// What the correlator would like to know of a decision's cgroup while that is still there; the answer
/// is [`Evidence::Memory`]. Where nobody grants wishes ([`Feed::Memory`] down) none are made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wish {
    /// Id of the instance.
    pub instance: Arc<str>,
    /// When it happened, `CLOCK_MONOTONIC`.
    pub monotonic_ns: u64,
    /// Path of the cgroup whose limit was hit, as far as is known; `None` too if the machine ran out.
    pub limit: Option<String>,
    /// Path of the victim's cgroup.
    pub victim: Option<String>,
    /// The machine ran out, or some of its nodes.
    pub machine: bool,
}

/// A victim whose end the correlator would like to be told; the answer is [`Evidence::Victim`]. Where nobody
/// waits ([`Feed::Victims`] down) none are made.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watch {
    /// Id of the kill.
    pub kill: Arc<str>,
    /// The process; where only a thread is known, that.
    pub pid: u32,
    /// `start_boottime` of its leader, as far as is known.
    pub start_boottime_ns: Option<u64>,
    /// When it was marked, `CLOCK_MONOTONIC`.
    pub monotonic_ns: u64,
}

/// What a correlator hands to its successor at a quiet moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Snapshot {
    audit: Audit,
    /// BPF, the log, the flight recorder.
    up: [bool; 3],
    /// Whether somebody waits for victims to end.
    #[serde(default)]
    victims_up: bool,
    /// Those that have outlived their reports.
    #[serde(default)]
    living: VecDeque<Living>,
}

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

/// Where and in which boot this is.
#[derive(Clone, Debug)]
pub struct Host {
    /// `/proc/sys/kernel/random/boot_id`; unknown to a log.
    pub boot_id: Option<Arc<str>>,
    /// What makes ids unique among boots: the same without dashes, or what stands for it.
    pub boot: Arc<str>,
    /// Node name.
    pub node: Option<Arc<str>>,
    /// Name of its cluster; `None`: nobody has told.
    pub cluster: Option<Arc<str>>,
}

impl Host {
    /// From the kernel's boot id and the node's name.
    #[must_use]
    pub fn new(boot_id: &str, node: &str) -> Self {
        Self {
            boot_id: Some(boot_id.into()),
            boot: boot_id.replace('-', "").into(),
            node: Some(node.into()),
            cluster: None,
        }
    }
}

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
            // The way of the cgroups goes past here, to `attribute`; that of positions to the store.
            Evidence::Cgroup(_) | Evidence::LogRead { .. } => {}
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
        for (_, line) in ready.collect::<Vec<_>>() {
            self.unmarked(line, now, out);
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

    /// What of its state outlives a quiet moment, but for its memory of closed kills: for a successor,
    /// which is told all evidence since then once more.
    #[must_use]
    pub fn snapshot(&self) -> Snapshot {
        Snapshot {
            audit: self.audit,
            up: [self.bpf_up, self.kmsg_up, self.memory_up],
            victims_up: self.victims_up,
            living: self.victims.living.clone(),
        }
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

    /// Goes on from a predecessor's quiet moment.
    pub fn restore(&mut self, snapshot: &Snapshot) {
        self.audit = snapshot.audit;
        [self.bpf_up, self.kmsg_up, self.memory_up] = snapshot.up;
        self.victims_up = snapshot.victims_up;
        self.victims.living.clone_from(&snapshot.living);
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

    /// Closes everything that is open, at shutdown.
    pub fn finish(&mut self, now: Now, out: &mut Vec<Event>) {
        for (_, line) in std::mem::take(&mut self.waiting_lines) {
            self.unmarked(line, now, out);
        }
        for (_, mark) in std::mem::take(&mut self.held_marks) {
            self.bare_mark(mark, now);
        }
        for key in self.open.clone() {
            self.close(key, now, out);
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

    fn has_ended(&self, kill: &Kill) -> bool {
        kill.ending.is_complete(kill.reaper, self.kmsg_up)
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

    /// Closes those of `candidates` that are complete.
    fn close_ready(&mut self, candidates: &[InstanceKey], now: Now, out: &mut Vec<Event>) {
        for &key in candidates {
            let ready = self.instances.get(&key).is_some_and(|instance| {
                !instance.closed && self.closes_at(instance) <= now.monotonic_ns
            });
            if ready {
                self.close(key, now, out);
            }
        }
    }

    fn close(&mut self, key: InstanceKey, now: Now, out: &mut Vec<Event>) {
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
    fn closes_at(&self, instance: &Instance) -> u64 {
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

    fn forget(&mut self, now: Now) {
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
