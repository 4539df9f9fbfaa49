//! Cgroups and files as container runtimes lay them out, and kills in them.
//!
//! Makes plain cgroups at the paths that runtimes use, writes on disk what they leave there, and kills.
//! Emits one [`Owned`] for each. Refuses to run anywhere but in a guest: it writes where runtimes do.

use std::{
    collections::BTreeSet,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    thread,
};

use anyhow::{Context as _, Result};
use oom_agent::hierarchy::{CgroupVersion, Hierarchy};
use serde_json::{Value, json};

use super::{Birth, Limit, MIB, Place, Truth, actor::Actor};
use crate::{
    cpus::{self, Stalls},
    machine,
};

const CONTAINERD: &str = "/run/containerd/io.containerd.runtime.v2.task";
const STORAGE: &str = "/var/lib/containers/storage/overlay-containers";
const LIMIT: u64 = 4 * MIB;

/// A kill, and whose it was.
#[derive(Debug)]
pub struct Owned {
    /// The kill.
    pub death: Truth,
    /// Fields of `owner` as events must have them.
    pub owner: Value,
    /// `limit.level`.
    pub level: &'static str,
    /// A CPU ran nobody for a while when the container was there: its names may be unknown.
    pub stalled: bool,
}

/// How one container is laid out.
struct Layout {
    /// The cgroup that has the limit, and the one below it that the victim is in.
    limited: String,
    inner: &'static str,
    /// File and content, written before the cgroup is made.
    files: Vec<(PathBuf, Value)>,
    owner: Value,
    level: &'static str,
}

/// One kill in a container of every layout, which has been there for as long as whoever wanted to look at it
/// took; each is removed right after its kill, with all that its runtime has left on disk.
pub fn owners(hierarchy: &Hierarchy) -> Result<Vec<Owned>> {
    machine::only_in_a_guest()?;
    let layouts = layouts(hierarchy);
    let play = |layout| {
        let standing = Standing::new(hierarchy, layout)?;
        cpus::settle()?;
        kill(hierarchy, layout, standing)
    };
    layouts.iter().map(play).collect()
}

/// Kills in containers of one pod while hundreds of others come and go.
pub fn churn(hierarchy: &Hierarchy) -> Result<Vec<Owned>> {
    const OTHERS: u32 = 300;
    const KILLS: u32 = 8;
    machine::only_in_a_guest()?;
    // Both sides make and remove pods: what they share stays.
    let _shared = Standing::tree(hierarchy, "/kubepods/burstable")?;
    let mut stalls = Stalls::watch()?;
    let mut ours: Vec<(Owned, [u64; 2])> = thread::scope(|scope| {
        let others = scope.spawn(|| {
            for number in 0..OTHERS {
                let other = in_pod(7, number, "other");
                drop(Standing::new(hierarchy, &other)?);
            }
            anyhow::Ok(())
        });
        let ours = (0..KILLS).map(|number| {
            let layout = in_pod(8, number, "app");
            let made = cpus::now();
            let owned = kill(hierarchy, &layout, Standing::new(hierarchy, &layout)?)?;
            Ok((owned, [made, cpus::now()]))
        });
        let ours: Result<_> = ours.collect();
        others.join().map_err(|_| anyhow::anyhow!("panicked"))??;
        ours
    })?;
    stalls.end();
    for (owned, life) in &mut ours {
        owned.stalled = stalls.within(*life);
    }
    Ok(ours.into_iter().map(|(owned, _)| owned).collect())
}

fn id(number: u32) -> String {
    format!("{number:08x}").repeat(8)
}

fn uid(number: u32) -> String {
    format!("{number:08x}-7d3a-4f55-9a61-0b7f4c1de911")
}

