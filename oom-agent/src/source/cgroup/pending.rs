//! Which cgroups are looked up again, and when: some runtimes write their files only after they have
//! made the cgroup.

use std::sync::Arc;

use crate::{cgroup_path::attribute, event::LimitLevel};

/// First looks again follow each other closely: runc writes its state after it has made the cgroup and
/// some milliseconds before the container's own program runs.
/// The gaps grow: 4, 9, 15 … 319 ms after the first look.
const CLOSE_NS: u64 = 1_000_000;
const CLOSE_LOOKS: usize = 22;

/// While so many wait there are no close looks for more: who makes cgroups in a loop must not keep us busy.
const CLOSE_ROOM: usize = 16;

/// After the close ones, from the first look, ns.
const AGAIN_NS: [u64; 3] = [600_000_000, 1_500_000_000, 6_000_000_000];

/// Cgroups that may wait. Of this room, and of that for close looks, users get half: who makes cgroups of his own
/// takes none from root's runtimes.
const ROOM: usize = 1024;

/// Cgroups without names so far.
#[derive(Debug, Default)]
pub(super) struct Pending {
    waiting: Vec<Again>,
}

/// A cgroup to be looked up again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Again {
    pub(super) path: Arc<str>,
    pub(super) id: Option<u64>,
    /// When it was looked up first, `CLOCK_MONOTONIC`.
    first_ns: u64,
    /// Looks behind it.
    looks: usize,
    /// A user may have made it.
    of_user: bool,
}

impl Again {
    fn due_ns(&self) -> Option<u64> {
        let after = match self.looks.checked_sub(CLOSE_LOOKS) {
            None => {
                let looks = self.looks as u64 + 1;
                CLOSE_NS * (looks * (looks + 7) / 2)
            }
            Some(further) => *AGAIN_NS.get(further)?,
        };
        Some(self.first_ns.saturating_add(after))
    }

    fn is(&self, path: &str, id: Option<u64>) -> bool {
        match (self.id, id) {
            (Some(own), Some(id)) => own == id,
            _ => *self.path == *path,
        }
    }
}

impl Pending {
    /// Looks again for this one, closely at first if it is new; false if too many wait.
    pub(super) fn add(&mut self, path: &Arc<str>, id: Option<u64>, new: bool, now_ns: u64) -> bool {
        if self.waiting.iter().any(|again| again.is(path, id)) {
            return true;
        }
        let of_user = may_be_users(path);
        let share = |room: usize| room / 2;
        let alike = || self.waiting.iter().filter(|again| again.of_user == of_user);
        if alike().count() >= share(ROOM) {
            return false;
        }
        let close = |again: &&Again| again.looks < CLOSE_LOOKS;
        let crowded = alike().filter(close).count() >= share(CLOSE_ROOM);
        self.waiting.push(Again {
            path: path.clone(),
            id,
            first_ns: now_ns,
            looks: if crowded || !new { CLOSE_LOOKS } else { 0 },
            of_user,
        });
        true
    }

    /// It is removed, or was found.
    pub(super) fn cancel(&mut self, path: &str, id: Option<u64>) {
        self.waiting.retain(|again| !again.is(path, id));
    }

    /// It, with all below it, has another name.
    pub(super) fn rename(&mut self, from: &str, to: &str) {
        for again in &mut self.waiting {
            let below = again.path.strip_prefix(from);
            if let Some(below) = below.filter(|rest| rest.is_empty() || rest.starts_with('/')) {
                again.path = format!("{to}{below}").into();
            }
        }
    }

    /// One that is due now, and whether this is its last look.
    pub(super) fn due(&mut self, now_ns: u64) -> Option<(Again, bool)> {
        let at = self
            .waiting
            .iter()
            .position(|again| again.due_ns().is_some_and(|due| due <= now_ns))?;
        let again = self.waiting.get_mut(at)?;
        again.looks += 1;
        // A look that comes late stands for those before it.
        while again.due_ns().is_some_and(|due| due <= now_ns) {
            again.looks += 1;
        }
        if again.due_ns().is_none() {
            return Some((self.waiting.swap_remove(at), true));
        }
        Some((again.clone(), false))
    }

    /// When the next one is due.
    pub(super) fn next_ns(&self) -> Option<u64> {
        self.waiting.iter().filter_map(Again::due_ns).min()
    }
}

