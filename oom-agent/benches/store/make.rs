//! A cluster node that never was: 500 containers of 250 pods in 50 namespaces, 4,500 units, and what
//! befell them. The events are recorded reports with other names, so their sizes are real.

use std::{
    fs,
    io::Write as _,
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context as _, Result};
use oom_agent::{
    clock::Now,
    event::{
        Cgroup, ContainerCreation, ContainerDeletion, Event, Limit, LimitSource, OomInstance,
        OomKill, Owner, OwnerKind, Pod, Qos, Runtime, SCHEMA, Scope, Timestamp,
    },
    offline,
    store::{Batch, Entry, Store},
    text::Comm,
};

use crate::random::Random;

const CONTAINERS: usize = 500;
const UNITS: usize = 4500;
const NAMESPACES: usize = 50;
const COMMS: [&str; 20] = [
    "java",
    "node",
    "python3",
    "php-fpm",
    "nginx",
    "postgres",
    "mysqld",
    "redis-server",
    "ruby",
    "beam.smp",
    "dotnet",
    "etcd",
    "prometheus",
    "envoy",
    "celery",
    "mongod",
    "chrome",
    "ffmpeg",
    "rustc",
    "ld",
];

/// 2026-10-22, and how much later each event is: a million in thirty days.
const BEGIN_NS: i64 = 1_792_627_200_000_000_000;
const STEP_NS: i64 = 2_592_000_000;

/// Bytes of a recorded report's tables that a container's report has not.
const TASKS: usize = 8;

/// Events of one transaction.
const BATCH: usize = 20_000;

/// Somebody to whom things happen.
pub(crate) struct Subject {
    pub(crate) path: String,
    pub(crate) owner: Owner,
}

/// All of it.
pub(crate) struct World {
    pub(crate) subjects: Vec<Subject>,
    pub(crate) boots: [Arc<str>; 3],
    seed: u64,
    kill: OomKill,
    report: OomInstance,
}

impl World {
    pub(crate) fn new(seed: u64) -> Result<Self> {
        let (kill, report) = recorded()?;
        let mut random = Random::new(seed);
        let containers = (0..CONTAINERS).map(|n| container(n, &mut random));
        let mut subjects: Vec<_> = containers.collect();
        subjects.extend((0..UNITS).map(unit));
        let boots = [(); 3].map(|()| random.hex(32).into());
        Ok(Self {
            subjects,
            boots,
            seed,
            kill,
            report,
        })
    }

    /// The store with so many events; made if it is not there.
    pub(crate) fn store(&self, dir: &Path, events: usize) -> Result<PathBuf> {
        fs::create_dir_all(dir)?;
        let path = dir.join(format!("{events}-{}.db", self.seed));
        if path.exists() {
            return Ok(path);
        }
        let unfinished = dir.join("unfinished");
        for end in ["", "-wal", "-shm", ".lock"] {
            let _ = fs::remove_file(dir.join(format!("unfinished{end}")));
        }
        let mut random = Random::new(self.seed);
        let mut store = Store::open(&unfinished, &self.boots[2], u64::MAX)?;
        let mut batch = Batch::default();
        for n in 0..events {
            batch.push(Entry::Event(Arc::new(self.event(n, events, &mut random))));
            if batch.steps.len() == BATCH || n + 1 == events {
                store.commit(&batch, &Now::read())?;
                batch = Batch::default();
                eprint!("\rmaking a store: {} of {events} events", n + 1);
                std::io::stderr().flush()?;
            }
        }
        eprintln!();
        store.end_run(&Now::read())?;
        drop(store);
        fs::rename(&unfinished, &path)?;
        Ok(path)
    }

    /// The time of one of so many.
    pub(crate) fn time(n: usize) -> i64 {
        BEGIN_NS + STEP_NS * i64::try_from(n).unwrap_or(i64::MAX / STEP_NS)
    }

