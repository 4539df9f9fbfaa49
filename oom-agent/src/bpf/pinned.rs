//! One generation in its directory: made whole, read back, set aside, removed.
//!
//! Reads and writes pins. It gets its name only once it is whole. Refuses to go on with one that lacks a map, or whose links
//! hold no program.

use std::{os::fd::AsFd as _, path::Path};

use aya::{
    maps::{Map, MapData, MapError},
    programs::links::{FdLink, LinkError, PinnedLink},
};
use rustix::fs::{CWD, Mode, mkdirat, renameat};
use thiserror::Error;

use super::{
    generation::{GenerationError, identity},
    pin_dir,
    pin_name::PinName,
    pins::{Pins, PinsError},
};

/// The maps of a generation: their pins, and their names in the object.
pub(super) const MAPS: [(&str, &str); 3] = [("ring", "RING"), ("stats", "STATS"), ("seq", "SEQ")];

/// Begins the name of what is not whole yet. The kernel keeps names with dots for itself.
pub(super) const HALF_MADE: &str = "new-";

/// Why a pinned generation is not one to go on with.
#[derive(Debug, Error)]
pub(super) enum UnusableError {
    #[error("map {0}")]
    Map(&'static str, #[source] MapError),
    #[error("link {0}")]
    Link(&'static str, #[source] LinkError),
    #[error("no mark is attached")]
    NoMark,
}

/// Why a generation cannot be set aside.
#[derive(Debug, Error)]
pub(super) enum SetAsideError {
    #[error(transparent)]
    Pins(#[from] PinsError),
    #[error(transparent)]
    Unusable(#[from] UnusableError),
    #[error(transparent)]
    Maps(#[from] GenerationError),
}

impl Pins {
    /// Pins maps and links under this name, all or nothing.
    pub(super) fn pin(
        &self,
        name: &str,
        maps: [(&str, &'static str, Option<&Map>); 3],
        links: Vec<(PinName, FdLink)>,
    ) -> Result<(), PinsError> {
        let half = format!("{HALF_MADE}{}", std::process::id());
        let made = self.make(&half, name, maps, links);
        if made.is_err()
            && let Err(error) = self.remove(&half)
        {
            tracing::warn!("{}", crate::error::chain(&error));
        }
        made
    }

    fn make(
        &self,
        half: &str,
        name: &str,
        maps: [(&str, &'static str, Option<&Map>); 3],
        links: Vec<(PinName, FdLink)>,
    ) -> Result<(), PinsError> {
        let dir = self.dir.join(half);
        let failed = pin_dir::failed(&dir);
        mkdirat(CWD, &dir, Mode::RWXU).map_err(&failed)?;
        for (pin, what, map) in maps {
            let map = map.ok_or(PinsError::NoMap(what))?;
            map.pin(dir.join(pin)).map_err(refused(what))?;
        }
        for (pin, link) in links {
            let what = pin.text();
            // Only the pin holds it then: once that is removed the program is detached.
            link.pin(dir.join(what)).map_err(refused(what)).map(drop)?;
        }
        renameat(CWD, &dir, CWD, self.dir.join(name)).map_err(failed)
    }

    /// The links of a generation, each of which holds a program.
    pub(super) fn links(&self, name: &str) -> Result<Vec<PinName>, UnusableError> {
        let dir = self.dir.join(name);
        let mut links = Vec::new();
        for pin in PinName::ALL {
            let path = dir.join(pin.text());
            if path.exists() {
                let failed = |error| UnusableError::Link(pin.text(), error);
                let link = FdLink::from(PinnedLink::from_pin(path).map_err(failed)?);
                if link.info().map_err(failed)?.program_id() != 0 {
                    links.push(pin);
                }
            }
        }
        Ok(links)
    }

    /// The maps of a generation, in the order of [`MAPS`].
    pub(super) fn maps(&self, name: &str) -> Result<[Map; 3], UnusableError> {
        let dir = self.dir.join(name);
        let [ring, stats, seq] = MAPS.map(|(pin, what)| {
            MapData::from_pin(dir.join(pin))
                .and_then(Map::from_map_data)
                .map_err(|error| UnusableError::Map(what, error))
        });
        Ok([ring?, stats?, seq?])
    }

    /// Removes the links of a generation, and gives it its identity for a name: its programs are detached, its
    /// records stay, and new programs may have the name.
    pub(super) fn set_aside(&self, name: &str) -> Result<String, SetAsideError> {
        let dir = self.dir.join(name);
        for pin in PinName::ALL {
            let path = dir.join(pin.text());
            pin_dir::unlink(CWD, &path, &path)?;
        }
        let [ring, ..] = self.maps(name)?;
        let identity = identity(name, Some(&ring))?;
        renameat(CWD, &dir, CWD, self.dir.join(&identity)).map_err(pin_dir::failed(&dir))?;
        Ok(identity)
    }

    /// Removes a generation, or what is half made of one, with all that it holds.
    pub fn remove(&self, name: &str) -> Result<(), PinsError> {
        pin_dir::remove(self.fd.as_fd(), Path::new(name), &self.dir.join(name))
    }
}

/// Removes a generation by its path.
pub(crate) fn remove(dir: &Path) -> Result<(), PinsError> {
    pin_dir::remove(CWD, dir, dir)
}

fn refused<E>(what: &'static str) -> impl Fn(E) -> PinsError
where
    E: std::error::Error + Send + Sync + 'static,
{
    move |error| PinsError::Refused {
        what,
        error: Box::new(error),
    }
}
