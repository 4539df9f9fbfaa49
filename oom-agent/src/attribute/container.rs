//! Events of cgroups that came and went, from their lives.
//!
//! Pure. An id is made of the boot, the kernfs id and the path: the same for whoever tells it again.

use std::sync::Arc;

use super::{claim::owner_of, roster::Life};
use crate::{
    clock::Now,
    event::{Cgroup, ContainerCreation, ContainerDeletion, Event, SCHEMA},
    host::Host,
};

/// How a cgroup came to its end.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct End {
    /// Of the container that it was.
    pub(super) exit_code: Option<i32>,
    /// It was missed by a scan.
    pub(super) late: bool,
}

/// One whose creation is told as of [`Life::told`].
pub(super) fn created(host: &Host, path: &Arc<str>, life: &Life, late: bool) -> Option<Event> {
    let (id, cgroup) = name(host, "created", path, life);
    Some(Event::ContainerCreation(Box::new(ContainerCreation {
        schema: SCHEMA,
        id,
        time: life.told?,
        monotonic_ns: life.born_ns?,
        boot_id: host.boot_id.clone(),
        node: host.node.clone(),
        cluster: host.cluster.clone(),
        cgroup,
        owner: owner_of(path, life.names.as_deref()),
        late,
    })))
}

/// One that has ended.
pub(super) fn removed(
    host: &Host,
    path: &Arc<str>,
    life: &Life,
    end: End,
    now: Now,
) -> Option<Event> {
    let died_ns = life.died_ns?;
    let (id, cgroup) = name(host, "removed", path, life);
    Some(Event::ContainerDeletion(Box::new(ContainerDeletion {
        schema: SCHEMA,
        id,
        time: now.wall(died_ns),
        monotonic_ns: died_ns,
        boot_id: host.boot_id.clone(),
        node: host.node.clone(),
        cluster: host.cluster.clone(),
        cgroup,
        owner: owner_of(path, life.names.as_deref()),
        // The very time that was told, for the clocks drift.
        created: life
            .told
            .or_else(|| life.born_ns.map(|born| now.wall(born))),
        exit_code: end.exit_code.unwrap_or(-1),
        late: end.late,
    })))
}

fn name(host: &Host, what: &str, path: &Arc<str>, life: &Life) -> (Arc<str>, Cgroup) {
    let kernfs = life.id.map_or_else(|| "-".to_owned(), |id| id.to_string());
    let id = format!("{what}-{}-{kernfs}-{path}", host.boot);
    let cgroup = Cgroup {
        path: Some(path.to_string()),
        id: life.id,
        version: Some(life.version),
    };
    (id.into(), cgroup)
}
