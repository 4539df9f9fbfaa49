//! A plain cgroup at a path of somebody's choice, with the payload in it: no runtime made it, but its path
//! may say so.
//!
//! Makes the cgroup, and those above it that are missing. Emits the [`Container`] that it stands for; takes
//! away all that it made, and nothing else.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use anyhow::{Context as _, Result};
use oom_agent::{
    event::{LimitLevel, Owner},
    hierarchy::{CgroupVersion, Hierarchy},
};

use super::{Container, Running, traces};
use crate::machine;

/// A path, and what the agent must say of it.
#[derive(Clone, Debug)]
pub struct Place {
    /// From the root of the hierarchy.
    pub path: String,
    /// Whose it is.
    pub owner: Owner,
    /// What its limit is a limit of.
    pub level: LimitLevel,
}

/// The cgroup and its process; removed when dropped.
#[derive(Debug)]
pub struct Plain {
    made: Made,
    container: Container,
}

impl Plain {
    /// Makes it, with a limit in bytes, and starts `program` in it.
    pub fn run(
        hierarchy: &Hierarchy,
        place: &Place,
        limit: u64,
        program: &Path,
        args: &[&str],
    ) -> Result<Self> {
        let mut made = Made::default();
        let dir = made.cgroups(hierarchy, &place.path)?;
        fs::write(dir.join(hierarchy.version.limit_file()), limit.to_string())?;
        let (owner, level) = (place.owner.clone(), place.level);
        let container = Container::at(hierarchy, &place.path, owner, level)?;
        made.start(program, args, &dir)?;
        Ok(Self { made, container })
    }
}

/// The program of a cgroup that has the machine's own files: built with this test.
pub fn payload() -> Result<PathBuf> {
    Ok(machine::build_dir()?.join("container-payload"))
}

impl Running for Plain {
    fn container(&self) -> &Container {
        &self.container
    }

    fn remove(&mut self) -> Result<()> {
        self.made.remove();
        Ok(())
    }
}

#[derive(Debug, Default)]
struct Made {
    cgroups: Vec<PathBuf>,
    main: Option<Child>,
}

impl Made {
    /// Every level of a path that is not there; gives the directory of the last one.
    fn cgroups(&mut self, hierarchy: &Hierarchy, path: &str) -> Result<PathBuf> {
        let last = hierarchy.dir_of(path).context("not below the mount")?;
        let mut dir = hierarchy.mount.clone();
        for name in last.strip_prefix(&hierarchy.mount)? {
            if hierarchy.version == CgroupVersion::V2 {
                fs::write(dir.join("cgroup.subtree_control"), "+memory")?;
            }
            dir.push(name);
            match fs::create_dir(&dir) {
                Ok(()) => self.cgroups.push(dir.clone()),
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).with_context(|| dir.display().to_string()),
            }
        }
        Ok(last)
    }

    /// A child of it may be there before it is in the cgroup.
    fn start(&mut self, program: &Path, args: &[&str], cgroup: &Path) -> Result<()> {
        let mut command = Command::new(program);
        let main = command.args(args).stdin(Stdio::null()).spawn()?;
        let pid = self.main.insert(main).id();
        fs::write(cgroup.join("cgroup.procs"), pid.to_string())?;
        let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?;
        for child in children.split_whitespace() {
            fs::write(cgroup.join("cgroup.procs"), child)?;
        }
        Ok(())
    }

    fn remove(&mut self) {
        if let Some(mut main) = self.main.take() {
            let _ = main.kill();
            let _ = main.wait();
        }
        for dir in self.cgroups.drain(..).rev() {
            traces::end_all(&dir);
            traces::remove_cgroup(&dir);
        }
    }
}

impl Drop for Made {
    fn drop(&mut self) {
        self.remove();
    }
}
