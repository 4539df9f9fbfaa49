//! Counts, against a model in memory.

use proptest::prelude::*;

use super::{
    super::query_model::{Both, changes, filters},
    *,
};
use crate::event::{Event, OomKill, workload};

const NOW: i64 = 9;

fn counted(by: By, buckets: u16, top: usize) -> Counted {
    Counted {
        kind: Kind::OomKill,
        by,
        buckets,
        top,
        apart: usize::MAX,
        now_ns: NOW,
    }
}

/// The names of an owner, told by the event itself.
fn names(kill: &OomKill, by: By) -> BTreeMap<&'static str, String> {
    let word =
        |name, word: Option<&str>| Some((name, word.filter(|word| !word.is_empty())?.to_owned()));
    let owner = kill.owner.as_ref();
    let pod = owner.and_then(|owner| owner.pod.as_ref());
    let namespace = word("namespace", pod.and_then(|pod| pod.namespace.as_deref()));
    let of_pod = word(
        "pod",
        pod.map(|pod| pod.name.as_deref().unwrap_or(&pod.uid)),
    );
    let name = word(
        "container",
        owner.and_then(|owner| owner.container_name.as_deref()),
    );
    let id = word(
        "container",
        owner.and_then(|owner| owner.container_id.as_deref()),
    );
    let unit = word("unit", owner.and_then(|owner| owner.unit.as_deref()));
    let path = kill
        .cgroup
        .as_ref()
        .and_then(|cgroup| cgroup.path.as_deref());
    let cgroup = word("cgroup", path);
    let comm = kill.victim.comm.to_string();
    let cluster = word("cluster", kill.cluster.as_deref());
    let node = word("node", kill.node.as_deref());
    let in_cluster = |mut names: Vec<_>| {
        if names.iter().any(Option::is_some) {
            names.push(cluster.clone());
        }
        names
    };
    let found = match by {
        By::Owner if of_pod.is_some() => vec![namespace, of_pod, name, cluster],
        By::Owner => match name.or(id).or(unit).or(cgroup) {
            Some(owner) => vec![Some(owner), cluster.clone(), node],
            None => vec![],
        },
        By::Pod => in_cluster(vec![namespace, of_pod]),
        By::Namespace => in_cluster(vec![namespace]),
        By::Container => match name.or(id) {
            Some(container) if of_pod.is_some() => {
                vec![namespace, of_pod, Some(container), cluster]
            }
            Some(container) => vec![Some(container), cluster.clone(), node],
            None => vec![],
        },
        By::Unit => vec![unit],
        By::Cgroup => vec![cgroup],
        By::Comm => vec![word("comm", Some(&comm))],
        By::Workload => {
            let name = pod.and_then(|pod| pod.name.as_deref());
            in_cluster(vec![namespace, word("workload", name.map(workload))])
        }
        By::Node => vec![cluster, node],
        By::Cluster => vec![cluster],
    };
    found.into_iter().flatten().collect()
}

/// Whether it is named by the uid of its pod, and by the id of its container: who is called like that is another one.
fn by_ids(kill: &OomKill, by: By) -> (bool, bool) {
    let Some(owner) = &kill.owner else {
        return (false, false);
    };
    let pod = owner.pod.as_ref();
    let of_uid = pod.is_some_and(|pod| pod.name.is_none());
    let by_id = owner.container_name.is_none() && owner.container_id.is_some();
    match by {
        By::Owner => (of_uid, by_id && pod.is_none()),
        By::Container => (of_uid && (by_id || owner.container_name.is_some()), by_id),
        By::Pod => (of_uid, false),
        _ => (false, false),
    }
}

const ALL: [By; 10] = [
    By::Workload,
    By::Node,
    By::Cluster,
    By::Owner,
    By::Namespace,
    By::Pod,
    By::Container,
    By::Unit,
    By::Cgroup,
    By::Comm,
];

proptest! {
    #![proptest_config(ProptestConfig::with_cases(96))]

    #[test]
    fn each_event_is_counted_once_where_it_belongs(
        made in changes(64),
        filter in filters(),
        by in prop::sample::select(&ALL[..]),
        buckets in 1_u16..7,
        top in 0_usize..6,
    ) {
        let filter = Filter { kinds: vec![Kind::OomKill], ..filter };
        let mut both = Both::new();
        both.change(&made);
        let meant = both.meant(&filter);
        let found = both.reader().timeline(&filter, counted(by, buckets, top)).unwrap();

        prop_assert_eq!(found.total, meant.len() as u64);
        prop_assert_eq!(found.to, filter.until.unwrap_or(NOW));
        let oldest = meant.first().map_or(found.to, |(time, _)| *time);
        prop_assert_eq!(found.from, filter.since.unwrap_or(oldest));
        prop_assert!(found.bucket_ns > 0);

        let mut expected: BTreeMap<_, Vec<u64>> = BTreeMap::new();
        for (time, seq) in meant {
            let Event::OomKill(kill) = &*both.model[&seq] else {
                panic!("not a kill");
            };
            let counts = expected.entry((names(kill, by), by_ids(kill, by))).or_insert_with(|| vec![0; buckets.into()]);
            counts[usize::try_from((time - found.from) / found.bucket_ns).unwrap()] += 1;
        }
        prop_assert_eq!(found.owners, expected.len() as u64);
        prop_assert_eq!(found.rows.len(), top.min(expected.len()));
        prop_assert!(found.rows.is_sorted_by(|one, next| one.total >= next.total));
        for row in &found.rows {
            let is_row = |by_ids: &(bool, bool)| expected.get(&(row.of.clone(), *by_ids)) == Some(&row.counts);
            let all = [(false, false), (false, true), (true, false), (true, true)];
            let by_ids = all.into_iter().find(is_row).unwrap();
            let counts = expected.remove(&(row.of.clone(), by_ids)).unwrap();
            prop_assert_eq!(row.total, counts.iter().sum::<u64>());
            let others = expected.values().map(|counts| counts.iter().sum::<u64>());
            prop_assert!(found.rows.len() < top || others.max() <= found.rows.iter().map(|row| row.total).max());
        }
        let mut rest = vec![0; buckets.into()];
        for counts in expected.values() {
            rest.iter_mut().zip(counts).for_each(|(all, count)| *all += count);
        }
        prop_assert_eq!(&found.rest, &rest);
        prop_assert!(!found.more_owners);

        // Who is not known apart is among the others.
        let few = Counted { apart: top, ..counted(by, buckets, top) };
        let few = both.reader().timeline(&filter, few).unwrap();
        prop_assert_eq!(few.more_owners, found.owners > top as u64);
        prop_assert_eq!(few.owners, found.owners.min(top as u64));
        let all = |of: &Timeline| -> Vec<u64> {
            (0..usize::from(buckets)).map(|at| of.rest[at] + of.rows.iter().map(|row| row.counts[at]).sum::<u64>()).collect()
        };
        prop_assert_eq!(all(&few), all(&found));
        prop_assert_eq!((few.total, few.from, few.to), (found.total, found.from, found.to));
    }
}

#[test]
fn nothing_is_counted_as_nothing() {
    let both = Both::new();
    for (since, until) in [
        (None, None),
        (Some(5), Some(2)),
        (Some(i64::MIN), Some(i64::MAX)),
    ] {
        let filter = Filter {
            since,
            until,
            ..Filter::default()
        };
        let found = both
            .reader()
            .timeline(&filter, counted(By::Owner, 3, 8))
            .unwrap();
        assert_eq!((found.total, found.owners, found.rest), (0, 0, vec![0; 3]));
        assert_eq!(found.from, since.unwrap_or(NOW));
    }
}
