//! Real containers, and what the agent must say of them.
//!
//! One file for each runtime makes containers that run [`payload`]; [`play`] lets something die in one of
//! them and emits the [`Story`]: what the test set up and what the kernel did, never what the agent
//! said. [`expect`] compares. Everything is made here and taken away again, without any network. Refuses
//! machines where somebody else uses a runtime's directory: skipped, and the test says why.

pub mod bundle;
pub mod churn;
pub mod containerd;
pub mod cri;
mod cri_messages;
pub mod ctr;
pub mod expect;
mod image;
pub mod payload;
pub mod plain;
pub mod play;
pub mod podman;
pub mod runc;
mod stage;
mod traces;
pub mod unit;

use std::{fs, os::unix::fs::MetadataExt as _, path::PathBuf};

use anyhow::{Context as _, Result};
use oom_agent::{
    event::{LimitLevel, Owner},
    hierarchy::Hierarchy,
};

pub use self::stage::Stage;
use crate::scene::Place;

/// The image of every container, under the name by which it was asked for.
pub const IMAGE: &str = "localhost/oom-test/app:1";

/// The limit of a container: a runtime's own first process has to fit, too.
pub const LIMIT: u64 = 32 << 20;

/// What a container is, as the test made it.
#[derive(Clone, Debug)]
pub struct Container {
    /// Its memory cgroup.
    pub place: Place,
    /// The directory of that.
    pub dir: PathBuf,
    /// Whose the agent must say it is.
    pub owner: Owner,
    /// What a limit of this cgroup is a limit of.
    pub level: LimitLevel,
}

impl Container {
    /// What was made at this path of the memory controller's hierarchy.
    pub fn at(hierarchy: &Hierarchy, path: &str, owner: Owner, level: LimitLevel) -> Result<Self> {
        let (place, dir) = place(hierarchy, path)?;
        Ok(Self {
            place,
            dir,
            owner,
            level,
        })
    }

    /// The limit that the kernel holds for it, in bytes.
    pub fn limit_bytes(&self, hierarchy: &Hierarchy) -> Result<u64> {
        let file = self.dir.join(hierarchy.version.limit_file());
        let text = fs::read_to_string(&file).with_context(|| file.display().to_string())?;
        text.trim().parse().with_context(|| format!("limit {text}"))
    }
}

/// A cgroup as events name it, and its directory.
fn place(hierarchy: &Hierarchy, path: &str) -> Result<(Place, PathBuf)> {
    let dir = hierarchy.dir_of(path).context("not below the mount")?;
    let meta = fs::metadata(&dir).with_context(|| dir.display().to_string())?;
    let place = Place {
        path: path.to_owned(),
        id: meta.ino(),
        version: hierarchy.version.number(),
    };
    Ok((place, dir))
}

/// A container that runs.
pub trait Running {
    /// What it is.
    fn container(&self) -> &Container;

    /// Takes it away. Whatever still runs in it is killed.
    fn remove(&mut self) -> Result<()>;
}