/// What containerd writes for a container of the kubelet's.
fn cri_bundle(id: &str, uid: &str, pod: &str, name: &str, cgroups_path: &str) -> (PathBuf, Value) {
    let file = format!("{CONTAINERD}/k8s.io/{id}/config.json");
    let bundle = json!({
        "ociVersion": "1.1.0",
        "process": {"args": ["/app"], "cwd": "/"},
        "root": {"path": "rootfs"},
        "annotations": {
            "io.kubernetes.cri.container-type": "container",
            "io.kubernetes.cri.container-name": name,
            "io.kubernetes.cri.image-name": "registry.example/shop/app:1.2",
            "io.kubernetes.cri.sandbox-id": "ab".repeat(32),
            "io.kubernetes.cri.sandbox-name": pod,
            "io.kubernetes.cri.sandbox-namespace": "shop",
            "io.kubernetes.cri.sandbox-uid": uid,
        },
        "linux": {"cgroupsPath": cgroups_path},
    });
    (file.into(), bundle)
}

fn kubernetes(id: &str, uid: &str, pod: &str, name: &str, qos: &str) -> Value {
    json!({
        "kind": "container",
        "container_id": id,
        "container_name": name,
        "image": "registry.example/shop/app:1.2",
        "pod": {"namespace": "shop", "name": pod, "uid": uid, "qos": qos},
    })
}

/// A container of a burstable pod under the cgroupfs driver.
fn in_pod(pod: u32, number: u32, name: &str) -> Layout {
    let (uid, id) = (uid(pod), id(pod << 16 | number));
    let limited = format!("/kubepods/burstable/pod{uid}/{id}");
    Layout {
        files: vec![cri_bundle(&id, &uid, "cart-0", name, &limited)],
        owner: kubernetes(&id, &uid, "cart-0", name, "burstable"),
        limited,
        inner: "",
        level: "container",
    }
}

fn layouts(hierarchy: &Hierarchy) -> Vec<Layout> {
    let mut all = vec![
        containerd_systemd(),
        crio(),
        docker(),
        podman(),
        ctr(),
        runc(hierarchy),
    ];
    // Cgroupfs driver, the victim in a cgroup of the container's own making.
    all.push(Layout {
        inner: "worker",
        ..in_pod(6, 1, "app")
    });
    all.push(Layout {
        limited: "/system.slice/db.service".to_owned(),
        inner: "",
        files: Vec::new(),
        owner: json!({"kind": "unit", "unit": "db.service", "container_id": null}),
        level: "unit",
    });
    all.push(pod_limit());
    all
}

fn containerd_systemd() -> Layout {
    let (uid, id) = (uid(1), id(1));
    let slice = format!("kubepods-burstable-pod{}.slice", uid.replace('-', "_"));
    let scope = format!("{slice}:cri-containerd:{id}");
    Layout {
        limited: format!(
            "/kubepods.slice/kubepods-burstable.slice/{slice}/cri-containerd-{id}.scope"
        ),
        inner: "",
        files: vec![cri_bundle(&id, &uid, "cart-0", "app", &scope)],
        owner: kubernetes(&id, &uid, "cart-0", "app", "burstable"),
        level: "container",
    }
}

/// The limit is the pod's, and is hit by its one container.
fn pod_limit() -> Layout {
    let (uid, id) = (uid(9), id(9));
    let pod = format!("/kubepods/pod{uid}");
    Layout {
        files: vec![cri_bundle(
            &id,
            &uid,
            "whole-0",
            "app",
            &format!("{pod}/{id}"),
        )],
        owner: kubernetes(&id, &uid, "whole-0", "app", "guaranteed"),
        limited: pod,
        // Below the pod, by the number of `id(9)`.
        inner: "0000000900000009000000090000000900000009000000090000000900000009",
        level: "pod",
    }
}

