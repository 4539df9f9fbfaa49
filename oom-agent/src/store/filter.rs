//! Which events somebody wants.
//!
//! Reads an event; emits whether it is meant. Every condition that is given must hold, each for some
//! subject of the event ([`super::terms`]). Refuses nothing: a filter that nothing fits finds nothing.

use std::borrow::Cow;

use super::{
    age,
    terms::{Field, Terms, backfill},
};
use crate::event::{Event, Kind, Scope};

/// An id of a container may be cut to so many digits, as runtimes print it.
const ID_PREFIX: usize = 12;

/// Conditions, all of which must hold. The default is none: everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// Not before this: Unix time in nanoseconds.
    pub since: Option<i64>,
    /// Not after this: Unix time in nanoseconds.
    pub until: Option<i64>,
    /// One of these kinds; empty: any.
    pub kinds: Vec<Kind>,
    /// The victim's or container's cgroup, or the one whose limit was hit.
    pub cgroup: Option<CgroupFilter>,
    /// A container: its id, at least the first 12 hexadecimal digits of it, or its name.
    pub container: Option<String>,
    /// A pod: its name or its uid.
    pub pod: Option<String>,
    /// The namespace of a pod.
    pub namespace: Option<String>,
    /// A workload: the pod's name without what controllers append.
    pub workload: Option<String>,
    /// An image of a container; without its digest, or its tag, any of these.
    pub image: Option<String>,
    /// The node.
    pub node: Option<String>,
    /// The cluster.
    pub cluster: Option<String>,
    /// A systemd unit.
    pub unit: Option<String>,
    /// Name of a victim.
    pub comm: Option<String>,
    /// Process or thread id of a victim.
    pub pid: Option<u32>,
    /// What ran out; only reports tell.
    pub scope: Option<Scope>,
    /// Boot id.
    pub boot: Option<String>,
    /// Whether it is of before the agent's first start of its boot.
    pub backfill: Option<bool>,
}

/// A cgroup, alone or with all below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CgroupFilter {
    /// Its path, as events have it; a slash at the end does not matter.
    pub path: String,
    /// Also all below it, to 64 levels from the root.
    pub subtree: bool,
}

/// A condition: one of these must be among the terms of the event.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Condition<'a>(pub(super) Vec<Want<'a>>);

/// A term, or how it begins.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Want<'a> {
    Exactly(Field, Cow<'a, str>),
    Beginning(Field, &'a str),
}

impl Filter {
    /// Whether the event is meant. One without a time is meant only where no time is asked for.
    #[must_use]
    pub fn matches(&self, event: &Event) -> bool {
        self.matches_terms(event, &Terms::of(event))
    }

    /// The same, where many filters look at one event.
    pub(crate) fn matches_terms(&self, event: &Event, terms: &Terms<'_>) -> bool {
        self.matches_time(event)
            && (self.kinds.is_empty() || self.kinds.contains(&event.kind()))
            && self.conditions().iter().all(|condition| {
                condition.0.iter().any(|want| match want {
                    Want::Exactly(field, word) => terms.has(*field, word),
                    Want::Beginning(field, word) => terms.has_prefix(*field, word),
                })
            })
    }

    fn matches_time(&self, event: &Event) -> bool {
        let since = self.since.unwrap_or(i64::MIN);
        let until = self.until.unwrap_or(i64::MAX);
        match event.time() {
            Some(time) => (since..=until).contains(&age::clamp(time.as_unix_ns())),
            None => self.since.is_none() && self.until.is_none(),
        }
    }

    /// The kinds that it may find, each once.
    pub(super) fn kinds(&self) -> impl Iterator<Item = Kind> {
        let all = Kind::ALL.into_iter();
        all.filter(|kind| self.kinds.is_empty() || self.kinds.contains(kind))
    }

    /// All but times and kinds.
    pub(super) fn conditions(&self) -> Vec<Condition<'_>> {
        let exactly = |field, word: &'_ Option<String>| {
            let word = word.as_deref()?.to_owned();
            Some(Condition(vec![Want::Exactly(field, word.into())]))
        };
        let one = |field, word: Cow<'static, str>| Condition(vec![Want::Exactly(field, word)]);
        let conditions = [
            self.pid.map(|pid| one(Field::Pid, pid.to_string().into())),
            self.container.as_deref().map(container),
            self.pod.as_deref().map(pod),
            self.cgroup.as_ref().map(cgroup),
            exactly(Field::Unit, &self.unit),
            exactly(Field::Comm, &self.comm),
            exactly(Field::Workload, &self.workload),
            exactly(Field::Image, &self.image),
            exactly(Field::Namespace, &self.namespace),
            exactly(Field::Node, &self.node),
            exactly(Field::Cluster, &self.cluster),
            exactly(Field::Boot, &self.boot),
            self.scope
                .map(|scope| one(Field::Scope, scope.as_str().into())),
            self.backfill
                .map(|yes| one(Field::Backfill, backfill(yes).into())),
        ];
        conditions.into_iter().flatten().collect()
    }
}

fn cgroup(filter: &CgroupFilter) -> Condition<'_> {
    let field = if filter.subtree {
        Field::Within
    } else {
        Field::Cgroup
    };
    let path = match filter.path.trim_end_matches('/') {
        "" if !filter.path.is_empty() => "/",
        path => path,
    };
    Condition(vec![Want::Exactly(field, path.into())])
}

fn container(word: &str) -> Condition<'_> {
    let hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
    let id = if word.len() >= ID_PREFIX && word.bytes().all(hex) {
        Want::Beginning(Field::ContainerId, word)
    } else {
        Want::Exactly(Field::ContainerId, word.into())
    };
    Condition(vec![id, Want::Exactly(Field::ContainerName, word.into())])
}

fn pod(word: &str) -> Condition<'_> {
    let name = Want::Exactly(Field::PodName, word.into());
    Condition(vec![name, Want::Exactly(Field::PodUid, word.into())])
}
