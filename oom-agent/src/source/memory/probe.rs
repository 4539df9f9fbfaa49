//! What the recorder could read of a cgroup, for those who want to know before there is a kill.
//!
//! Reads cgroups as the recorder does, until one has all. Emits what was there. Refuses the root of the
//! hierarchy, which has no limit, and in version 2 no usage.

use std::fs;

use rustix::io::Errno;

use super::{
    files::{Buffer, Dir, again, again_text},
    parse,
};
use crate::hierarchy::{CgroupVersion, Hierarchy, memory_cgroup};

/// Cgroups that are tried: version 2 need not have the controller in each.
const MOST: usize = 64;

/// What was read of one cgroup.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Probe {
    /// Its path.
    pub path: String,
    /// Why its usage cannot be read; `ENOENT` without the memory controller.
    pub usage: Result<(), Errno>,
    /// Whether its pressure (PSI) is there: in version 2 only.
    pub pressure: bool,
    /// Whether the most that was in use is there.
    pub peak: bool,
}

/// Reads a cgroup below the root, this process's own first. The one that has its usage, else any; `None`
/// where there is none.
#[must_use]
pub fn probe(hierarchy: &Hierarchy) -> Option<Probe> {
    let mut tried = None;
    for path in cgroups(hierarchy).into_iter().take(MOST) {
        let probe = one(hierarchy, path);
        if probe.usage.is_ok() {
            return Some(probe);
        }
        tried = tried.or(Some(probe));
    }
    tried
}

fn one(hierarchy: &Hierarchy, path: String) -> Probe {
    let mut buffer = Buffer::default();
    let dir = match Dir::open(hierarchy, &path) {
        Ok(dir) => dir,
        Err(error) => {
            return Probe {
                path,
                usage: Err(error),
                pressure: false,
                peak: false,
            };
        }
    };
    let usage = dir.usage().and_then(|file| again(&file, &mut buffer));
    let peak = match hierarchy.version {
        CgroupVersion::V1 => "memory.max_usage_in_bytes",
        CgroupVersion::V2 => "memory.peak",
    };
    let peak = dir.file(peak).and_then(|file| again(&file, &mut buffer));
    let pressure = dir.file("memory.pressure");
    // Where it was turned off at boot, older kernels have the file, but it cannot be read.
    let pressure = pressure.is_ok_and(|file| {
        let text = again_text(&file, &mut buffer);
        text.and_then(parse::pressure).is_some()
    });
    Probe {
        path,
        usage: usage.map(drop),
        pressure,
        peak: matches!(peak, Ok(Some(_))),
    }
}

fn cgroups(hierarchy: &Hierarchy) -> Vec<String> {
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let own = memory_cgroup(&own, hierarchy.version).map(str::to_owned);
    let own = own.filter(|path| {
        hierarchy
            .dir_of(path)
            .is_some_and(|dir| dir != hierarchy.mount)
    });
    let entries = fs::read_dir(&hierarchy.mount).into_iter().flatten();
    let dirs = entries.flatten().filter_map(|entry| {
        let is_dir = entry.file_type().is_ok_and(|kind| kind.is_dir());
        is_dir.then(|| hierarchy.path_of(&entry.path())).flatten()
    });
    own.into_iter().chain(dirs).collect()
}
