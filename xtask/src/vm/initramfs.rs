//! The guest's file system: a `newc` cpio archive (Documentation/driver-api/early-userspace/buffer-format.rst).
//!
//! Takes files and where they belong; emits the archive. Refuses nothing that fits into 4 GB.

use std::collections::BTreeSet;

use anyhow::Result;

const DIR: u32 = 0o040_755;
const FILE: u32 = 0o100_755;
const CHAR_DEVICE: u32 = 0o020_600;

/// An archive in the making.
#[derive(Default)]
pub(crate) struct Initramfs {
    bytes: Vec<u8>,
    dirs: BTreeSet<String>,
    inodes: u32,
}

impl Initramfs {
    /// With the console that the kernel opens before anything is mounted.
    pub(crate) fn new() -> Result<Self> {
        let mut archive = Self::default();
        archive.parents("dev/console")?;
        archive.entry("dev/console", CHAR_DEVICE, (5, 1), &[])?;
        Ok(archive)
    }

    /// Adds an executable file, and the directories that lead to it.
    pub(crate) fn file(&mut self, path: &str, contents: &[u8]) -> Result<()> {
        let path = path.trim_start_matches('/');
        self.parents(path)?;
        self.entry(path, FILE, (0, 0), contents)
    }

    /// The archive, closed.
    pub(crate) fn finish(mut self) -> Result<Vec<u8>> {
        self.entry("TRAILER!!!", 0, (0, 0), &[])?;
        Ok(self.bytes)
    }

    fn parents(&mut self, path: &str) -> Result<()> {
        for (at, _) in path.match_indices('/') {
            if self.dirs.insert(path[..at].to_owned()) {
                self.entry(&path[..at], DIR, (0, 0), &[])?;
            }
        }
        Ok(())
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), contents: &[u8]) -> Result<()> {
        self.inodes += 1;
        let size = u32::try_from(contents.len())?;
        let name_size = u32::try_from(name.len() + 1)?;
        self.bytes.extend(b"070701");
        for field in [
            self.inodes,
            mode,
            0, // uid
            0, // gid
            1, // links
            0, // mtime: the archive depends on its contents alone
            size,
            0, // device of the file itself
            0,
            device.0,
            device.1,
            name_size,
            0, // checksum, not used by this format
        ] {
            self.bytes.extend(format!("{field:08X}").bytes());
        }
        self.bytes.extend(name.bytes().chain([0]));
        self.pad();
        self.bytes.extend(contents);
        self.pad();
        Ok(())
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_aligned_and_directories_come_once_and_first() {
        let mut archive = Initramfs::new().unwrap();
        archive.file("/bin/a", b"12345").unwrap();
        archive.file("bin/b", b"").unwrap();
        let bytes = archive.finish().unwrap();
        assert_eq!(bytes.len() % 4, 0);

        let mut names = Vec::new();
        let mut at = 0;
        while at < bytes.len() {
            let field = |index: usize| {
                let start = at + 6 + 8 * index;
                let text = str::from_utf8(&bytes[start..start + 8]).unwrap();
                usize::from_str_radix(text, 16).unwrap()
            };
            assert_eq!(&bytes[at..at + 6], b"070701");
            let (size, name_size) = (field(6), field(11));
            let name = at + 110..at + 110 + name_size - 1;
            names.push(str::from_utf8(&bytes[name.clone()]).unwrap());
            let data = (name.end + 1).next_multiple_of(4);
            if names.last() == Some(&"bin/a") {
                assert_eq!(&bytes[data..data + size], b"12345");
            }
            at = (data + size).next_multiple_of(4);
        }
        assert_eq!(
            names,
            ["dev", "dev/console", "bin", "bin/a", "bin/b", "TRAILER!!!"]
        );
    }
}
