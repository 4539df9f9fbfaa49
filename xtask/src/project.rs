//! Where things are: the repository, the target directory, the committed object.
//!
//! Reads `CARGO_TARGET_DIR`; emits paths. Refuses to depend on the current directory.

use std::{
    env,
    path::{Path, PathBuf},
};

/// The root of the repository.
pub(crate) fn root() -> PathBuf {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest.parent().unwrap_or(manifest).to_path_buf()
}

/// Cargo's target directory.
pub(crate) fn target() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// Tools that xtask installs for itself: a directory that CI can keep.
pub(crate) fn tools() -> PathBuf {
    root().join("target/tools")
}

/// The committed eBPF object.
pub(crate) fn object() -> PathBuf {
    root().join("oom-agent/bpf/oom.bpf.o")
}

/// What the committed object was built from.
pub(crate) fn manifest() -> PathBuf {
    root().join("oom-agent/bpf/manifest.json")
}