/// Below a unit, others than the host's runtimes may make cgroups: systemd delegates it.
fn may_be_users(path: &str) -> bool {
    let place = attribute(path);
    place.owner.uid.is_some() || place.level == LimitLevel::Nested
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_makes_cgroups_of_his_own_takes_no_room_of_roots() {
        let mut pending = Pending::default();
        let user = |n| format!("/user.slice/user-7.slice/user@7.service/{n}").into();
        for n in 0..2 * ROOM {
            pending.add(&user(n), Some(n as u64), true, 0);
        }
        assert_eq!(pending.waiting.len(), ROOM / 2);
        assert!(pending.add(&"/web".into(), Some(1 << 20), true, 0));
        let web = pending.waiting.last().unwrap();
        assert_eq!((web.looks, web.of_user), (0, false));
    }

    const MS: u64 = 1_000_000;

    #[test]
    fn each_is_looked_up_often_at_first_and_then_rarely() {
        let mut pending = Pending::default();
        assert!(pending.add(&"/a".into(), Some(1), true, 0));
        let mut looks = Vec::new();
        while let Some(next) = pending.next_ns() {
            assert!(pending.due(next - 1).is_none());
            let (again, last) = pending.due(next).unwrap();
            assert_eq!(*again.path, *"/a");
            looks.push((next / MS, last));
        }
        let close = (1..=22).map(|look| look * (look + 7) / 2);
        let wanted = close.chain([600, 1_500, 6_000]);
        let wanted: Vec<_> = wanted.map(|ms| (ms, ms == 6_000)).collect();
        assert_eq!(looks, wanted);
    }

    #[test]
    fn in_a_crowd_there_are_no_close_looks() {
        let mut pending = Pending::default();
        for number in 0..CLOSE_ROOM as u64 {
            pending.add(&format!("/{number}").into(), Some(number), true, 0);
        }
        pending.add(&"/one-more".into(), Some(1_000_000), true, 0);
        let looks = |pending: &Pending| pending.waiting.last().map(|last| last.looks);
        assert_eq!(looks(&pending), Some(CLOSE_LOOKS));
        // What has been there for long makes no crowd.
        let mut pending = Pending::default();
        for number in 0..CLOSE_ROOM as u64 {
            pending.add(&format!("/{number}").into(), Some(number), false, 0);
        }
        pending.add(&"/new".into(), Some(1_000_000), true, 0);
        assert_eq!(looks(&pending), Some(0));
    }

    #[test]
    fn a_late_look_stands_for_those_before_it() {
        let mut pending = Pending::default();
        pending.add(&"/a".into(), Some(1), true, 0);
        assert!(pending.due(100 * MS).is_some());
        assert!(pending.due(100 * MS).is_none());
        assert_eq!(pending.next_ns(), Some(114 * MS));
        assert!(pending.due(7_000 * MS).unwrap().1);
        assert_eq!(pending.next_ns(), None);
    }

    #[test]
    fn what_is_removed_is_forgotten_and_what_is_renamed_followed() {
        let mut pending = Pending::default();
        for (path, id) in [("/a", 1), ("/a/b", 2), ("/ab", 3)] {
            pending.add(&path.into(), Some(id), true, 0);
        }
        pending.rename("/a", "/c");
        let paths = |pending: &Pending| -> Vec<String> {
            let paths = pending.waiting.iter().map(|again| again.path.to_string());
            paths.collect()
        };
        assert_eq!(paths(&pending), ["/c", "/c/b", "/ab"]);
        pending.cancel("/c", Some(1));
        pending.cancel("/ab", None);
        assert_eq!(paths(&pending), ["/c/b"]);
        // Another cgroup of the same name.
        pending.cancel("/c/b", Some(9));
        assert_eq!(paths(&pending), ["/c/b"]);
    }

    #[test]
    fn there_is_room_for_so_many() {
        let mut pending = Pending::default();
        let room = ROOM as u64 / 2;
        for id in 0..room {
            assert!(pending.add(&format!("/{id}").into(), Some(id), true, 0));
        }
        assert!(
            pending.add(&"/0".into(), Some(0), true, 0),
            "it waits already"
        );
        assert!(!pending.add(&"/more".into(), Some(room), true, 0));
    }
}
