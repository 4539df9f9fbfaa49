//! Containers by `podman run`: in `/libpod_parent/libpod-ID`, with a name and an image.
//!
//! In podman's own store, for that is where the agent looks; the image is removed again. No network of
//! their own, no journal, the limits that every process may set.

use std::{
    fs,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result};
use oom_agent::event::{LimitLevel, Owner, OwnerKind, Runtime};

use super::{
    Container, IMAGE, LIMIT, Running, play,
    stage::{Programs, Stage, run},
    traces,
};

const PROGRAMS: Programs = &[("podman", "podman"), ("runc", "runc")];

/// Podman with the test's image in its store; removed when dropped.
#[derive(Debug)]
pub struct Podman {
    /// What it runs on.
    pub stage: Stage,
}

impl Podman {
    /// Loads the image. `None`, after saying why, where that cannot be done.
    pub fn ready() -> Result<Option<Self>> {
        let Some(stage) = Stage::alone(PROGRAMS)? else {
            return Ok(None);
        };
        let image = stage.image(IMAGE, "hog")?;
        let ready = Self { stage };
        run(podman().args(["load", "--quiet", "--input"]).arg(image))?;
        Ok(Some(ready))
    }

    /// Starts a container; with `rm` it is removed as soon as its main process has ended.
    pub fn run(&self, args: &[&str], rm: bool) -> Result<PodmanContainer> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = format!("oom-test-{}-{number}", std::process::id());
        let id_file = self.stage.dir().join(&name);
        let mut command = podman();
        command.args(["run", if rm { "--rm" } else { "--detach" }]);
        command.args(["--name", &name, "--memory", &LIMIT.to_string()]);
        command.args(["--network", "host", "--log-driver", "none"]);
        command.args(["--ulimit", "nofile=1024:1024"]);
        command.args(["--ulimit", "nproc=1024:1024"]);
        command.args(["--pull", "never", "--cidfile"]).arg(&id_file);
        command.arg(IMAGE).args(args);
        let client = if rm {
            let quiet = command.stdin(Stdio::null()).stdout(Stdio::null());
            Some(quiet.spawn().context("podman run")?)
        } else {
            run(&mut command)?;
            None
        };
        let hierarchy = &self.stage.machine.hierarchy;
        let (id, container) = play::soon("a cgroup of podman's container", || {
            let id = fs::read_to_string(&id_file).ok()?.trim().to_owned();
            let owner = Owner {
                runtime: Some(Runtime::Podman),
                container_id: Some(id.clone()),
                container_name: Some(name.clone()),
                image: Some(IMAGE.to_owned()),
                ..Owner::of(OwnerKind::Container)
            };
            let path = format!("/libpod_parent/libpod-{id}");
            let container = Container::at(hierarchy, &path, owner, LimitLevel::Container);
            Some((id, container.ok()?))
        })?;
        Ok(PodmanContainer {
            id,
            container,
            client,
        })
    }
}

impl Drop for Podman {
    fn drop(&mut self) {
        // With every container of it that a test has left.
        if let Err(error) = run(podman().args(["rmi", "--force", IMAGE])) {
            eprintln!("left behind: {error:#}");
        }
    }
}

/// Crun refuses a memory controller of version 1 beside a hierarchy of version 2.
#[must_use]
pub fn podman() -> Command {
    let mut podman = Command::new("podman");
    podman.args(["--runtime", "runc", "--cgroup-manager", "cgroupfs"]);
    podman.args(["--events-backend", "none"]);
    podman
}

/// A container of `podman run`; removed when dropped.
#[derive(Debug)]
pub struct PodmanContainer {
    id: String,
    container: Container,
    /// `podman run --rm`, which removes it by itself.
    client: Option<Child>,
}

impl Running for PodmanContainer {
    fn container(&self) -> &Container {
        &self.container
    }

    fn remove(&mut self) -> Result<()> {
        if let Some(mut client) = self.client.take() {
            client.wait()?;
            return Ok(());
        }
        run(podman().args(["rm", "--force", "--time", "0", &self.id])).map(drop)
    }
}

impl Drop for PodmanContainer {
    fn drop(&mut self) {
        traces::end_all(&self.container.dir);
        if let Some(mut client) = self.client.take() {
            let _ = client.wait();
        }
        let _ = run(podman().args(["rm", "--force", "--ignore", "--time", "0", &self.id]));
    }
}
