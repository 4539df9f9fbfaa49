//! A scratch memory cgroup: made, limited, and removed when dropped.
//!
//! Reads and writes the cgroup filesystem that [`Hierarchy::find`] found. Emits the facts that an
//! event must agree with: kernel path, kernfs id, limit. Refuses names that are not marked as ours,
//! and never touches a cgroup that it did not make (stale ones of dead processes excepted).

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use thiserror::Error;

use crate::hierarchy::{CgroupVersion, Hierarchy, HierarchyError};

/// Every scratch cgroup's name begins with this, the pid of its maker follows.
pub const PREFIX: &str = "oom-agent-trigger-";

/// How long a removal waits for the last process to leave.
const REMOVE_DEADLINE: Duration = Duration::from_secs(5);

/// Why there is no scratch cgroup, and what to do about it.
#[derive(Debug, Error)]
pub enum ScratchError {
    /// There is no hierarchy to make it in.
    #[error(transparent)]
    Hierarchy(#[from] HierarchyError),
    /// The cgroup filesystem said EPERM or EACCES.
    #[error("not allowed to {call} {}: run as root", path.display())]
    NotPermitted {
        /// What was tried.
        call: &'static str,
        /// On which file.
        path: PathBuf,
    },
    /// The cgroup filesystem said EROFS.
    #[error(
        "{} is mounted read-only: run outside the container, or mount the cgroup filesystem read-write",
        path.display()
    )]
    ReadOnly {
        /// Which file.
        path: PathBuf,
    },
    /// The parent does not hand the memory controller down.
    #[error(
        "cannot enable the memory controller in {}: move the processes in that cgroup to a child (cgroup v2 has no limits beside processes)",
        path.display()
    )]
    NotDelegated {
        /// The parent's `cgroup.subtree_control`.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
    /// cgroup v1 has no `memory.oom.group`.
    #[error("memory.oom.group needs cgroup v2; this machine has the memory controller on v1")]
    GroupNeedsV2,
    /// A name that is not allowed.
    #[error(
        "{name:?} cannot name a scratch cgroup: it must begin with {PREFIX}<pid> and hold no slash or newline"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// Processes did not leave in time.
    #[error("{} still holds processes {pids:?} after {waited:?}", path.display())]
    Busy {
        /// The cgroup's directory.
        path: PathBuf,
        /// Who is left.
        pids: Vec<u32>,
        /// How long was waited.
        waited: Duration,
    },
    /// Any other failure.
    #[error("cannot {call} {}", path.display())]
    Io {
        /// What was tried.
        call: &'static str,
        /// On which file.
        path: PathBuf,
        /// The kernel's answer.
        source: io::Error,
    },
}

impl ScratchError {
    /// Sorts an error of the cgroup filesystem by what the user can do about it.
    pub(crate) fn io(call: &'static str, path: &Path, source: io::Error) -> Self {
        let path = path.to_owned();
        match source.kind() {
            io::ErrorKind::PermissionDenied => Self::NotPermitted { call, path },
            io::ErrorKind::ReadOnlyFilesystem => Self::ReadOnly { path },
            _ => Self::Io { call, path, source },
        }
    }
}

/// What a scratch cgroup is given when it is made.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// Memory limit in bytes; swap is then off. `None` leaves the level without one.
    pub limit_bytes: Option<u64>,
    /// `memory.oom.group` (v2 only).
    pub oom_group: bool,
}

/// A memory cgroup that lives as long as this value.
#[derive(Debug)]
pub struct ScratchCgroup {
    hierarchy: Hierarchy,
    dir: PathBuf,
    id: u64,
    limit_bytes: Option<u64>,
    removed: bool,
}

impl ScratchCgroup {
    /// Makes a cgroup directly below the root of the hierarchy. `name` must begin with [`PREFIX`]
    /// and this process's pid: that is how leftovers are told from other people's cgroups.
    pub fn create(
        hierarchy: &Hierarchy,
        name: &str,
        settings: Settings,
    ) -> Result<Self, ScratchError> {
        if maker(name) != Some(std::process::id()) {
            return Err(ScratchError::Name { name: name.into() });
        }
        Self::make(hierarchy, &hierarchy.mount, name, settings)
    }

    /// Makes a cgroup inside this one. It must be removed before this one.
    pub fn child(&self, name: &str, settings: Settings) -> Result<Self, ScratchError> {
        Self::make(&self.hierarchy, &self.dir, name, settings)
    }

