//! Where things are: the repository, the target directory, the committed objects.
//!
//! Reads `CARGO_TARGET_DIR` and `XTASK_TOOLS`; emits paths. Refuses to depend on the current directory.

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

/// Tools that xtask installs for itself; `XTASK_TOOLS` names a directory that outlives a clone.
pub(crate) fn tools() -> PathBuf {
    env::var_os("XTASK_TOOLS").map_or_else(|| root().join("target/tools"), |dir| root().join(dir))
}

/// The committed eBPF object for this architecture.
pub(crate) fn object(arch: &str) -> PathBuf {
    root().join(format!("oom-agent/bpf/oom.{arch}.bpf.o"))
}

/// What the committed objects were built from.
pub(crate) fn manifest() -> PathBuf {
    root().join("oom-agent/bpf/manifest.json")
}
