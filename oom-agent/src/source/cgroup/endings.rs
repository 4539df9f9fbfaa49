//! Removed containers whose runtime has not written down yet how they ended.
//!
//! Reads removals and the time; emits what is due for another look, the last one 300 ms after the removal:
//! docker writes the exit code only once the cgroup is gone (moby `handleContainerExit`). Refuses more than
//! [`ROOM`] at a time: those are told without.

use std::sync::Arc;

use crate::evidence::Names;

/// When it is looked at, after its removal was seen, ns.
const LOOKS_NS: [u64; 5] = [10_000_000, 30_000_000, 70_000_000, 150_000_000, 300_000_000];

/// Removals that may wait.
const ROOM: usize = 256;

/// A container that is gone.
#[derive(Clone, Debug)]
pub(super) struct Ending {
    pub(super) path: Arc<str>,
    pub(super) id: u64,
    /// When it was removed, `CLOCK_MONOTONIC`.
    pub(super) monotonic_ns: u64,
    /// What its runtime called it.
    pub(super) names: Option<Arc<Names>>,
}

/// Those that wait, longest gone first.
#[derive(Debug, Default)]
pub(super) struct Endings {
    waiting: Vec<Waiting>,
}

#[derive(Debug)]
struct Waiting {
    ending: Ending,
    /// When its removal was seen.
    since_ns: u64,
    looks: usize,
}

impl Waiting {
    fn due_ns(&self) -> Option<u64> {
        let after = LOOKS_NS.get(self.looks)?;
        Some(self.since_ns.saturating_add(*after))
    }

    fn is_due(&self, now_ns: u64) -> bool {
        self.due_ns().is_some_and(|due| due <= now_ns)
    }
}

impl Endings {
    /// Lets one wait; gives it back if too many do.
    pub(super) fn add(&mut self, ending: Ending, now_ns: u64) -> Result<(), Ending> {
        if self.waiting.len() >= ROOM {
            return Err(ending);
        }
        self.waiting.push(Waiting {
            ending,
            since_ns: now_ns,
            looks: 0,
        });
        Ok(())
    }

    /// One that is due now, and whether this is its last look; then it waits no more.
    pub(super) fn due(&mut self, now_ns: u64) -> Option<(Ending, bool)> {
        let at = self
            .waiting
            .iter()
            .position(|waiting| waiting.is_due(now_ns))?;
        let waiting = self.waiting.get_mut(at)?;
        // A look that comes late stands for those before it.
        while waiting.is_due(now_ns) {
            waiting.looks += 1;
        }
        if waiting.due_ns().is_none() {
            return Some((self.waiting.remove(at).ending, true));
        }
        Some((waiting.ending.clone(), false))
    }

    /// It has been told.
    pub(super) fn told(&mut self, ending: &Ending) {
        self.waiting
            .retain(|waiting| waiting.ending.id != ending.id);
    }

    /// Those that must be told now, before what follows.
    pub(super) fn take(&mut self, must: impl Fn(&Ending) -> bool) -> Vec<Ending> {
        let taken = self.waiting.extract_if(.., |waiting| must(&waiting.ending));
        taken.map(|waiting| waiting.ending).collect()
    }

    /// When the next one is due.
    pub(super) fn next_ns(&self) -> Option<u64> {
        self.waiting.iter().filter_map(Waiting::due_ns).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;

    fn ending(path: &str, id: u64) -> Ending {
        Ending {
            path: path.into(),
            id,
            monotonic_ns: 0,
            names: None,
        }
    }

    #[test]
    fn each_is_looked_at_for_a_moment_and_a_late_look_stands_for_those_before_it() {
        let mut endings = Endings::default();
        endings.add(ending("/a", 1), 0).unwrap();
        let mut looks = Vec::new();
        while let Some(next) = endings.next_ns() {
            assert!(endings.due(next - 1).is_none());
            looks.push((next / MS, endings.due(next).unwrap().1));
        }
        let wanted = [10, 30, 70, 150, 300].map(|at| (at, at == 300));
        assert_eq!(looks, wanted);
        endings.add(ending("/a", 1), 0).unwrap();
        assert!(!endings.due(100 * MS).unwrap().1);
        assert!(endings.due(100 * MS).is_none());
        assert!(endings.due(900 * MS).unwrap().1);
        assert_eq!(endings.next_ns(), None);
    }

    #[test]
    fn there_is_room_for_so_many_and_told_ones_wait_no_more() {
        let mut endings = Endings::default();
        for id in 0..ROOM as u64 {
            endings.add(ending("/a", id), id).unwrap();
        }
        assert!(endings.add(ending("/b", 1_000), 0).is_err());
        endings.told(&ending("/a", 0));
        endings.add(ending("/b", 1_000), 0).unwrap();
        let taken = endings.take(|ending| *ending.path == *"/b");
        assert_eq!(taken.len(), 1);
        assert_eq!(endings.take(|_| true).len(), ROOM - 1);
    }
}