    fn make(
        hierarchy: &Hierarchy,
        parent: &Path,
        name: &str,
        settings: Settings,
    ) -> Result<Self, ScratchError> {
        if name.is_empty() || name.contains(['/', '\n']) || matches!(name, "." | "..") {
            return Err(ScratchError::Name { name: name.into() });
        }
        if settings.oom_group && hierarchy.version == CgroupVersion::V1 {
            return Err(ScratchError::GroupNeedsV2);
        }
        // A v1 root hands down without asking, and its `use_hierarchy` is not ours to change.
        if hierarchy.version == CgroupVersion::V2 || parent != hierarchy.mount {
            delegate_memory(hierarchy.version, parent)?;
        }
        let dir = parent.join(name);
        fs::create_dir(&dir).map_err(|source| ScratchError::io("create", &dir, source))?;
        // From here on, a failure must take the directory away again: Drop does.
        let mut cgroup = Self {
            hierarchy: hierarchy.clone(),
            dir,
            id: 0,
            limit_bytes: None,
            removed: false,
        };
        cgroup.id = fs::metadata(&cgroup.dir)
            .map_err(|source| ScratchError::io("stat", &cgroup.dir, source))?
            .ino();
        if let Some(limit) = settings.limit_bytes {
            cgroup.set_limit(limit)?;
        }
        if settings.oom_group {
            cgroup.write("memory.oom.group", "1")?;
        }
        Ok(cgroup)
    }

    /// Sets the memory limit and takes swap away, so that the limit means what it says.
    fn set_limit(&mut self, bytes: u64) -> Result<(), ScratchError> {
        let version = self.hierarchy.version;
        self.write(version.limit_file(), &bytes.to_string())?;
        let (swap_file, swap_limit) = match version {
            CgroupVersion::V1 => ("memory.memsw.limit_in_bytes", bytes),
            CgroupVersion::V2 => ("memory.swap.max", 0),
        };
        // Absent where the kernel accounts no swap.
        if self.dir.join(swap_file).exists() {
            self.write(swap_file, &swap_limit.to_string())?;
        }
        // The kernel rounds down to whole pages; what it holds is what an event will say.
        self.limit_bytes = self.read(version.limit_file())?.trim().parse().ok();
        Ok(())
    }

    /// The directory in the cgroup filesystem.
    #[must_use]
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// The path as the kernel prints it, from the root of the hierarchy. `None` inside a cgroup
    /// namespace, which hides what is above it.
    #[must_use]
    pub fn kernel_path(&self) -> Option<String> {
        self.hierarchy
            .path_of(&self.dir)
            .filter(|_| self.hierarchy.initial_namespace)
    }

    /// kernfs id: the inode of the directory.
    #[must_use]
    pub fn id(&self) -> u64 {
        self.id
    }

    /// The limit as the kernel holds it.
    #[must_use]
    pub fn limit_bytes(&self) -> Option<u64> {
        self.limit_bytes
    }

    /// Version of the hierarchy.
    #[must_use]
    pub fn version(&self) -> CgroupVersion {
        self.hierarchy.version
    }

    /// OOM kills that the kernel counted here (`None` before 4.13).
    pub fn oom_kills(&self) -> Result<Option<u64>, ScratchError> {
        let file = match self.hierarchy.version {
            CgroupVersion::V1 => "memory.oom_control",
            CgroupVersion::V2 => "memory.events",
        };
        let text = self.read(file)?;
        Ok(text
            .lines()
            .find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok()))
    }

    /// Removes the cgroup, waiting a while for its last process to leave.
    pub fn remove(mut self) -> Result<(), ScratchError> {
        self.removed = true;
        remove_dir(&self.dir)
    }

    fn write(&self, file: &str, value: &str) -> Result<(), ScratchError> {
        let path = self.dir.join(file);
        fs::write(&path, value).map_err(|source| ScratchError::io("write", &path, source))
    }

    fn read(&self, file: &str) -> Result<String, ScratchError> {
        let path = self.dir.join(file);
        fs::read_to_string(&path).map_err(|source| ScratchError::io("read", &path, source))
    }
}

impl Drop for ScratchCgroup {
    fn drop(&mut self) {
        if !self.removed
            && let Err(error) = remove_dir(&self.dir)
        {
            tracing::warn!(%error, "scratch cgroup left behind; the next trigger removes it");
        }
    }
}

