//! The cgroups that held the most when the machine ran out.
//!
//! Takes what the victim's cgroups held at the kernel's mark and what the recorder read last, and reads the upper
//! levels of the hierarchy, for a service without a limit is not recorded; emits [`TopCgroup`]s. Refuses to look at more
//! than [`MAX_READ`] cgroups, for longer than [`AT_MOST_NS`] or deeper than [`LEVELS`]: most of what users may make lies
//! deeper. A look that was cut short is counted.

use std::{
    cmp::Reverse,
    collections::{BTreeMap, VecDeque},
    fs,
    sync::Arc,
};

use super::{
    files::{Dir, again, is_gone},
    recording::Recording,
    roster::{ancestors, below},
};
use crate::{
    cgroup_path::attribute,
    event::{Cgroup, CgroupLevel, LimitLevel, TopCgroup},
};

/// Cgroups that are told.
const MAX_TOP: usize = 10;

/// Levels below the root that are read: slices, services and sessions, classes of pods and pods.
const LEVELS: usize = 3;

/// Cgroups that are read at most.
const MAX_READ: usize = 1024;

/// How long that may take.
const AT_MOST_NS: u64 = 50_000_000;

/// What a cgroup held when it was read last.
#[derive(Clone, Copy, Debug)]
pub(super) struct Held {
    id: Option<u64>,
    usage_bytes: u64,
    limit_bytes: Option<u64>,
}

type All = BTreeMap<Arc<str>, Held>;

impl Recording {
    /// The cgroups that held the most: of these, of those that are recorded and, if `look`, of the upper levels.
    pub(super) fn top(&mut self, victims: &[CgroupLevel], look: bool) -> Vec<TopCgroup> {
        let recorded = self.roster.live.iter().filter_map(|(path, recorded)| {
            let held = Held {
                id: recorded.id,
                usage_bytes: recorded.newest()?,
                limit_bytes: recorded.limit,
            };
            Some((path.clone(), held))
        });
        let mut all: All = recorded.collect();
        // The victim may have given its memory back since.
        all.extend(victims.iter().filter_map(at_the_mark));
        if look && !self.read_levels(&mut all) {
            self.counts.unread += 1;
        }
        top(&all, self.hierarchy.version.number())
    }

    /// Reads the upper levels, the highest first; false if not all of them could be read.
    fn read_levels(&mut self, all: &mut All) -> bool {
        let until_ns = (self.clock)().saturating_add(AT_MOST_NS);
        let mut complete = true;
        let mut read = 0;
        let root = self.hierarchy.root.trim_end_matches('/').to_owned();
        let mut parents = VecDeque::from([(root, 0)]);
        while let Some((parent, depth)) = parents.pop_front() {
            let dir = self.hierarchy.dir_of(&parent);
            let Some(Ok(children)) = dir.map(fs::read_dir) else {
                continue;
            };
            for child in children.flatten() {
                if !child.file_type().is_ok_and(|kind| kind.is_dir()) {
                    continue;
                }
                let name = child.file_name();
                let Some(name) = name.to_str() else {
                    complete = false;
                    continue;
                };
                if read == MAX_READ || (self.clock)() > until_ns {
                    return false;
                }
                read += 1;
                let path = format!("{parent}/{name}");
                match self.held(&path, all) {
                    Ok(true) if depth + 1 < LEVELS => parents.push_back((path, depth + 1)),
                    Ok(_) => {}
                    Err(error) => complete &= is_gone(error),
                }
            }
        }
        complete
    }

    /// Reads one that is not known; whether the memory controller is there.
    fn held(&mut self, path: &str, all: &mut All) -> Result<bool, rustix::io::Errno> {
        if all.contains_key(path) {
            return Ok(true);
        }
        let dir = Dir::open(&self.hierarchy, path)?;
        let Some(usage_bytes) = again(&dir.usage()?, &mut self.buffer)? else {
            return Ok(false);
        };
        let held = Held {
            id: dir.id(),
            usage_bytes,
            limit_bytes: dir.limit(&mut self.buffer)?,
        };
        all.insert(path.into(), held);
        Ok(true)
    }
}

fn at_the_mark(level: &CgroupLevel) -> Option<(Arc<str>, Held)> {
    let path = level.cgroup.path.as_deref().filter(|path| *path != "/")?;
    let held = Held {
        id: level.cgroup.id,
        usage_bytes: level.usage_bytes?,
        limit_bytes: level.limit_bytes,
    };
    Some((path.into(), held))
}

/// Of one within another only one is told: the outer, if those within it that could be told hold less than half of
/// it, else these. Nothing that an owner made within its own.
fn top(all: &All, version: u8) -> Vec<TopCgroup> {
    let is_owner = |path: &str| attribute(path).level != LimitLevel::Nested;
    let mut largest: Vec<(&Arc<str>, &Held)> = all.iter().collect();
    largest.sort_by_key(|(_, held)| Reverse(held.usage_bytes));
    let mut top: Vec<TopCgroup> = Vec::new();
    for (path, held) in largest {
        let within = |other: &str| {
            let rest = other.strip_prefix(&**path);
            rest.is_some_and(|rest| rest.starts_with('/'))
        };
        let told = |above: &str| {
            let mut told = top.iter().filter_map(|top| top.cgroup.path.as_deref());
            told.any(|outer| outer == above)
        };
        if !is_owner(path) || ancestors(path).any(told) {
            continue;
        }
        let inner = below(all, path)
            .filter(|(other, _)| within(other) && is_owner(other))
            .map(|(_, held)| held.usage_bytes);
        // Those within one that is within are counted twice: that can only favour the inner.
        if inner.fold(0, u64::saturating_add) >= held.usage_bytes.div_ceil(2).max(1) {
            continue;
        }
        top.push(TopCgroup {
            cgroup: Cgroup {
                path: Some(path.to_string()),
                id: held.id,
                version: Some(version),
            },
            owner: Some(attribute(path).owner),
            usage_bytes: held.usage_bytes,
            limit_bytes: held.limit_bytes,
        });
        if top.len() == MAX_TOP {
            break;
        }
    }
    top
}
