//! The names in an event, from what the roster knows, and from what its alert has said.
//!
//! Reads paths and lives; emits owners and levels. Refuses to say less in a report than its alert said.

use std::sync::Arc;

use super::Desk;
use crate::{
    attribute::{
        attribute,
        claim::{may_be_claimed, owner_of},
    },
    event::{Cgroup, LimitLevel, OomInstance, OomKill, Owner},
    evidence::Names,
};

/// Alerts that are remembered until their report comes.
const MAX_SAID: usize = 4096;

/// What an alert has said.
#[derive(Debug)]
pub(super) struct Said {
    kill: Arc<str>,
    named: Named,
    latency_ns: Option<u64>,
}

/// Whose something is.
#[derive(Clone, Debug)]
pub(super) struct Named {
    owner: Owner,
    /// All that such an owner has is known.
    whole: bool,
}

impl Desk {
    /// A predecessor has told this alert; whatever is known of its cgroup by now, the report will not say less.
    pub fn told_before(&mut self, kill: &OomKill) {
        let named = kill.owner.clone().map(|owner| Named {
            whole: is_whole(&owner, false),
            owner,
        });
        self.remember(kill, named);
    }

    /// The report of this kill will not say less.
    pub(super) fn remember(&mut self, kill: &OomKill, named: Option<Named>) {
        let Some(named) = named else {
            return;
        };
        if self.said.len() >= MAX_SAID {
            self.said.pop_front();
        }
        self.said.push_back(Said {
            kill: kill.id.clone(),
            named,
            latency_ns: kill.detection_latency_ns,
        });
    }

    pub(super) fn name_kill(&self, kill: &mut OomKill) -> Option<Named> {
        let at_ns = kill.monotonic_ns.unwrap_or(u64::MAX);
        let cgroup = kill.cgroup.as_mut()?;
        self.complete(cgroup);
        let named = self.owner(cgroup, at_ns)?;
        kill.owner = Some(named.owner.clone());
        Some(named)
    }

    pub(super) fn name_instance(&mut self, instance: &mut OomInstance) {
        let at_ns = instance.monotonic_ns.unwrap_or(u64::MAX);
        for kill in &mut instance.kills {
            let mut named = self.name_kill(kill);
            let said = self.said.iter().position(|said| said.kill == kill.id);
            if let Some(said) = said.and_then(|at| self.said.remove(at)) {
                kill.detection_latency_ns = said.latency_ns;
                if said.named.whole && !named.as_ref().is_some_and(|named| named.whole) {
                    kill.owner = Some(said.named.owner.clone());
                    named = Some(said.named);
                }
            }
            let whole = named.is_some_and(|named| named.whole);
            self.counts.unattributed += u64::from(!whole);
        }
        if let Some(limit) = &mut instance.limit {
            self.complete(&mut limit.cgroup);
            limit.level = self.level(&limit.cgroup, at_ns).or(limit.level);
        }
        for level in &mut instance.levels {
            self.complete(&mut level.cgroup);
            level.level = self.level(&level.cgroup, at_ns).or(level.level);
        }
        for top in &mut instance.top_cgroups {
            let named = self.owner(&top.cgroup, at_ns);
            top.owner = named.map(|named| named.owner).or(top.owner.take());
        }
    }

    /// A path that could not be read whole, by the id.
    pub(super) fn complete(&self, cgroup: &mut Cgroup) {
        if let (None, Some(id)) = (&cgroup.path, cgroup.id) {
            cgroup.path = self.roster.path_of(id).map(ToString::to_string);
        }
    }

    /// Whose a cgroup is, by its path and by name.
    fn owner(&self, cgroup: &Cgroup, at_ns: u64) -> Option<Named> {
        let path = cgroup.path.as_deref()?;
        let names = self.names(path, cgroup.id, at_ns).map(|(_, names)| names);
        let mut owner = owner_of(path, names);
        if let Some(pod) = &mut owner.pod
            && let Some(known) = self.roster.pod(path)
        {
            pod.namespace = pod.namespace.take().or_else(|| known.namespace.clone());
            pod.name = pod.name.take().or_else(|| known.name.clone());
        }
        let whole = is_whole(&owner, names.is_some_and(|names| names.sandbox));
        Some(Named { owner, whole })
    }

    /// What a limit there is a limit of: what the path says, or the container that claims it.
    fn level(&self, cgroup: &Cgroup, at_ns: u64) -> Option<LimitLevel> {
        let path = cgroup.path.as_deref()?;
        let place = attribute(path);
        if !may_be_claimed(&place.owner) {
            return Some(place.level);
        }
        Some(match self.names(path, cgroup.id, at_ns) {
            Some((depth, names)) if names.container_id.is_some() && depth == path.len() => {
                LimitLevel::Container
            }
            Some((_, names)) if names.container_id.is_some() => LimitLevel::Nested,
            _ => place.level,
        })
    }

    /// The names of the innermost cgroup on the path that has any, and the length of its path.
    pub(super) fn names(&self, path: &str, id: Option<u64>, at_ns: u64) -> Option<(usize, &Names)> {
        let mut end = path.len();
        loop {
            let id = id.filter(|_| end == path.len());
            let life = self.roster.life(&path[..end], id, at_ns);
            if let Some(names) = life.and_then(|life| life.names.as_deref()) {
                return Some((end, names));
            }
            end = path[..end].rfind('/').filter(|&end| end > 0)?;
        }
    }
}

/// Whether all that such an owner has is known. The sandbox of a pod has no name of its own, nor has a pod of podman one
/// that could be read.
fn is_whole(owner: &Owner, sandbox: bool) -> bool {
    let has_name = owner.container_name.is_some() || sandbox;
    let pod = owner.kubernetes_pod();
    let pod = pod.is_none_or(|pod| pod.name.is_some());
    pod && (has_name || owner.container_id.is_none())
}
