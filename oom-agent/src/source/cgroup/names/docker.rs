//! Docker: what its daemon keeps of a container.
//!
//! Reads `<data root>/containers/<id>/config.v2.json` (moby `container/container.go`), written before
//! the cgroup is made and again whenever its state changes. Emits names, and the exit code once it has
//! ended. Refuses one that has another id, and pods where the path has none: anybody can write labels.

use serde::Deserialize;

use super::{
    disk::{Disk, MOST_BYTES, first},
    files::Miss,
    spec::Annotations,
    survey::{Family, Shape},
    text::{IMAGE, NAME, kept},
    user,
};
use crate::{
    event::Runtime,
    evidence::{Names, Unreadable},
};

/// Data roots: docker's own, and that of its snap.
const ROOTS: [&str; 2] = ["/var/lib/docker", "/var/snap/docker/common/var-lib-docker"];

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
    running: bool,
    exit_code: i32,
    finished_at: String,
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

    /// How it ended, if it has.
    pub(super) fn exit_code(&self, disk: &mut Disk, id: &str, user: Option<u32>) -> Option<i32> {
        /// Go's time that is none.
        const NEVER: &str = "0001-01-01";
        let state = self.read(disk, id, user).ok()?.state?;
        let ended = !state.running && !state.finished_at.starts_with(NEVER);
        ended.then_some(state.exit_code)
    }

    /// Where containers are.
    pub(super) fn shapes(&self) -> Vec<Shape> {
        let shape = |root: &str| Shape {
            family: Family::Docker,
            dir: root.to_owned(),
            below: "containers".to_owned(),
            namespaced: false,
            file: Some("config.v2.json"),
        };
        self.roots().map(shape).collect()
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
                disk.json(&dir, &path, MOST_BYTES)
            }))?
        };
        if container.id == id {
            Ok(container)
        } else {
            Err(Unreadable::Mismatch.into())
        }
    }
}
