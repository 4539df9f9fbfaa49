//! Where containers seem to be: cgroups with the names that docker and systemd give them, and the files
//! that docker keeps of them.
//!
//! Makes a slice of its own in the memory controller's hierarchy and a directory to be the agent's
//! `--host-root`; removes both when dropped. Refuses a machine whose memory controller is not mounted
//! in the usual place.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use tempfile::TempDir;

/// Where version 1 and version 2 are mounted (`file-hierarchy(7)` says the latter).
const V1: &str = "/sys/fs/cgroup/memory";
const V2: &str = "/sys/fs/cgroup";

/// What of its cgroups' settings differs between the versions.
struct Files {
    limit: &'static str,
    /// Lest a process goes to swap instead of dying; where swap is not accounted there is none.
    swap: (&'static str, bool),
}

/// Cgroups for this run, and files to name them.
pub(super) struct Place {
    dir: PathBuf,
    files: Files,
    host: TempDir,
}

/// What a cgroup is to look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One that nobody has a name for.
    Plain,
    /// A container of docker's.
    Container,
}

impl Place {
    pub(super) fn new() -> Result<Self> {
        let name = format!("oombench{}.slice", std::process::id());
        let v1 = Path::new(V1).join("cgroup.procs").exists();
        let (root, files) = if v1 {
            let swap = ("memory.memsw.limit_in_bytes", false);
            let limit = "memory.limit_in_bytes";
            (V1, Files { limit, swap })
        } else {
            let swap = ("memory.swap.max", true);
            let limit = "memory.max";
            (V2, Files { limit, swap })
        };
        let dir = Path::new(root).join(name);
        if !v1 {
            let given = fs::read_to_string(Path::new(V2).join("cgroup.subtree_control"));
            if !given.is_ok_and(|given| given.split_whitespace().any(|it| it == "memory")) {
                bail!("no memory controller in {V1}, and {V2} does not hand one down");
            }
        }
        fs::create_dir(&dir).with_context(|| dir.display().to_string())?;
        let host = TempDir::new()?;
        let place = Self { dir, files, host };
        if !v1 {
            let control = place.dir.join("cgroup.subtree_control");
            fs::write(&control, "+memory").with_context(|| control.display().to_string())?;
        }
        Ok(place)
    }

    /// `--host-root`.
    pub(super) fn host(&self) -> &Path {
        self.host.path()
    }

    /// Whether a kill's cgroup is one of these.
    pub(super) fn has(&self, path: &str) -> bool {
        let own = self.dir.file_name().and_then(|name| name.to_str());
        own.is_some_and(|own| path.split('/').any(|part| part == own))
    }

    /// Makes a cgroup; `number` tells it from the others.
    pub(super) fn cgroup(&self, kind: Kind, number: u32, limit: u64) -> Result<Cgroup> {
        let id = format!("{:08x}{number:056x}", std::process::id());
        let name = match kind {
            Kind::Plain => format!("plain{number}"),
            Kind::Container => {
                self.describe(&id)?;
                format!("docker-{id}.scope")
            }
        };
        let cgroup = Cgroup {
            dir: self.dir.join(name),
        };
        fs::create_dir(&cgroup.dir).with_context(|| cgroup.dir.display().to_string())?;
        let file = cgroup.dir.join(self.files.limit);
        fs::write(&file, limit.to_string()).with_context(|| file.display().to_string())?;
        let (swap, beyond) = self.files.swap;
        let swap = cgroup.dir.join(swap);
        if swap.exists() {
            let most = if beyond { 0 } else { limit };
            fs::write(&swap, most.to_string()).with_context(|| swap.display().to_string())?;
        }
        Ok(cgroup)
    }

    /// A directory below which cgroups can be made.
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// As docker does before it makes the cgroup (moby `container/container.go`).
    fn describe(&self, id: &str) -> Result<()> {
        let dir = self.host().join("var/lib/docker/containers").join(id);
        fs::create_dir_all(&dir)?;
        let text = serde_json::json!({
            "ID": id,
            "Name": format!("/bench-{id}"),
            "Config": {"Image": "bench:latest"},
        });
        fs::write(dir.join("config.v2.json"), text.to_string()).context("a container's file")
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.dir) {
            eprintln!("bench: {} stays: {error}", self.dir.display());
        }
    }
}

/// A cgroup, removed when dropped.
pub(super) struct Cgroup {
    dir: PathBuf,
}

impl Cgroup {
    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir(&self.dir) {
            eprintln!("bench: {} stays: {error}", self.dir.display());
        }
    }
}
