//! Which cgroups are recorded, and which are only looked at for a limit.
//!
//! Takes what the watch of cgroups saw; keeps histories. Pure: files are read elsewhere. Containers and
//! pods are always recorded, any other cgroup only while it has a limit of its own. Refuses more than
//! [`MAX_RECORDED`] at a time: containers come before pods, and these before others, and what a user may make in a
//! subtree of their own comes last, whatever it looks like; who finds no room is counted, and taken when there is some. A cgroup that was removed keeps its history for
//! [`KEEP_NS`], also beside one that is made anew at its path.

use std::{collections::BTreeMap, os::fd::OwnedFd, sync::Arc};

use super::{
    history::{History, Reading},
    schedule::{Pace, next_look},
};
use crate::{
    cgroup_path::attribute,
    event::{LimitLevel, OwnerKind},
    evidence::{CgroupEvidence, Found, KnownCgroup, Lookup},
};

/// Cgroups recorded at a time: with all of them moving at once, 4.3 MiB of samples.
pub const MAX_RECORDED: usize = 1024;

/// Cgroups looked at for a limit, at a time.
pub const MAX_WATCHED: usize = 8192;

/// How long a history outlives its cgroup.
pub const KEEP_NS: u64 = 10_000_000_000;

/// Histories kept of cgroups that are gone, 1 MiB of samples at most; of more the oldest are given up, and
/// counted.
pub const MAX_GONE: usize = 256;

/// Who comes first where there is no room for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Class {
    /// A container.
    Container,
    /// A pod.
    Pod,
    /// Any other cgroup, if it has a limit.
    Other,
    /// A container, by its looks, in the subtree of a user.
    UsersContainer,
    /// Any other cgroup there, if it has a limit.
    UsersOther,
}

impl Class {
    fn of(path: &str, lookup: &Lookup) -> Self {
        let place = attribute(path);
        let named = matches!(lookup, Lookup::Found(names) if names.container_id.is_some());
        if place.owner.uid.is_some() {
            return if named || place.level == LimitLevel::Container {
                Self::UsersContainer
            } else {
                Self::UsersOther
            };
        }
        match (place.owner.kind, place.level) {
            (OwnerKind::Container, LimitLevel::Container) => Self::Container,
            (OwnerKind::Pod, LimitLevel::Pod) => Self::Pod,
            (OwnerKind::Container, _) => Self::Other,
            _ if named => Self::Container,
            _ => Self::Other,
        }
    }

    /// Whether it is recorded only while it has a limit of its own.
    pub(super) fn needs_limit(self) -> bool {
        matches!(self, Self::Other | Self::UsersOther)
    }

    /// Whether a user may make as many of them as they like.
    fn is_users(self) -> bool {
        self >= Self::UsersContainer
    }
}

/// A cgroup that is recorded.
#[derive(Debug)]
pub(super) struct Recorded {
    pub(super) path: Arc<str>,
    pub(super) id: Option<u64>,
    pub(super) class: Class,
    /// When it was made; 0 if that was not seen.
    pub(super) made_ns: u64,
    /// When it was found to be removed.
    pub(super) gone_ns: Option<u64>,
    pub(super) pace: Pace,
    /// Its own limit, as it was read last.
    pub(super) limit: Option<u64>,
    pub(super) history: History,
    /// The newest reading, if it was not kept.
    pub(super) unkept: Option<Reading>,
    /// The file with its usage, if there is a descriptor to spare.
    pub(super) usage: Option<OwnedFd>,
    /// Spreads what is not done each second.
    pub(super) stagger: u64,
}

/// A cgroup that is looked at now and then: it may get a limit, or there may be room for it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Watched {
    pub(super) id: Option<u64>,
    pub(super) class: Class,
    pub(super) made_ns: u64,
    pub(super) due_ns: u64,
    pub(super) stagger: u64,
    /// It was refused once, and counted.
    refused: bool,
}

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Roster {
    pub(super) live: BTreeMap<Arc<str>, Recorded>,
    pub(super) gone: Vec<Recorded>,
    pub(super) watched: BTreeMap<Arc<str>, Watched>,
    /// When the first of `watched` is due.
    pub(super) watched_due_ns: Option<u64>,
    /// Cgroups for which there was no room, or not as long as there should be.
    pub(super) no_room: u64,
    count: u64,
}

