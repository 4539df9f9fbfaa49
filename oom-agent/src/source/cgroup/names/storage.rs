//! Podman and CRI-O: containers in the storage that both use.
//!
//! Reads `<graph or run root>/<driver>-containers/<id>/userdata/config.json`, which CRI-O and podman
//! write before the cgroup is made, and for podman's names `containers.json` (and
//! `volatile-containers.json`) beside it (containers-storage, `containers.go`). Emits names. Refuses a
//! pod from podman, whose pods are not Kubernetes'; and from a user's own storage all but name and
//! image of that user's containers.

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{DeserializeSeed, SeqAccess, Visitor},
};

use super::{
    disk::{Disk, MOST_BYTES, first},
    files::{Dir, Miss},
    spec::{Spec, is_cgroup},
    survey::{Family, Shape},
    text::{IMAGE, NAME, kept},
    user,
    wanted::Wanted,
};
use crate::{
    event::Runtime,
    evidence::{Names, Unreadable},
};

/// Directories are named for the storage driver.
pub(super) const DRIVERS: [&str; 4] = ["overlay", "vfs", "btrfs", "zfs"];
/// All containers of the machine, some 600 bytes each.
const MOST_LIST_BYTES: usize = 16 << 20;
/// Of a user, who may write anything.
const MOST_USER_LIST_BYTES: usize = 1 << 20;

/// Where this machine has its storage.
#[derive(Debug)]
pub(super) struct Storage {
    roots: [String; 2],
}

/// `storage.conf` (containers-storage.conf(5)).
#[derive(Default, Deserialize)]
#[serde(default)]
struct Config {
    storage: Roots,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Roots {
    graphroot: Option<String>,
    runroot: Option<String>,
}

impl Storage {
    pub(super) fn new(disk: &mut Disk) -> Self {
        let places = ["etc/containers", "usr/share/containers"];
        let config = places.iter().find_map(|dir| {
            disk.settings(dir, "storage.conf", |text| {
                toml::from_str::<Config>(text).ok()
            })
        });
        let config = config.unwrap_or_default();
        let root = |said: Option<String>, default: &str| {
            let said = said.filter(|path| path.starts_with('/'));
            said.unwrap_or_else(|| default.to_owned())
        };
        Self {
            roots: [
                root(config.storage.graphroot, "/var/lib/containers/storage"),
                root(config.storage.runroot, "/run/containers/storage"),
            ],
        }
    }

    /// The container, by its specification.
    pub(super) fn ask(&self, disk: &mut Disk, wanted: &Wanted) -> Result<Names, Miss> {
        if let Some(uid) = wanted.user {
            let home = user::home(disk, uid)?;
            let home = disk.root.user_dir(&home, uid)?;
            let dir = home.dir(".local/share/containers/storage")?;
            return in_root(disk, &dir, wanted);
        }
        first(self.roots.iter().map(|root| {
            let dir = disk.root.dir(root)?;
            in_root(disk, &dir, wanted)
        }))
    }

    /// Where specifications are.
    pub(super) fn shapes(&self) -> Vec<Shape> {
        let of_root = |root: &String| {
            DRIVERS.map(|driver| Shape {
                family: Family::Storage,
                dir: root.clone(),
                below: format!("{driver}-containers"),
                namespaced: false,
                file: Some("userdata/config.json"),
            })
        };
        self.roots.iter().flat_map(of_root).collect()
    }

    /// Directories of containers, where conmon leaves what it has to say.
    pub(super) fn graph_root(&self) -> &str {
        &self.roots[0]
    }
}

fn in_root(disk: &mut Disk, dir: &Dir, wanted: &Wanted) -> Result<Names, Miss> {
    first(DRIVERS.iter().map(|driver| {
        let id = &wanted.id;
        let path = format!("{driver}-containers/{id}/userdata/config.json");
        let spec: Spec = disk.json(dir, &path, MOST_BYTES)?;
        let (annotations, cgroup) = spec.parts();
        if !wanted.certain && !cgroup.is_some_and(|cgroup| is_cgroup(&cgroup, &wanted.path)) {
            return Err(Miss::Absent);
        }
        match annotations.manager() {
            Some(Runtime::Crio) if !dir.of_user() => Ok(annotations.of_crio()?),
            Some(Runtime::Podman) => of_podman(disk, dir, driver, id),
            _ => Err(Unreadable::Malformed.into()),
        }
    }))
}

/// One of `containers.json`.
#[derive(Deserialize)]
struct Container {
    id: String,
    names: Option<Vec<String>>,
    metadata: Option<String>,
}

/// The one with this id, and no other kept.
struct WithId<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for WithId<'_> {
    type Value = Option<Container>;

    fn deserialize<D: Deserializer<'de>>(self, list: D) -> Result<Self::Value, D::Error> {
        list.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for WithId<'_> {
    type Value = Option<Container>;

    fn expecting(&self, what: &mut fmt::Formatter<'_>) -> fmt::Result {
        what.write_str("containers")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let mut found = None;
        while let Some(container) = list.next_element::<Container>()? {
            if container.id == self.0 {
                found = Some(container);
            }
        }
        Ok(found)
    }
}

/// What libpod keeps in `metadata`.
#[derive(Default, Deserialize)]
#[serde(default, rename_all = "kebab-case")]
struct Metadata {
    image_name: Option<String>,
    name: Option<String>,
}

fn of_podman(disk: &mut Disk, dir: &Dir, driver: &str, id: &str) -> Result<Names, Miss> {
    let most = if dir.of_user() {
        MOST_USER_LIST_BYTES
    } else {
        MOST_LIST_BYTES
    };
    let lists = ["containers.json", "volatile-containers.json"];
    let found = first(lists.iter().map(|list| {
        let path = format!("{driver}-containers/{list}");
        let found = disk.json_as(dir, &path, most, WithId(id))?;
        found.ok_or(Miss::Absent)
    }));
    let mut names = Names {
        runtime: Some(Runtime::Podman),
        ..Names::default()
    };
    let container = match found {
        Ok(container) => container,
        // The storage is another's, or the list is being written: whose it is stays known.
        Err(Miss::Absent) => return Ok(names),
        Err(miss) => return Err(miss),
    };
    let metadata = container.metadata.filter(|text| !text.is_empty());
    let metadata: Metadata = metadata.map_or_else(
        || Ok(Metadata::default()),
        |text| serde_json::from_str(&text).map_err(|_| Unreadable::Malformed),
    )?;
    let listed = container.names.and_then(|names| names.into_iter().next());
    names.container_name = kept(metadata.name.or(listed), NAME)?;
    names.image = kept(metadata.image_name, IMAGE)?;
    Ok(names)
}
