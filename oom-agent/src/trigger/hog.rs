//! The process that dies: takes memory, page by page, until the kernel kills it.
//!
//! Runs as a process of its own (`oom-agent trigger-hog`). Reads `/proc/self/cgroup` and the limits
//! above it. Refuses to take a single page unless it sits in a scratch cgroup that has a limit of at
//! most 1 GiB, so that a mistake can never make the machine itself run out of memory.

use std::{
    convert::Infallible,
    ffi::{CString, OsString},
    fs, hint,
    os::unix::ffi::OsStringExt as _,
    path::{Path, PathBuf},
};

use clap::Args;
use thiserror::Error;

use crate::{
    hierarchy::{Hierarchy, HierarchyError, memory_cgroup},
    trigger::scratch::{ScratchError, maker},
};

/// The largest limit that the hog accepts.
pub const MAX_LIMIT: u64 = 1 << 30;

/// How far beyond the limit it goes before it gives up.
const MARGIN: u64 = 64 << 20;

/// Smallest page of any Linux; a step that touches every page on every machine.
const STEP: usize = 4096;

/// Arguments of the hog.
#[derive(Args, Clone, Debug)]
pub struct HogArgs {
    /// Directory of the scratch cgroup to die in.
    #[arg(long)]
    pub cgroup: PathBuf,
    /// Name to take (at most 15 bytes count, any bytes but NUL).
    #[arg(long, default_value = "oom-trigger")]
    pub comm: OsString,
    /// `oom_score_adj` to take.
    #[arg(long, default_value_t = 1000, allow_negative_numbers = true)]
    pub oom_score_adj: i16,
}

/// Why the hog refused, or outlived its memory.
#[derive(Debug, Error)]
pub enum HogError {
    /// There is no hierarchy of the memory controller.
    #[error(transparent)]
    Hierarchy(#[from] HierarchyError),
    /// The cgroup filesystem.
    #[error(transparent)]
    Cgroup(#[from] ScratchError),
    /// Not inside a scratch cgroup.
    #[error(
        "refusing: this process is in cgroup {actual:?}, not in the scratch cgroup {expected:?}"
    )]
    NotInside {
        /// Where it was to be.
        expected: String,
        /// Where it is.
        actual: String,
    },
    /// The cgroup is not one of ours.
    #[error("refusing: {} is not a scratch cgroup of this tool", path.display())]
    NotScratch {
        /// The directory.
        path: PathBuf,
    },
    /// No limit, or too large a one.
    #[error("refusing to run without a memory limit in place: {} has {}, at most {MAX_LIMIT} bytes are accepted", path.display(), limit.map_or("none".into(), |bytes| format!("{bytes} bytes")))]
    NoLimit {
        /// The directory.
        path: PathBuf,
        /// Smallest limit found from there up.
        limit: Option<u64>,
    },
    /// The process could not be prepared.
    #[error("cannot set {what} of the hog: {reason}")]
    Prepare {
        /// What was to be set.
        what: &'static str,
        /// Why not.
        reason: String,
    },
    /// The allocator said no before the kernel did.
    #[error("the allocator refused {bytes} bytes")]
    Allocator {
        /// How many.
        bytes: usize,
    },
    /// Still alive.
    #[error("took {bytes} bytes, {MARGIN} more than the limit, and was not killed")]
    Survived {
        /// How many.
        bytes: usize,
    },
}

/// Prepares this process and takes memory until the kernel kills it. Returns only on failure.
pub fn run(args: &HogArgs) -> Result<Infallible, HogError> {
    let limit = enter(args)?;
    take(limit)
}

/// Enters the cgroup ([`confine`]), takes the name and the score. Returns the limit.
pub fn enter(args: &HogArgs) -> Result<u64, HogError> {
    let limit = confine(&args.cgroup)?;
    prepare(args)?;
    Ok(limit)
}

/// Joins the cgroup, and checks that it worked, that the cgroup is a scratch one and that a limit
/// of at most [`MAX_LIMIT`] applies there. Returns that limit.
fn confine(dir: &Path) -> Result<u64, HogError> {
    let hierarchy = Hierarchy::find()?;
    let ours = dir
        .strip_prefix(&hierarchy.mount)
        .ok()
        .and_then(|relative| relative.iter().next()?.to_str())
        .is_some_and(|top| maker(top).is_some());
    let Some(expected) = hierarchy.path_of(dir).filter(|_| ours) else {
        return Err(HogError::NotScratch { path: dir.into() });
    };
    let procs = dir.join("cgroup.procs");
    fs::write(&procs, std::process::id().to_string())
        .map_err(|source| ScratchError::io("join", &procs, source))?;

    let own = Path::new("/proc/self/cgroup");
    let text = fs::read_to_string(own).map_err(|source| ScratchError::io("read", own, source))?;
    let actual = memory_cgroup(&text, hierarchy.version).unwrap_or_default();
    if actual != expected {
        return Err(HogError::NotInside {
            expected,
            actual: actual.into(),
        });
    }
    match hierarchy.effective_limit(dir)? {
        Some(limit) if limit <= MAX_LIMIT => Ok(limit),
        limit => Err(HogError::NoLimit {
            path: dir.into(),
            limit,
        }),
    }
}

/// Takes the name and the score, and asks to die with the process that started it.
pub fn prepare(args: &HogArgs) -> Result<(), HogError> {
    let failed = |what| {
        move |error: &dyn std::fmt::Display| HogError::Prepare {
            what,
            reason: error.to_string(),
        }
    };
    let comm = CString::new(args.comm.clone().into_vec()).map_err(|e| failed("name")(&e))?;
    rustix::thread::set_name(&comm).map_err(|e| failed("name")(&e))?;
    fs::write("/proc/self/oom_score_adj", args.oom_score_adj.to_string())
        .map_err(|e| failed("oom_score_adj")(&e))?;
    rustix::process::set_parent_process_death_signal(Some(rustix::process::Signal::KILL))
        .map_err(|e| failed("parent death signal")(&e))
}

/// Takes memory until killed, `limit` + 64 MiB at most.
pub fn take(limit: u64) -> Result<Infallible, HogError> {
    let bytes = usize::try_from(limit.saturating_add(MARGIN)).unwrap_or(usize::MAX);
    let memory = hold(bytes)?;
    Err(HogError::Survived {
        bytes: memory.len(),
    })
}

/// Takes that much fresh anonymous memory, page by page, every page touched.
pub fn hold(bytes: usize) -> Result<Vec<u8>, HogError> {
    let mut memory = Vec::new();
    memory
        .try_reserve_exact(bytes)
        .map_err(|_| HogError::Allocator { bytes })?;
    while memory.len() < bytes {
        let page = STEP.min(bytes - memory.len());
        memory.extend_from_slice(&[1; STEP][..page]);
        hint::black_box(memory.last());
    }
    Ok(memory)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_refuses_a_cgroup_that_is_not_a_scratch_one() {
        // No memory controller at all is as good a reason to refuse.
        assert!(matches!(
            confine(Path::new("/sys/fs/cgroup/memory/system.slice")),
            Err(HogError::NotScratch { .. }
                | HogError::Hierarchy(HierarchyError::NoMemoryController))
        ));
    }
}
