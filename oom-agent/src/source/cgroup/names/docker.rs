//! Docker: what its daemon keeps of a container.
//!
//! Reads `<data root>/containers/<id>/config.v2.json` (moby `container/container.go`), written before
//! the cgroup is made and again whenever its state changes, of its end only once the cgroup is gone
//! (`daemon/monitor.go`). With `userns-remap` the data root is `<uid>.<gid>` below it
//! (`daemon/daemon_unix.go`). Emits names, and the exit code once it has ended. Refuses one that has another id, and pods where the path has none: anybody can write labels.

use jiff::{SignedDuration, Timestamp};
use serde::Deserialize;

use super::{
    disk::{Disk, MOST_BYTES, first, or},
    files::{Dir, Miss},
    spec::Annotations,
    survey::{Family, Shape},
    text::{IMAGE, NAME, kept},
    user,
};
use crate::{
    event::Runtime,
    evidence::{Names, Unreadable},
    source::cgroup::Ended,
};

/// Data roots: docker's own, and that of its snap.
const ROOTS: [&str; 2] = ["/var/lib/docker", "/var/snap/docker/common/var-lib-docker"];

/// Entries of a data root that are looked at for those of remapped users: docker itself has a dozen.
const MOST_ENTRIES: usize = 64;

/// An end that was longer ago when its cgroup had just gone was that of an earlier run: dockerd writes it down within
/// moments, and not at all for a start that failed.
const LATELY: SignedDuration = SignedDuration::from_mins(1);

/// Where this machine's docker keeps its containers.
#[derive(Debug)]
pub(super) struct Docker {
    /// From its configuration, if that says so.
    configured: Option<String>,
}

/// `/etc/docker/daemon.json`.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Daemon {
    data_root: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Container {
    #[serde(rename = "ID")]
    id: String,
    name: Option<String>,
    config: Option<Config>,
    state: Option<State>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "PascalCase")]
struct Config {
    image: Option<String>,
    labels: Option<Annotations>,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct State {
    /// Also while it waits to be started again.
    running: bool,
    #[serde(default)]
    restarting: bool,
    exit_code: i32,
    finished_at: String,
}

/// Go writes a time that is none as one in the year 1.
fn ended_lately(finished_at: &str) -> bool {
    let at: Result<Timestamp, _> = finished_at.parse();
    at.is_ok_and(|at| Timestamp::now().duration_since(at).abs() < LATELY)
}

impl Docker {
    pub(super) fn new(disk: &mut Disk) -> Self {
        let daemon: Option<Daemon> = disk.settings("etc/docker", "daemon.json", |text| {
            serde_json::from_str(text).ok()
        });
        Self {
            configured: daemon.and_then(|daemon| daemon.data_root),
        }
    }

    /// The container, by its id; in a pod by its path or not.
    pub(super) fn ask(
        &self,
        disk: &mut Disk,
        id: &str,
        user: Option<u32>,
        in_pod: bool,
    ) -> Result<Names, Miss> {
        let container = self.read(disk, id, user)?;
        let config = container.config.unwrap_or_default();
        let labels = config.labels.unwrap_or_default();
        let mut names = if in_pod && user.is_none() {
            labels.of_docker()?
        } else {
            Names {
                runtime: Some(Runtime::Docker),
                ..Names::default()
            }
        };
        if names.container_name.is_none() && !names.sandbox {
            let name = container.name.as_deref();
            let name = name.map(|name| name.trim_start_matches('/').to_owned());
            names.container_name = kept(name, NAME)?;
        }
        names.image = kept(config.image, IMAGE)?.filter(|_| !names.sandbox);
        Ok(names)
    }

    /// How it ended. Nobody says so where it has been removed (`--rm`), and of one that cannot be read.
    pub(super) fn ended(&self, disk: &mut Disk, id: &str, user: Option<u32>) -> Ended {
        let Ok(Some(state)) = self.read(disk, id, user).map(|container| container.state) else {
            return Ended::Untold;
        };
        let over = !state.running || state.restarting;
        if over && ended_lately(&state.finished_at) {
            Ended::With(state.exit_code)
        } else {
            Ended::NotYet
        }
    }

    /// Where containers are.
    pub(super) fn shapes(&self, disk: &mut Disk) -> Vec<Shape> {
        let mut dirs = Vec::new();
        for root in self.roots() {
            dirs.push(root.to_owned());
            // One that cannot be read is told of by itself.
            let dir = disk.root.dir(root);
            let remapped = dir.and_then(|dir| remapped(disk, &dir)).unwrap_or_default();
            dirs.extend(remapped.iter().map(|user| format!("{root}/{user}")));
        }
        let shape = |dir| Shape {
            family: Family::Docker,
            dir,
            below: "containers".to_owned(),
            namespaced: false,
            file: Some("config.v2.json"),
        };
        dirs.into_iter().map(shape).collect()
    }

    fn roots(&self) -> impl Iterator<Item = &str> {
        self.configured.as_deref().into_iter().chain(ROOTS)
    }

    fn read(&self, disk: &mut Disk, id: &str, user: Option<u32>) -> Result<Container, Miss> {
        let path = format!("containers/{id}/config.v2.json");
        let container: Container = if let Some(uid) = user {
            let home = user::home(disk, uid)?;
            let dir = disk.root.user_dir(&home, uid)?.dir(".local/share/docker")?;
            disk.json(&dir, &path, MOST_BYTES)?
        } else {
            first(self.roots().map(|root| {
                let dir = disk.root.dir(root)?;
                let plain = disk.json(&dir, &path, MOST_BYTES);
                or(plain, || {
                    let users = remapped(disk, &dir)?;
                    let of = |user: &String| disk.json(&dir, &format!("{user}/{path}"), MOST_BYTES);
                    first(users.iter().map(of))
                })
            }))?
        };
        if container.id == id {
            Ok(container)
        } else {
            Err(Unreadable::Mismatch.into())
        }
    }
}

/// Data roots of remapped users in one: `<uid>.<gid>`.
fn remapped(disk: &mut Disk, root: &Dir) -> Result<Vec<String>, Miss> {
    let is_number = |text: &str| text.parse::<u32>().is_ok();
    let mut users = Vec::new();
    let all = disk.pick(root, ".", MOST_ENTRIES, |name| {
        let ids = name.split_once('.');
        if ids.is_some_and(|(uid, gid)| is_number(uid) && is_number(gid)) {
            users.push(name.to_owned());
        }
        None::<()>
    });
    match all {
        Err(miss @ Miss::Unusable(_)) => Err(miss),
        _ => Ok(users),
    }
}
