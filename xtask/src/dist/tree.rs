//! A tree of files that becomes a tar archive: layers, packages, charts.
//!
//! Takes paths, modes, owners and contents; emits bytes that depend on these alone, sorted by path and dated
//! alike. Refuses a path that is there already, and one of more than 100 bytes.

use std::{
    collections::{BTreeMap, btree_map::Entry as Slot},
    fs,
    io::Write as _,
    path::Path,
};

use anyhow::{Context as _, Result, bail};
use flate2::{Compression, GzBuilder};
use sha2::{Digest as _, Sha256};
use tar::{EntryType, Header};

/// A file or directory.
pub(super) struct Entry {
    pub(super) mode: u32,
    /// User and group.
    pub(super) owner: u64,
    /// `None`: a directory.
    pub(super) contents: Option<Vec<u8>>,
}

/// Files by their paths, without a leading slash.
#[derive(Default)]
pub(super) struct Tree(BTreeMap<String, Entry>);

impl Tree {
    /// Adds a file, of root, and the directories that lead to it.
    pub(super) fn file(&mut self, path: &str, mode: u32, contents: Vec<u8>) -> Result<()> {
        let contents = Some(contents);
        let owner = 0;
        self.put(
            path,
            Entry {
                mode,
                owner,
                contents,
            },
        )
    }

    /// Adds a directory, and those that lead to it.
    pub(super) fn dir(&mut self, path: &str, mode: u32, owner: u64) -> Result<()> {
        let contents = None;
        self.put(
            path,
            Entry {
                mode,
                owner,
                contents,
            },
        )
    }

    fn put(&mut self, path: &str, entry: Entry) -> Result<()> {
        for (at, _) in path.match_indices('/') {
            self.0.entry(path[..at].to_owned()).or_insert(Entry {
                mode: 0o755,
                owner: 0,
                contents: None,
            });
        }
        match self.0.entry(path.to_owned()) {
            Slot::Vacant(free) => drop(free.insert(entry)),
            Slot::Occupied(_) => bail!("{path} is there twice"),
        }
        Ok(())
    }

    /// Adds the files of a directory, and of those below it, as `to/NAME`, mode 0644.
    pub(super) fn copy(&mut self, from: &Path, to: &str) -> Result<()> {
        let entries = fs::read_dir(from).with_context(|| from.display().to_string())?;
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_str().context("a name that is not UTF-8")?;
            let to = format!("{to}/{name}");
            if entry.file_type()?.is_dir() {
                self.copy(&entry.path(), &to)?;
            } else {
                self.file(&to, 0o644, fs::read(entry.path())?)?;
            }
        }
        Ok(())
    }

    /// Every file with its contents, by path.
    pub(super) fn files(&self) -> impl Iterator<Item = (&str, &[u8])> {
        self.0.iter().filter_map(|(path, entry)| {
            let contents = entry.contents.as_deref()?;
            Some((path.as_str(), contents))
        })
    }

    /// The archive, with `prefix` before each path, all dated `mtime` (seconds since 1970).
    pub(super) fn tar(&self, prefix: &str, mtime: u64) -> Result<Vec<u8>> {
        let mut archive = tar::Builder::new(Vec::new());
        for (path, entry) in &self.0 {
            let mut header = Header::new_ustar();
            let contents = entry.contents.as_deref();
            let (kind, end) = match contents {
                Some(_) => (EntryType::Regular, ""),
                None => (EntryType::Directory, "/"),
            };
            header.set_entry_type(kind);
            header.set_mode(entry.mode);
            header.set_uid(entry.owner);
            header.set_gid(entry.owner);
            if entry.owner == 0 {
                header.set_username("root")?;
                header.set_groupname("root")?;
            }
            header.set_mtime(mtime);
            let contents = contents.unwrap_or_default();
            header.set_size(contents.len() as u64);
            // Not by `set_path`, which takes the `./` away that Debian's tools expect.
            let name = format!("{prefix}{path}{end}");
            let place = header.as_old_mut().name.get_mut(..name.len());
            place
                .with_context(|| format!("longer than 100 bytes: {name}"))?
                .copy_from_slice(name.as_bytes());
            header.set_cksum();
            archive.append(&header, contents)?;
        }
        Ok(archive.into_inner()?)
    }
}

/// Compressed, without a name or a date.
pub(super) fn gzip(bytes: &[u8]) -> Result<Vec<u8>> {
    let mut to = GzBuilder::new()
        .mtime(0)
        .write(Vec::new(), Compression::best());
    to.write_all(bytes)?;
    Ok(to.finish()?)
}

/// In hex.
pub(super) fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Two digits for each byte.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_depends_on_what_is_in_it_alone() {
        let tree = |names: [&str; 2]| {
            let mut tree = Tree::default();
            for name in names {
                tree.file(name, 0o644, name.into()).unwrap();
            }
            tree.tar("./", 7).unwrap()
        };
        let bytes = tree(["usr/bin/a", "etc/b"]);
        assert_eq!(bytes, tree(["etc/b", "usr/bin/a"]));
        let mut archive = tar::Archive::new(bytes.as_slice());
        let paths = archive.entries().unwrap().map(|entry| {
            let entry = entry.unwrap();
            assert_eq!(entry.header().mtime().unwrap(), 7);
            String::from_utf8(entry.path_bytes().into_owned()).unwrap()
        });
        let paths: Vec<_> = paths.collect();
        let sorted = ["./etc/", "./etc/b", "./usr/", "./usr/bin/", "./usr/bin/a"];
        assert_eq!(paths, sorted);
    }

    #[test]
    fn a_path_is_taken_once() {
        let mut tree = Tree::default();
        tree.file("a/b", 0o644, Vec::new()).unwrap();
        assert!(tree.file("a/b", 0o644, Vec::new()).is_err());
    }
}
