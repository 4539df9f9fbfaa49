//! What has to be looked up before an event can be named.
//!
//! Reads the cgroups of an event; emits an [`Ask`] for each of which too little is known. Refuses to ask for the same
//! twice, and for more than so many at a time.

use std::sync::Arc;

use super::{Desk, NAMES_NS};
use crate::{
    attribute::{
        attribute,
        claim::{asked_of, may_be_claimed},
    },
    event::{Cgroup, Event},
};

/// A question is forgotten after this long.
const GIVEN_UP_NS: u64 = 2 * NAMES_NS;

/// What could not be found is not asked for again within this time.
pub(in crate::attribute) const AGAIN_NS: u64 = 1_000_000_000;

/// Until this long after a cgroup was made its runtime may not have written yet whose it is.
const CLAIM_NS: u64 = 2_000_000_000;

/// Questions that may be open at once; a kill beyond them is told without names.
const MAX_ASKED: usize = 256;

/// What has to be looked up now, for a kill happened there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ask {
    /// Path of the cgroup.
    pub path: Arc<str>,
    /// Its kernfs id.
    pub id: Option<u64>,
}

impl Desk {
    /// Asks for what is not known of the cgroups in the event; whether there is anything to wait for.
    pub(super) fn ask_for(&mut self, event: &mut Event, now_ns: u64) -> bool {
        let mut waits = false;
        let is_report = matches!(event, Event::OomInstance(_));
        for (at_ns, cgroup) in cgroups_of(event) {
            self.complete(cgroup);
            let Some(path) = cgroup.path.as_deref() else {
                // The watch may be about to tell which cgroup it was.
                waits |= cgroup.id.is_some();
                continue;
            };
            if self.knows(path, cgroup.id, at_ns, now_ns) {
                continue;
            }
            // An alert waits only where the path tells of a container; a report may wait.
            let waits_for = is_report || attribute(path).owner.container_id.is_some();
            let path = asked_of(path);
            let known = self.asked.iter().any(|(asked, _)| &**asked == path);
            if !known && self.asked.len() < MAX_ASKED {
                let path: Arc<str> = path.into();
                let id = cgroup.id.filter(|_| cgroup.path.as_deref() == Some(&*path));
                self.asks.push(Ask {
                    path: path.clone(),
                    id,
                });
                self.asked.push_back((path, now_ns + GIVEN_UP_NS));
                waits |= waits_for;
            } else {
                waits |= known && waits_for;
            }
        }
        waits
    }

    /// Whether the roster can say who it is, or nobody could: it has been there when it was looked up.
    fn knows(&self, path: &str, id: Option<u64>, at_ns: u64, now_ns: u64) -> bool {
        let place = attribute(path).owner;
        match place.container_id {
            Some(_) => {
                let of_container = asked_of(path);
                let id = id.filter(|_| of_container == path);
                let life = self.roster.life(of_container, id, at_ns);
                let looked_up = life.and_then(|life| life.looked_up_ns);
                let lately = looked_up.is_some_and(|at| now_ns < at + AGAIN_NS);
                lately || self.names(path, id, at_ns).is_some()
            }
            // A runtime may still be about to write that it is its container.
            None if may_be_claimed(&place) && path != "/" => {
                self.roster.life(path, id, at_ns).is_some_and(|life| {
                    let settled = life.born_ns.is_none_or(|born| now_ns > born + CLAIM_NS);
                    let lately = life.looked_up_ns.is_some_and(|at| now_ns < at + AGAIN_NS);
                    settled || lately || life.names.is_some()
                })
            }
            None => true,
        }
    }
}

/// The cgroups of victims and limits in an event, each with the moment of which it tells.
pub(super) fn cgroups_of(event: &mut Event) -> impl Iterator<Item = (u64, &mut Cgroup)> {
    let (alert, report) = match event {
        Event::OomKill(kill) => (Some(&mut **kill), None),
        Event::OomInstance(instance) => (None, Some(&mut **instance)),
        Event::VictimEnd(_)
        | Event::OomStuck(_)
        | Event::ContainerCreation(_)
        | Event::ContainerDeletion(_) => (None, None),
    };
    let (kills, limit) = report.map_or((&mut [][..], None), |report| {
        let at_ns = report.monotonic_ns.unwrap_or(u64::MAX);
        let limit = report
            .limit
            .as_mut()
            .map(|limit| (at_ns, &mut limit.cgroup));
        (&mut report.kills[..], limit)
    });
    let kills = alert.into_iter().chain(kills).filter_map(|kill| {
        let at_ns = kill.monotonic_ns.unwrap_or(u64::MAX);
        Some((at_ns, kill.cgroup.as_mut()?))
    });
    kills.chain(limit)
}
