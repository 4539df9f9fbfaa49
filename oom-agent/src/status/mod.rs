//! How the agent is, at any moment: what it can see and why not more, what it has seen and what it has
//! lost.
//!
//! Reads what the daemon found at its start, and asks the parts that run; emits a [`Status`]. Refuses to
//! guess: where detection does not answer, that is what it says.

mod losses;
mod summary;
mod verdict;

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::{
    losses::{Kind, Loss},
    summary::{HelperCounts, Summary},
    verdict::{Seen, SeenSink, Severity, Trouble, judge},
};
use crate::{
    confine::Protection,
    deliver::{Health, SinkStatus},
    event::Timestamp,
    source::cgroup::Watched,
};

/// How the agent is.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// Version of the agent.
    pub version: String,
    /// Version of what crosses the ring.
    pub wire_version: u16,
    /// Its process id.
    pub pid: u32,
    /// When it started.
    pub started: Timestamp,
    /// Node name.
    pub node: Option<String>,
    /// Boot id.
    pub boot_id: Option<String>,
    /// How much of a kill can be seen, in a few words.
    pub tier: String,
    /// Why that is not a better one.
    pub not_better: Vec<String>,
    /// It has told its service manager that it is ready.
    pub ready: bool,
    /// Detection answered; if not, all counts are those of nobody, and absent or 0.
    pub detecting: bool,
    /// Where evidence comes from.
    pub sources: Vec<Source>,
    /// Events against the kernel's own counter.
    pub audit: AuditStatus,
    /// All that can be lost, by its name, since the audit began for what detection counts, else since the
    /// start.
    pub losses: BTreeMap<String, u64>,
    /// The store; null without one.
    pub store: Option<StoreStatus>,
    /// Where events are delivered to from the store.
    pub sinks: Vec<SinkStatus>,
    /// Live subscribers.
    pub subscribers: u64,
    /// What the agent has given up for safety.
    pub protections: Vec<Protection>,
    /// What is wrong, the worst first: made of all the above.
    #[serde(default)]
    pub troubles: Vec<Trouble>,
}

/// One source.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Source {
    /// `bpf`, `kmsg`, `audit`, `cgroups`, `memory`, `victims`.
    pub name: String,
    /// It delivers.
    pub up: bool,
    /// It was asked for, the kernel has it as far as can be told, and it is not just being attached: if it is down,
    /// something is wrong.
    #[serde(default = "wanted")]
    pub wanted: bool,
    /// Why not, as far as is known; or how.
    #[serde(default)]
    pub reason: Option<String>,
}

/// What agents wanted that did not say so.
const fn wanted() -> bool {
    true
}

/// The law: kills + repeats = growth of the kernel's counter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuditStatus {
    /// What the kernel has counted since the agent's first start of this boot; null where it has no counter.
    pub kernel: Option<u64>,
    /// Kills that were told.
    pub kills: u64,
    /// Reports that were told.
    pub instances: u64,
    /// Victims that the kernel killed, and counted, once more.
    pub repeats: u64,
    /// What is left over; null where the kernel has no counter.
    pub unexplained: Option<i64>,
}

/// The store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StoreStatus {
    /// Where it is.
    pub path: String,
    /// Events stored since the start.
    pub stored: u64,
    /// Events that wait for a disk that refuses; 0 if all is well.
    pub waiting: u64,
    /// Events that retention has removed since the start.
    pub removed: u64,
}

/// What the daemon finds at its start.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// Node and boot.
    pub node: Option<Arc<str>>,
    /// The same.
    pub boot_id: Option<Arc<str>>,
    /// When it started.
    pub started: Option<Timestamp>,
    /// Of the best source.
    pub tier: String,
    /// Why that is not a better one.
    pub not_better: Vec<String>,
    /// Why a source is not used, by its name.
    pub reasons: BTreeMap<&'static str, String>,
    /// Sources that nobody asked for, or that the kernel does not have.
    pub unwanted: BTreeSet<&'static str>,
    /// Where the store is.
    pub store: Option<String>,
}

/// Counts of now; `None` if detection does not answer.
pub type Counting = Box<dyn Fn() -> Option<Summary> + Send + Sync>;

/// How something else is.
pub type Telling<T> = Box<dyn Fn() -> T + Send + Sync>;

/// Tells how the agent is. Clones are the same.
#[derive(Clone)]
pub struct Board(Arc<Inner>);

