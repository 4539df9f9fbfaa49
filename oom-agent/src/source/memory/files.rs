//! The files of one memory cgroup, opened once: whatever is read through it is of the same cgroup.
//!
//! Reads the cgroup filesystem; emits what `parse` makes of it, under the names of version 2. What is not
//! there, or cannot be read, is `None`: a cgroup may vanish at any time.

use std::os::fd::OwnedFd;

use rustix::{
    fs::{Mode, OFlags, fstat, open, openat},
    io::{Errno, pread, read},
};

use super::{history::Detail, parse};
use crate::{
    event::{CgroupMemory, CgroupState, Counter, MemoryEvents},
    hierarchy::{CgroupVersion, Hierarchy},
    source::memcg::memory_stat,
};

/// More than any of these files but `cgroup.procs` holds; the kernel gives each in one piece.
const BUFFER: usize = 16 << 10;

/// Room for one file's text.
#[derive(Debug)]
pub(super) struct Buffer(Box<[u8]>);

impl Default for Buffer {
    fn default() -> Self {
        Self(vec![0; BUFFER].into())
    }
}

/// Whether an error means that the cgroup is gone: a file of it that is open says `ENODEV`.
pub(super) fn is_gone(error: Errno) -> bool {
    matches!(error, Errno::NOENT | Errno::NODEV)
}

/// A number from a file that is kept open.
pub(super) fn again(file: &OwnedFd, buffer: &mut Buffer) -> Result<Option<u64>, Errno> {
    let len = pread(file, &mut *buffer.0, 0)?;
    Ok(parse::value(&buffer.0[..len]))
}

/// The text of a file that the kernel gives in one piece; `None` if it is longer than the buffer.
pub(super) fn again_text<'a>(file: &OwnedFd, buffer: &'a mut Buffer) -> Option<&'a [u8]> {
    let len = pread(file, &mut *buffer.0, 0).ok()?;
    buffer.0.get(..len).filter(|_| len < BUFFER)
}

/// The whole of a file that the kernel gives in pieces, as `/proc` and `cgroup.procs` do.
pub(super) fn whole(file: &OwnedFd, text: &mut Vec<u8>, at_most: usize) -> Result<(), Errno> {
    text.clear();
    let mut piece = [0; 4096];
    loop {
        let len = read(file, &mut piece)?;
        text.extend_from_slice(&piece[..len]);
        if len == 0 || text.len() > at_most {
            return Ok(());
        }
    }
}

/// The directory of a cgroup.
#[derive(Debug)]
pub(super) struct Dir {
    fd: OwnedFd,
    version: CgroupVersion,
}

impl Dir {
    /// Opens it; `ENOENT` also for a path that is not below the mount.
    pub(super) fn open(hierarchy: &Hierarchy, path: &str) -> Result<Self, Errno> {
        let dir = hierarchy.dir_of(path).ok_or(Errno::NOENT)?;
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        Ok(Self {
            fd: open(dir, flags, Mode::empty())?,
            version: hierarchy.version,
        })
    }

    /// kernfs id.
    pub(super) fn id(&self) -> Option<u64> {
        Some(fstat(&self.fd).ok()?.st_ino)
    }

    /// Opens a file of it.
    pub(super) fn file(&self, name: &str) -> Result<OwnedFd, Errno> {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        openat(&self.fd, name, flags, Mode::empty())
    }

    /// The file that holds the usage.
    pub(super) fn usage(&self) -> Result<OwnedFd, Errno> {
        self.file(match self.version {
            CgroupVersion::V1 => "memory.usage_in_bytes",
            CgroupVersion::V2 => "memory.current",
        })
    }

    /// Its limit; `None` also where the memory controller is not enabled.
    pub(super) fn limit(&self, buffer: &mut Buffer) -> Result<Option<u64>, Errno> {
        let file = self.file(self.version.limit_file())?;
        let len = pread(&file, &mut *buffer.0, 0)?;
        Ok(parse::limit(&buffer.0[..len]))
    }

