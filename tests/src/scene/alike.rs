//! Cgroups that only their ids tell apart.
//!
//! Emits one [`Truth`] for each. Refuses nothing.

use anyhow::{Result, ensure};
use oom_agent::{
    hierarchy::Hierarchy,
    trigger::scratch::{ScratchCgroup, Settings},
};

use super::{MIB, Truth, limit, scratch, suicide};

/// Kills in two cgroups of one name below different parents, and in a third that takes the path of one
/// that was removed.
pub fn cgroups_named_alike(hierarchy: &Hierarchy) -> Result<Vec<Truth>> {
    let (left, right) = (parent(hierarchy)?, parent(hierarchy)?);
    let mut truths = Vec::new();
    for home in [&left, &right, &right] {
        let app = home.child("app", limit(Some(4 * MIB)))?;
        truths.push(suicide("hog", b"alike", &app, &app)?);
        app.remove()?;
    }
    let places: Vec<_> = truths.iter().map(|truth| &truth.victim.cgroup).collect();
    ensure!(
        places[1].path == places[2].path && places[1].id != places[2].id,
        "the third cgroup is not a new one of the same path: {places:?}"
    );
    Ok(truths)
}

fn parent(hierarchy: &Hierarchy) -> Result<ScratchCgroup> {
    let parent = scratch(hierarchy, "", None)?;
    // A child makes it hand the controller down.
    parent.child("other", Settings::default())?.remove()?;
    Ok(parent)
}
