//! Evidence of what becomes of victims: into reports that are open, else into events of their own.
//!
//! A report waits for the ends of its victims within its window. A victim that has not ended then is *living*:
//! it is kept, with the kill as the report told it, until its end is told ([`Event::VictimEnd`]), however long
//! that takes, and through a snapshot across restarts. Refuses to take a process for a victim that only has
//! its number: where the start is known it must be the same, and nothing of before the mark is meant.

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::{Correlator, KillKey, Watch, ending::Ending, kill::same_start};
use crate::{
    clock::Now,
    event::{Event, OomKill, OomStuck, Reaper, SCHEMA, VictimEnd},
    evidence::{Feed, VictimEvidence},
};

/// Victims that are kept when their report is closed; beyond it the oldest is let go of, and counted.
const LIVING: usize = 256;

/// What came before its kill was known, several things of each victim: the log, or the counter, has to say first
/// that it was one, or the mark comes by another thread. Beyond it the oldest is let go of, and counted.
pub(super) const EARLY: usize = 4096;

/// For how long that is kept, nanoseconds. A mark that was no kill is followed by an end all the same.
const EARLY_NS: u64 = 60_000_000_000;

/// What the log's clock may be ahead of `CLOCK_MONOTONIC` by where only the log tells of a mark, nanoseconds.
const CLOCKS_NS: u64 = 250_000_000;

/// A victim that has outlived its report.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Living {
    kill: OomKill,
    watch: Watch,
    tids: Vec<u32>,
    ending: Ending,
}

/// What is known of victims beside their kills.
#[derive(Debug, Default)]
pub(super) struct Victims {
    pub(super) living: VecDeque<Living>,
    early: VecDeque<VictimEvidence>,
    pub(super) watches: Vec<Watch>,
}

impl Correlator {
    /// Victims whose end somebody is to wait for, since this was asked last.
    pub fn watches(&mut self) -> impl Iterator<Item = Watch> {
        self.victims.watches.drain(..)
    }

    /// One that nobody waits for: its report does not, either.
    pub fn refuse_watch(&mut self, watch: &Watch) {
        self.audit.counts.ends_missed += 1;
        let unwatched = VictimEvidence::Unwatched {
            kill: watch.kill.clone(),
            tid: watch.pid,
            kernel_tells: false,
        };
        self.told_of_victim(unwatched);
    }

    /// Asks for the end of a kill, and takes what has been told of it before it was known.
    pub(super) fn watch(&mut self, key: KillKey, now: Now) {
        if !self.is_up(Feed::Victims) {
            return;
        }
        let Some(kill) = self.kills.get_mut(&key) else {
            return;
        };
        if kill.ending.watched || kill.ending.settled {
            return;
        }
        kill.ending.watched = true;
        let (watch, tids) = (kill.watch(), kill.tids());
        self.victims.age(now);
        self.victims.early.retain(|evidence| {
            let own = watch.is_meant(&tids, evidence);
            if own {
                kill.ending.take(evidence);
            }
            !own
        });
        self.victims.watches.push(watch);
    }

    /// Somebody waits from now on: for all that have not ended.
    pub(super) fn watch_all(&mut self, now: Now) {
        for key in self.open_kills() {
            // A predecessor's watch has ended with it.
            if let Some(kill) = self.kills.get_mut(&key) {
                kill.ending.watched = false;
            }
            self.watch(key, now);
        }
        let living = self.victims.living.iter();
        let watches: Vec<Watch> = living.map(|living| living.watch.clone()).collect();
        self.victims.watches.extend(watches);
    }

    /// Nobody waits any more: what is known of ends is all that will be.
    pub(super) fn watch_none(&mut self, now: Now, out: &mut Vec<Event>) {
        self.victims.watches.clear();
        let mut missed = 0;
        for key in self.open_kills() {
            if let Some(kill) = self.kills.get_mut(&key) {
                missed += u64::from(kill.ending.abandon());
                self.touched.push(kill.instance);
            }
        }
        for living in &mut self.victims.living {
            missed += u64::from(living.ending.abandon());
        }
        self.audit.counts.ends_missed += missed;
        self.tell_ends(now, out);
    }

    fn open_kills(&self) -> Vec<KillKey> {
        let open = self.open.iter().filter_map(|key| self.instances.get(key));
        open.flat_map(|it| it.kills.iter().copied()).collect()
    }

