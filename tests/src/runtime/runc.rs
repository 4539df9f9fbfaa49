//! Containers by runc alone: a bundle made by hand, in a cgroup that the bundle names.
//!
//! They have an id that a person gave, and neither a name nor an image.

use std::{
    fs,
    path::Path,
    process::{Child, Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use anyhow::{Context as _, Result, ensure};
use oom_agent::event::{LimitLevel, Owner, OwnerKind, Runtime};
use serde_json::{Value, json};

use super::{
    Container, LIMIT, Running,
    image::PROGRAM,
    play,
    stage::{Programs, Stage, run},
};

/// What a test of runc alone needs.
pub const PROGRAMS: Programs = &[("runc", "runc")];

/// A container of runc; removed when dropped.
#[derive(Debug)]
pub struct Runc {
    started: Started,
    container: Container,
}

impl Runc {
    /// Starts one; with `rm` it is removed as soon as its main process has ended.
    pub fn run(stage: &Stage, args: &[&str], rm: bool) -> Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let id = format!("oom-test-{}-{number}", std::process::id());
        let path = format!("/oom-test/{id}");
        let bundle = stage.dir().join(&id);
        stage.rootfs(&bundle.join("rootfs"))?;
        fs::write(bundle.join("config.json"), config(&path, args).to_string())?;
        let started = Started::by_runc(&bundle, &id, rm)?;
        let owner = Owner {
            runtime: Some(Runtime::Runc),
            // Nobody gave it another name.
            container_name: Some(id.clone()),
            container_id: Some(id),
            ..Owner::of(OwnerKind::Container)
        };
        let hierarchy = &stage.machine.hierarchy;
        let container = play::soon("a cgroup of runc's container", || {
            Container::at(hierarchy, &path, owner.clone(), LimitLevel::Container).ok()
        })?;
        Ok(Self { started, container })
    }
}

impl Running for Runc {
    fn container(&self) -> &Container {
        &self.container
    }

    fn remove(&mut self) -> Result<()> {
        match self.started.client.take() {
            Some(mut client) => client.wait().map(drop).context("runc run"),
            None => self.started.delete(),
        }
    }
}

/// What runc has started; killed and deleted when dropped.
#[derive(Debug)]
struct Started {
    id: String,
    /// `runc run` in the foreground, which removes the container by itself.
    client: Option<Child>,
}

impl Started {
    fn by_runc(bundle: &Path, id: &str, rm: bool) -> Result<Self> {
        let mut command = Command::new("runc");
        command.arg("run").arg("--bundle").arg(bundle);
        command.args((!rm).then_some("--detach")).arg(id);
        // Not a pipe: what is detached would keep it open.
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let client = command.spawn().context("runc run")?;
        let mut started = Self {
            id: id.to_owned(),
            client: Some(client),
        };
        if !rm && let Some(mut client) = started.client.take() {
            ensure!(client.wait()?.success(), "runc run failed");
        }
        Ok(started)
    }

    fn delete(&self) -> Result<()> {
        run(Command::new("runc").args(["delete", "--force", &self.id])).map(drop)
    }
}

impl Drop for Started {
    fn drop(&mut self) {
        // No error if it is gone.
        if let Err(error) = self.delete() {
            eprintln!("left behind: {error:#}");
        }
        if let Some(mut client) = self.client.take() {
            let _ = client.wait();
        }
    }
}

/// `config.json` of the OCI runtime specification.
fn config(cgroup: &str, args: &[&str]) -> Value {
    let words: Vec<&str> = [PROGRAM].iter().chain(args).copied().collect();
    let mount = |kind: &str, to: &str| json!({ "destination": to, "type": kind, "source": kind });
    json!({
        "ociVersion": "1.0.2",
        "process": { "user": { "uid": 0, "gid": 0 }, "args": words, "cwd": "/" },
        "root": { "path": "rootfs" },
        "mounts": [mount("proc", "/proc"), mount("tmpfs", "/dev")],
        "linux": {
            "cgroupsPath": cgroup,
            "resources": { "memory": { "limit": LIMIT } },
            "namespaces": [
                { "type": "pid" },
                { "type": "mount" },
                { "type": "ipc" },
                { "type": "uts" },
            ],
        },
    })
}
