//! The answer to a wish: what the cgroup did before the kill, and what it says right after.
//!
//! Reads the recorder's histories, the cgroup's files and `/proc`; emits a [`MemoryEvidence`]. What
//! vanishes first is read first: what the cgroup says of itself, then what it holds, then its processes.
//! Refuses a cgroup that was made at the same path after the kill. What is gone is `None`.

use std::path::PathBuf;

use rustix::fs::{Mode, OFlags, open};

use super::{
    files::{Buffer, Dir, whole},
    meminfo::system_memory,
    processes::{Rows, largest, of_cgroup},
    recording::Recording,
    roster::{Recorded, ancestors},
};
use crate::{
    event::{Cgroup, CgroupState, MemorySample, MemoryTrend, SystemMemory},
    evidence::{MemoryEvidence, Wish},
    trend::{self, trend},
};

/// `/proc/meminfo` is shorter.
const MAX_MEMINFO: usize = 64 << 10;

/// How much of an answer is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Extent {
    /// All of it.
    Full,
    /// History and state: others wait.
    Brief,
}

impl Recording {
    /// Answers.
    pub(super) fn answer(&mut self, wish: &Wish, extent: Extent) -> MemoryEvidence {
        let target = wish.limit.as_deref().or(wish.victim.as_deref());
        let dir = target.and_then(|path| self.dir(path, wish.monotonic_ns));
        let buffer = &mut self.buffer;
        let state = target.zip(dir.as_ref()).and_then(|(path, dir)| {
            let after_ns = (self.clock)().saturating_sub(wish.monotonic_ns);
            state(path, dir, self.hierarchy.version.number(), after_ns, buffer)
        });
        let mut answer = MemoryEvidence {
            instance: wish.instance.clone(),
            state,
            ..MemoryEvidence::default()
        };
        if extent == Extent::Full {
            if wish.limit.is_some() {
                answer.limit_memory = dir.as_ref().and_then(|dir| dir.memory(buffer));
            }
            let proc = PathBuf::from("/proc");
            let tasks = if wish.machine {
                answer.system_memory = meminfo();
                let page_size = u64::try_from(rustix::param::page_size()).unwrap_or(4096);
                largest(&proc, page_size, buffer)
            } else {
                let path = target.filter(|_| dir.is_some());
                let path = path.and_then(|path| self.hierarchy.dir_of(path));
                path.map_or_else(Rows::default, |path| of_cgroup(&proc, &path, buffer))
            };
            (answer.tasks, answer.tasks_dropped) = (tasks.rows, tasks.dropped);
        }
        if wish.machine {
            answer.top = self.top(&wish.levels, extent == Extent::Full);
        }
        answer.history = self.history(wish);
        answer
    }

    /// The directory of a cgroup, if it is still the one that was there at that moment.
    fn dir(&self, path: &str, monotonic_ns: u64) -> Option<Dir> {
        let known = self.roster.at(path, monotonic_ns);
        if known.is_none() && self.roster.is_young(path, monotonic_ns) {
            return None;
        }
        let dir = Dir::open(&self.hierarchy, path).ok()?;
        let same = known
            .and_then(|known| known.id)
            .is_none_or(|id| dir.id() == Some(id));
        same.then_some(dir)
    }

    /// The history of the limit's cgroup; else of the victim's, or the nearest above it.
    fn history(&self, wish: &Wish) -> Option<(Vec<MemorySample>, MemoryTrend)> {
        let limit = wish.limit.as_deref();
        let victim = wish.victim.as_deref();
        let above = victim.into_iter().flat_map(ancestors);
        let paths = limit.into_iter().chain(victim).chain(above);
        let at = wish.monotonic_ns;
        let found = paths.filter_map(|path| {
            let recorded = self.roster.at(path, at)?;
            let samples = recorded.before(at);
            (!samples.is_empty()).then_some((recorded, samples))
        });
        let (recorded, samples) = { found }.next()?;
        let of = trend::Recorded {
            cgroup: self.cgroup(recorded),
            limit_bytes: recorded.limit,
            hit: limit == Some(&*recorded.path),
        };
        let trend = trend(&samples, of)?;
        Some((samples, trend))
    }

    fn cgroup(&self, recorded: &Recorded) -> Cgroup {
        Cgroup {
            path: Some(recorded.path.to_string()),
            id: recorded.id,
            version: Some(self.hierarchy.version.number()),
        }
    }
}

impl Recorded {
    /// All that was read before a moment, with the newest reading even if it is not kept.
    fn before(&self, monotonic_ns: u64) -> Vec<MemorySample> {
        let mut samples = self.history.before(monotonic_ns);
        let unkept = self
            .unkept
            .filter(|unkept| unkept.monotonic_ns <= monotonic_ns);
        samples.extend(unkept.map(|unkept| {
            let age = i64::try_from(monotonic_ns - unkept.monotonic_ns);
            MemorySample::of(-age.unwrap_or(i64::MAX), unkept.usage_bytes)
        }));
        samples
    }

    /// The usage that was read last.
    pub(super) fn newest(&self) -> Option<u64> {
        let unkept = self.unkept.map(|unkept| unkept.usage_bytes);
        unkept.or_else(|| self.history.newest())
    }
}

fn state(
    path: &str,
    dir: &Dir,
    version: u8,
    after_ns: u64,
    buffer: &mut Buffer,
) -> Option<CgroupState> {
    let mut state = CgroupState {
        cgroup: Cgroup {
            path: Some(path.to_owned()),
            id: dir.id(),
            version: Some(version),
        },
        after_ns,
        peak_bytes: None,
        events: None,
        pressure: None,
        oom_group: None,
    };
    dir.state(&mut state, buffer).then_some(state)
}

fn meminfo() -> Option<SystemMemory> {
    let flags = OFlags::RDONLY | OFlags::CLOEXEC;
    let file = open("/proc/meminfo", flags, Mode::empty()).ok()?;
    let mut text = Vec::new();
    whole(&file, &mut text, MAX_MEMINFO).ok()?;
    system_memory(&text)
}
