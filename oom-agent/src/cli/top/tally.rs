//! Kills counted by what they have in common.
//!
//! Reads events of kills or reports; emits a row for each word, and where it means another thing in each cluster or on
//! each node, for each of those, as `/v1/timeline` does. Kills of which it is not known have a row of their own. Refuses
//! to count a kill twice: reports count by their victims.

use std::{
    collections::{BTreeMap, BTreeSet, btree_map::Entry},
    sync::Arc,
};

use serde::Serialize;

use crate::{
    cli::owner_cell,
    event::{Event, OomInstance, OomKill, Timestamp, workload},
};

/// What kills are counted by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum, Serialize)]
#[serde(rename_all = "kebab-case")]
pub(super) enum By {
    /// Whoever it was: the container, the unit, else the cgroup. What is in no pod is another one on each node.
    Owner,
    /// The container, by its pod and name.
    Container,
    /// The pod, with its cluster if there are several.
    Pod,
    /// The namespace of the pod, with its cluster if there are several.
    Namespace,
    /// The workload: the name of the pod without what controllers append; with its cluster if there are several.
    Workload,
    /// The image of the container.
    Image,
    /// The node, with its cluster if there are several.
    Node,
    /// The cluster of the node.
    Cluster,
    /// The systemd unit, on whichever nodes.
    Unit,
    /// The cgroup, on whichever nodes.
    Cgroup,
    /// The name of the process.
    Comm,
    /// What ran out of memory.
    Scope,
    /// Whose limit was hit.
    Level,
    /// The hour (UTC).
    Hour,
    /// The day (UTC).
    Day,
}

impl By {
    /// Alerts do not tell it.
    pub(super) const fn needs_reports(self) -> bool {
        matches!(self, Self::Scope | Self::Level)
    }

    /// It has an order of its own.
    pub(super) const fn is_time(self) -> bool {
        matches!(self, Self::Hour | Self::Day)
    }

    /// Of a column.
    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Owner => "OWNER",
            Self::Container => "CONTAINER",
            Self::Pod => "POD",
            Self::Namespace => "NAMESPACE",
            Self::Workload => "WORKLOAD",
            Self::Image => "IMAGE",
            Self::Node => "NODE",
            Self::Cluster => "CLUSTER",
            Self::Unit => "UNIT",
            Self::Cgroup => "CGROUP",
            Self::Comm => "PROCESS",
            Self::Scope => "SCOPE",
            Self::Level => "LIMIT OF",
            Self::Hour => "HOUR (UTC)",
            Self::Day => "DAY (UTC)",
        }
    }

    fn word(self, kill: &OomKill, report: Option<&OomInstance>) -> Option<String> {
        let owner = kill.owner.as_ref();
        let cgroup = kill.cgroup.as_ref();
        let time = || kill.time.map(|time| time.to_string());
        match self {
            Self::Owner => owner_cell::owner(owner, cgroup),
            Self::Container => {
                let container = owner_cell::container(owner?)?;
                let pod = owner_cell::pod(owner?);
                Some(pod.map_or_else(|| container.clone(), |pod| format!("{pod}/{container}")))
            }
            Self::Pod => owner_cell::pod(owner?),
            Self::Namespace => owner?.pod.as_ref()?.namespace.clone(),
            Self::Workload => {
                let pod = owner?.pod.as_ref()?;
                let name = workload(pod.name.as_deref()?);
                let namespace = pod.namespace.as_deref();
                Some(namespace.map_or_else(|| name.to_owned(), |above| format!("{above}/{name}")))
            }
            Self::Image => owner?.image.clone(),
            Self::Node => kill.node.as_deref().map(str::to_owned),
            Self::Cluster => kill.cluster.as_deref().map(str::to_owned),
            Self::Unit => owner?.unit.clone(),
            Self::Cgroup => cgroup?.path.clone(),
            Self::Comm => Some(kill.victim.comm.to_string()),
            Self::Scope => Some(report?.scope?.as_str().to_owned()),
            Self::Level => {
                let level = serde_json::to_value(report?.limit.as_ref()?.level?).ok()?;
                level.as_str().map(str::to_owned)
            }
            Self::Hour => Some(format!("{}:00", time()?.get(..13)?.replace('T', " "))),
            Self::Day => Some(time()?.get(..10)?.to_owned()),
        }
    }
}

