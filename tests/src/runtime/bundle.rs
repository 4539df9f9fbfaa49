//! What containerd leaves on disk of a container, written by hand below a directory that stands for the
//! host's root.
//!
//! Emits where the container's cgroup is, and whose the agent must say it is, with the file and without.

use std::{
    fs,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU32, Ordering},
    time::Instant,
};

use anyhow::{Context as _, Result, ensure};
use oom_agent::event::{LimitLevel, Owner, OwnerKind, Pod, Qos, Runtime};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::inotify::{self, CreateFlags, WatchFlags},
};
use serde_json::{Value, json};

use super::{IMAGE, plain::Place};
use crate::agent::DEADLINE;

const TASKS: &str = "run/containerd/io.containerd.runtime.v2.task";

/// A container, and the file that names it.
#[derive(Clone, Debug)]
pub struct Bundle {
    /// As its path tells it.
    pub bare: Place,
    /// As the file tells it.
    pub named: Place,
    /// The file.
    pub file: PathBuf,
    /// What is in it.
    pub content: Value,
}

impl Bundle {
    /// Of a container in a burstable pod, under the kubelet's cgroupfs driver. Each is another one.
    #[must_use]
    pub fn in_pod(root: &Path) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(1);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let pid = std::process::id();
        let id = format!("{pid:08x}{number:08x}").repeat(4);
        let uid = format!("{pid:08x}-7d3a-4f55-9a61-{number:012x}");
        let path = format!("/kubepods/burstable/pod{uid}/{id}");
        let bare = Owner {
            container_id: Some(id.clone()),
            pod: Some(Pod {
                namespace: None,
                name: None,
                uid: uid.clone(),
                qos: Some(Qos::Burstable),
            }),
            ..Owner::of(OwnerKind::Container)
        };
        let pod_name = format!("cart-{number}");
        let named = Owner {
            runtime: Some(Runtime::Containerd),
            container_name: Some("app".to_owned()),
            image: Some(IMAGE.to_owned()),
            pod: Some(Pod {
                namespace: Some("shop".to_owned()),
                name: Some(pod_name.clone()),
                uid: uid.clone(),
                qos: Some(Qos::Burstable),
            }),
            ..bare.clone()
        };
        let content = json!({
            "ociVersion": "1.1.0",
            "annotations": {
                "io.kubernetes.cri.container-type": "container",
                "io.kubernetes.cri.container-name": "app",
                "io.kubernetes.cri.image-name": IMAGE,
                "io.kubernetes.cri.sandbox-name": pod_name,
                "io.kubernetes.cri.sandbox-namespace": "shop",
                "io.kubernetes.cri.sandbox-uid": uid,
            },
            "linux": {"cgroupsPath": path},
        });
        let place = |owner| Place {
            path: path.clone(),
            owner,
            level: LimitLevel::Container,
        };
        Self {
            bare: place(bare),
            named: place(named),
            file: root
                .join(TASKS)
                .join("k8s.io")
                .join(&id)
                .join("config.json"),
            content,
        }
    }

    /// Of a container that somebody made with `ctr` or nerdctl under an id of his choice: only the file says
    /// that the cgroup is a container's.
    #[must_use]
    pub fn by_hand(root: &Path, id: &str, name: &str) -> Self {
        let path = format!("/default/{id}");
        Self {
            bare: Place {
                path: path.clone(),
                owner: Owner::of(OwnerKind::System),
                level: LimitLevel::Cgroup,
            },
            named: Place {
                path: path.clone(),
                owner: Owner {
                    runtime: Some(Runtime::Containerd),
                    container_id: Some(id.to_owned()),
                    container_name: Some(name.to_owned()),
                    ..Owner::of(OwnerKind::Container)
                },
                level: LimitLevel::Container,
            },
            file: root
                .join(TASKS)
                .join("default")
                .join(id)
                .join("config.json"),
            content: json!({
                "ociVersion": "1.1.0",
                "annotations": {"nerdctl/name": name},
                "linux": {"cgroupsPath": path},
            }),
        }
    }

    /// Makes the directory of the file.
    pub fn dir(&self) -> Result<&Path> {
        let dir = self.file.parent().context("directory")?;
        fs::create_dir_all(dir)?;
        Ok(dir)
    }

    /// Writes the file; it is never there by half.
    pub fn write(&self) -> Result<()> {
        let new = self.dir()?.join("new");
        fs::write(&new, self.content.to_string())?;
        Ok(fs::rename(new, &self.file)?)
    }

    /// Removes the directory of the file.
    pub fn remove(&self) -> Result<()> {
        Ok(fs::remove_dir_all(self.dir()?)?)
    }

    /// Tells when somebody has read the file, from now on.
    pub fn reads(&self) -> Result<Reads> {
        let fd = inotify::init(CreateFlags::CLOEXEC)?;
        inotify::add_watch(&fd, self.dir()?, WatchFlags::CLOSE_NOWRITE)?;
        Ok(Reads(fd))
    }
}

/// Waits for a reader.
#[derive(Debug)]
pub struct Reads(OwnedFd);

impl Reads {
    /// Until the file has been read.
    pub fn wait(self) -> Result<()> {
        let end = Instant::now() + DEADLINE;
        let mut room = [std::mem::MaybeUninit::uninit(); 4096];
        let mut reader = inotify::Reader::new(&self.0, &mut room);
        loop {
            let left = Timespec::try_from(end.saturating_duration_since(Instant::now()))?;
            let ready = poll(&mut [PollFd::new(&self.0, PollFlags::IN)], Some(&left))?;
            ensure!(ready == 1, "nobody reads the bundle");
            if reader.next()?.file_name() == Some(c"config.json") {
                return Ok(());
            }
        }
    }
}
