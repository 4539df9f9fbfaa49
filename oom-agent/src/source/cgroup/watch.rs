//! Where changes come from: the best that the kernel allows, found by trying.

use std::{fs, os::fd::BorrowedFd};

use super::inotify::Watches;
use crate::{
    bpf::{
        cgroups::{CgroupPrograms, CgroupRing, memory_hierarchy},
        load,
    },
    error::chain,
    hierarchy::CgroupVersion,
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

/// How cgroups are watched now, for those who ask.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Watched {
    /// Nobody has been asked to.
    #[default]
    Off,
    /// What watches them is being attached.
    Soon,
    /// By the kernel's tracepoints.
    ByBpf,
    /// By inotify.
    ByInotify,
    /// Not: they are found by a scan now and then.
    ByScans,
    /// Not, nor found: their directory cannot be read.
    Unread,
    /// No longer: the thread has ended.
    Ended,
}

impl Watched {
    /// Whether those that come and go are seen at once.
    #[must_use]
    pub const fn is_up(self) -> bool {
        matches!(self, Self::ByBpf | Self::ByInotify)
    }

    /// How, or why not.
    #[must_use]
    pub const fn how(self) -> Option<&'static str> {
        match self {
            Self::Off => None,
            Self::Soon => Some("being attached"),
            Self::ByBpf => Some("by BPF"),
            Self::ByInotify => Some("by inotify"),
            Self::ByScans => Some(
                "scanned every 10 s, for inotify has no more room: raise fs.inotify.max_user_watches or \
                 fs.inotify.max_user_instances",
            ),
            Self::Unread => Some("their directory cannot be read; the log says why"),
            Self::Ended => Some("its thread has ended; the log says why"),
        }
    }
}

impl Watch {
    /// What it is to those who ask.
    pub(super) const fn told(&self) -> Watched {
        match self {
            Self::Ring(_) => Watched::ByBpf,
            Self::Inotify(_) => Watched::ByInotify,
            Self::None => Watched::ByScans,
        }
    }

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
