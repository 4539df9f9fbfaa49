//! What was known of a cgroup before the kill: its names, and when it lived.
//!
//! Fed with the evidence of the watch; asked by path and time. A cgroup that was removed is kept for
//! [`RETENTION_NS`], so that a kill in a container that is gone a moment later still has its names. A
//! path may have had several lives, and an id several paths: each life is told apart by its id and by
//! when it began and ended. Bounded, in two pools: what only root's runtimes make, and all else, so that
//! nobody who makes cgroups of his own takes the room of containers. Beyond [`MAX_LIVES`] those longest
//! gone are forgotten first, and what finds no room is counted. Whatever takes long goes in small steps.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    sync::Arc,
};

use super::attribute;
use crate::event::{LimitLevel, Owner, Timestamp};
use crate::evidence::{Found, KnownCgroup, Lookup, Names, PodNames};

/// How long a removed cgroup is remembered.
pub(super) const RETENTION_NS: u64 = 300_000_000_000;

/// Cgroups that are remembered in each pool, those removed included.
pub(super) const MAX_LIVES: usize = 16_384;

/// Steps at a time of what may be long.
const STEPS: usize = 64;

/// Lives of one path that are told apart; a path that is made over and over keeps its latest.
const MAX_LIVES_OF_PATH: usize = 8;

/// One cgroup, from its creation to its removal.
#[derive(Clone, Debug)]
pub struct Life {
    /// kernfs id.
    pub id: Option<u64>,
    /// Version of its hierarchy.
    pub version: u8,
    /// When it was made, `CLOCK_MONOTONIC`. `None` if it is older than the watch.
    pub born_ns: Option<u64>,
    /// When it was removed.
    pub died_ns: Option<u64>,
    /// What its runtime calls it.
    pub names: Option<Arc<Names>>,
    /// Its creation has been told, as of that time.
    pub(super) told: Option<Timestamp>,
    /// When it was last looked up for a kill.
    pub(super) looked_up_ns: Option<u64>,
    /// Its runtime's file could not be used, which has been counted.
    pub(super) unreadable: bool,
    /// When it was last known to be there.
    seen_ns: u64,
    pool: usize,
    /// Its place among those that are gone.
    grave: Option<u64>,
}

/// Room for lives.
#[derive(Debug, Default)]
struct Pool {
    lives: usize,
    /// Removed ones, longest gone first; each is a life that is remembered.
    gone: BTreeMap<u64, (u64, Arc<str>)>,
}

/// All cgroups that are, and those that were.
#[derive(Debug, Default)]
pub struct Roster {
    by_path: HashMap<Arc<str>, VecDeque<Life>>,
    /// The path that an id was last known to have.
    by_id: HashMap<u64, Arc<str>>,
    /// Names of pods by the path of their cgroup, and how many lives tell them.
    pods: HashMap<String, (PodNames, usize)>,
    /// Containers of root's runtimes, and all else.
    pools: [Pool; 2],
    /// When a scan began, and what it may not have found.
    sweeping: (u64, Vec<Arc<str>>),
    untracked: u64,
    /// Cgroups that have been removed so far.
    buried: u64,
}

impl Roster {
    /// Cgroups that found no room.
    #[must_use]
    pub fn untracked(&self) -> u64 {
        self.untracked
    }

