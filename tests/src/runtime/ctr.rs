//! Containers by `ctr run`: containerd without Kubernetes, in `/NAMESPACE/ID`.
//!
//! They have an id that a person gave, and neither a name nor an image that is left on disk.

use std::{
    process::{Child, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result};
use oom_agent::event::{LimitLevel, Owner, OwnerKind, Runtime};

use super::{
    Container, IMAGE, LIMIT, Running, containerd::Containerd, image::PROGRAM, play, stage::run,
    traces,
};

const NAMESPACE: &str = "default";

/// A container of `ctr run`; removed when dropped.
#[derive(Debug)]
pub struct Ctr<'a> {
    daemon: &'a Containerd,
    id: String,
    container: Container,
    /// `ctr run --rm`, which removes it by itself.
    client: Option<Child>,
    removed: bool,
}

impl<'a> Ctr<'a> {
    /// Starts one; with `rm` it is removed as soon as its main process has ended.
    pub fn run(daemon: &'a Containerd, args: &[&str], rm: bool) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let id = format!("oom-test-{}", NUMBER.fetch_add(1, Ordering::Relaxed));
        let mut command = daemon.ctr(NAMESPACE);
        command.args(["run", "--null-io", if rm { "--rm" } else { "--detach" }]);
        command.args(["--memory-limit", &LIMIT.to_string()]);
        command.args([IMAGE, &id, PROGRAM]).args(args);
        let client = if rm {
            let client = command.stdin(Stdio::null()).spawn();
            Some(client.context("ctr run")?)
        } else {
            run(&mut command)?;
            None
        };
        let hierarchy = &daemon.stage().machine.hierarchy;
        let owner = Owner {
            runtime: Some(Runtime::Containerd),
            container_id: Some(id.clone()),
            // Nobody gave it another name.
            container_name: Some(id.clone()),
            ..Owner::of(OwnerKind::Container)
        };
        let path = format!("/{NAMESPACE}/{id}");
        let container = play::soon("a cgroup of ctr's container", || {
            Container::at(hierarchy, &path, owner.clone(), LimitLevel::Container).ok()
        })?;
        Ok(Self {
            daemon,
            id,
            container,
            client,
            removed: false,
        })
    }
}

impl Running for Ctr<'_> {
    fn container(&self) -> &Container {
        &self.container
    }

    fn remove(&mut self) -> Result<()> {
        self.removed = true;
        if let Some(mut client) = self.client.take() {
            client.wait()?;
            return Ok(());
        }
        let ctr = |words: &[&str]| run(self.daemon.ctr(NAMESPACE).args(words).arg(&self.id));
        ctr(&["tasks", "delete", "--force"])?;
        ctr(&["containers", "delete"])?;
        Ok(())
    }
}

impl Drop for Ctr<'_> {
    fn drop(&mut self) {
        traces::end_all(&self.container.dir);
        if !self.removed
            && let Err(error) = self.remove()
        {
            eprintln!("left behind: {error:#}");
        }
    }
}
