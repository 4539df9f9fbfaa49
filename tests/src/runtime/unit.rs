//! A service as systemd lays it out, `/system.slice/NAME.service`: no systemd has to run for its path to
//! mean something.
//!
//! Makes the cgroup by hand and puts the payload into it.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result};
use oom_agent::{
    event::{LimitLevel, Owner, OwnerKind},
    hierarchy::CgroupVersion,
};

use super::{
    Container, LIMIT, Running,
    stage::{Programs, Stage},
    traces,
};

/// Nothing but the payload.
pub const PROGRAMS: Programs = &[];

const SLICE: &str = "/system.slice";

/// A service; removed when dropped.
#[derive(Debug)]
pub struct Unit {
    main: Option<Child>,
    container: Container,
    /// What is removed at the end, in this order.
    made: Vec<PathBuf>,
}

impl Unit {
    /// Starts one.
    pub fn run(stage: &Stage, args: &[&str]) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("oom-test-{}-{number}.service", std::process::id());
        let hierarchy = &stage.machine.hierarchy;
        let slice = hierarchy.dir_of(SLICE).context("the slice")?;
        let dir = slice.join(&name);
        let mut made = vec![dir.clone()];
        if !slice.exists() {
            fs::create_dir(&slice)?;
            made.push(slice.clone());
        }
        if hierarchy.version == CgroupVersion::V2 {
            fs::write(slice.join("cgroup.subtree_control"), "+memory")?;
        }
        fs::create_dir(&dir)?;
        fs::write(dir.join(hierarchy.version.limit_file()), LIMIT.to_string())?;
        let owner = Owner {
            unit: Some(name.clone()),
            ..Owner::of(OwnerKind::Unit)
        };
        let path = format!("{SLICE}/{name}");
        let container = Container::at(hierarchy, &path, owner, LimitLevel::Unit)?;
        let main = Command::new(stage.payload())
            .args(args)
            .stdin(Stdio::null())
            .spawn()?;
        let mut unit = Self {
            main: Some(main),
            container,
            made,
        };
        unit.join(&dir)?;
        Ok(unit)
    }

    /// Its children may be there already.
    fn join(&mut self, dir: &Path) -> Result<()> {
        let main = self.main.as_ref().context("main process")?.id();
        fs::write(dir.join("cgroup.procs"), main.to_string())?;
        let children = fs::read_to_string(format!("/proc/{main}/task/{main}/children"))?;
        for child in children.split_whitespace() {
            fs::write(dir.join("cgroup.procs"), child)?;
        }
        Ok(())
    }
}

impl Running for Unit {
    fn container(&self) -> &Container {
        &self.container
    }

    fn remove(&mut self) -> Result<()> {
        traces::end_all(&self.container.dir);
        if let Some(mut main) = self.main.take() {
            main.wait()?;
        }
        for dir in self.made.drain(..) {
            traces::remove_cgroup(&dir);
        }
        Ok(())
    }
}

impl Drop for Unit {
    fn drop(&mut self) {
        let _ = self.remove();
    }
}
