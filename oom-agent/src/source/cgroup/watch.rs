//! Where changes come from: the best that the kernel allows, found by trying.

use std::{fs, os::fd::BorrowedFd};

use super::inotify::Watches;
use crate::{
    error::chain,
    hierarchy::CgroupVersion,
    source::bpf::{
        cgroups::{CgroupPrograms, CgroupRing, memory_hierarchy},
        load,
    },
};

/// What tells of changes.
#[expect(clippy::large_enum_variant, reason = "there is one of it")]
pub(super) enum Watch {
    /// The kernel's tracepoints.
    Ring(CgroupRing),
    /// inotify on every directory.
    Inotify(Watches),
    /// Nothing: scans alone.
    None,
}

impl Watch {
    /// Attaches the programs if there are any and they can be had, else inotify.
    pub(super) fn best(
        programs: Option<CgroupPrograms>,
        version: CgroupVersion,
        ring_bytes: u32,
    ) -> Self {
        let ring = programs
            .ok_or_else(|| "BPF is not used, or this kernel has no tracepoints for it".to_owned())
            .and_then(|programs| attach(programs, version, ring_bytes));
        match ring {
            Ok(ring) => {
                if let Some(note) = ring.note() {
                    tracing::info!("renames of cgroups are not seen: {note}");
                }
                tracing::info!("cgroups are watched by BPF");
                Self::Ring(ring)
            }
            Err(reason) => {
                tracing::info!("cgroups are watched by inotify: {reason}");
                Self::by_inotify()
            }
        }
    }

    /// A new inotify, without any watch yet.
    pub(super) fn by_inotify() -> Self {
        match Watches::new() {
            Ok(watches) => Self::Inotify(watches),
            Err(error) => {
                tracing::warn!(
                    "cgroups are not watched, but scanned every 10 s: inotify: {error}; raise \
                     fs.inotify.max_user_instances"
                );
                Self::None
            }
        }
    }

    /// Readable when there are changes.
    pub(super) fn fd(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Ring(ring) => Some(ring.fd()),
            Self::Inotify(watches) => Some(watches.fd()),
            Self::None => None,
        }
    }

    /// Half of a rename has come; the other half may not.
    pub(super) fn is_moving(&self) -> bool {
        matches!(self, Self::Inotify(watches) if watches.is_moving())
    }
}

/// Attaches the programs for the hierarchy of the memory controller; `ring_bytes` is the size of its ring.
/// Else why they cannot be attached.
pub fn attach(
    programs: CgroupPrograms,
    version: CgroupVersion,
    ring_bytes: u32,
) -> Result<CgroupRing, String> {
    let hierarchy_id = match version {
        CgroupVersion::V2 => 0,
        CgroupVersion::V1 => fs::read_to_string("/proc/cgroups")
            .and_then(|text| memory_hierarchy(&text))
            .map_err(|error| error.to_string())?,
    };
    let ring = programs.attach(hierarchy_id, ring_bytes);
    // Loading takes several times the memory that the watch needs.
    load::release_memory();
    ring.map_err(|error| chain(&error))
}