    /// One of so many.
    pub(crate) fn event(&self, n: usize, of: usize, random: &mut Random) -> Event {
        let in_container = random.below(10) < 7;
        let at = if in_container {
            random.skewed(CONTAINERS)
        } else {
            CONTAINERS + random.below(UNITS)
        };
        let subject = &self.subjects[at];
        let time = Timestamp::from_unix_ns(Self::time(n).into());
        let boot = self.boots[n * self.boots.len() / of.max(n + 1)].clone();
        let id: Arc<str> = format!("{boot}-{n}").into();
        let cgroup = Cgroup {
            path: Some(subject.path.clone()),
            id: Some(n as u64),
            version: Some(2),
        };
        match random.below(10) {
            0..4 => Event::OomKill(Box::new(
                self.kill(subject, &cgroup, id, time, &boot, random),
            )),
            4..8 => {
                let kill = self.kill(subject, &cgroup, id.clone(), time, &boot, random);
                let mut report = self.report.clone();
                report.id = id;
                report.time = Some(time);
                report.boot_id = Some(boot);
                report.backfill = kill.backfill;
                report.kills = vec![kill];
                report.scope = Some(if random.below(100) == 0 {
                    Scope::System
                } else {
                    Scope::Memcg
                });
                report.limit = Some(Limit {
                    cgroup,
                    level: None,
                    limit_bytes: Some(1 << 30),
                    usage_bytes: Some(1 << 30),
                    failcnt: Some(12),
                    source: LimitSource::OomControl,
                });
                Event::OomInstance(Box::new(report))
            }
            8 => Event::ContainerCreation(Box::new(ContainerCreation {
                schema: SCHEMA,
                id,
                time,
                monotonic_ns: 1,
                boot_id: Some(boot),
                node: self.kill.node.clone(),
                cluster: None,
                cgroup,
                owner: subject.owner.clone(),
                late: false,
            })),
            _ => Event::ContainerDeletion(Box::new(ContainerDeletion {
                schema: SCHEMA,
                id,
                time,
                monotonic_ns: 1,
                boot_id: Some(boot),
                node: self.kill.node.clone(),
                cluster: None,
                cgroup,
                owner: subject.owner.clone(),
                created: Some(time),
                exit_code: 137,
                late: false,
            })),
        }
    }

    fn kill(
        &self,
        subject: &Subject,
        cgroup: &Cgroup,
        id: Arc<str>,
        time: Timestamp,
        boot: &Arc<str>,
        random: &mut Random,
    ) -> OomKill {
        let mut kill = self.kill.clone();
        kill.instance_id = format!("oom-{id}").into();
        kill.id = id;
        kill.time = Some(time);
        kill.boot_id = Some(boot.clone());
        let pid = u32::try_from(random.below(4_194_303)).unwrap_or_default() + 1;
        kill.victim.pid = Some(pid);
        kill.victim.tid = pid;
        kill.victim.comm = Comm::new(COMMS[random.skewed(COMMS.len())].as_bytes());
        kill.cgroup = Some(cgroup.clone());
        kill.owner = Some(subject.owner.clone());
        kill.backfill = random.below(50) == 0;
        kill
    }

    /// A name of a process, the rarer the greater `n` is.
    pub(crate) fn comm(n: usize) -> &'static str {
        COMMS[n % COMMS.len()]
    }

    /// A container, the rarer the greater `n` is.
    pub(crate) fn container(&self, n: usize) -> &Subject {
        &self.subjects[n % CONTAINERS]
    }

    pub(crate) fn unit(&self, n: usize) -> &Subject {
        &self.subjects[CONTAINERS + n % UNITS]
    }
}

fn container(n: usize, random: &mut Random) -> Subject {
    let pod = n / 2;
    let uid = format!("{:08x}-7d3a-4f55-9a61-{:012x}", pod, pod * 7919);
    let id = random.hex(64);
    Subject {
        path: format!("/kubepods/burstable/pod{uid}/{id}"),
        owner: Owner {
            runtime: Some(Runtime::Containerd),
            container_id: Some(id),
            container_name: Some(format!("app-{n}")),
            image: Some(format!("registry.example.com/team/app-{n}:1.{n}")),
            pod: Some(Pod {
                namespace: Some(format!("team-{}", pod % NAMESPACES)),
                name: Some(format!("app-{pod}-6d4cf56db6-x{pod:04}")),
                uid,
                qos: Some(Qos::Burstable),
            }),
            ..Owner::of(OwnerKind::Container)
        },
    }
}

fn unit(n: usize) -> Subject {
    let unit = format!("worker-{n}.service");
    Subject {
        path: format!("/system.slice/{unit}"),
        owner: Owner {
            unit: Some(unit),
            ..Owner::of(OwnerKind::Unit)
        },
    }
}

/// A kill and its report, as a kernel told them.
fn recorded() -> Result<(OomKill, OomInstance)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/kmsg/6.12-single.kmsg");
    let log = fs::File::open(&path).with_context(|| path.display().to_string())?;
    let (mut kill, mut report) = (None, None);
    let options = offline::Options {
        node: Some("node-7".into()),
        ..offline::Options::new(Timestamp::from_unix_ns(0))
    };
    offline::read(log, &options, &mut |event| match event {
        Event::OomKill(of) => kill = Some(*of),
        Event::OomInstance(of) => report = Some(*of),
        _ => {}
    })?;
    let mut report = report.context("no report in the log")?;
    report.tasks.truncate(TASKS);
    Ok((kill.context("no kill in the log")?, report))
}