fn crio() -> Layout {
    let (uid, id) = (uid(2), id(2));
    let slice = format!("kubepods-besteffort-pod{}.slice", uid.replace('-', "_"));
    let bundle = json!({
        "ociVersion": "1.1.0",
        "annotations": {
            "io.container.manager": "cri-o",
            "io.kubernetes.container.name": "app",
            "io.kubernetes.cri-o.ContainerID": id,
            "io.kubernetes.cri-o.ContainerType": "container",
            "io.kubernetes.cri-o.ImageName": "registry.example/shop/app:1.2",
            "io.kubernetes.cri-o.KubeName": "cart-0",
            "io.kubernetes.cri-o.Namespace": "shop",
            "io.kubernetes.pod.name": "cart-0",
            "io.kubernetes.pod.namespace": "shop",
            "io.kubernetes.pod.uid": uid,
        },
        "linux": {"cgroupsPath": format!("{slice}:crio:{id}")},
    });
    Layout {
        limited: format!("/kubepods.slice/kubepods-besteffort.slice/{slice}/crio-{id}.scope"),
        inner: "",
        files: vec![(
            format!("{STORAGE}/{id}/userdata/config.json").into(),
            bundle,
        )],
        owner: kubernetes(&id, &uid, "cart-0", "app", "best_effort"),
        level: "container",
    }
}

fn docker() -> Layout {
    let id = id(3);
    let config = json!({
        "ID": id,
        "Name": "/cart",
        "Config": {"Image": "shop/app:1.2", "Labels": {}},
        "State": {"Running": true, "ExitCode": 0, "FinishedAt": "0001-01-01T00:00:00Z"},
    });
    Layout {
        limited: format!("/docker/{id}"),
        inner: "",
        files: vec![(
            format!("/var/lib/docker/containers/{id}/config.v2.json").into(),
            config,
        )],
        owner: json!({
            "kind": "container", "runtime": "docker", "container_id": id,
            "container_name": "cart", "image": "shop/app:1.2", "pod": null,
        }),
        level: "container",
    }
}

fn podman() -> Layout {
    let id = id(4);
    let metadata = json!({"image-name": "localhost/shop/app:1.2", "name": "cart"});
    let listed = json!([{
        "id": id, "names": ["cart"], "image": "cd".repeat(32), "layer": "ef".repeat(32),
        "metadata": metadata.to_string(),
    }]);
    let bundle = json!({
        "ociVersion": "1.1.0",
        "annotations": {"io.container.manager": "libpod"},
        "linux": {"cgroupsPath": format!("machine.slice:libpod:{id}")},
    });
    Layout {
        limited: format!("/machine.slice/libpod-{id}.scope"),
        inner: "container",
        files: vec![
            (
                format!("{STORAGE}/{id}/userdata/config.json").into(),
                bundle,
            ),
            (format!("{STORAGE}/containers.json").into(), listed),
        ],
        owner: json!({
            "kind": "container", "runtime": "podman", "container_id": id,
            "container_name": "cart", "image": "localhost/shop/app:1.2", "pod": null,
        }),
        level: "container",
    }
}

fn ctr() -> Layout {
    let bundle = json!({"ociVersion": "1.1.0", "linux": {"cgroupsPath": "/default/demo"}});
    Layout {
        limited: "/default/demo".to_owned(),
        inner: "",
        files: vec![(
            format!("{CONTAINERD}/default/demo/config.json").into(),
            bundle,
        )],
        owner: json!({
            "kind": "container", "runtime": "containerd", "container_id": "demo",
            "container_name": "demo", "pod": null,
        }),
        level: "container",
    }
}

fn runc(hierarchy: &Hierarchy) -> Layout {
    let dir = hierarchy.dir_of("/by-hand").unwrap_or_default();
    let controller = match hierarchy.version {
        CgroupVersion::V1 => "memory",
        CgroupVersion::V2 => "",
    };
    let state = json!({
        "id": "by-hand",
        "init_process_pid": 1,
        "config": {"labels": ["bundle=/home/somebody/bundle"], "cgroups": {"path": "/by-hand"}},
        "cgroup_paths": {controller: dir},
    });
    Layout {
        limited: "/by-hand".to_owned(),
        inner: "",
        files: vec![("/run/runc/by-hand/state.json".into(), state)],
        owner: json!({
            "kind": "container", "runtime": "runc", "container_id": "by-hand",
            "container_name": "by-hand", "pod": null,
        }),
        level: "container",
    }
}

