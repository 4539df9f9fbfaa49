//! Scenes about memory that belongs to files: tmpfs, the page cache, and a charge that is refused.
//!
//! Mounts file systems of its own for as long as a scene lasts. Emits [`Truth`]. Refuses nothing.

use std::{ffi::CStr, path::Path};

use anyhow::{Context as _, Result};
use oom_agent::{hierarchy::Hierarchy, trigger::scratch::ScratchCgroup};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tempfile::TempDir;

use super::{Actor, Birth, Limit, MIB, NoVictim, Truth, scratch};
use crate::klog::KernelLog;

/// A file system for one scene.
pub(super) struct Mounted(TempDir);

impl Mounted {
    pub(super) fn new(kind: &str, options: Option<&CStr>) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        mount(kind, dir.path(), kind, MountFlags::empty(), options)
            .with_context(|| format!("mount {kind} {options:?}"))?;
        Ok(Self(dir))
    }

    pub(super) fn path(&self) -> &Path {
        self.0.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        // Its directory is removed next, and that tells if this failed.
        let _ = unmount(self.0.path(), UnmountFlags::DETACH);
    }
}

/// A process fills a tmpfs until its cgroup's limit is reached.
pub fn tmpfs(hierarchy: &Hierarchy) -> Result<Truth> {
    filled(hierarchy, "tmpfs", b"tmpfs", "shmem")
}

/// A process fills the page cache with what cannot be written back: the pages of a ramfs.
pub fn page_cache(hierarchy: &Hierarchy) -> Result<Truth> {
    filled(hierarchy, "ramfs", b"page-cache", "page_cache")
}

fn filled(
    hierarchy: &Hierarchy,
    kind: &str,
    comm: &[u8],
    allocation: &'static str,
) -> Result<Truth> {
    let cgroup = scratch(hierarchy, "", Some(8 * MIB))?;
    let files = Mounted::new(kind, None)?;
    let born = Birth::now();
    let mut writer = writer(comm, &cgroup, files.path())?;
    writer.killed()?;
    Ok(Truth {
        allocation: Some(allocation),
        anon_bytes: 0..=8 * MIB,
        ..Truth::own(&writer, Limit::of(&cgroup)?, &born)
    })
}

pub(super) fn writer(comm: &[u8], home: &ScratchCgroup, dir: &Path) -> Result<Actor> {
    Actor::start("writer", comm, 1000, home, &["--file", &file(dir)?])
}

fn file(dir: &Path) -> Result<String> {
    Ok(dir.join("file").to_str().context("path")?.to_owned())
}

/// A process that must not be killed reaches its limit, and nobody else is there.
pub fn no_killable_process(hierarchy: &Hierarchy) -> Result<NoVictim> {
    let cgroup = scratch(hierarchy, "", Some(8 * MIB))?;
    let files = Mounted::new("tmpfs", None)?;
    let mut log = KernelLog::from_now()?;
    let file = file(files.path())?;
    let args = ["--until-limit", "--file", &file];
    let mut writer = Actor::start("writer", b"unkillable", -1000, &cgroup, &args)?;
    writer.must_say("refused")?;
    NoVictim::logged("memcg", &mut log)
}
