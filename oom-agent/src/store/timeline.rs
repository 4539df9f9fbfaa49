//! How many events of whom, and when: counts by owner and by time.
//!
//! Reads the index alone, no event itself: one pass over the events that are meant, some 100 bytes of each, of which only
//! counts are kept. Emits counts, of the owners with the most each, of all others together. Refuses reports, which have
//! several owners: their kills are counted. Refuses also to know more than so many owners apart.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, HashMap, hash_map::Entry},
};

use rusqlite::{Transaction, params};

use super::{
    Filter, Order, QueryError, Reader, index,
    lists::{Lists, Range},
    terms::Field,
};
use crate::event::Kind;

/// What events are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum By {
    /// The pod of a cluster and its container; else the container, else the unit, else the cgroup of a node.
    Owner,
    /// The namespace of the pod, with its cluster.
    Namespace,
    /// The pod, with its namespace and its cluster.
    Pod,
    /// The container by its name, else its id, with its pod; in none it is another one on each node.
    Container,
    /// The systemd unit, on whichever nodes.
    Unit,
    /// The cgroup, on whichever nodes.
    Cgroup,
    /// The victim's name.
    Comm,
    /// The workload of the pod, with its namespace and its cluster.
    Workload,
    /// The node, with its cluster.
    Node,
    /// The cluster.
    Cluster,
}

/// How it is counted.
#[derive(Clone, Copy, Debug)]
pub struct Counted {
    /// Kind of event; never a report.
    pub kind: Kind,
    /// By what.
    pub by: By,
    /// Into so many parts time is divided, at least one.
    pub buckets: u16,
    /// So many owners are told one by one.
    pub top: usize,
    /// So many owners are known apart; those that come first in time.
    pub apart: usize,
    /// Unix time in nanoseconds: where time ends if the filter does not say.
    pub now_ns: i64,
}

/// The counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// Unix time in nanoseconds at which the first part begins: that of the filter, else of the oldest event.
    pub from: i64,
    /// At which the last part ends, or a little later: that of the filter, else now, or the newest event.
    pub to: i64,
    /// How long one part is.
    pub bucket_ns: i64,
    /// All events.
    pub total: u64,
    /// All owners that are known apart.
    pub owners: u64,
    /// There are more: their events are among those of all others.
    pub more_owners: bool,
    /// Those with the most, the first of them first.
    pub rows: Vec<Row>,
    /// All others, by part.
    pub rest: Vec<u64>,
}

/// One owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// Its names, by the conditions that find its events. Empty if it has none.
    pub of: BTreeMap<&'static str, String>,
    /// Its events.
    pub total: u64,
    /// By part.
    pub counts: Vec<u64>,
}

/// The terms that name an owner, in the order of [`By::fields`]; 0 where it has none.
type Owner = [i64; NAMES];

/// An owner has so many names at most.
const NAMES: usize = 9;

/// What is counted of one owner.
#[derive(Debug)]
struct Share {
    /// How many owners came before it.
    before: usize,
    total: u64,
    /// Parts of time and their events; a part may be there several times.
    parts: Vec<(usize, u64)>,
}

impl By {
    /// Fields that name an owner, and the conditions that they answer to. With several, an earlier group of names hides
    /// the later ones ([`chosen`]).
    const fn fields(self) -> &'static [(Field, &'static str)] {
        match self {
            Self::Owner | Self::Container => &[
                (Field::Namespace, "namespace"),
                (Field::PodName, "pod"),
                (Field::PodUid, "pod"),
                (Field::ContainerName, "container"),
                (Field::ContainerId, "container"),
                (Field::Unit, "unit"),
                (Field::Cgroup, "cgroup"),
                (Field::Cluster, "cluster"),
                (Field::Node, "node"),
            ],
            Self::Pod => &[
                (Field::Namespace, "namespace"),
                (Field::PodName, "pod"),
                (Field::PodUid, "pod"),
                (Field::Cluster, "cluster"),
            ],
            Self::Namespace => &[(Field::Namespace, "namespace"), (Field::Cluster, "cluster")],
            Self::Unit => &[(Field::Unit, "unit")],
            Self::Cgroup => &[(Field::Cgroup, "cgroup")],
            Self::Comm => &[(Field::Comm, "comm")],
            Self::Workload => &[
                (Field::Namespace, "namespace"),
                (Field::Workload, "workload"),
                (Field::Cluster, "cluster"),
            ],
            Self::Node => &[(Field::Cluster, "cluster"), (Field::Node, "node")],
            Self::Cluster => &[(Field::Cluster, "cluster")],
        }
    }
}

