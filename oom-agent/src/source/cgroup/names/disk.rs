//! What every runtime's reader needs: the host's files, JSON from them, and one buffer.
//!
//! Emits values of small types that skip what they do not want. Refuses what is not such JSON. Depth
//! is bounded by `serde_json` (128 for what is kept; what is skipped takes a byte of memory for each
//! level, and so no more than the file has).

use std::marker::PhantomData;

use serde::de::{DeserializeOwned, DeserializeSeed};

use super::{
    files::{Dir, Miss, Picked, Root},
    text::is_name,
};
use crate::evidence::Unreadable;

/// Bundles and states are 5 to 100 KiB.
pub(super) const MOST_BYTES: usize = 1 << 20;
/// A larger buffer is given back.
const KEPT_BYTES: usize = MOST_BYTES;

/// The host's files.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) root: Root,
    buffer: Vec<u8>,
    /// Directories with more entries than were looked at.
    pub(super) cut: u64,
    /// Settings that could not be used.
    pub(super) settings: u64,
}

impl Disk {
    pub(super) fn new(root: Root) -> Self {
        Self {
            root,
            buffer: Vec::new(),
            cut: 0,
            settings: 0,
        }
    }

    /// A file of JSON, of at most `most` bytes.
    pub(super) fn json<T: DeserializeOwned>(
        &mut self,
        dir: &Dir,
        path: &str,
        most: usize,
    ) -> Result<T, Miss> {
        self.json_as(dir, path, most, PhantomData)
    }

    /// The same, for what needs to know what to look for.
    pub(super) fn json_as<T>(
        &mut self,
        dir: &Dir,
        path: &str,
        most: usize,
        seed: impl for<'de> DeserializeSeed<'de, Value = T>,
    ) -> Result<T, Miss> {
        dir.read(path, most, &mut self.buffer)?;
        let mut reader = serde_json::Deserializer::from_slice(&self.buffer);
        let found = seed.deserialize(&mut reader);
        let found = found.and_then(|found| reader.end().map(|()| found));
        self.buffer.clear();
        self.buffer.shrink_to(KEPT_BYTES);
        found.map_err(|_| Unreadable::Malformed.into())
    }

    /// Settings of a runtime; `None` if there are none, or they cannot be used and so its defaults hold.
    pub(super) fn settings<T>(
        &mut self,
        dir: &str,
        name: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let place = self.root.dir(dir);
        let text = place.and_then(|dir| self.text(&dir, name, MOST_BYTES));
        let parsed = text.and_then(|text| parse(text).ok_or(Unreadable::Malformed.into()));
        match parsed {
            Ok(settings) => Some(settings),
            Err(Miss::Absent) => None,
            Err(Miss::Unusable(why)) => {
                self.settings += 1;
                tracing::warn!(
                    "/{dir}/{name} cannot be used ({why}): what it says is not known, defaults are taken"
                );
                None
            }
        }
    }

    /// A file of text, of at most `most` bytes.
    pub(super) fn text(&mut self, dir: &Dir, path: &str, most: usize) -> Result<&str, Miss> {
        dir.read(path, most, &mut self.buffer)?;
        std::str::from_utf8(&self.buffer).map_err(|_| Unreadable::Malformed.into())
    }

    /// Namespaces of containerd: directories that are named for one.
    pub(super) fn namespaces(&mut self, dir: &Dir, path: &str) -> Result<Vec<String>, Miss> {
        /// A machine has a few.
        const MOST: usize = 64;
        let mut found = Vec::new();
        let all = self.pick(dir, path, MOST, |name| {
            found.extend(is_name(name).then(|| name.to_owned()));
            None::<()>
        });
        match all {
            Err(miss @ Miss::Unusable(_)) => Err(miss),
            _ => Ok(found),
        }
    }

    /// The entry of a directory that is the one, of at most `most`.
    pub(super) fn pick<T>(
        &mut self,
        dir: &Dir,
        path: &str,
        most: usize,
        is_it: impl FnMut(&str) -> Option<T>,
    ) -> Result<T, Miss> {
        match dir.pick(path, most, is_it)? {
            Picked::One(found) => Ok(found),
            Picked::None => Err(Miss::Absent),
            Picked::Cut => {
                self.cut += 1;
                Err(Miss::Absent)
            }
        }
    }
}

/// Asks in order: the first answer counts, else the first that could not be used.
pub(super) fn first<T>(asked: impl IntoIterator<Item = Result<T, Miss>>) -> Result<T, Miss> {
    let mut miss = Miss::Absent;
    for answer in asked {
        match answer {
            Ok(found) => return Ok(found),
            Err(why) if miss == Miss::Absent => miss = why,
            Err(_) => {}
        }
    }
    Err(miss)
}

/// Asks further where there is no answer yet.
pub(super) fn or<T>(
    asked: Result<T, Miss>,
    next: impl FnOnce() -> Result<T, Miss>,
) -> Result<T, Miss> {
    match asked {
        Ok(found) => Ok(found),
        miss => first([miss, next()]),
    }
}