impl Roster {
    /// Takes what the watch saw. Removals that it missed are found by reading.
    pub(super) fn take(&mut self, evidence: &CgroupEvidence) {
        match evidence {
            CgroupEvidence::Known(known) => self.known(known),
            CgroupEvidence::Removed {
                path,
                id,
                monotonic_ns,
                ..
            } => self.removed(path, *id, *monotonic_ns),
            CgroupEvidence::Renamed { from, path, .. } => self.renamed(from, path),
            CgroupEvidence::Scanned { .. } | CgroupEvidence::Lost { .. } => {}
        }
    }

    fn known(&mut self, known: &KnownCgroup) {
        if &*known.path == "/" {
            return;
        }
        let class = Class::of(&known.path, &known.lookup);
        let another = |id: Option<u64>| id.zip(known.id).is_some_and(|(a, b)| a != b);
        if let Some(recorded) = self.live.get_mut(&known.path) {
            if !another(recorded.id) {
                recorded.id = recorded.id.or(known.id);
                recorded.class = recorded.class.min(class);
                return;
            }
            self.retire(&known.path, known.monotonic_ns);
        }
        let before = self.watched.remove(&known.path);
        let before = before.filter(|before| !another(before.id));
        let watched = before.unwrap_or_else(|| {
            self.count += 1;
            let created = known.found == Found::Created;
            let made_ns = if created { known.monotonic_ns } else { 0 };
            Watched {
                id: known.id,
                class,
                made_ns,
                due_ns: if created { next_look(0, made_ns, 0) } else { 0 },
                stagger: self.count,
                refused: false,
            }
        });
        let watched = Watched {
            id: watched.id.or(known.id),
            class: watched.class.min(class),
            ..watched
        };
        if watched.class.needs_limit() {
            self.watch(&known.path, watched);
        } else {
            self.record(&known.path, watched);
        }
    }

    /// Records a cgroup, if there is room or can be made.
    pub(super) fn record(&mut self, path: &Arc<str>, watched: Watched) {
        if self.live.len() >= MAX_RECORDED && !self.make_room(watched.class) {
            self.no_room += u64::from(!watched.refused);
            let refused = Watched {
                refused: true,
                ..watched
            };
            return self.watch(path, refused);
        }
        let recorded = Recorded {
            path: path.clone(),
            id: watched.id,
            class: watched.class,
            made_ns: watched.made_ns,
            gone_ns: None,
            pace: Pace::default(),
            limit: None,
            history: History::default(),
            unkept: None,
            usage: None,
            stagger: watched.stagger,
        };
        self.live.insert(path.clone(), recorded);
    }

    /// Gives up one of those that come after `class`.
    fn make_room(&mut self, class: Class) -> bool {
        let last = self.live.values().max_by_key(|recorded| recorded.class);
        let Some(last) = last.filter(|last| last.class > class) else {
            return false;
        };
        let path = last.path.clone();
        self.no_room += 1;
        self.unrecord(&path, 0, true);
        true
    }

    /// Forgets the history of a cgroup, but not the cgroup: it is looked at next at `due_ns`.
    pub(super) fn unrecord(&mut self, path: &Arc<str>, due_ns: u64, refused: bool) {
        let Some(recorded) = self.live.remove(path) else {
            return;
        };
        let watched = Watched {
            id: recorded.id,
            class: recorded.class,
            made_ns: recorded.made_ns,
            due_ns,
            stagger: recorded.stagger,
            refused,
        };
        self.watch(path, watched);
    }

    /// Looks at a cgroup now and then.
    pub(super) fn watch(&mut self, path: &Arc<str>, watched: Watched) {
        let is_full = self.watched.len() >= MAX_WATCHED && !self.watched.contains_key(path);
        if is_full && (watched.class.is_users() || !self.unwatch_a_users()) {
            self.no_room += u64::from(!watched.refused);
            return;
        }
        let due = watched.due_ns;
        self.watched_due_ns = Some(self.watched_due_ns.map_or(due, |first| first.min(due)));
        self.watched.insert(path.clone(), watched);
    }

    /// Gives up one that a user made.
    fn unwatch_a_users(&mut self) -> bool {
        let mut watched = self.watched.iter();
        let users = watched.find(|(_, watched)| watched.class.is_users());
        let Some(path) = users.map(|(path, _)| path.clone()) else {
            return false;
        };
        let given_up = self.watched.remove(&path);
        self.no_room += u64::from(given_up.is_some_and(|watched| !watched.refused));
        true
    }

