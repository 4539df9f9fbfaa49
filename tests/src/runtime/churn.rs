//! Cgroups laid out as a pod's containers that live for a moment only, each with its bundle on disk.
//!
//! Makes and removes them in a thread of its own, some at each turn, so that they fall between the kills of a
//! test. Emits which there were.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::mpsc::{self, SyncSender},
    thread::{self, JoinHandle},
};

use anyhow::{Context as _, Result, anyhow};
use oom_agent::hierarchy::Hierarchy;
use serde_json::json;

use super::{containerd::STATE, place, traces};
use crate::scene::Place;

const UID: &str = "9a8b7c6d-0000-4000-8000-000000000001";
const POD: &str = "/kubepods/burstable/pod9a8b7c6d-0000-4000-8000-000000000001";

/// At work.
#[derive(Debug)]
pub struct Churn {
    /// Gone when there are no more turns.
    turns: Option<SyncSender<()>>,
    worker: Option<JoinHandle<Result<Vec<Place>>>>,
}

impl Churn {
    /// Makes `each` cgroups at each turn.
    pub fn start(hierarchy: &Hierarchy, each: usize) -> Result<Self> {
        let pod = hierarchy.dir_of(POD).context("pod")?;
        fs::create_dir_all(&pod)?;
        let (turns, queue) = mpsc::sync_channel(1);
        let hierarchy = hierarchy.clone();
        let worker = thread::spawn(move || {
            let mut made = Vec::new();
            while queue.recv().is_ok() {
                for _ in 0..each {
                    let id = format!("{:0>64x}", 0xc0de_0000_usize + made.len());
                    made.push(one(&hierarchy, &id)?);
                }
            }
            traces::remove_cgroup(&pod);
            Ok(made)
        });
        Ok(Self {
            turns: Some(turns),
            worker: Some(worker),
        })
    }

    /// One more turn, beside whatever the caller does next.
    pub fn turn(&self) -> Result<()> {
        let turns = self.turns.as_ref().context("no more turns")?;
        turns.send(()).context("the churn has ended")
    }

    /// Ends when all turns are done; what came and went.
    pub fn end(mut self) -> Result<Vec<Place>> {
        self.join().context("the churn has ended")?
    }

    fn join(&mut self) -> Option<Result<Vec<Place>>> {
        self.turns = None;
        let joined = self.worker.take()?.join();
        Some(joined.unwrap_or_else(|_| Err(anyhow!("the churn panicked"))))
    }
}

impl Drop for Churn {
    fn drop(&mut self) {
        // An error was told by `end`, or the test has failed already.
        let _ = self.join();
    }
}

fn one(hierarchy: &Hierarchy, id: &str) -> Result<Place> {
    let path = format!("{POD}/{id}");
    let bundle = bundle(id);
    fs::create_dir_all(&bundle)?;
    fs::write(bundle.join("config.json"), config(id, &path))?;
    let dir = hierarchy.dir_of(&path).context("cgroup")?;
    fs::create_dir(&dir)?;
    let (place, _) = place(hierarchy, &path)?;
    fs::remove_dir(&dir)?;
    fs::remove_dir_all(&bundle)?;
    Ok(place)
}

fn bundle(id: &str) -> PathBuf {
    Path::new(STATE)
        .join("io.containerd.runtime.v2.task/k8s.io")
        .join(id)
}

/// As much of a bundle's configuration as tells whose it is.
fn config(id: &str, cgroup: &str) -> String {
    let config = json!({
        "ociVersion": "1.0.2",
        "annotations": {
            "io.kubernetes.cri.container-type": "container",
            "io.kubernetes.cri.container-name": format!("job-{}", &id[56..]),
            "io.kubernetes.cri.image-name": super::IMAGE,
            "io.kubernetes.cri.sandbox-name": "churn",
            "io.kubernetes.cri.sandbox-namespace": "shop",
            "io.kubernetes.cri.sandbox-uid": UID,
        },
        "linux": { "cgroupsPath": cgroup },
    });
    config.to_string()
}