    fn text<'a>(&self, name: &str, buffer: &'a mut Buffer) -> Option<&'a [u8]> {
        again_text(&self.file(name).ok()?, buffer)
    }

    fn value(&self, name: &str, buffer: &mut Buffer) -> Option<u64> {
        parse::value(self.text(name, buffer)?)
    }

    /// All of a reading but the usage.
    pub(super) fn detail(&self, buffer: &mut Buffer) -> Detail {
        let stat = self.text("memory.stat", buffer).map(memory_stat);
        let stat = stat.unwrap_or_default();
        let held = CgroupMemory {
            stat,
            ..CgroupMemory::default()
        };
        let detail = Detail {
            limit_bytes: self.limit(buffer).ok().flatten(),
            anon_bytes: stat.anon_bytes,
            file_bytes: stat.file_bytes,
            shmem_bytes: stat.shmem_bytes,
            kernel_bytes: held.kernel_bytes(),
            swap_bytes: stat.swap_bytes,
            pressure_some: None,
            pressure_full: None,
        };
        match self.version {
            CgroupVersion::V1 => Detail {
                kernel_bytes: self.value("memory.kmem.usage_in_bytes", buffer),
                ..detail
            },
            CgroupVersion::V2 => {
                let swap_bytes = self.value("memory.swap.current", buffer);
                let pressure = self.text("memory.pressure", buffer);
                let pressure = pressure.and_then(parse::pressure);
                Detail {
                    swap_bytes,
                    pressure_some: pressure.map(|pressure| pressure.some.avg10_percent),
                    pressure_full: pressure.map(|pressure| pressure.full.avg10_percent),
                    ..detail
                }
            }
        }
    }

    /// Fills in what it says of itself; false if it says nothing.
    pub(super) fn state(&self, state: &mut CgroupState, buffer: &mut Buffer) -> bool {
        match self.version {
            CgroupVersion::V1 => {
                let control = self.text("memory.oom_control", buffer);
                let events = MemoryEvents {
                    oom_kill: control.and_then(|text| parse::keyed(text, b"oom_kill")),
                    max: self.value("memory.failcnt", buffer),
                    ..MemoryEvents::default()
                };
                state.events = (events != MemoryEvents::default()).then_some(events);
                state.peak_bytes = self.value("memory.max_usage_in_bytes", buffer);
            }
            CgroupVersion::V2 => {
                let events = self.text("memory.events", buffer);
                state.events = events.and_then(parse::events);
                let pressure = self.text("memory.pressure", buffer);
                state.pressure = pressure.and_then(parse::pressure);
                state.peak_bytes = self.value("memory.peak", buffer);
                state.oom_group = match self.value("memory.oom.group", buffer) {
                    Some(0) => Some(false),
                    Some(1) => Some(true),
                    _ => None,
                };
            }
        }
        state.events.is_some() || state.peak_bytes.is_some() || state.pressure.is_some()
    }

    /// What it holds; `None` if not even the usage can be read.
    pub(super) fn memory(&self, buffer: &mut Buffer) -> Option<CgroupMemory> {
        let mut counter = |usage: &str, limit: &str, failcnt: Option<&str>| {
            Some(Counter {
                usage_bytes: self.value(usage, buffer)?,
                limit_bytes: parse::limit(self.text(limit, buffer)?),
                failcnt: failcnt.and_then(|name| self.value(name, buffer)),
            })
        };
        let memory = match self.version {
            CgroupVersion::V1 => {
                let mut of = |name: &str| {
                    counter(
                        &format!("memory{name}.usage_in_bytes"),
                        &format!("memory{name}.limit_in_bytes"),
                        Some(&format!("memory{name}.failcnt")),
                    )
                };
                CgroupMemory {
                    memory: of(""),
                    memsw: of(".memsw"),
                    kmem: of(".kmem"),
                    ..CgroupMemory::default()
                }
            }
            CgroupVersion::V2 => CgroupMemory {
                memory: counter("memory.current", "memory.max", None),
                swap: counter("memory.swap.current", "memory.swap.max", None),
                ..CgroupMemory::default()
            },
        };
        memory.memory?;
        let stat = self.text("memory.stat", buffer).map(memory_stat);
        Some(CgroupMemory {
            stat: stat.unwrap_or_default(),
            ..memory
        })
    }
}

/// The number of files that this process may open, as far as the recorder goes: half, at most `wanted`.
pub(super) fn share_of_files(wanted: usize) -> usize {
    let limit = rustix::process::getrlimit(rustix::process::Resource::Nofile).current;
    let half = limit.map_or(wanted, |limit| usize::try_from(limit / 2).unwrap_or(wanted));
    half.min(wanted)
}