    /// How many lives are remembered.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pools.iter().map(|pool| pool.lives).sum()
    }

    /// How many of them are gone.
    #[cfg(test)]
    pub(super) fn gone(&self) -> usize {
        self.pools.iter().map(|pool| pool.gone.len()).sum()
    }

    /// Whether nothing is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Takes what is known of a cgroup; gives its present life, if there was room for it, and the one
    /// before if that turns out to have ended unseen.
    pub fn know(&mut self, known: &KnownCgroup) -> (Option<&mut Life>, Option<Life>) {
        let path = &known.path;
        let last = self.by_path.get(path).and_then(VecDeque::back);
        let lives = last.is_some_and(|life| life.died_ns.is_none());
        let same = last.is_some_and(|life| same_id(life.id, known.id));
        // Looked at before its removal, told behind it.
        let stale = same
            && last.is_some_and(|life| {
                let died = life.died_ns.is_some_and(|died| known.monotonic_ns <= died);
                died && life.id.is_some() && known.id.is_some()
            });
        let mut ended = None;
        // What was looked up when it was gone names the life that there was.
        let of_last = stale || same && (lives || known.found == Found::LookedUp);
        if !of_last {
            if lives {
                self.bury(path, known.monotonic_ns);
                ended = self.last(path).cloned();
            }
            if self.admit(known).is_none() {
                return (None, ended);
            }
            if known.id.is_none() {
                // Never seen alive: remembered as gone, for the report that follows.
                self.bury(path, known.monotonic_ns);
            }
        }
        let unknown_id = |life: &&Life| life.id.is_none();
        if let (Some(id), Some(_)) = (known.id, self.last(path).as_deref().filter(unknown_id)) {
            self.by_id.insert(id, path.clone());
        }
        if let Some(life) = self.last(path) {
            // A kill asked for it, or a scan found it, before the watch told that it was made.
            if known.found == Found::Created && life.died_ns.is_none() {
                let made_ns = known.monotonic_ns.min(life.seen_ns);
                life.born_ns = life.born_ns.or(Some(made_ns));
            }
            life.seen_ns = life.seen_ns.max(known.monotonic_ns);
            life.id = life.id.or(known.id);
            if known.found == Found::LookedUp {
                life.looked_up_ns = Some(known.monotonic_ns);
            }
        }
        self.name(known);
        (self.last(path), ended)
    }

    fn last(&mut self, path: &str) -> Option<&mut Life> {
        self.by_path.get_mut(path)?.back_mut()
    }

    fn admit(&mut self, known: &KnownCgroup) -> Option<()> {
        let pool = usize::from(!is_roots(known));
        if self.pools[pool].lives >= MAX_LIVES && !self.forget_one(pool) {
            self.untracked += 1;
            return None;
        }
        let born = matches!(known.found, Found::Created | Found::Late);
        let lives = self.by_path.entry(known.path.clone()).or_default();
        lives.push_back(Life {
            id: known.id,
            version: known.version,
            born_ns: born.then_some(known.monotonic_ns),
            died_ns: None,
            names: None,
            told: None,
            looked_up_ns: None,
            unreadable: false,
            seen_ns: known.monotonic_ns,
            pool,
            grave: None,
        });
        self.pools[pool].lives += 1;
        let surplus = (lives.len() > MAX_LIVES_OF_PATH).then(|| lives.pop_front());
        if let Some(oldest) = surplus.flatten() {
            self.let_go(&known.path, &oldest);
        }
        if let Some(id) = known.id {
            self.by_id.insert(id, known.path.clone());
        }
        Some(())
    }

    /// Gives the newest life of a path its names, once.
    fn name(&mut self, known: &KnownCgroup) {
        let Lookup::Found(names) = &known.lookup else {
            return;
        };
        let Some(life) = self.last(&known.path) else {
            return;
        };
        if life
            .names
            .as_ref()
            .is_some_and(|before| before.pod.is_some())
        {
            return;
        }
        life.names = Some(names.clone());
        if let Some(pod) = &names.pod
            && let Some(path) = pod_path(&known.path)
        {
            let entry = self.pods.entry(path.to_owned()).or_default();
            entry.0.namespace = entry.0.namespace.take().or_else(|| pod.namespace.clone());
            entry.0.name = entry.0.name.take().or_else(|| pod.name.clone());
            entry.1 += 1;
        }
    }

    /// A cgroup was removed; gives the life that ended.
    pub fn remove(&mut self, path: &Arc<str>, id: Option<u64>, at_ns: u64) -> Option<&Life> {
        let life = self.by_path.get(path)?.back()?;
        if life.died_ns.is_some() || !same_id(life.id, id) {
            return None;
        }
        self.bury(path, at_ns);
        self.by_path.get(path)?.back()
    }

    fn bury(&mut self, path: &Arc<str>, at_ns: u64) {
        let grave = self.buried;
        let Some(life) = self.last(path) else {
            return;
        };
        let (pool, before) = (life.pool, life.grave.replace(grave));
        life.died_ns = Some(at_ns);
        self.buried += 1;
        let gone = &mut self.pools[pool].gone;
        if let Some(before) = before {
            gone.remove(&before);
        }
        gone.insert(grave, (at_ns, path.clone()));
    }

    /// A cgroup, and all below it, has another path (version 1 only).
    pub fn rename(&mut self, from: &str, to: &str) {
        let below = format!("{from}/");
        let moved: Vec<Arc<str>> = self
            .by_path
            .keys()
            .filter(|path| &***path == from || path.starts_with(&below))
            .cloned()
            .collect();
        for path in moved {
            let new: Arc<str> = format!("{to}{}", &path[from.len()..]).into();
            let lives = self.by_path.get_mut(&path);
            let not_gone = |life: &mut Life| life.died_ns.is_none();
            let Some(life) = lives.and_then(|lives| lives.pop_back_if(not_gone)) else {
                continue;
            };
            if self.by_path.get(&path).is_some_and(VecDeque::is_empty) {
                self.by_path.remove(&path);
            }
            if let Some(id) = life.id {
                self.by_id.insert(id, new.clone());
            }
            // The kernel renames nothing onto what is there: the removal of that was not seen.
            let there = self.last(&new).is_some_and(|there| there.died_ns.is_none());
            if there {
                self.bury(&new, life.seen_ns);
            }
            self.by_path.entry(new).or_default().push_back(life);
        }
    }

    /// A scan that began then is complete: what it did not find any more was removed. The next calls of
    /// [`Roster::sweep_some`] tell what that is.
    pub fn sweep(&mut self, began_ns: u64) {
        self.sweeping = (began_ns, self.by_path.keys().cloned().collect());
    }

    /// Some of those that the last scan did not find; `None` when that is done.
    pub fn sweep_some(&mut self) -> Option<Vec<(Arc<str>, Life)>> {
        let (began_ns, mut left) = std::mem::take(&mut self.sweeping);
        if left.is_empty() {
            return None;
        }
        let some = left.split_off(left.len().saturating_sub(STEPS));
        let mut gone = Vec::new();
        for path in some {
            let missing = self
                .last(&path)
                .is_some_and(|life| life.died_ns.is_none() && life.seen_ns < began_ns);
            if missing {
                self.bury(&path, began_ns);
                gone.extend(self.last(&path).cloned().map(|life| (path, life)));
            }
        }
        self.sweeping = (began_ns, left);
        Some(gone)
    }

    /// Forgets some of what was removed long ago; whether there is more to do.
    pub fn tick(&mut self, now_ns: u64) -> bool {
        let mut more = !self.sweeping.1.is_empty();
        for pool in 0..self.pools.len() {
            let mut steps = STEPS;
            while self.is_due(pool, now_ns) {
                if steps == 0 {
                    more = true;
                    break;
                }
                steps -= 1;
                self.forget_one(pool);
            }
        }
        more
    }

    fn is_due(&self, pool: usize, now_ns: u64) -> bool {
        let longest = self.pools[pool].gone.first_key_value();
        longest.is_some_and(|(_, (at, _))| now_ns.saturating_sub(*at) > RETENTION_NS)
    }

    fn forget_one(&mut self, pool: usize) -> bool {
        let Some((grave, (_, path))) = self.pools[pool].gone.pop_first() else {
            return false;
        };
        let Some(lives) = self.by_path.get_mut(&path) else {
            return false;
        };
        let is_it = |life: &Life| life.grave == Some(grave);
        let Some(life) = lives.iter().position(is_it).and_then(|at| lives.remove(at)) else {
            return false;
        };
        if lives.is_empty() {
            self.by_path.remove(&path);
        }
        self.let_go(&path, &life);
        true
    }

    fn let_go(&mut self, path: &Arc<str>, life: &Life) {
        let pool = &mut self.pools[life.pool];
        pool.lives -= 1;
        if let Some(grave) = life.grave {
            pool.gone.remove(&grave);
        }
        if let Some(id) = life.id
            && self.by_id.get(&id) == Some(path)
            && !self.has_id(path, id)
        {
            self.by_id.remove(&id);
        }
        let pod = life.names.as_ref().and_then(|names| names.pod.as_ref());
        if let Some(path) = pod.and_then(|_| pod_path(path))
            && let Some(entry) = self.pods.get_mut(path)
        {
            entry.1 -= 1;
            if entry.1 == 0 {
                self.pods.remove(path);
            }
        }
    }

    fn has_id(&self, path: &str, id: u64) -> bool {
        let lives = self.by_path.get(path);
        lives.is_some_and(|lives| lives.iter().any(|life| life.id == Some(id)))
    }

    /// The path that a cgroup of this id had last.
    #[must_use]
    pub fn path_of(&self, id: u64) -> Option<&Arc<str>> {
        self.by_id.get(&id)
    }

    /// The life of a path at a moment; of the right id, where both are known.
    #[must_use]
    pub fn life(&self, path: &str, id: Option<u64>, at_ns: u64) -> Option<&Life> {
        let lives = self.by_path.get(path)?;
        let fits = |life: &&Life| same_id(life.id, id);
        let there = |life: &&Life| {
            life.born_ns.is_none_or(|born| born <= at_ns)
                && life.died_ns.is_none_or(|died| died >= at_ns)
        };
        let newest = || lives.iter().rev().filter(fits);
        // Times of a late find are later than what they tell of: then the nearest life has to do.
        newest().find(there).or_else(|| newest().next())
    }

    /// Names of the pod that a cgroup is in. By the pod's cgroup, not by its uid: somebody else can make a
    /// cgroup that names the same uid.
    #[must_use]
    pub fn pod(&self, path: &str) -> Option<&PodNames> {
        self.pods.get(pod_path(path)?).map(|(names, _)| names)
    }
}

