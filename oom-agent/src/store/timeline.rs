//! How many events of whom, and when: counts by owner and by time.
//!
//! Reads the index alone, no event itself: one pass over the events that are meant, some 100 bytes of each. Emits
//! counts, of the owners with the most each, of all others together. Refuses reports, which have several owners: their
//! kills are counted.

use std::collections::{BTreeMap, HashMap};

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
    /// The pod and its container, else the container, else the unit, else the cgroup.
    Owner,
    /// The namespace of the pod.
    Namespace,
    /// The pod, with its namespace.
    Pod,
    /// The container's name, whichever pod it is in.
    Container,
    /// The systemd unit.
    Unit,
    /// The cgroup.
    Cgroup,
    /// The victim's name.
    Comm,
    /// The workload of the pod, with its namespace.
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
    /// All owners.
    pub owners: u64,
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
const NAMES: usize = 7;

impl By {
    /// Fields that name an owner, and the conditions that they answer to. With several, an earlier group of names hides
    /// the later ones ([`chosen`]).
    const fn fields(self) -> &'static [(Field, &'static str)] {
        match self {
            Self::Owner => &[
                (Field::Namespace, "namespace"),
                (Field::PodName, "pod"),
                (Field::PodUid, "pod"),
                (Field::ContainerName, "container"),
                (Field::ContainerId, "container"),
                (Field::Unit, "unit"),
                (Field::Cgroup, "cgroup"),
            ],
            Self::Pod => &[
                (Field::Namespace, "namespace"),
                (Field::PodName, "pod"),
                (Field::PodUid, "pod"),
            ],
            Self::Namespace => &[(Field::Namespace, "namespace")],
            Self::Container => &[(Field::ContainerName, "container")],
            Self::Unit => &[(Field::Unit, "unit")],
            Self::Cgroup => &[(Field::Cgroup, "cgroup")],
            Self::Comm => &[(Field::Comm, "comm")],
            Self::Workload => &[
                (Field::Namespace, "namespace"),
                (Field::Workload, "workload"),
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
        let mut owners: HashMap<Owner, u32> = HashMap::new();
        let mut events: Vec<(i64, u32)> = Vec::new();
        lists.each(&tx, range, |time, seq, terms| {
            let mut names = [0; NAMES];
            for term in terms.trim_matches(['[', ']']).split(", ") {
                let term: i64 = term.parse().map_err(|_| QueryError::Damaged(seq))?;
                if let Some(place) = places.get(&term) {
                    names[usize::from(*place)] = term;
                }
            }
            let next = u32::try_from(owners.len()).unwrap_or(u32::MAX);
            let owner = *owners.entry(chosen(counted.by, names)).or_insert(next);
            events.push((time, owner));
            Ok(())
        })?;
        let mut timeline = spread(filter, counted, &events);
        let (ranks, top) = ranked(&owners, &events, counted.top);
        timeline.owners = u64::try_from(owners.len()).unwrap_or(u64::MAX);
        for (owner, total) in top {
            timeline.rows.push(Row {
                of: named(&tx, fields, owner)?,
                total,
                counts: timeline.rest.clone(),
            });
        }
        for (time, owner) in events {
            let at = time.abs_diff(timeline.from) / timeline.bucket_ns.unsigned_abs();
            let at = usize::try_from(at).unwrap_or(usize::MAX);
            let at = at.min(timeline.rest.len() - 1);
            let rank = ranks.get(&owner);
            match rank.and_then(|rank| timeline.rows.get_mut(*rank)) {
                Some(row) => row.counts[at] += 1,
                None => timeline.rest[at] += 1,
            }
        }
        Ok(timeline)
    }
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
    if matches!(by, By::Owner | By::Pod) && names[1] != 0 {
        names[2] = 0;
    }
    if !matches!(by, By::Owner) {
        return names;
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
    names
}

/// Time, divided.
fn spread(filter: &Filter, counted: Counted, events: &[(i64, u32)]) -> Timeline {
    let times = events.iter().map(|(time, _)| *time);
    let to = times.clone().max().unwrap_or(i64::MIN).max(counted.now_ns);
    let to = filter.until.unwrap_or(to);
    let from = filter.since.or(times.min()).unwrap_or(to);
    let buckets = i64::from(counted.buckets.max(1));
    let bucket_ns = to.saturating_sub(from).max(0) / buckets + 1;
    Timeline {
        from,
        to,
        bucket_ns,
        total: u64::try_from(events.len()).unwrap_or(u64::MAX),
        owners: 0,
        rows: Vec::new(),
        rest: vec![0; usize::from(counted.buckets.max(1))],
    }
}

/// The rank of each owner among those with the most events, and these with their numbers. Of equals the one that came
/// first.
fn ranked<'a>(
    owners: &'a HashMap<Owner, u32>,
    events: &[(i64, u32)],
    top: usize,
) -> (HashMap<u32, usize>, Vec<(&'a Owner, u64)>) {
    let mut totals = vec![0_u64; owners.len()];
    for (_, owner) in events {
        if let Some(total) = usize::try_from(*owner)
            .ok()
            .and_then(|at| totals.get_mut(at))
        {
            *total += 1;
        }
    }
    let total = |at: u32| {
        usize::try_from(at)
            .ok()
            .and_then(|at| totals.get(at).copied())
    };
    let mut all: Vec<_> = (owners.iter())
        .map(|(owner, at)| (std::cmp::Reverse(total(*at).unwrap_or(0)), *at, owner))
        .collect();
    all.sort_unstable_by_key(|(total, at, _)| (*total, *at));
    all.truncate(top);
    let ranks = all.iter().enumerate().map(|(rank, (_, at, _))| (*at, rank));
    let top = all.iter().map(|(total, _, owner)| (*owner, total.0));
    (ranks.collect(), top.collect())
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
