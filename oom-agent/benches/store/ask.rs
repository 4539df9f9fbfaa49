//! Pages of a hundred by each kind of filter, in both orders, from random places: first pages and deep
//! ones.
//!
//! Reads the store through once before: what is measured is the store, with the file in the page cache, and not a disk.

use std::{
    fs::{self, File},
    io,
    path::Path,
};

use anyhow::{Result, ensure};
use oom_agent::{
    event::{Kind, Scope},
    store::{CgroupFilter, Cursor, Filter, Order, Reader},
};

use crate::{
    figures::{Report, Times},
    make::World,
    random::Random,
};

const PAGE: usize = 100;

/// Questions of each kind.
const TIMES: usize = 300;

type Make = fn(&World, &mut Random, usize) -> Filter;

/// By name, with random values.
const FILTERS: &[(&str, Make)] = &[
    ("everything", |_, _, _| Filter::default()),
    ("an hour", |_, random, events| {
        let since = World::time(random.below(events));
        Filter {
            since: Some(since),
            until: Some(since + 3600 * 1_000_000_000),
            ..Filter::default()
        }
    }),
    ("kind", |_, random, _| Filter {
        kinds: vec![Kind::ALL[random.below(4)]],
        ..Filter::default()
    }),
    ("cgroup", |world, random, _| cgroup(world, random, false)),
    ("cgroup and below: a pod", |world, random, _| {
        let mut filter = cgroup(world, random, true);
        if let Some(cgroup) = &mut filter.cgroup {
            let above = cgroup.path.rfind('/').unwrap_or(0);
            cgroup.path.truncate(above);
        }
        filter
    }),
    ("cgroup and below: all units", |_, _, _| Filter {
        cgroup: Some(CgroupFilter {
            path: "/system.slice".into(),
            subtree: true,
        }),
        ..Filter::default()
    }),
    ("container id", |world, random, _| {
        container(world, random, 64)
    }),
    ("container id, 12 digits", |world, random, _| {
        container(world, random, 12)
    }),
    ("container name", |world, random, _| Filter {
        container: world
            .container(random.skewed(500))
            .owner
            .container_name
            .clone(),
        ..Filter::default()
    }),
    ("pod", |world, random, _| Filter {
        pod: pod(world, random).and_then(|pod| pod.name.clone()),
        ..Filter::default()
    }),
    ("namespace", |world, random, _| Filter {
        namespace: pod(world, random).and_then(|pod| pod.namespace.clone()),
        ..Filter::default()
    }),
    ("unit", |world, random, _| Filter {
        unit: world.unit(random.below(4500)).owner.unit.clone(),
        ..Filter::default()
    }),
    ("process name", |_, random, _| Filter {
        comm: Some(World::comm(random.below(20)).into()),
        ..Filter::default()
    }),
    ("pid", |_, random, _| Filter {
        pid: u32::try_from(random.below(4_194_304)).ok(),
        ..Filter::default()
    }),
    ("scope: system", |_, _, _| Filter {
        scope: Some(Scope::System),
        ..Filter::default()
    }),
    ("boot", |world, random, _| Filter {
        boot: Some(world.boots[random.below(3)].to_string()),
        ..Filter::default()
    }),
    ("backfill", |_, random, _| Filter {
        backfill: Some(random.below(2) == 0),
        ..Filter::default()
    }),
    ("kind and namespace", |world, random, _| Filter {
        kinds: vec![Kind::ALL[random.below(4)]],
        namespace: pod(world, random).and_then(|pod| pod.namespace.clone()),
        ..Filter::default()
    }),
    ("namespace and process name", |world, random, _| Filter {
        namespace: pod(world, random).and_then(|pod| pod.namespace.clone()),
        comm: Some(World::comm(random.below(20)).into()),
        ..Filter::default()
    }),
    ("boot, scope and process name", |world, random, _| Filter {
        boot: Some(world.boots[random.below(3)].to_string()),
        scope: Some(Scope::Memcg),
        comm: Some(World::comm(random.below(20)).into()),
        ..Filter::default()
    }),
    ("two that are often and never together", |_, _, _| Filter {
        cgroup: Some(CgroupFilter {
            path: "/system.slice".into(),
            subtree: true,
        }),
        namespace: Some("team-0".into()),
        ..Filter::default()
    }),
];

fn cgroup(world: &World, random: &mut Random, subtree: bool) -> Filter {
    let path = world.container(random.skewed(500)).path.clone();
    Filter {
        cgroup: Some(CgroupFilter { path, subtree }),
        ..Filter::default()
    }
}

fn container(world: &World, random: &mut Random, digits: usize) -> Filter {
    let id = &world.container(random.skewed(500)).owner.container_id;
    Filter {
        container: id.as_ref().map(|id| id[..digits].to_owned()),
        ..Filter::default()
    }
}

fn pod<'a>(world: &'a World, random: &mut Random) -> Option<&'a oom_agent::event::Pod> {
    world.container(random.skewed(500)).owner.pod.as_ref()
}

pub(crate) fn measure(world: &World, path: &Path, report: &mut Report) -> Result<()> {
    report.bytes = fs::metadata(path)?.len();
    io::copy(&mut File::open(path)?, &mut io::sink())?;
    let reader = Reader::open(path)?;
    let events = usize::try_from(reader.last_seq()?)?;
    let mut random = Random::new(2);
    for (name, make) in FILTERS {
        for (order, word) in [
            (Order::OldestFirst, "oldest first"),
            (Order::NewestFirst, "newest first"),
        ] {
            for deep in [false, true] {
                let (mut times, mut rows) = (Times::default(), 0);
                for _ in 0..TIMES {
                    let filter = make(world, &mut random, events);
                    let at = random.below(events);
                    let place: Option<Cursor> = deep
                        .then(|| format!("1.{}.{at}", World::time(at)).parse())
                        .transpose()?;
                    let page = times.of(|| reader.page(&filter, order, place, PAGE))?;
                    rows += page.events.len();
                    let in_order = page.events.is_sorted_by_key(|event| event.cursor)
                        == (order == Order::OldestFirst || page.events.len() < 2);
                    ensure!(in_order, "{name}: out of order");
                }
                let deep = if deep { ", deep" } else { "" };
                let what = format!("{name}, {word}{deep}");
                report.page(&what, times, rows / TIMES);
            }
        }
    }
    let (mut place, mut times) = (0, Times::default());
    for _ in 0..TIMES {
        let tail = times.of(|| reader.after_seq(place, &Filter::default(), PAGE))?;
        place = tail.through;
    }
    report.add("a hundred in the order of storing", times, String::new());
    let (mut place, mut times) = (0, Times::default());
    let nothing = Filter {
        comm: Some("nobody".into()),
        ..Filter::default()
    };
    for _ in 0..events.div_ceil(4096) {
        let tail = times.of(|| reader.after_seq(place, &nothing, PAGE))?;
        place = tail.through;
    }
    report.add("4,096 passed over in that order", times, String::new());
    Ok(())
}
