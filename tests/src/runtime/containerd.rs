//! A containerd of the test's own.
//!
//! Its root, socket and configuration are in a scratch directory; its state is where every containerd has
//! it, for that is where the agent looks. Refuses to run beside another one.

use std::{
    fs::{self, File},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, ensure};
use rustix::process::{Pid, Signal, kill_process};

use super::{
    IMAGE,
    stage::{Programs, Stage, run},
    traces,
};
use crate::machine;

const PROGRAMS: Programs = &[
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
];

/// Where containerd keeps the bundles of running containers.
pub(super) const STATE: &str = "/run/containerd";

/// Of the container that holds a pod's namespaces.
const PAUSE: &str = "localhost/oom-test/pause:1";

const START: Duration = Duration::from_secs(20);
const STOP: Duration = Duration::from_secs(5);

/// The daemon; ended, with all that it started, when dropped.
#[derive(Debug)]
pub struct Containerd {
    child: Child,
    root: PathBuf,
    socket: PathBuf,
    /// Whether its state directory was there before.
    shared_state: bool,
    /// Dropped last: the cgroups above its containers' go once these are gone.
    stage: Stage,
}

impl Containerd {
    /// Starts one, with the images. `None`, after saying why, where that cannot be done.
    pub fn start() -> Result<Option<Self>> {
        let Some(stage) = Stage::alone(PROGRAMS)? else {
            return Ok(None);
        };
        if is_in_use(Path::new(STATE)) {
            machine::skip("needs /run/containerd for itself, and a containerd uses it")?;
            return Ok(None);
        }
        let root = stage.dir().join("containerd");
        let socket = stage.dir().join("containerd.sock");
        let config = stage.dir().join("containerd.toml");
        fs::write(&config, configuration(&root, &socket))?;
        let shared_state = Path::new(STATE).exists();
        let log = File::create(stage.dir().join("containerd.log"))?;
        let child = Command::new("containerd")
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .context("start containerd")?;
        let mut daemon = Self {
            child,
            root,
            socket,
            shared_state,
            stage,
        };
        daemon.wait_until_it_serves()?;
        let (app, pause) = (
            daemon.stage.image(IMAGE, "hog")?,
            daemon.stage.image(PAUSE, "pause")?,
        );
        for (namespace, image) in [("default", &app), ("k8s.io", &app), ("k8s.io", &pause)] {
            run(daemon.ctr(namespace).args(["images", "import"]).arg(image))?;
        }
        Ok(Some(daemon))
    }

    /// `ctr` in a namespace of this daemon.
    pub(super) fn ctr(&self, namespace: &str) -> Command {
        let mut ctr = Command::new("ctr");
        ctr.arg("--address").arg(&self.socket);
        ctr.args(["--namespace", namespace]);
        ctr
    }

    /// Where it listens.
    pub(super) fn socket(&self) -> &Path {
        &self.socket
    }

    /// What it runs on.
    #[must_use]
    pub fn stage(&self) -> &Stage {
        &self.stage
    }

    fn wait_until_it_serves(&mut self) -> Result<()> {
        let end = Instant::now() + START;
        while run(self.ctr("default").arg("version")).is_err() {
            let status = self.child.try_wait()?;
            ensure!(
                status.is_none() && Instant::now() < end,
                "containerd ({status:?}) does not serve:\n{}",
                self.log()
            );
        }
        Ok(())
    }

    fn log(&self) -> String {
        fs::read_to_string(self.stage.dir().join("containerd.log")).unwrap_or_default()
    }

    /// Asks it to end; kills it if it does not.
    fn end(&mut self) {
        if let Some(pid) = Pid::from_raw(self.child.id().cast_signed()) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let end = Instant::now() + STOP;
        while matches!(self.child.try_wait(), Ok(None)) && Instant::now() < end {
            thread::yield_now();
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        if thread::panicking() {
            eprintln!("containerd said:\n{}", self.log());
        }
        // Shims outlive their daemon, and the containers outlive their shims.
        self.end();
        for pid in inits(Path::new(STATE)) {
            traces::end_process(pid);
        }
        traces::end_users_of(&self.socket);
        traces::unmount_below(Path::new(STATE));
        traces::unmount_below(&self.root);
        if self.shared_state {
            // All of them are this daemon's: there were none before.
            for bundle in bundles(Path::new(STATE)) {
                let _ = fs::remove_dir_all(bundle);
            }
        } else {
            let _ = fs::remove_dir_all(STATE);
        }
    }
}

/// Whether a daemon answers there, or containers of one are left.
fn is_in_use(state: &Path) -> bool {
    UnixStream::connect(state.join("containerd.sock")).is_ok() || !bundles(state).is_empty()
}

/// The bundles of running containers, `io.containerd.runtime.v2.task/NAMESPACE/ID`.
fn bundles(state: &Path) -> Vec<PathBuf> {
    let list = |dir: &Path| -> Vec<PathBuf> {
        let entries = fs::read_dir(dir).into_iter().flatten().flatten();
        entries.map(|entry| entry.path()).collect()
    };
    let namespaces = list(&state.join("io.containerd.runtime.v2.task"));
    namespaces.iter().flat_map(|dir| list(dir)).collect()
}

/// The first process of each container.
fn inits(state: &Path) -> Vec<u32> {
    let pid = |bundle: &PathBuf| {
        let text = fs::read_to_string(bundle.join("init.pid")).ok()?;
        text.trim().parse().ok()
    };
    bundles(state).iter().filter_map(pid).collect()
}

fn configuration(root: &Path, socket: &Path) -> String {
    format!(
        r#"version = 2
root = "{root}"
state = "{STATE}"

[grpc]
address = "{socket}"

[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "{PAUSE}"
# Without CAP_SYS_RESOURCE no score can be lowered.
restrict_oom_score_adj = true

[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"#,
        root = root.display(),
        socket = socket.display(),
    )
}