    pub(super) fn victim(&mut self, evidence: VictimEvidence, now: Now, out: &mut Vec<Event>) {
        if let VictimEvidence::Alive { kill, tid, .. } = &evidence {
            if let Some(stuck) = self.stuck(kill, *tid, &evidence, now) {
                out.push(Event::OomStuck(Box::new(stuck)));
            }
            return;
        }
        if matches!(evidence, VictimEvidence::Unwatched { .. }) {
            self.audit.counts.ends_missed += 1;
        }
        self.victims.age(now);
        self.told_of_victim(evidence);
        self.tell_ends(now, out);
    }

    /// Puts it where it belongs.
    fn told_of_victim(&mut self, evidence: VictimEvidence) {
        let known = self.by_tid.get(&evidence.number());
        let known = known.and_then(|key| self.kills.get_mut(key));
        let known = known.filter(|kill| kill.watch().is_meant(&kill.tids(), &evidence));
        let is_known = known.is_some();
        if let Some(kill) = known
            && let Some(report) = self.instances.get(&kill.instance)
            && !report.closed
        {
            kill.ending.take(&evidence);
            self.touched.push(kill.instance);
            return;
        }
        let mut living = self.victims.living.iter_mut();
        let living = living.find(|it| it.watch.is_meant(&it.tids, &evidence));
        if let Some(living) = living {
            living.ending.take(&evidence);
        } else if !is_known && evidence.seen_ns().is_some() {
            if self.victims.early.len() >= EARLY {
                self.victims.early.pop_front();
                self.audit.counts.ends_missed += 1;
            }
            self.victims.early.push_back(evidence);
        }
    }

    /// The log says what the reaper did with a victim whose report is closed.
    pub(super) fn reaper_of_living(&mut self, tid: u32, said: Reaper, left_bytes: Option<u64>) {
        let mut living = self.victims.living.iter_mut().rev();
        if let Some(living) = living.find(|living| living.tids.contains(&tid)) {
            living.kill.reaper = Some(said);
            living.ending.left_bytes = left_bytes.or(living.ending.left_bytes);
        }
    }

    /// A report is closed without the end of this victim.
    pub(super) fn outlives(&mut self, key: KillKey, told: &OomKill) {
        let Some(kill) = self.kills.get(&key) else {
            return;
        };
        let ending = &kill.ending;
        if !ending.may_come() {
            return;
        }
        if self.victims.living.len() >= LIVING {
            self.victims.living.pop_front();
            self.audit.counts.ends_missed += 1;
        }
        self.victims.living.push_back(Living {
            kill: told.clone(),
            watch: kill.watch(),
            tids: kill.tids(),
            ending: ending.clone(),
        });
    }

    /// Tells the ends of those that have outlived their reports.
    fn tell_ends(&mut self, now: Now, out: &mut Vec<Event>) {
        let mut living = std::mem::take(&mut self.victims.living);
        living.retain_mut(|living| {
            let over =
                living.ending.settled || (living.ending.exit.is_some() && !living.ending.watched);
            if over && let Some(exit) = living.ending.exit {
                living
                    .ending
                    .add_to(&mut living.kill, living.watch.monotonic_ns);
                out.push(Event::VictimEnd(Box::new(VictimEnd {
                    schema: SCHEMA,
                    id: format!("{}-end", living.kill.id).into(),
                    time: now.wall(exit.monotonic_ns),
                    monotonic_ns: exit.monotonic_ns,
                    boot_id: self.host.boot_id.clone(),
                    node: self.host.node.clone(),
                    cluster: self.host.cluster.clone(),
                    kill: living.kill.clone(),
                })));
            }
            !over
        });
        self.victims.living = living;
    }