impl Reader {
    /// Counts the events that a filter means; its kinds are not looked at.
    pub fn timeline(&self, filter: &Filter, counted: Counted) -> Result<Timeline, QueryError> {
        let tx = self.connection().unchecked_transaction()?;
        let fields = counted.by.fields();
        let places = places(&tx, counted.kind, fields)?;
        let lists = Lists::of(&tx, counted.kind, &filter.conditions())?;
        let range = Range::of(filter, Order::OldestFirst, None);
        let mut timeline = spread(&tx, filter, counted, &lists, range)?;
        let mut owners: HashMap<Owner, Share> = HashMap::new();
        lists.each(&tx, range, |time, seq, terms| {
            let owner = chosen(counted.by, named_by(terms, &places, seq)?);
            let at = timeline.part(time);
            timeline.total += 1;
            let before = owners.len();
            let share = match owners.entry(owner) {
                Entry::Occupied(known) => known.into_mut(),
                Entry::Vacant(new) if before < counted.apart => new.insert(Share {
                    before,
                    total: 0,
                    parts: Vec::new(),
                }),
                Entry::Vacant(_) => {
                    timeline.more_owners = true;
                    timeline.rest[at] += 1;
                    return Ok(());
                }
            };
            share.count(at);
            Ok(())
        })?;
        timeline.owners = u64::try_from(owners.len()).unwrap_or(u64::MAX);
        let mut all: Vec<_> = owners.into_iter().collect();
        // Of equals the one that came first.
        all.sort_unstable_by_key(|(_, share)| (Reverse(share.total), share.before));
        let others = all.split_off(counted.top.min(all.len()));
        for (_, share) in others {
            share.add_to(&mut timeline.rest);
        }
        for (owner, share) in all {
            let mut counts = vec![0; timeline.rest.len()];
            share.add_to(&mut counts);
            timeline.rows.push(Row {
                of: named(&tx, fields, &owner)?,
                total: share.total,
                counts,
            });
        }
        Ok(timeline)
    }
}

impl Share {
    fn count(&mut self, at: usize) {
        self.total += 1;
        match self.parts.last_mut() {
            Some((last, many)) if *last == at => *many += 1,
            _ => self.parts.push((at, 1)),
        }
    }

    fn add_to(&self, counts: &mut [u64]) {
        for (at, many) in &self.parts {
            counts[*at] += many;
        }
    }
}

impl Timeline {
    /// The part in which this time is.
    fn part(&self, time: i64) -> usize {
        let at = time.abs_diff(self.from) / self.bucket_ns.unsigned_abs();
        let at = usize::try_from(at).unwrap_or(usize::MAX);
        at.min(self.rest.len() - 1)
    }
}

/// The terms of an event (a JSON array) that name its owner, each at its place.
fn named_by(terms: &str, places: &HashMap<i64, u8>, seq: i64) -> Result<Owner, QueryError> {
    let mut names = [0; NAMES];
    for term in terms.trim_matches(['[', ']']).split(", ") {
        let term: i64 = term.parse().map_err(|_| QueryError::Damaged(seq))?;
        if let Some(place) = places.get(&term) {
            names[usize::from(*place)] = term;
        }
    }
    Ok(names)
}

/// Terms that name somebody, and at which place.
fn places(
    tx: &Transaction<'_>,
    kind: Kind,
    fields: &[(Field, &str)],
) -> Result<HashMap<i64, u8>, QueryError> {
    let mut find = tx.prepare_cached("SELECT id FROM term WHERE kind = ?1 AND field = ?2")?;
    let mut places = HashMap::new();
    for (place, (field, _)) in (0..).zip(fields) {
        let terms = find.query_map(params![index::number(kind), *field as u8], |row| row.get(0))?;
        for term in terms {
            places.insert(term?, place);
        }
    }
    Ok(places)
}

