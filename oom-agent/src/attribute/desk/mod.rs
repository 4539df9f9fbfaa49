//! The last stop of an event: whose it was, by name.
//!
//! Reads the correlator's events and the evidence of the cgroup watch; emits the same events with names
//! in them, and those of containers that came and went. Pure: time is passed in, and what it wants to
//! have looked up it says as an [`Ask`]. An event whose cgroup or container is not known yet is held until
//! the answer comes, at most [`NAMES_NS`]; nothing else waits for it but its own report. Refuses to
//! change what the path says.

mod asking;
mod naming;

use std::{collections::VecDeque, mem::replace, sync::Arc};

#[cfg(test)]
pub(super) use self::asking::AGAIN_NS;
pub use self::asking::Ask;
use self::{asking::cgroups_of, naming::Said};
use super::{
    Roster,
    claim::{asked_of, is_told},
    container::{self, End},
    roster::Life,
};
use crate::{
    clock::Now,
    event::{Cgroup, Event},
    evidence::{CgroupEvidence, Found, KnownCgroup, Lookup, Unreadable},
    host::Host,
};

/// An alert waits this long at most for the names of a container that nobody has seen before.
pub const NAMES_NS: u64 = 20_000_000;

/// What a scan did not find.
const MISSED: End = End {
    exit_code: None,
    late: true,
};

/// Between two steps of what would be too long at once.
const WORK_NS: u64 = 1_000_000;

/// Of which cgroups events tell that they came and went.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum ContainerEvents {
    /// Of containers.
    #[default]
    Containers,
    /// Of all cgroups.
    All,
    /// Of none.
    None,
}

/// What was counted here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DeskCounts {
    /// Kills whose owner could not be told in full: no cgroup, or a container without its names.
    pub unattributed: u64,
    /// Alerts that were told without names because the answer took too long.
    pub names_late: u64,
    /// Cgroups whose runtime's files could not be used, however often they were looked at.
    pub unreadable: u64,
    /// The same by reason: refused, not a file, too large, malformed, of another container.
    pub unreadable_by_reason: [u64; 5],
    /// Events of the cgroup watch that were lost; a scan made up for them.
    pub watch_lost: u64,
    /// Cgroups of which there was no room to know.
    pub untracked: u64,
}

/// An event that waits.
#[derive(Debug)]
struct Held {
    event: Event,
    until_ns: u64,
}

/// Where events are completed.
#[derive(Debug)]
pub struct Desk {
    host: Host,
    which: ContainerEvents,
    /// Whether somebody answers.
    answers: bool,
    roster: Roster,
    asks: Vec<Ask>,
    /// What is asked for, and when that is given up.
    asked: VecDeque<(Arc<str>, u64)>,
    held: VecDeque<Held>,
    /// What alerts have said of kills whose report is still to come, oldest first.
    said: VecDeque<Said>,
    /// There is more to do of what goes in steps.
    work_at_ns: Option<u64>,
    counts: DeskCounts,
}

impl Desk {
    /// Nothing known yet, and nobody who answers.
    #[must_use]
    pub fn new(host: Host, which: ContainerEvents) -> Self {
        Self {
            host,
            which,
            answers: false,
            roster: Roster::default(),
            asks: Vec::with_capacity(16),
            asked: VecDeque::with_capacity(16),
            held: VecDeque::with_capacity(16),
            said: VecDeque::with_capacity(16),
            work_at_ns: None,
            counts: DeskCounts::default(),
        }
    }

    /// Whether somebody answers from now on.
    pub fn answered(&mut self, answers: bool) {
        self.answers = answers;
    }

    /// What has been counted so far.
    #[must_use]
    pub fn counts(&self) -> DeskCounts {
        DeskCounts {
            untracked: self.roster.untracked(),
            ..self.counts
        }
    }

    /// What is to be looked up.
    pub fn asks(&mut self) -> impl Iterator<Item = Ask> {
        self.asks.drain(..)
    }

    /// Whether nothing is held.
    #[must_use]
    pub fn is_quiet(&self) -> bool {
        self.held.is_empty()
    }

    /// When [`Desk::tick`] has something to do next, on `CLOCK_MONOTONIC`.
    #[must_use]
    pub fn next_deadline(&self) -> Option<u64> {
        let held = self.held.iter().map(|held| held.until_ns);
        held.chain(self.work_at_ns).min()
    }

    /// Takes what the watch saw.
    pub fn observe(&mut self, evidence: CgroupEvidence, now: Now, out: &mut Vec<Event>) {
        match evidence {
            CgroupEvidence::Known(known) => self.know(&known, now, out),
            CgroupEvidence::Removed {
                path,
                id,
                monotonic_ns,
                exit_code,
            } => {
                let life = self.roster.remove(&path, id, monotonic_ns).cloned();
                if let Some(life) = life {
                    self.tell_removed(
                        &path,
                        &life,
                        End {
                            exit_code,
                            late: false,
                        },
                        now,
                        out,
                    );
                }
            }
            CgroupEvidence::Renamed { from, path, .. } => self.roster.rename(&from, &path),
            CgroupEvidence::Scanned { began_ns } => {
                self.roster.sweep(began_ns);
                self.work(now, out);
            }
            CgroupEvidence::Lost { events } => self.counts.watch_lost += events.unwrap_or(1),
        }
    }