    /// The alert, once for each kill.
    fn stuck(
        &mut self,
        id: &Arc<str>,
        tid: u32,
        evidence: &VictimEvidence,
        now: Now,
    ) -> Option<OomStuck> {
        let VictimEvidence::Alive {
            monotonic_ns,
            thread,
            threads,
            uninterruptible,
            held_bytes,
            ..
        } = evidence
        else {
            return None;
        };
        let open = self.by_tid.get(&tid).copied();
        let open = open.filter(|key| self.kills.get(key).is_some_and(|kill| kill.id == *id));
        let living = self.victims.living.iter_mut();
        let (ending, mut kill, mark_ns) =
            if let Some(living) = living.into_iter().find(|it| it.kill.id == *id) {
                let kill = living.kill.clone();
                (&mut living.ending, kill, living.watch.monotonic_ns)
            } else {
                let kill = self.kills.get_mut(&open?)?;
                let instance = self.instances.get(&kill.instance)?;
                let event = kill.event(&self.host, instance);
                let mark_ns = kill.monotonic_ns();
                (&mut kill.ending, event, mark_ns)
            };
        if ending.stuck || ending.settled {
            return None;
        }
        ending.is_stuck();
        ending.add_to(&mut kill, mark_ns);
        Some(OomStuck {
            schema: SCHEMA,
            id: format!("{id}-stuck").into(),
            time: now.wall(*monotonic_ns),
            monotonic_ns: *monotonic_ns,
            boot_id: self.host.boot_id.clone(),
            node: self.host.node.clone(),
            cluster: self.host.cluster.clone(),
            stuck_for_ns: monotonic_ns.saturating_sub(mark_ns),
            thread: thread.clone(),
            threads: *threads,
            uninterruptible: *uninterruptible,
            held_bytes: *held_bytes,
            kill,
        })
    }
}

impl Ending {
    /// Takes one observation.
    fn take(&mut self, evidence: &VictimEvidence) {
        match *evidence {
            VictimEvidence::Exited {
                monotonic_ns,
                left_bytes,
                ..
            } => self.exited(monotonic_ns, left_bytes),
            VictimEvidence::Freed { monotonic_ns, .. } => self.freed = Some((monotonic_ns, 0)),
            VictimEvidence::Reaping { monotonic_ns, .. } => {
                self.reaping_ns.get_or_insert(monotonic_ns);
            }
            VictimEvidence::Reaped { monotonic_ns, .. } => self.reaped_ns = Some(monotonic_ns),
            VictimEvidence::Gone {
                monotonic_ns,
                at_most,
                tells_reaper,
                ..
            } => self.gone(monotonic_ns, at_most, tells_reaper),
            VictimEvidence::Unwatched { kernel_tells, .. } => {
                (self.watched, self.settled) = (false, !kernel_tells);
                self.kernel_tells = kernel_tells;
            }
            VictimEvidence::Alive { .. } => {}
        }
    }
}

impl Victims {
    /// Lets go of what no kill came for: the end of a mark that was none.
    fn age(&mut self, now: Now) {
        let old = |at: u64| now.monotonic_ns.saturating_sub(at) > EARLY_NS;
        let is_old = |it: &mut VictimEvidence| it.seen_ns().is_none_or(old);
        while self.early.pop_front_if(is_old).is_some() {}
    }
}

impl VictimEvidence {
    /// When the kernel's programs saw it; they know of no kills, only of processes and threads.
    const fn seen_ns(&self) -> Option<u64> {
        match self {
            Self::Exited { monotonic_ns, .. }
            | Self::Freed { monotonic_ns, .. }
            | Self::Reaping { monotonic_ns, .. }
            | Self::Reaped { monotonic_ns, .. } => Some(*monotonic_ns),
            Self::Gone { .. } | Self::Unwatched { .. } | Self::Alive { .. } => None,
        }
    }
}

impl Watch {
    /// Whether that was seen of this victim, which has these threads. One whose start is not known is known by its
    /// number, and by what comes after its mark.
    fn is_meant(&self, tids: &[u32], evidence: &VictimEvidence) -> bool {
        let start = self.start_boottime_ns;
        let slack_ns = if start.is_some() { 0 } else { CLOCKS_NS };
        let is_later = |at: u64| at.saturating_add(slack_ns) >= self.monotonic_ns;
        evidence.seen_ns().is_none_or(is_later)
            && match evidence {
                VictimEvidence::Exited {
                    pid,
                    start_boottime_ns,
                    ..
                }
                | VictimEvidence::Freed {
                    pid,
                    start_boottime_ns,
                    ..
                } => {
                    let same = || same_start(start, Some(*start_boottime_ns));
                    self.pid == *pid && (start.is_none() || same())
                }
                VictimEvidence::Reaping { tid, .. } | VictimEvidence::Reaped { tid, .. } => {
                    tids.contains(tid)
                }
                VictimEvidence::Gone { kill, .. }
                | VictimEvidence::Unwatched { kill, .. }
                | VictimEvidence::Alive { kill, .. } => self.kill == *kill,
            }
    }
}
