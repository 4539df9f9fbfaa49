//! A BPF file system of a test's own.
//!
//! Mounted below a temporary directory; with the mount goes all that is pinned there. Tells what is pinned.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use rustix::mount::{MountFlags, UnmountFlags, mount, unmount};
use tempfile::TempDir;

/// The mount.
#[derive(Debug)]
pub struct Bpffs {
    dir: TempDir,
}

impl Bpffs {
    /// Mounts one.
    pub fn mount() -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let flags = MountFlags::NOSUID | MountFlags::NODEV | MountFlags::NOEXEC;
        mount("bpf", dir.path(), "bpf", flags, None).context("mount a bpffs")?;
        Ok(Self { dir })
    }

    /// Where an agent's pins are to be.
    #[must_use]
    pub fn pins(&self) -> PathBuf {
        self.dir.path().join("pins")
    }

    /// The generations that are pinned, and what each holds.
    pub fn generations(&self) -> Result<Vec<(String, Vec<String>)>> {
        let pins = self.pins();
        let holds = |name: String| Ok((name.clone(), names(&pins.join(&name))?));
        names(&pins)?.into_iter().map(holds).collect()
    }
}

impl Drop for Bpffs {
    fn drop(&mut self) {
        let _ = unmount(self.dir.path(), UnmountFlags::DETACH);
    }
}

fn names(dir: &Path) -> Result<Vec<String>> {
    if !dir.exists() {
        return Ok(Vec::new());
    }
    let entries = fs::read_dir(dir)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into()));
    let mut names: Vec<String> = entries.collect::<Result<_>>()?;
    names.sort_unstable();
    Ok(names)
}
