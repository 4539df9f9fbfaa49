//! Evidence of what becomes of victims: into reports that are open, else into events of their own.
//!
//! A report waits for the ends of its victims within its window. A victim that has not ended then is *living*:
//! it is kept, with the kill as the report told it, until its end is told ([`Event::VictimEnd`]), however long
//! that takes, and through a snapshot across restarts. Refuses to take a process for a victim that only has
//! its number: where the start is known it must be the same.

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

/// Ends that came before their kill was known: the log, or the counter, has to say first that it was one.
const EARLY: usize = 256;

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
    pub(super) fn watch(&mut self, key: KillKey) {
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
        let watch = kill.watch();
        let mut early = std::mem::take(&mut self.victims.early);
        early.retain(|evidence| {
            let (pid, start) = match evidence {
                VictimEvidence::Exited {
                    pid,
                    start_boottime_ns,
                    ..
                }
                | VictimEvidence::Freed {
                    pid,
                    start_boottime_ns,
                    ..
                } => (*pid, *start_boottime_ns),
                _ => return false,
            };
            let own = watch.is(pid, start);
            if own {
                kill.ending.take(evidence);
            }
            !own
        });
        self.victims.early = early;
        self.victims.watches.push(watch);
    }

    /// Somebody waits from now on: for all that have not ended.
    pub(super) fn watch_all(&mut self) {
        let open = self.open.iter().filter_map(|key| self.instances.get(key));
        let keys: Vec<KillKey> = open.flat_map(|it| it.kills.iter().copied()).collect();
        for key in keys {
            // A predecessor's watch has ended with it.
            if let Some(kill) = self.kills.get_mut(&key) {
                kill.ending.watched = false;
            }
            self.watch(key);
        }
        let living = self.victims.living.iter();
        let watches: Vec<Watch> = living.map(|living| living.watch.clone()).collect();
        self.victims.watches.extend(watches);
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
        self.told_of_victim(evidence);
        self.tell_ends(now, out);
    }

    /// Puts it where it belongs.
    fn told_of_victim(&mut self, evidence: VictimEvidence) {
        if let Some(key) = self.open_kill_of(&evidence) {
            if let Some(kill) = self.kills.get_mut(&key) {
                kill.ending.take(&evidence);
                self.touched.push(kill.instance);
            }
            return;
        }
        let mut living = self.victims.living.iter_mut();
        if let Some(living) = living.find(|living| living.is_of(&evidence)) {
            living.ending.take(&evidence);
            return;
        }
        let may_be_early = matches!(
            evidence,
            VictimEvidence::Exited { .. } | VictimEvidence::Freed { .. }
        );
        if may_be_early {
            if self.victims.early.len() >= EARLY {
                self.victims.early.pop_front();
            }
            self.victims.early.push_back(evidence);
        }
    }

    /// The kill of an open report that this is of.
    fn open_kill_of(&self, evidence: &VictimEvidence) -> Option<KillKey> {
        let key = *self.by_tid.get(&evidence.number())?;
        let kill = self.kills.get(&key)?;
        let open = self.instances.get(&kill.instance)?;
        let own = match evidence {
            VictimEvidence::Exited {
                pid,
                start_boottime_ns,
                ..
            }
            | VictimEvidence::Freed {
                pid,
                start_boottime_ns,
                ..
            } => kill.watch().is(*pid, *start_boottime_ns),
            VictimEvidence::Reaping { .. } | VictimEvidence::Reaped { .. } => true,
            VictimEvidence::Gone { kill: id, .. }
            | VictimEvidence::Unwatched { kill: id, .. }
            | VictimEvidence::Alive { kill: id, .. } => kill.id == *id,
        };
        (own && !open.closed).then_some(key)
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
        if !ending.watched || ending.settled || ending.exit.is_some() {
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
        let kmsg_up = self.kmsg_up;
        let mut living = std::mem::take(&mut self.victims.living);
        living.retain_mut(|living| {
            let complete = living.ending.is_complete(living.kill.reaper, kmsg_up);
            let over = complete || living.ending.settled;
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
        if std::mem::replace(&mut ending.stuck, true) || ending.exit.is_some() {
            return None;
        }
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
            }
            VictimEvidence::Alive { .. } => {}
        }
    }
}

impl Living {
    fn is_of(&self, evidence: &VictimEvidence) -> bool {
        match evidence {
            VictimEvidence::Exited {
                pid,
                start_boottime_ns,
                ..
            }
            | VictimEvidence::Freed {
                pid,
                start_boottime_ns,
                ..
            } => self.watch.is(*pid, *start_boottime_ns),
            VictimEvidence::Reaping { tid, .. } | VictimEvidence::Reaped { tid, .. } => {
                self.tids.contains(tid)
            }
            VictimEvidence::Gone { kill, .. }
            | VictimEvidence::Unwatched { kill, .. }
            | VictimEvidence::Alive { kill, .. } => self.kill.id == *kill,
        }
    }
}

impl Watch {
    /// Whether this process is meant. One whose start is not known is known by its number, as long as it is
    /// looked for among those that live.
    fn is(&self, pid: u32, start_boottime_ns: u64) -> bool {
        let start = self.start_boottime_ns;
        self.pid == pid && (start.is_none() || same_start(start, Some(start_boottime_ns)))
    }
}