/// How far a word means the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reach {
    Node,
    Cluster,
    Everywhere,
}

impl Reach {
    /// A pod is one in its cluster, wherever it runs; what is in no pod is on its node.
    fn of(by: By, kill: &OomKill) -> Self {
        let in_pod = || kill.owner.as_ref().is_some_and(|owner| owner.pod.is_some());
        match by {
            By::Owner | By::Container if !in_pod() => Self::Node,
            By::Owner | By::Container | By::Pod | By::Namespace | By::Workload | By::Node => {
                Self::Cluster
            }
            By::Image
            | By::Cluster
            | By::Unit
            | By::Cgroup
            | By::Comm
            | By::Scope
            | By::Level
            | By::Hour
            | By::Day => Self::Everywhere,
        }
    }
}

/// A word, and where it means the same.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Name {
    key: Option<String>,
    cluster: Option<Arc<str>>,
    node: Option<Arc<str>>,
}

impl Name {
    fn of(by: By, kill: &OomKill, report: Option<&OomInstance>) -> Self {
        let key = by.word(kill, report);
        let reach = match key {
            Some(_) => Reach::of(by, kill),
            None => Reach::Everywhere,
        };
        let cluster = kill.cluster.clone().filter(|_| reach != Reach::Everywhere);
        let node = kill.node.clone().filter(|_| reach == Reach::Node);
        Self { key, cluster, node }
    }
}

/// A word and its kills.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub(super) struct Row {
    /// The word; null where it is not known.
    pub(super) key: Option<String>,
    /// In which cluster, if the kills that were counted are of several and the word means another thing in each.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) cluster: Option<Arc<str>>,
    /// On which node, likewise.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) node: Option<Arc<str>>,
    pub(super) kills: u64,
    /// Of all kills that were counted.
    pub(super) share_percent: f64,
    pub(super) last: Option<Timestamp>,
    pub(super) biggest: Option<Biggest>,
}

impl Row {
    fn new(Name { key, cluster, node }: Name) -> Self {
        Self {
            key,
            cluster,
            node,
            kills: 0,
            share_percent: 0.0,
            last: None,
            biggest: None,
        }
    }

    fn add(&mut self, kills: u64, last: Option<Timestamp>, biggest: Option<Biggest>) {
        self.kills += kills;
        self.last = self.last.max(last);
        let held = |biggest: &Option<Biggest>| biggest.as_ref().map(|biggest| biggest.rss_bytes);
        if held(&biggest) > held(&self.biggest) {
            self.biggest = biggest;
        }
    }
}

/// The victim that held the most.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Biggest {
    pub(super) id: Arc<str>,
    pub(super) comm: String,
    pub(super) pid: Option<u32>,
    pub(super) tid: u32,
    pub(super) rss_bytes: u64,
}

/// What has been counted.
#[derive(Debug)]
pub(super) struct Tally {
    by: By,
    words: BTreeMap<Name, Row>,
    clusters: BTreeSet<Arc<str>>,
    /// With their clusters.
    nodes: BTreeSet<(Option<Arc<str>>, Arc<str>)>,
    pub(super) kills: u64,
    pub(super) first: Option<Timestamp>,
    pub(super) last: Option<Timestamp>,
}

impl Tally {
    pub(super) const fn new(by: By) -> Self {
        Self {
            by,
            words: BTreeMap::new(),
            clusters: BTreeSet::new(),
            nodes: BTreeSet::new(),
            kills: 0,
            first: None,
            last: None,
        }
    }

    pub(super) fn add(&mut self, event: &Event) {
        match event {
            Event::OomKill(kill) => self.kill(kill, None),
            Event::OomInstance(report) => {
                for kill in &report.kills {
                    self.kill(kill, Some(report));
                }
            }
            // The first two are of kills that are counted already.
            Event::VictimEnd(_)
            | Event::OomStuck(_)
            | Event::ContainerCreation(_)
            | Event::ContainerDeletion(_) => {}
        }
    }