    fn removed(&mut self, path: &Arc<str>, id: Option<u64>, at_ns: u64) {
        let is = |known: Option<u64>| known.zip(id).is_none_or(|(a, b)| a == b);
        if self.live.get(path).is_some_and(|live| is(live.id)) {
            self.retire(path, at_ns);
        }
        if self.watched.get(path).is_some_and(|watched| is(watched.id)) {
            self.watched.remove(path);
        }
    }

    /// A cgroup is gone; its history stays for a while.
    pub(super) fn retire(&mut self, path: &Arc<str>, at_ns: u64) {
        if let Some(mut recorded) = self.live.remove(path) {
            recorded.gone_ns = Some(at_ns);
            recorded.usage = None;
            if !recorded.history.is_empty() || recorded.unkept.is_some() {
                if self.gone.len() >= MAX_GONE {
                    self.gone.remove(0);
                    self.no_room += 1;
                }
                self.gone.push(recorded);
            }
        }
    }

    /// Forgets histories that have been kept long enough.
    pub(super) fn forget(&mut self, now_ns: u64) {
        self.gone.retain(|recorded| {
            let gone_ns = recorded.gone_ns.unwrap_or(now_ns);
            now_ns.saturating_sub(gone_ns) < KEEP_NS
        });
    }

    fn renamed(&mut self, from: &str, to: &str) {
        let moved = |path: &str| {
            let rest = path.strip_prefix(from)?;
            (rest.is_empty() || rest.starts_with('/')).then(|| Arc::from(format!("{to}{rest}")))
        };
        let paths: Vec<(Arc<str>, Arc<str>)> = below(&self.live, from)
            .filter_map(|(path, _)| Some((path.clone(), moved(path)?)))
            .collect();
        for (old, new) in paths {
            if let Some(mut recorded) = self.live.remove(&old) {
                recorded.path = new.clone();
                self.live.insert(new, recorded);
            }
        }
        let paths: Vec<(Arc<str>, Arc<str>)> = below(&self.watched, from)
            .filter_map(|(path, _)| Some((path.clone(), moved(path)?)))
            .collect();
        for (old, new) in paths {
            if let Some(watched) = self.watched.remove(&old) {
                self.watched.insert(new, watched);
            }
        }
    }

    /// The one that was at this path at this moment, there or gone: of several the youngest.
    pub(super) fn at(&self, path: &str, monotonic_ns: u64) -> Option<&Recorded> {
        let gone = self.gone.iter().filter(|gone| &*gone.path == path);
        gone.chain(self.live.get(path))
            .filter(|recorded| {
                let gone = recorded.gone_ns.is_some_and(|gone| gone < monotonic_ns);
                recorded.made_ns <= monotonic_ns && !gone
            })
            .max_by_key(|recorded| recorded.made_ns)
    }

    /// Whether the cgroup that is at this path now was made after this moment.
    pub(super) fn is_young(&self, path: &str, monotonic_ns: u64) -> bool {
        let live = self.live.get(path).map(|recorded| recorded.made_ns);
        let watched = || self.watched.get(path).map(|watched| watched.made_ns);
        live.or_else(watched)
            .is_some_and(|made| made > monotonic_ns)
    }

    /// The limit of the nearest ancestor that is recorded and has one.
    pub(super) fn limit_above(&self, path: &str) -> Option<u64> {
        ancestors(path).find_map(|above| self.live.get(above)?.limit)
    }
}

/// The paths above a path, nearest first, without the root.
pub(super) fn ancestors(path: &str) -> impl Iterator<Item = &str> {
    std::iter::successors(Some(path), |path| {
        let (above, _) = path.rsplit_once('/')?;
        Some(above).filter(|above| !above.is_empty())
    })
    .skip(1)
}

/// What is at a path and below it, with some that only begin alike.
pub(super) fn below<'a, T>(
    map: &'a BTreeMap<Arc<str>, T>,
    path: &'a str,
) -> impl Iterator<Item = (&'a Arc<str>, &'a T)> {
    use std::ops::Bound::{Included, Unbounded};
    map.range::<str, _>((Included(path), Unbounded))
        .take_while(move |(other, _)| other.starts_with(path))
}
