//! runc and crun: what they keep of a container that they run, whoever asked them to.
//!
//! Reads `<root>/<id>/state.json` of runc and `<root>/<id>/status` of crun, written some milliseconds
//! after the cgroup was made. Emits names. Refuses a state that speaks of another id, and one of
//! another cgroup where the path alone does not tell the id.

use serde::Deserialize;
use serde_json::Value;

use super::{
    disk::{Disk, MOST_BYTES, first, or},
    files::{Dir, Miss},
    spec::{Annotations, chosen},
    survey::{Family, Shape},
    wanted::Wanted,
};
use crate::{
    event::Runtime,
    evidence::{Names, Unreadable},
};

/// State directories: runc's own and crun's; those that dockerd and containerd give to runc, with a
/// directory for each namespace.
const RUNC: &str = "run/runc";
const CRUN: &str = "run/crun";
const OF_DOCKER: &str = "run/docker/runtime-runc";
const OF_CONTAINERD: &str = "run/containerd/runc";

/// The container, by the state of its runtime. If the path has the id, only containerd's tell more.
pub(super) fn ask(disk: &mut Disk, wanted: &Wanted) -> Result<Names, Miss> {
    if wanted.certain {
        return of_containerd(disk, wanted);
    }
    let own = of_crun(disk, wanted);
    let own = or(own, || {
        let dir = disk.root.dir(RUNC)?;
        of_runc(disk, &dir, None, wanted)
    });
    let of_docker = or(own, || of_docker(disk, wanted));
    or(of_docker, || of_containerd(disk, wanted))
}

/// `runc --root /run/docker/runtime-runc/moby`, as dockerd has its shim call it.
fn of_docker(disk: &mut Disk, wanted: &Wanted) -> Result<Names, Miss> {
    let dir = disk.root.dir(OF_DOCKER)?;
    of_runc(disk, &dir, Some("moby"), wanted)
}

/// `runc --root /run/containerd/runc/<namespace>`, as the shim calls it.
fn of_containerd(disk: &mut Disk, wanted: &Wanted) -> Result<Names, Miss> {
    let dir = disk.root.dir(OF_CONTAINERD)?;
    let namespaces = disk.namespaces(&dir, ".")?;
    let ask = |namespace: &String| of_runc(disk, &dir, Some(namespace), wanted);
    first(namespaces.iter().map(ask))
}

/// Where states are.
pub(super) fn shapes() -> Vec<Shape> {
    let shape = |dir: &str, namespaced, file| Shape {
        family: Family::Runc,
        dir: dir.to_owned(),
        below: ".".to_owned(),
        namespaced,
        file: Some(file),
    };
    vec![
        shape(RUNC, false, "state.json"),
        shape(CRUN, false, "status"),
        shape(OF_DOCKER, true, "state.json"),
        shape(OF_CONTAINERD, true, "state.json"),
    ]
}

/// What libcontainer keeps of a container (`State` in `libcontainer/container.go`).
#[derive(Deserialize)]
struct State {
    id: String,
    config: Config,
    cgroup_paths: CgroupPaths,
}

#[derive(Deserialize)]
struct Config {
    /// Annotations as `key=value`.
    labels: Option<Vec<String>>,
}

/// Directories, by controller.
#[derive(Deserialize)]
struct CgroupPaths {
    memory: Option<String>,
    /// Of version 2.
    #[serde(rename = "")]
    unified: Option<String>,
}

impl CgroupPaths {
    /// With version 1 of the memory controller, the other hierarchies may have other paths.
    fn is(&self, path: &str) -> bool {
        let below = |dir: &str| dir.strip_suffix(path).map(str::to_owned);
        match (&self.memory, &self.unified) {
            (Some(memory), _) => below(memory).is_some_and(|mount| {
                let name = mount.strip_prefix("/sys/fs/cgroup/").unwrap_or_default();
                name.split(',').any(|controller| controller == "memory")
            }),
            (None, Some(unified)) => below(unified).is_some_and(|mount| {
                matches!(&*mount, "/sys/fs/cgroup" | "/sys/fs/cgroup/unified")
            }),
            (None, None) => false,
        }
    }
}

fn of_runc(
    disk: &mut Disk,
    dir: &Dir,
    namespace: Option<&str>,
    wanted: &Wanted,
) -> Result<Names, Miss> {
    let id = &wanted.id;
    let within = namespace.map_or_else(|| id.clone(), |namespace| format!("{namespace}/{id}"));
    let state: State = disk.json(dir, &format!("{within}/state.json"), MOST_BYTES)?;
    if state.id != *id {
        return Err(Unreadable::Mismatch.into());
    }
    if !wanted.certain && !state.cgroup_paths.is(&wanted.path) {
        return Err(Miss::Absent);
    }
    let annotations = annotations(state.config.labels.unwrap_or_default())?;
    let names = match (namespace, annotations.manager()) {
        (Some("k8s.io"), _) => annotations.of_cri()?,
        (Some("moby"), _) => of(Runtime::Docker, None),
        (Some(_), _) => annotations.of_containerd(id)?,
        (None, Some(Runtime::Crio)) => annotations.of_crio()?,
        (None, Some(manager)) => of(manager, None),
        (None, None) => of(Runtime::Runc, chosen(id)),
    };
    Ok(names)
}

/// Labels as the annotations that they were.
fn annotations(labels: Vec<String>) -> Result<Annotations, Unreadable> {
    let pair = |label: String| {
        let (key, value) = label.split_once('=')?;
        Some((key.to_owned(), Value::from(value)))
    };
    let all = Value::Object(labels.into_iter().filter_map(pair).collect());
    Annotations::deserialize(all).map_err(|_| Unreadable::Malformed)
}

/// What crun keeps of a container (`libcrun_write_container_status`).
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Status {
    cgroup_path: String,
}

fn of_crun(disk: &mut Disk, wanted: &Wanted) -> Result<Names, Miss> {
    let dir = disk.root.dir(CRUN)?;
    let status: Status = disk.json(&dir, &format!("{}/status", wanted.id), MOST_BYTES)?;
    let said = status.cgroup_path.trim_start_matches('/');
    let path = wanted.path.trim_start_matches('/');
    // With systemd the process is in a cgroup of its own below.
    let same = said == path || said.strip_suffix("/container") == Some(path);
    if !wanted.certain && !same {
        return Err(Miss::Absent);
    }
    Ok(of(Runtime::Runc, chosen(&wanted.id)))
}

fn of(runtime: Runtime, container_name: Option<String>) -> Names {
    Names {
        runtime: Some(runtime),
        container_name,
        ..Names::default()
    }
}