struct Inner {
    facts: Facts,
    counting: Counting,
    ready: AtomicBool,
    sinks: Mutex<Vec<Health>>,
    subscribers: Telling<u64>,
    protections: Telling<Vec<Protection>>,
}

impl fmt::Debug for Board {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Board")
            .field("facts", &self.0.facts)
            .finish_non_exhaustive()
    }
}

impl Board {
    /// From what is known at the start, and whom to ask later.
    #[must_use]
    pub fn new(
        facts: Facts,
        counting: Counting,
        subscribers: Telling<u64>,
        protections: Telling<Vec<Protection>>,
    ) -> Self {
        Self(Arc::new(Inner {
            facts,
            counting,
            ready: AtomicBool::new(false),
            sinks: Mutex::default(),
            subscribers,
            protections,
        }))
    }

    /// One sink more.
    pub fn add_sink(&self, sink: Health) {
        let mut sinks = self.0.sinks.lock().unwrap_or_else(PoisonError::into_inner);
        sinks.push(sink);
    }

    /// Everything runs; or, with false, it is about to end.
    pub fn set_ready(&self, ready: bool) {
        self.0.ready.store(ready, Ordering::Relaxed);
    }

    /// Whether everything runs.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.0.ready.load(Ordering::Relaxed)
    }

    /// What has been counted; `None` if detection does not answer within a second. Waits for it.
    #[must_use]
    pub fn summary(&self) -> Option<Summary> {
        (self.0.counting)()
    }

    /// How the agent is now. Waits for detection, a second at most.
    #[must_use]
    pub fn read(&self) -> Status {
        let summary = self.summary();
        self.status(summary.as_ref())
    }

    /// The same with counts that were asked for before.
    #[must_use]
    pub fn status(&self, summary: Option<&Summary>) -> Status {
        let Inner { facts, .. } = &*self.0;
        let counted = summary.copied().unwrap_or_default();
        let counts = &counted.tally.counts;
        let losses = counted.losses().into_iter();
        let sinks = self.0.sinks.lock().unwrap_or_else(PoisonError::into_inner);
        let sinks = sinks.iter().map(Health::status).collect();
        let mut status = Status {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            wire_version: oom_common::WIRE_VERSION,
            pid: std::process::id(),
            started: facts.started.unwrap_or_else(|| Timestamp::from_unix_ns(0)),
            node: facts.node.as_deref().map(str::to_owned),
            boot_id: facts.boot_id.as_deref().map(str::to_owned),
            tier: facts.tier.clone(),
            not_better: facts.not_better.clone(),
            ready: self.is_ready(),
            detecting: summary.is_some(),
            sources: self.sources(&counted),
            audit: AuditStatus {
                kernel: counted.tally.kernel_kills,
                kills: counts.kills,
                instances: counts.instances,
                repeats: counts.repeats,
                unexplained: counted.tally.unexplained,
            },
            losses: losses
                .map(|loss| (loss.name.to_owned(), loss.count))
                .collect(),
            store: self.store(&counted),
            sinks,
            subscribers: (self.0.subscribers)(),
            protections: (self.0.protections)(),
            troubles: Vec::new(),
        };
        status.troubles = status.judge();
        status
    }

    fn sources(&self, counted: &Summary) -> Vec<Source> {
        let up = counted.tally.up;
        let watched = counted.helpers.cgroups.watched;
        let sources = [
            ("bpf", up.bpf, None),
            ("kmsg", up.kmsg, None),
            ("audit", counted.tally.unexplained.is_some(), None),
            ("cgroups", watched.is_up(), watched.how()),
            ("memory", up.memory, None),
            ("victims", up.victims, None),
        ];
        let Facts {
            reasons, unwanted, ..
        } = &self.0.facts;
        let is_coming = |name| name == "cgroups" && watched == Watched::Soon;
        let source = |(name, up, how): (&'static str, bool, Option<&str>)| Source {
            name: name.to_owned(),
            up,
            wanted: !unwanted.contains(name) && !is_coming(name),
            reason: how
                .map(str::to_owned)
                .or_else(|| reasons.get(name).cloned()),
        };
        sources.map(source).into()
    }

    fn store(&self, counted: &Summary) -> Option<StoreStatus> {
        let stored = counted.stored.unwrap_or_default();
        let path = self.0.facts.store.clone()?;
        Some(StoreStatus {
            path,
            stored: stored.events,
            waiting: stored.waiting,
            removed: stored.removed,
        })
    }
}