    fn know(&mut self, known: &KnownCgroup, now: Now, out: &mut Vec<Event>) {
        let (mut life, ended) = self.roster.know(known);
        if let Lookup::Unreadable(reason) = known.lookup {
            let counted = life
                .as_mut()
                .is_some_and(|life| replace(&mut life.unreadable, true));
            self.counts.unreadable += u64::from(!counted);
            self.counts.unreadable_by_reason[place_of(reason)] += u64::from(!counted);
        }
        let untold = life.filter(|life| {
            let tell = is_told(self.which, &known.path, life.names.as_deref());
            tell && life.told.is_none() && life.born_ns.is_some() && life.died_ns.is_none()
        });
        let untold = untold.map(|life| {
            life.told = life.born_ns.map(|born| now.wall(born));
            life.clone()
        });
        if let Some(life) = ended {
            self.tell_removed(&known.path, &life, MISSED, now, out);
        }
        if let Some(life) = untold {
            let late = known.found == Found::Late;
            out.extend(container::created(&self.host, &known.path, &life, late));
        }
        if known.found == Found::LookedUp {
            self.asked.retain(|(path, _)| *path != known.path);
        }
        self.release(now, out);
    }

    fn tell_removed(&self, path: &Arc<str>, life: &Life, end: End, now: Now, out: &mut Vec<Event>) {
        if is_told(self.which, path, life.names.as_deref()) {
            out.extend(container::removed(&self.host, path, life, end, now));
        }
    }

    /// Takes an event of the correlator: passes it on with its names, or holds it.
    pub fn take(&mut self, mut event: Event, now: Now, out: &mut Vec<Event>) {
        let waits = self.answers && self.ask_for(&mut event, now.monotonic_ns);
        if waits || self.is_behind(&event) {
            self.held.push_back(Held {
                event,
                until_ns: now.monotonic_ns + NAMES_NS,
            });
        } else {
            self.pass(event, None, out);
        }
    }

    /// Lets time pass.
    pub fn tick(&mut self, now: Now, out: &mut Vec<Event>) {
        self.work(now, out);
        self.release(now, out);
        // Nobody answers: what was asked for without waiting is not asked for ever.
        self.asked.retain(|(_, until)| *until > now.monotonic_ns);
    }

    /// A step of what would be too long at once.
    fn work(&mut self, now: Now, out: &mut Vec<Event>) {
        for (path, life) in self.roster.sweep_some().unwrap_or_default() {
            self.tell_removed(&path, &life, MISSED, now, out);
        }
        let more = self.roster.tick(now.monotonic_ns);
        self.work_at_ns = more.then_some(now.monotonic_ns + WORK_NS);
    }

    /// Lets go of all that is held, at shutdown.
    pub fn finish(&mut self, now: Now, out: &mut Vec<Event>) {
        self.asked.clear();
        self.release(now, out);
    }

    /// Whether an event of the same instance is held: it must come first.
    fn is_behind(&self, event: &Event) -> bool {
        let instance = event.instance_id();
        let held = self.held.iter().map(|held| held.event.instance_id());
        instance.is_some() && held.into_iter().any(|of| of == instance)
    }

    /// Passes on what waits for nothing any more, in order.
    fn release(&mut self, now: Now, out: &mut Vec<Event>) {
        if self.held.is_empty() {
            return;
        }
        let mut waiting = std::mem::take(&mut self.held);
        while let Some(mut held) = waiting.pop_front() {
            let open = |cgroup: &mut Cgroup| {
                self.complete(cgroup);
                match cgroup.path.as_deref().map(asked_of) {
                    Some(path) => self.asked.iter().any(|(asked, _)| **asked == *path),
                    None => cgroup.id.is_some(),
                }
            };
            let waits = cgroups_of(&mut held.event).any(|(_, cgroup)| open(cgroup));
            let late = held.until_ns <= now.monotonic_ns;
            if (waits && !late) || self.is_behind(&held.event) {
                self.held.push_back(held);
                continue;
            }
            if waits {
                self.counts.names_late += 1;
                let paths: Vec<_> = cgroups_of(&mut held.event)
                    .filter_map(|(_, cgroup)| Some(asked_of(cgroup.path.as_deref()?).to_owned()))
                    .collect();
                self.asked
                    .retain(|(asked, _)| !paths.iter().any(|path| **path == **asked));
            }
            self.pass(held.event, Some(now), out);
        }
    }

    /// Adds the names and lets it go; `held_until` if it was held, for then its latency is longer.
    fn pass(&mut self, mut event: Event, held_until: Option<Now>, out: &mut Vec<Event>) {
        match &mut event {
            Event::OomKill(kill) => {
                if let (Some(now), Some(at_ns)) = (held_until, kill.monotonic_ns) {
                    kill.detection_latency_ns = Some(now.monotonic_ns.saturating_sub(at_ns));
                }
                let named = self.name_kill(kill);
                self.remember(kill, named);
            }
            Event::OomInstance(instance) => self.name_instance(instance),
            // Whether that could be told was counted with the report.
            Event::VictimEnd(ended) => _ = self.name_kill(&mut ended.kill),
            Event::OomStuck(stuck) => _ = self.name_kill(&mut stuck.kill),
            Event::ContainerCreation(_) | Event::ContainerDeletion(_) => {}
        }
        out.push(event);
    }
}

/// Where [`DeskCounts::unreadable_by_reason`] counts it.
const fn place_of(reason: Unreadable) -> usize {
    match reason {
        Unreadable::Refused => 0,
        Unreadable::NotAFile => 1,
        Unreadable::TooLarge => 2,
        Unreadable::Malformed => 3,
        Unreadable::Mismatch => 4,
    }
}
