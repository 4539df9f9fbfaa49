//! Things that wait, bounded by number and by bytes.
//!
//! Refuses nothing by itself: what is too much is given back, and its owner counts it.

use std::collections::VecDeque;

use super::entry::{Entry, Snapshot};
use crate::{
    event::Event,
    evidence::{Evidence, KmsgEvidence, KmsgReport},
};

/// A queue of things of one kind, each with its place in the order of all.
#[derive(Debug)]
pub(super) struct Lane<T> {
    items: VecDeque<Item<T>>,
    bytes: usize,
    most: Most,
}

#[derive(Debug)]
struct Item<T> {
    order: u64,
    bytes: usize,
    thing: T,
}

/// A bound.
#[derive(Clone, Copy, Debug)]
pub(super) struct Most {
    pub(super) items: usize,
    pub(super) bytes: usize,
}

impl<T> Lane<T> {
    pub(super) const fn new(most: Most) -> Self {
        Self {
            items: VecDeque::new(),
            bytes: 0,
            most,
        }
    }

    /// Takes a thing, or gives it back if there is no room.
    pub(super) fn push(&mut self, order: u64, bytes: usize, thing: T) -> Result<(), T> {
        let most = self.most;
        // One is always taken, whatever its size.
        let fits = self.items.len() < most.items && self.bytes + bytes <= most.bytes;
        if !fits && !self.items.is_empty() {
            return Err(thing);
        }
        self.bytes += bytes;
        self.items.push_back(Item {
            order,
            bytes,
            thing,
        });
        Ok(())
    }

    /// Takes a thing and makes room for it; gives the number of older ones that had to go.
    pub(super) fn push_over(&mut self, order: u64, bytes: usize, thing: T) -> u64 {
        let mut gone = 0;
        let mut thing = thing;
        while let Err(again) = self.push(order, bytes, thing) {
            thing = again;
            self.pop();
            gone += 1;
        }
        gone
    }

    pub(super) fn pop(&mut self) -> Option<T> {
        let item = self.items.pop_front()?;
        self.bytes -= item.bytes;
        Some(item.thing)
    }

    /// The place of what is next.
    pub(super) fn next_order(&self) -> Option<u64> {
        self.items.front().map(|item| item.order)
    }

    pub(super) fn last_mut(&mut self) -> Option<&mut T> {
        self.items.back_mut().map(|item| &mut item.thing)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter().map(|item| &item.thing)
    }

    pub(super) fn len(&self) -> usize {
        self.items.len()
    }

    /// Gives back what a storm has made it take.
    pub(super) fn shrink(&mut self) {
        if self.items.is_empty() && self.items.capacity() > 1024 {
            self.items.shrink_to(64);
        }
    }
}

/// About what an entry takes in memory. Bounds are for what grows: tables of processes, histories, kills.
pub(super) fn weight(entry: &Entry) -> usize {
    match entry {
        Entry::Evidence { evidence, .. } => of_evidence(evidence),
        Entry::Event(event) => of_event(event),
        Entry::Quiet(snapshot) => of_snapshot(snapshot),
        Entry::LogRead { .. } | Entry::Backfilled | Entry::Delivered(_) => 0,
    }
}

/// A row of a table of processes, a reading of memory, a level of a cgroup's path.
const ROW: usize = 128;

/// A kill, a mark, a decision: with names and paths.
const KILL: usize = 2048;

pub(super) fn of_evidence(evidence: &Evidence) -> usize {
    let rows = match evidence {
        Evidence::Mark(mark) => mark.levels.len(),
        Evidence::Decision(decision) => decision
            .chosen_task
            .as_ref()
            .map_or(0, |mark| mark.levels.len() + KILL / ROW),
        Evidence::Kmsg(KmsgEvidence::Killed(kill)) => rows_of(kill.report.as_deref()),
        Evidence::Kmsg(
            KmsgEvidence::AlreadyExiting { end, .. }
            | KmsgEvidence::NoVictim(end)
            | KmsgEvidence::Panic(end),
        ) => rows_of(end.report.as_deref()),
        Evidence::Memory(memory) => {
            let history = memory.history.as_ref().map_or(0, |(all, _)| all.len());
            history + memory.tasks.len() + 4 * memory.top.len()
        }
        _ => 0,
    };
    KILL + rows * ROW
}

pub(super) fn of_snapshot(snapshot: &Snapshot) -> usize {
    snapshot.state.len() + 64
}

fn rows_of(report: Option<&KmsgReport>) -> usize {
    report.map_or(0, |report| report.tasks.len() + KILL / ROW)
}

pub(super) fn of_event(event: &Event) -> usize {
    match event {
        Event::OomInstance(report) => {
            let rows = report.memory_history.len() + report.tasks.len();
            (report.kills.len() + 2) * KILL + (rows + 4 * report.top_cgroups.len()) * ROW
        }
        _ => KILL,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_hold_by_number_and_by_bytes_and_the_oldest_goes() {
        let mut lane = Lane::new(Most {
            items: 3,
            bytes: 100,
        });
        for (order, thing) in ["a", "b", "c"].into_iter().enumerate() {
            assert_eq!(lane.push(order as u64, 10, thing), Ok(()));
        }
        assert_eq!(lane.push(3, 10, "d"), Err("d"));
        assert_eq!(lane.push_over(3, 10, "d"), 1);
        assert_eq!(lane.push_over(4, 85, "e"), 2);
        assert_eq!((lane.next_order(), lane.len()), (Some(3), 2));
        assert_eq!(lane.push_over(5, 500, "larger than all"), 2);
        assert_eq!(lane.pop(), Some("larger than all"));
        assert_eq!((lane.pop(), lane.bytes), (None, 0));
    }
}