/// The names that count: a name goes before an id, and what a cgroup belongs to before its path.
const fn chosen(by: By, names: Owner) -> Owner {
    let mut names = names;
    if matches!(by, By::Owner | By::Container | By::Pod) && names[1] != 0 {
        names[2] = 0;
    }
    // A cluster is no owner by itself.
    match by {
        By::Owner => {}
        By::Container => {
            if names[3] == 0 && names[4] == 0 {
                return [0; NAMES];
            }
            if names[3] != 0 {
                names[4] = 0;
            }
            names[5] = 0;
            names[6] = 0;
            if names[1] != 0 || names[2] != 0 {
                names[8] = 0;
            }
            return names;
        }
        By::Namespace => {
            if names[0] == 0 {
                names[1] = 0;
            }
            return names;
        }
        By::Workload => {
            if names[0] == 0 && names[1] == 0 {
                names[2] = 0;
            }
            return names;
        }
        By::Pod => {
            if names[0] == 0 && names[1] == 0 && names[2] == 0 {
                names[3] = 0;
            }
            return names;
        }
        By::Unit | By::Cgroup | By::Comm | By::Node | By::Cluster => return names,
    }
    let in_pod = names[1] != 0 || names[2] != 0;
    // That of a container of a pod is another one after each restart.
    if names[3] != 0 || in_pod {
        names[4] = 0;
    }
    if in_pod || names[3] != 0 || names[4] != 0 {
        names[5] = 0;
    }
    if in_pod || names[3] != 0 || names[4] != 0 || names[5] != 0 {
        names[6] = 0;
    }
    // A pod is one in its cluster, wherever it runs.
    if in_pod {
        names[8] = 0;
    } else if names[3] == 0 && names[4] == 0 && names[5] == 0 && names[6] == 0 {
        // Where nobody died is no owner.
        names[7] = 0;
        names[8] = 0;
    }
    names
}

/// Time, divided: from the first event to the last, where the filter does not say.
fn spread(
    tx: &Transaction<'_>,
    filter: &Filter,
    counted: Counted,
    lists: &Lists,
    range: Range,
) -> Result<Timeline, QueryError> {
    let end = |order| {
        let mut ends = Vec::new();
        lists.clone().read(tx, range, order, 1, &mut ends)?;
        let times = ends.into_iter().map(|(time, _)| time);
        Ok::<_, QueryError>(match order {
            Order::OldestFirst => times.min(),
            Order::NewestFirst => times.max(),
        })
    };
    let to = match filter.until {
        Some(until) => until,
        None => end(Order::NewestFirst)?.map_or(counted.now_ns, |to| to.max(counted.now_ns)),
    };
    let from = match filter.since {
        Some(since) => since,
        None => end(Order::OldestFirst)?.unwrap_or(to),
    };
    let buckets = i64::from(counted.buckets.max(1));
    Ok(Timeline {
        from,
        to,
        bucket_ns: to.saturating_sub(from).max(0) / buckets + 1,
        total: 0,
        owners: 0,
        more_owners: false,
        rows: Vec::new(),
        rest: vec![0; usize::from(counted.buckets.max(1))],
    })
}

/// The words of an owner.
fn named(
    tx: &Transaction<'_>,
    fields: &[(Field, &'static str)],
    owner: &Owner,
) -> Result<BTreeMap<&'static str, String>, QueryError> {
    let mut word = tx.prepare_cached("SELECT word FROM term WHERE id = ?1")?;
    let mut names = BTreeMap::new();
    for ((_, name), term) in fields.iter().zip(owner).filter(|(_, term)| **term != 0) {
        names.insert(*name, word.query_row([term], |row| row.get(0))?);
    }
    Ok(names)
}

#[cfg(test)]
#[path = "timeline_tests.rs"]
mod tests;