fn same_id(a: Option<u64>, b: Option<u64>) -> bool {
    a.is_none() || b.is_none() || a == b
}

/// Whether none but root's runtimes can have made it.
fn is_roots(known: &KnownCgroup) -> bool {
    if matches!(known.lookup, Lookup::NotNeeded) {
        return false;
    }
    let place = attribute(&known.path);
    let claimed = matches!(known.lookup, Lookup::Found(_));
    place.owner.uid.is_none() && (claimed || place.level == LimitLevel::Container)
}

/// The cgroup of the pod that a cgroup is in.
fn pod_path(path: &str) -> Option<&str> {
    let pod = attribute(path).owner.pod?;
    prefix(path, |owner| {
        owner.pod.as_ref().is_some_and(|it| it.uid == pod.uid)
    })
}

/// The cgroup of the container that a cgroup is in, as far as the path tells.
pub(super) fn container_path(path: &str) -> Option<&str> {
    let id = attribute(path).owner.container_id?;
    prefix(path, |owner| owner.container_id.as_ref() == Some(&id))
}

/// The first cgroup on the way from the root whose owner is the right one.
fn prefix(path: &str, is_it: impl Fn(&Owner) -> bool) -> Option<&str> {
    let ends = path.match_indices('/').map(|(at, _)| at).skip(1);
    ends.chain([path.len()])
        .map(|end| &path[..end])
        .find(|prefix| is_it(&attribute(prefix).owner))
}