/// The pid in a scratch cgroup's name: `oom-agent-trigger-<pid>`, then nothing or no digit.
#[must_use]
pub fn maker(name: &str) -> Option<u32> {
    let rest = name.strip_prefix(PREFIX)?;
    let end = rest
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(rest.len());
    rest[..end].parse().ok()
}

/// Removes the scratch cgroups whose maker is dead; says how many, and what stood in the way.
pub fn remove_stale(hierarchy: &Hierarchy) -> Result<usize, ScratchError> {
    let list = |source| ScratchError::io("list", &hierarchy.mount, source);
    let mut removed = 0;
    for entry in fs::read_dir(&hierarchy.mount).map_err(list)? {
        let entry = entry.map_err(list)?;
        let stale = entry
            .file_name()
            .to_str()
            .and_then(maker)
            .is_some_and(|pid| !Path::new(&format!("/proc/{pid}")).exists());
        if stale {
            remove_tree(&entry.path())?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Children first: a cgroup with children cannot be removed.
fn remove_tree(dir: &Path) -> Result<(), ScratchError> {
    match fs::read_dir(dir) {
        Ok(entries) => {
            for entry in entries.flatten() {
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    remove_tree(&entry.path())?;
                }
            }
            remove_dir(dir)
        }
        // Somebody else was faster.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(ScratchError::io("list", dir, source)),
    }
}

/// `rmdir`, tried again while the cgroup holds a process that is dying.
fn remove_dir(dir: &Path) -> Result<(), ScratchError> {
    let start = Instant::now();
    let mut pause = Duration::from_micros(200);
    loop {
        match fs::remove_dir(dir) {
            Ok(()) => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) if error.kind() == io::ErrorKind::ResourceBusy => {
                if start.elapsed() > REMOVE_DEADLINE {
                    let procs = fs::read_to_string(dir.join("cgroup.procs")).unwrap_or_default();
                    return Err(ScratchError::Busy {
                        path: dir.to_owned(),
                        pids: procs.lines().filter_map(|pid| pid.parse().ok()).collect(),
                        waited: REMOVE_DEADLINE,
                    });
                }
                thread::sleep(pause);
                pause = (pause * 2).min(Duration::from_millis(20));
            }
            Err(source) => return Err(ScratchError::io("remove", dir, source)),
        }
    }
}

/// v2: the parent must hand the controller down before a child can have a limit. v1: a limit counts
/// the children only with `use_hierarchy`, which newer kernels have always on.
fn delegate_memory(version: CgroupVersion, parent: &Path) -> Result<(), ScratchError> {
    let (file, is_on, on): (_, fn(&str) -> bool, _) = match version {
        CgroupVersion::V1 => ("memory.use_hierarchy", |text| text.trim() != "0", "1"),
        CgroupVersion::V2 => (
            "cgroup.subtree_control",
            |text| text.split_whitespace().any(|name| name == "memory"),
            "+memory",
        ),
    };
    let path = parent.join(file);
    match fs::read_to_string(&path) {
        Ok(text) if is_on(&text) => Ok(()),
        Ok(_) => fs::write(&path, on).map_err(|source| match source.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
                ScratchError::io("write", &path, source)
            }
            _ => ScratchError::NotDelegated { path, source },
        }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(ScratchError::io("read", &path, source)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_maker_is_read_from_the_name() {
        assert_eq!(maker("oom-agent-trigger-17"), Some(17));
        assert_eq!(maker("oom-agent-trigger-17-3"), Some(17));
        assert_eq!(maker("oom-agent-trigger-17, a=b"), Some(17));
        assert_eq!(maker("oom-agent-trigger-"), None);
        assert_eq!(maker("oom-agent-trigger-99999999999"), None);
        assert_eq!(maker("system.slice"), None);
    }

    #[test]
    fn names_that_are_not_ours_are_refused() {
        let hierarchy = Hierarchy {
            version: CgroupVersion::V2,
            mount: "/nonexistent".into(),
            root: "/".into(),
            initial_namespace: true,
        };
        let own = format!("{PREFIX}{}", std::process::id());
        for name in [
            "system.slice",
            "oom-agent-trigger-0",
            &format!("{own}/../x"),
        ] {
            let result = ScratchCgroup::create(&hierarchy, name, Settings::default());
            assert!(
                matches!(result, Err(ScratchError::Name { .. })),
                "{result:?}"
            );
        }
    }
}
