//! A store with a short story in it: reports of real kernels, with owners that never were.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use oom_agent::{
    clock::Now,
    event::{Cgroup, ContainerDeletion, Event, Owner, OwnerKind, Pod, SCHEMA, Timestamp},
    offline::{self, Format, Options},
    store::{Batch, Entry, Store},
};

/// As events have it.
pub(crate) const BOOT: &str = "5f1f2e6a7f2b4a638f0e1d1f0d4c9a11";

const HOUR_NS: i128 = 3_600_000_000_000;

/// Who was hit: a log of `tests/kmsg`, how many hours ago, the process, and whose it was.
pub(crate) const STORY: [(&str, i128, u32, Option<&str>); 4] = [
    ("6.12-single", 50, 4001, Some("cart-0")),
    ("6.1-system", 30, 4002, None),
    ("6.12-single", 20, 4003, Some("cart-0")),
    ("6.12-ancestor-limit", 1, 4004, Some("search-1")),
];

/// The id of a kill.
pub(crate) fn id(pid: u32) -> String {
    format!("{BOOT}-{pid}-{pid}00000000001")
}

/// The id of its report.
pub(crate) fn report_id(pid: u32) -> String {
    format!("oom-{}", id(pid))
}

/// A store with the story in it, and the news that a container has gone.
pub(crate) fn store(dir: &Path) -> PathBuf {
    let path = dir.join("events.db");
    let mut store = Store::open(&path, BOOT, u64::MAX).unwrap();
    let mut events: Vec<_> = STORY
        .iter()
        .flat_map(|(log, hours, pid, pod)| happened(log, *hours, *pid, *pod))
        .collect();
    events.push(gone());
    put(&mut store, events);
    path
}

/// Stores events.
pub(crate) fn put(store: &mut Store, events: Vec<Event>) {
    let mut batch = Batch::default();
    for event in events {
        batch.push(Entry::Event(Arc::new(event)));
    }
    store.commit(&batch, &Now::read()).unwrap();
}

/// An alert and its report.
pub(crate) fn happened(log: &str, hours: i128, pid: u32, pod: Option<&str>) -> Vec<Event> {
    let time = Some(Timestamp::from_unix_ns(now() - hours * HOUR_NS));
    let log = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/kmsg/{log}.kmsg"));
    let mut options = Options::new(Timestamp::from_unix_ns(0));
    options.format = Some(Format::Kmsg);
    let (mut alert, mut report) = (None, None);
    offline::read(
        fs::File::open(log).unwrap(),
        &options,
        &mut |event| match event {
            Event::OomInstance(of) => report = report.take().or(Some(of)),
            Event::OomKill(of) => alert = alert.take().or(Some(of)),
            _ => {}
        },
    )
    .unwrap();
    let (mut alert, mut report) = (alert.unwrap(), report.unwrap());
    let instance: Arc<str> = report_id(pid).into();
    report.id = instance.clone();
    report.kills.truncate(1);
    for kill in report.kills.iter_mut().chain([&mut *alert]) {
        kill.id = id(pid).into();
        kill.instance_id = instance.clone();
        kill.boot_id = Some(BOOT.into());
        kill.time = time;
        kill.victim.pid = Some(pid);
        kill.victim.tid = pid;
        kill.owner = pod.map(owner).or(kill.owner.take());
    }
    report.boot_id = Some(BOOT.into());
    report.time = time;
    vec![Event::OomKill(alert), Event::OomInstance(report)]
}

fn gone() -> Event {
    Event::ContainerDeletion(Box::new(ContainerDeletion {
        schema: SCHEMA,
        id: format!("removed-{BOOT}-7-/a").into(),
        time: Timestamp::from_unix_ns(now()),
        monotonic_ns: 1,
        boot_id: Some(BOOT.into()),
        node: None,
        cluster: None,
        cgroup: Cgroup {
            path: Some("/a".into()),
            id: Some(7),
            version: Some(2),
        },
        owner: owner("cart-0"),
        created: None,
        exit_code: 137,
        late: false,
    }))
}

fn owner(pod: &str) -> Owner {
    Owner {
        container_name: Some("app".into()),
        pod: Some(Pod {
            namespace: Some("shop".into()),
            name: Some(pod.into()),
            uid: format!("uid-of-{pod}"),
            qos: None,
        }),
        ..Owner::of(OwnerKind::Container)
    }
}

fn now() -> i128 {
    jiff::Timestamp::now().as_nanosecond()
}