    fn kill(&mut self, kill: &OomKill, report: Option<&OomInstance>) {
        self.kills += 1;
        let times = [self.first, kill.time].into_iter().flatten();
        self.first = times.min();
        self.last = self.last.max(kill.time);
        self.clusters.extend(kill.cluster.clone());
        let node = kill.node.clone().map(|node| (kill.cluster.clone(), node));
        self.nodes.extend(node);
        let held = kill.memory.rss_bytes().or(kill.memory.anon_bytes);
        let biggest = held.map(|rss_bytes| Biggest {
            id: kill.id.clone(),
            comm: kill.victim.comm.to_string(),
            pid: kill.victim.pid,
            tid: kill.victim.tid,
            rss_bytes,
        });
        let name = Name::of(self.by, kill, report);
        let row = match self.words.entry(name) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                let row = Row::new(new.key().clone());
                new.insert(row)
            }
        };
        row.add(1, kill.time, biggest);
    }

    /// The words, apart as far as there are several clusters or nodes: to name the only one would tell nothing.
    fn words(&self) -> Vec<Row> {
        let mut words: BTreeMap<Name, Row> = BTreeMap::new();
        for (name, row) in &self.words {
            let mut name = name.clone();
            name.cluster = name.cluster.filter(|_| self.clusters.len() > 1);
            name.node = name.node.filter(|_| self.nodes.len() > 1);
            let row = row.clone();
            let joined = (words.entry(name.clone())).or_insert_with(|| Row::new(name));
            joined.add(row.kills, row.last, row.biggest);
        }
        words.into_values().collect()
    }

    /// The rows: the most kills first, times in their order.
    pub(super) fn rows(&self) -> Vec<Row> {
        let mut rows = self.words();
        for row in &mut rows {
            row.share_percent = share(row.kills, self.kills);
        }
        if !self.by.is_time() {
            // Of two with as many, the later.
            rows.sort_by_key(|row| std::cmp::Reverse((row.kills, row.last)));
        }
        rows
    }
}

