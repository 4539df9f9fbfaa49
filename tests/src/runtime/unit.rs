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
    made: Made,
    container: Container,
}

impl Unit {
    /// Starts one.
    pub fn run(stage: &Stage, args: &[&str]) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("oom-test-{}-{number}.service", std::process::id());
        let hierarchy = &stage.machine.hierarchy;
        let path = format!("{SLICE}/{name}");
        let mut made = Made::default();
        made.cgroup(&hierarchy.dir_of(SLICE).context("the slice")?)?;
        let dir = hierarchy.dir_of(&path).context("the service")?;
        if hierarchy.version == CgroupVersion::V2 {
            fs::write(dir.with_file_name("cgroup.subtree_control"), "+memory")?;
        }
        made.cgroup(&dir)?;
        fs::write(dir.join(hierarchy.version.limit_file()), LIMIT.to_string())?;
        let owner = Owner {
            unit: Some(name),
            ..Owner::of(OwnerKind::Unit)
        };
        let container = Container::at(hierarchy, &path, owner, LimitLevel::Unit)?;
        made.start(stage.payload(), args, &dir)?;
        Ok(Self { made, container })
    }
}

impl Running for Unit {
    fn container(&self) -> &Container {
        &self.container
    }

    fn remove(&mut self) -> Result<()> {
        self.made.remove();
        Ok(())
    }
}

/// The cgroups and the process of a service; removed when dropped.
#[derive(Debug, Default)]
struct Made {
    cgroups: Vec<PathBuf>,
    main: Option<Child>,
}

impl Made {
    fn cgroup(&mut self, dir: &Path) -> Result<()> {
        if !dir.exists() {
            fs::create_dir(dir)?;
            self.cgroups.push(dir.to_owned());
        }
        Ok(())
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
