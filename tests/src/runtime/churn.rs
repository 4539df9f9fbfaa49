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
use oom_agent::{
    event::{Owner, OwnerKind, Pod, Qos, Runtime},
    hierarchy::Hierarchy,
};
use serde_json::json;

use super::{IMAGE, containerd::STATE, place, traces};
use crate::scene::Place;

/// One that has come and gone.
#[derive(Clone, Debug)]
pub struct Moment {
    /// Its cgroup.
    pub place: Place,
    /// Whose it was, if its bundle was read in time.
    pub owner: Owner,
}

const UID: &str = "9a8b7c6d-0000-4000-8000-000000000001";

/// The cgroup of the pod that they are in.
pub(super) const POD: &str = "/kubepods/burstable/pod9a8b7c6d-0000-4000-8000-000000000001";

/// At work.
#[derive(Debug)]
pub struct Churn {
    /// Gone when there are no more turns.
    turns: Option<SyncSender<()>>,
    worker: Option<JoinHandle<Result<Vec<Moment>>>>,
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
    pub fn end(mut self) -> Result<Vec<Moment>> {
        self.join().context("the churn has ended")?
    }

    fn join(&mut self) -> Option<Result<Vec<Moment>>> {
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

fn one(hierarchy: &Hierarchy, id: &str) -> Result<Moment> {
    let path = format!("{POD}/{id}");
    let owner = owner(id);
    let bundle = bundle(id);
    fs::create_dir_all(&bundle)?;
    fs::write(bundle.join("config.json"), config(&owner, &path))?;
    let dir = hierarchy.dir_of(&path).context("cgroup")?;
    fs::create_dir(&dir)?;
    let (place, _) = place(hierarchy, &path)?;
    fs::remove_dir(&dir)?;
    fs::remove_dir_all(&bundle)?;
    Ok(Moment { place, owner })
}

fn owner(id: &str) -> Owner {
    Owner {
        runtime: Some(Runtime::Containerd),
        container_id: Some(id.to_owned()),
        container_name: Some(format!("job-{}", &id[56..])),
        image: Some(IMAGE.to_owned()),
        pod: Some(Pod {
            namespace: Some("shop".to_owned()),
            name: Some("churn".to_owned()),
            uid: UID.to_owned(),
            qos: Some(Qos::Burstable),
        }),
        ..Owner::of(OwnerKind::Container)
    }
}

fn bundle(id: &str) -> PathBuf {
    Path::new(STATE)
        .join("io.containerd.runtime.v2.task/k8s.io")
        .join(id)
}

/// As much of a bundle's configuration as tells whose it is.
fn config(owner: &Owner, cgroup: &str) -> String {
    let pod = owner.pod.as_ref();
    let config = json!({
        "ociVersion": "1.0.2",
        "annotations": {
            "io.kubernetes.cri.container-type": "container",
            "io.kubernetes.cri.container-name": owner.container_name,
            "io.kubernetes.cri.image-name": owner.image,
            "io.kubernetes.cri.sandbox-name": pod.and_then(|pod| pod.name.clone()),
            "io.kubernetes.cri.sandbox-namespace": pod.and_then(|pod| pod.namespace.clone()),
            "io.kubernetes.cri.sandbox-uid": UID,
        },
        "linux": { "cgroupsPath": cgroup },
    });
    config.to_string()
}