/// With one decimal.
#[expect(clippy::cast_precision_loss, reason = "a store has not so many kills")]
fn share(part: u64, whole: u64) -> f64 {
    (part.saturating_mul(1000) / whole.max(1)) as f64 / 10.0
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{Owner, OwnerKind, Pod, Scope},
        text::Comm,
    };

    fn kill(unit: &str, second: i128, held: u64) -> OomKill {
        let mut kill = OomKill::for_tests();
        kill.time = Some(Timestamp::from_unix_ns(second * 1_000_000_000));
        kill.victim.comm = Comm::new(b"hog");
        kill.memory.anon_bytes = Some(held);
        kill.owner = (!unit.is_empty()).then(|| Owner {
            unit: Some(unit.into()),
            ..Owner::of(OwnerKind::Unit)
        });
        kill
    }

    fn counted(by: By, events: &[Event]) -> Vec<(Option<String>, u64)> {
        let mut tally = Tally::new(by);
        for event in events {
            tally.add(event);
        }
        let rows = tally.rows().into_iter();
        rows.map(|row| (row.key, row.kills)).collect()
    }

    #[test]
    fn the_most_first_and_the_unknown_too() {
        let events = [("b", 1), ("a", 2), ("", 3), ("b", 4), ("a", 3700)]
            .map(|(unit, second)| Event::OomKill(Box::new(kill(unit, second, 7))));
        let some = |word: &str| Some(word.to_owned());
        assert_eq!(
            counted(By::Unit, &events),
            [(some("a"), 2), (some("b"), 2), (None, 1)]
        );
        assert_eq!(
            counted(By::Hour, &events),
            [(some("1970-01-01 00:00"), 4), (some("1970-01-01 01:00"), 1)]
        );
        assert_eq!(counted(By::Comm, &events), [(some("hog"), 5)]);
        assert_eq!(counted(By::Pod, &events), [(None, 5)]);
    }

    #[test]
    fn a_row_has_its_share_its_last_and_its_biggest() {
        let mut tally = Tally::new(By::Unit);
        for (unit, second, held) in [("a", 1, 5), ("a", 2, 9), ("a", 3, 1), ("b", 9, 2)] {
            tally.add(&Event::OomKill(Box::new(kill(unit, second, held))));
        }
        let first = tally.rows().remove(0);
        assert_eq!((first.kills, first.share_percent), (3, 75.0));
        assert_eq!(first.last, Some(Timestamp::from_unix_ns(3_000_000_000)));
        assert_eq!(first.biggest.map(|biggest| biggest.rss_bytes), Some(9));
        assert_eq!(tally.first, Some(Timestamp::from_unix_ns(1_000_000_000)));
    }

    /// In this cluster, on this node; in this pod if it begins with a slash, of this unit else.
    fn at(cluster: &str, node: &str, whose: &str) -> Event {
        let unit = if whose.starts_with('/') { "" } else { whose };
        let mut kill = kill(unit, 1, 1);
        kill.cluster = (!cluster.is_empty()).then(|| cluster.into());
        kill.node = Some(node.into());
        if let Some(name) = whose.strip_prefix('/') {
            kill.owner = Some(Owner {
                pod: Some(Pod {
                    namespace: Some("shop".into()),
                    name: Some(name.into()),
                    uid: "6b1f".into(),
                    qos: None,
                }),
                ..Owner::of(OwnerKind::Pod)
            });
        }
        Event::OomKill(Box::new(kill))
    }

    fn placed(by: By, events: &[Event]) -> Vec<String> {
        let mut tally = Tally::new(by);
        for event in events {
            tally.add(event);
        }
        let rows = tally.rows().into_iter().map(|row| {
            let key = row.key.as_deref().unwrap_or("?").to_owned();
            let words = [
                Some(key),
                row.cluster.map(|it| (*it).to_owned()),
                row.node.map(|it| (*it).to_owned()),
            ];
            let words: Vec<_> = words.into_iter().flatten().collect();
            format!("{} {}", words.join(" "), row.kills)
        });
        let mut rows: Vec<_> = rows.collect();
        rows.sort();
        rows
    }

    #[test]
    fn what_is_another_in_each_cluster_or_on_each_node_is_apart() {
        let events = [
            at("eu", "n-1", "a"),
            at("us", "n-1", "a"),
            at("eu", "n-2", "a"),
            at("eu", "n-1", "/cart-0"),
            at("eu", "n-2", "/cart-0"),
            at("us", "n-1", "/cart-0"),
        ];
        for (by, expected) in [
            (By::Node, &["n-1 eu 2", "n-1 us 2", "n-2 eu 2"][..]),
            (
                By::Owner,
                &[
                    "a eu n-1 1",
                    "a eu n-2 1",
                    "a us n-1 1",
                    "shop/cart-0 eu 2",
                    "shop/cart-0 us 1",
                ],
            ),
            (By::Pod, &["? 3", "shop/cart-0 eu 2", "shop/cart-0 us 1"]),
            (By::Namespace, &["? 3", "shop eu 2", "shop us 1"]),
            (By::Workload, &["? 3", "shop/cart eu 2", "shop/cart us 1"]),
            (By::Cluster, &["eu 4", "us 2"]),
            (By::Unit, &["? 3", "a 3"]),
        ] {
            assert_eq!(placed(by, &events), expected, "{by:?}");
        }
    }

    #[test]
    fn the_only_cluster_or_node_is_not_named() {
        for cluster in ["", "eu"] {
            let of_one = [at(cluster, "n-1", "a"), at(cluster, "n-1", "/cart-0")];
            assert_eq!(placed(By::Owner, &of_one), ["a 1", "shop/cart-0 1"]);
            assert_eq!(placed(By::Node, &of_one), ["n-1 2"]);
        }
        let of_two = [at("eu", "n-1", "a"), at("eu", "n-2", "a")];
        assert_eq!(placed(By::Owner, &of_two), ["a n-1 1", "a n-2 1"]);
        assert_eq!(placed(By::Node, &of_two), ["n-1 1", "n-2 1"]);
    }

    #[test]
    fn a_report_counts_by_its_victims() {
        let kills = vec![kill("a", 1, 1), kill("b", 1, 1)];
        let mut report = OomInstance::for_tests(kills);
        report.scope = Some(Scope::System);
        let nobody = OomInstance::for_tests(Vec::new());
        let events = [report, nobody].map(|report| Event::OomInstance(Box::new(report)));
        assert_eq!(counted(By::Scope, &events), [(Some("system".into()), 2)]);
        assert_eq!(counted(By::Level, &events), [(None, 2)]);
    }
}
