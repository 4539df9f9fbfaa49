//! A disk that loses power: what may be on it, for every moment of a recorded run.
//!
//! Reads [`Act`]s, as [`record`] takes them from a traced process; emits images of the files. The law of a
//! disk: what was written before an `fsync` of its file is there; of what was written after it, any part
//! may be, and a sector is the least part; what it failed to write is gone. Refuses to tell a process's death from a loss of power: the
//! image of a process's death is the one in which nothing is lost.

mod record;

use std::{
    collections::BTreeMap,
    fs, io,
    path::{Path, PathBuf},
};

pub use record::record;

/// The least part of a file that a disk writes whole.
const SECTOR: usize = 512;

/// What a process did that a disk knows of.
#[derive(Clone, Debug)]
pub enum Act {
    /// Bytes to a place in a file.
    Write(PathBuf, u64, Vec<u8>),
    /// Another length.
    Resize(PathBuf, u64),
    /// What was done to this file before is on the disk.
    Sync(PathBuf),
    /// The disk failed: what was done to this file since the last is shown, and will never be written.
    Failed(PathBuf),
    /// A file is gone, at once and for good.
    Remove(PathBuf),
    /// A word on its stdout: what is promised from here on.
    Said(String),
}

/// How much of what is not synced a disk has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Luck {
    /// All: the process died, the machine did not.
    All,
    /// Nothing.
    Nothing,
    /// Some, in no order, and some of it torn.
    Some,
}

/// The files, and what may or may not be in them.
#[derive(Clone, Debug, Default)]
pub struct Disk {
    files: BTreeMap<PathBuf, Contents>,
}

#[derive(Clone, Debug, Default)]
struct Contents {
    /// As a process sees it.
    shown: Vec<u8>,
    durable: Vec<u8>,
    /// In their order.
    pending: Vec<Change>,
}

#[derive(Clone, Debug)]
enum Change {
    Write(u64, Vec<u8>),
    Resize(u64),
}

impl Disk {
    /// Does one act more.
    pub fn act(&mut self, act: &Act) {
        match act {
            Act::Write(path, at, bytes) => {
                self.file(path).change(Change::Write(*at, bytes.clone()));
            }
            Act::Resize(path, size) => self.file(path).change(Change::Resize(*size)),
            Act::Failed(path) => self.file(path).pending.clear(),
            Act::Sync(path) => {
                let file = self.file(path);
                for change in std::mem::take(&mut file.pending) {
                    change.apply(&mut file.durable);
                }
            }
            Act::Remove(path) => {
                self.files.remove(path);
            }
            Act::Said(_) => {}
        }
    }

    fn file(&mut self, path: &Path) -> &mut Contents {
        self.files.entry(path.to_owned()).or_default()
    }

    /// Writes the files into a directory, as a loss of power now would leave them.
    pub fn image(&self, into: &Path, luck: Luck, chance: &mut Chance) -> io::Result<()> {
        for (path, contents) in &self.files {
            let mut bytes = match luck {
                Luck::All => contents.shown.clone(),
                Luck::Nothing | Luck::Some => contents.durable.clone(),
            };
            if luck == Luck::Some {
                for change in &contents.pending {
                    change.apply_some(&mut bytes, chance);
                }
            }
            let name = path.file_name().unwrap_or(path.as_os_str());
            fs::write(into.join(name), bytes)?;
        }
        Ok(())
    }
}

impl Contents {
    fn change(&mut self, change: Change) {
        change.apply(&mut self.shown);
        self.pending.push(change);
    }
}

impl Change {
    fn apply(&self, file: &mut Vec<u8>) {
        match self {
            Self::Resize(size) => file.resize(index(*size), 0),
            Self::Write(at, bytes) => {
                let (from, to) = (index(*at), index(*at) + bytes.len());
                if file.len() < to {
                    file.resize(to, 0);
                }
                file[from..to].copy_from_slice(bytes);
            }
        }
    }

    /// All, nothing, or some of its sectors.
    fn apply_some(&self, file: &mut Vec<u8>, chance: &mut Chance) {
        match (self, chance.below(4)) {
            (_, 0) => {}
            (Self::Write(at, bytes), 1) => {
                for (number, sector) in bytes.chunks(SECTOR).enumerate() {
                    if chance.below(2) == 0 {
                        let at = at + (number * SECTOR) as u64;
                        Self::Write(at, sector.to_owned()).apply(file);
                    }
                }
            }
            // Only its beginning, and noise where the power went.
            (Self::Write(at, bytes), 2) => {
                let kept = index(chance.below(bytes.len() as u64 + 1));
                let end = (kept.div_ceil(SECTOR) * SECTOR).min(bytes.len());
                let mut torn = bytes[..end].to_owned();
                torn[kept..].fill_with(|| chance.below(256).to_le_bytes()[0]);
                Self::Write(*at, torn).apply(file);
            }
            _ => self.apply(file),
        }
    }
}

fn index(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

/// splitmix64: the same everywhere for the same seed.
#[derive(Clone, Debug)]
pub struct Chance(pub u64);

impl Chance {
    /// A number below this one.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }
}
