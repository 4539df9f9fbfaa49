//! Wishes, and what comes of them: what a decision's cgroup did before, and was right after.
//!
//! A wish is made at the first alert of an instance, for the cgroup may be gone a moment later. The
//! instance waits for the answer, but not for long; an answer that comes too late is dropped, and
//! counted. Refuses to put a reading of the agent's in the place of what the kernel itself reported.

use super::{Correlator, InstanceKey, Wish, instance::Instance, kill::Kill, limit};
use crate::{
    clock::Now,
    event::{Cgroup, FiguresSource, Limit, MemorySample, MemoryTrend, OomInstance},
    evidence::{Feed, Mark, MemoryEvidence},
    trend,
};

impl Correlator {
    /// What has been wished for since this was asked last.
    pub fn wishes(&mut self) -> impl Iterator<Item = Wish> {
        self.wishes.drain(..)
    }

    /// A wish that nobody took: the instance waits no longer.
    pub fn refuse(&mut self, wish: &Wish) {
        self.audit.counts.memory_missed += 1;
        self.answer(MemoryEvidence {
            instance: wish.instance.clone(),
            ..MemoryEvidence::default()
        });
    }

    /// Asks for the memory of an instance's cgroup, once.
    pub(super) fn wish(&mut self, key: InstanceKey, now: Now) {
        if !self.is_up(Feed::Memory) {
            return;
        }
        let Some(instance) = self.instances.get(&key) else {
            return;
        };
        if instance.closed || instance.memory_until_ns.is_some() {
            return;
        }
        let kills: Vec<&Kill> = self.kills_of(instance);
        let wish = instance.wish(&kills);
        self.wishes.push(wish);
        let until = now.monotonic_ns + self.timing.memory_answer_ns;
        if let Some(instance) = self.instances.get_mut(&key) {
            instance.memory_until_ns = Some(until);
        }
    }

    /// Takes an answer.
    pub(super) fn memory(&mut self, memory: MemoryEvidence) {
        if !self.answer(memory) {
            self.audit.counts.memory_missed += 1;
        }
    }

    fn answer(&mut self, memory: MemoryEvidence) -> bool {
        let Some(&key) = self.open.iter().find(|key| {
            let instance = self.instances.get(*key);
            instance.is_some_and(|instance| instance.id == memory.instance)
        }) else {
            return false;
        };
        if let Some(instance) = self.instances.get_mut(&key) {
            instance.memory_until_ns = Some(0);
            instance.memory = Some(Box::new(memory));
        }
        self.touched.push(key);
        true
    }
}

/// Puts the answer into the report.
pub(super) fn add(memory: MemoryEvidence, event: &mut OomInstance) {
    if let Some((mut samples, mut trend)) = memory.history {
        if let Some(limit) = hit(event, &trend.cgroup) {
            samples.extend(at_the_kill(limit));
            trend = at_this_limit(&samples, trend, limit.limit_bytes);
        }
        event.memory_history = samples;
        event.memory_trend = Some(trend);
    }
    event.limit_state = memory.state;
    event.top_cgroups = memory.top;
    let read = Some(FiguresSource::Read);
    if event.limit_memory.is_none() && memory.limit_memory.is_some() {
        (event.limit_memory, event.limit_memory_source) = (memory.limit_memory, read);
    }
    if event.system_memory.is_none() && memory.system_memory.is_some() {
        (event.system_memory, event.system_memory_source) = (memory.system_memory, read);
    }
    if event.tasks.is_empty() && !memory.tasks.is_empty() {
        (event.tasks, event.tasks_source) = (memory.tasks, read);
        event.tasks_dropped = memory.tasks_dropped;
    }
}

/// The limit that was hit, if it is the recorded cgroup's.
fn hit<'a>(event: &'a OomInstance, recorded: &Cgroup) -> Option<&'a Limit> {
    let limit = event.limit.as_ref();
    limit.filter(|limit| limit.cgroup.path.is_some() && limit.cgroup.path == recorded.path)
}

/// The last point of the history is the kernel's own: what stood at the limit when it decided.
fn at_the_kill(limit: &Limit) -> Option<MemorySample> {
    Some(MemorySample {
        limit_bytes: limit.limit_bytes,
        ..MemorySample::of(0, limit.usage_bytes?)
    })
}

/// The trend with that point, and against the limit as it was at the kill. Where nobody has told that,
/// it is as it was read last.
pub(super) fn at_this_limit(
    samples: &[MemorySample],
    read: MemoryTrend,
    limit: Option<u64>,
) -> MemoryTrend {
    let since_when_read = (read.since_80_percent_ns, read.since_80_percent_at_least);
    let of = trend::Recorded {
        cgroup: read.cgroup.clone(),
        limit_bytes: limit,
        hit: true,
    };
    let Some(mut trend) = trend::trend(samples, of) else {
        return read;
    };
    if limit.is_none() {
        (trend.since_80_percent_ns, trend.since_80_percent_at_least) = since_when_read;
    }
    trend
}

/// The log's clock may lag so far behind `CLOCK_MONOTONIC`. A line that seems to be older was written while nobody
/// read.
const LOG_LAG_NS: u64 = 5_000_000_000;

impl Instance {
    /// When it happened, on the clock of the recorder.
    fn moment(&self, mark: Option<&Mark>) -> u64 {
        let by_bpf = mark.is_some() || self.decision.is_some();
        let read_ns = self.log_read_ns.filter(|_| !by_bpf);
        let is_fresh = |read: &u64| read.saturating_sub(self.monotonic_ns) <= LOG_LAG_NS;
        read_ns.filter(is_fresh).unwrap_or(self.monotonic_ns)
    }

    fn wish(&self, kills: &[&Kill]) -> Wish {
        let mark = self.any_mark(kills);
        let limit = self.limit(mark, kills, &mut Vec::new());
        let scope = self.scope(mark, kills);
        let machine = scope.is_some_and(|scope| scope != crate::event::Scope::Memcg);
        Wish {
            instance: self.id.clone(),
            monotonic_ns: self.moment(mark),
            limit: limit.and_then(|limit| limit.cgroup.path),
            victim: kills
                .iter()
                .find_map(|kill| kill.cgroup())
                .and_then(|cgroup| cgroup.path),
            machine,
            levels: mark
                .filter(|_| machine)
                .map_or_else(Vec::new, limit::levels),
        }
    }
}