fn kill(hierarchy: &Hierarchy, layout: &Layout, standing: Standing) -> Result<Owned> {
    let born = Birth::now();
    let home = place(hierarchy, &standing.home)?;
    let mut actor = Actor::start_at("anywhere", b"app", 1000, &standing.home, home, &[])?;
    actor.killed()?;
    let limit = Limit {
        cgroup: place(hierarchy, &standing.limited)?,
        bytes: LIMIT,
        full: true,
    };
    drop(standing);
    let death = Truth {
        anon_bytes: LIMIT / 4..=LIMIT + MIB,
        ..Truth::own(&actor, Some(limit), &born)
    };
    Ok(Owned {
        death,
        owner: layout.owner.clone(),
        level: layout.level,
        stalled: false,
    })
}

fn place(hierarchy: &Hierarchy, dir: &Path) -> Result<Place> {
    Ok(Place {
        path: hierarchy.path_of(dir).context("not in the hierarchy")?,
        id: fs::metadata(dir)?.ino(),
        version: hierarchy.version.number(),
    })
}

/// A layout that is there; gone when dropped.
struct Standing {
    made: Vec<PathBuf>,
    files: BTreeSet<PathBuf>,
    limited: PathBuf,
    home: PathBuf,
}

impl Standing {
    fn new(hierarchy: &Hierarchy, layout: &Layout) -> Result<Self> {
        let limited = hierarchy
            .dir_of(&layout.limited)
            .context("not below the mount")?;
        let mut standing = Self {
            made: Vec::new(),
            files: BTreeSet::new(),
            home: limited.join(layout.inner),
            limited,
        };
        for (file, content) in &layout.files {
            fs::create_dir_all(file.parent().context("no folder")?)?;
            fs::write(file, content.to_string()).with_context(|| format!("{}", file.display()))?;
            standing.files.insert(file.clone());
        }
        standing.make(hierarchy)?;
        Ok(standing)
    }

    /// Cgroups without limit and files.
    fn tree(hierarchy: &Hierarchy, path: &str) -> Result<Self> {
        let mut standing = Self {
            made: Vec::new(),
            files: BTreeSet::new(),
            home: hierarchy.dir_of(path).context("not below the mount")?,
            limited: PathBuf::new(),
        };
        standing.make(hierarchy)?;
        Ok(standing)
    }

    fn make(&mut self, hierarchy: &Hierarchy) -> Result<()> {
        let home = self.home.clone();
        let below = home.strip_prefix(&hierarchy.mount)?;
        let mut dir = hierarchy.mount.clone();
        for name in below {
            hand_down(hierarchy, &dir)?;
            dir.push(name);
            match fs::create_dir(&dir) {
                Ok(()) => self.made.push(dir.clone()),
                Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error).with_context(|| format!("{}", dir.display())),
            }
            if dir == self.limited {
                let file = dir.join(hierarchy.version.limit_file());
                fs::write(&file, LIMIT.to_string())?;
            }
        }
        Ok(())
    }
}

/// What is below counts for its parent.
fn hand_down(hierarchy: &Hierarchy, dir: &Path) -> Result<()> {
    let (file, value) = match hierarchy.version {
        CgroupVersion::V2 => ("cgroup.subtree_control", "+memory"),
        // Before 5.11 that has to be asked for; the root's is not ours to change.
        CgroupVersion::V1 => ("memory.use_hierarchy", "1"),
    };
    let file = dir.join(file);
    if hierarchy.version == CgroupVersion::V1 && (dir == hierarchy.mount || !file.exists()) {
        return Ok(());
    }
    fs::write(&file, value).with_context(|| format!("write {value} to {}", file.display()))
}

impl Drop for Standing {
    fn drop(&mut self) {
        for dir in self.made.iter().rev() {
            // One that others still use stays.
            let _ = fs::remove_dir(dir);
        }
        for file in &self.files {
            let _ = fs::remove_file(file);
        }
    }
}
