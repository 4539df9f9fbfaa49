//! Which runtimes have left something on disk, and whether it may be read.
//!
//! Looks where the readers of this module look, and opens what they would open. Emits a [`Place`] for each
//! directory that is there. Refuses to conclude from what is not there: a runtime may be elsewhere, or none.

use super::{
    Finder,
    disk::MOST_BYTES,
    files::{Dir, Miss},
    text::is_name,
};
use crate::evidence::Unreadable;

/// Containers of one directory that are counted.
const MOST: usize = 512;

/// Who leaves files about containers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Family {
    /// containerd: bundles of its tasks.
    Containerd,
    /// CRI-O and podman: the storage that both use.
    Storage,
    /// docker: what its daemon keeps.
    Docker,
    /// runc and crun: states of what they run.
    Runc,
    /// The kubelet: its links to logs.
    Kubelet,
}

/// A directory that a runtime has.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Whose.
    pub family: Family,
    /// Below the host's root.
    pub path: String,
    /// Containers in it, at most 512 of a directory are counted.
    pub containers: usize,
    /// What of it cannot be read, as far as was tried.
    pub refused: Option<String>,
}

/// Where a family keeps what.
pub(super) struct Shape {
    pub(super) family: Family,
    pub(super) dir: String,
    /// Below `dir`: the directory that has one entry for each container.
    pub(super) below: String,
    /// Whether there is a directory for each namespace in between.
    pub(super) namespaced: bool,
    /// The file of a container, below its entry. `None` where the entry says all.
    pub(super) file: Option<&'static str>,
}

impl Finder {
    /// What is there now.
    pub fn places(&mut self) -> Vec<Place> {
        let shapes = [
            self.containerd.shapes(),
            self.storage.shapes(),
            self.docker.shapes(&mut self.disk),
            super::runc::shapes(),
            super::kubelet::shapes(),
        ];
        let shapes = shapes.into_iter().flatten();
        shapes.filter_map(|shape| self.place(&shape)).collect()
    }

    fn place(&mut self, shape: &Shape) -> Option<Place> {
        let path = format!("/{}/{}", shape.dir.trim_matches('/'), shape.below);
        let mut place = Place {
            family: shape.family,
            path: path.trim_end_matches("/.").to_owned(),
            containers: 0,
            refused: None,
        };
        let dir = match self.disk.root.dir(&shape.dir) {
            Ok(dir) => dir,
            Err(Miss::Unusable(Unreadable::Refused)) => {
                place.refused = Some(format!("/{}", shape.dir.trim_matches('/')));
                return Some(place);
            }
            Err(_) => return None,
        };
        match self.look(&dir, shape, &mut place) {
            Ok(()) => Some(place),
            Err(Miss::Unusable(Unreadable::Refused)) => {
                place.refused = Some(place.path.clone());
                Some(place)
            }
            // Nothing is at its place, or something else.
            Err(_) => None,
        }
    }

    fn look(&mut self, dir: &Dir, shape: &Shape, place: &mut Place) -> Result<(), Miss> {
        let homes = if shape.namespaced {
            // Told apart from a directory that is not there.
            dir.dir(&shape.below)?;
            let namespaces = self.disk.namespaces(dir, &shape.below)?;
            let below = &shape.below;
            let homes = namespaces.iter().map(|name| format!("{below}/{name}"));
            homes.collect()
        } else {
            vec![shape.below.clone()]
        };
        for home in homes {
            let mut names = Vec::new();
            dir.pick(&home, MOST, |name| {
                names.extend(is_name(name).then(|| name.to_owned()));
                None::<()>
            })?;
            let Some(file) = shape.file else {
                place.containers += names.len();
                continue;
            };
            for name in names {
                let file = format!("{home}/{name}/{file}");
                place.containers += usize::from(is_there(dir, &file, place));
            }
        }
        Ok(())
    }
}

/// Whether there is a file of a container; the first that is refused is kept.
fn is_there(dir: &Dir, file: &str, place: &mut Place) -> bool {
    match dir.read(file, MOST_BYTES, &mut Vec::new()) {
        // A file beside the containers has none below it.
        Err(Miss::Absent | Miss::Unusable(Unreadable::NotAFile)) => false,
        Err(Miss::Unusable(Unreadable::Refused)) => {
            let parent = place.path.as_str();
            let name = file.rsplit('/').nth(1).unwrap_or_default();
            place.refused = place
                .refused
                .take()
                .or_else(|| Some(format!("{parent}: the file of {name}")));
            true
        }
        _ => true,
    }
}
