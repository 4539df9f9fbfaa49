//! What the committed objects were built from, so that `cargo test` can tell, without any BPF
//! toolchain, when the sources moved on and the objects did not.
//!
//! Reads the sources and Cargo.lock; emits `oom-agent/bpf/manifest.json`. Refuses to guess: a source
//! file that cannot be read is an error.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt::Write as _,
    fs,
    path::Path,
};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Objects;
use crate::project;

/// Crates of this workspace that are compiled into the objects.
const CRATES: [&str; 2] = ["oom-ebpf", "oom-common"];

/// `oom-agent/bpf/manifest.json`.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Manifest {
    /// The rustc target.
    pub target: String,
    /// `rustc --version`.
    pub rustc: String,
    /// bpf-linker's version.
    pub bpf_linker: String,
    /// The sha256 of each object, by architecture.
    pub objects: BTreeMap<String, String>,
    /// Of the two lists below.
    pub sources_sha256: String,
    /// Every source file and its sha256.
    pub files: BTreeMap<String, String>,
    /// Every locked crate that is compiled in or takes part in compiling.
    pub crates: BTreeSet<String>,
}

impl Manifest {
    pub(super) fn new(
        objects: &Objects,
        rustc: &str,
        bpf_linker: &str,
        target: &str,
    ) -> Result<Self> {
        let files = source_files(&project::root())?;
        let lock = project::root().join("Cargo.lock");
        let crates =
            locked_crates(&fs::read_to_string(&lock).with_context(|| lock.display().to_string())?)?;
        Ok(Self {
            target: target.to_owned(),
            rustc: rustc.to_owned(),
            bpf_linker: bpf_linker.to_owned(),
            objects: objects
                .iter()
                .map(|(&arch, object)| (arch.to_owned(), sha256(object)))
                .collect(),
            sources_sha256: sha256(serde_json::to_string(&(&files, &crates))?.as_bytes()),
            files,
            crates,
        })
    }

    /// The manifest in the repository.
    pub(super) fn committed() -> Result<Self> {
        let path = project::manifest();
        let text = fs::read_to_string(&path).with_context(|| path.display().to_string())?;
        serde_json::from_str(&text).with_context(|| path.display().to_string())
    }

    pub(super) fn to_json(&self) -> Result<String> {
        Ok(serde_json::to_string_pretty(self)? + "\n")
    }

    /// What differs, one line each.
    pub(super) fn difference(&self, other: &Self) -> String {
        let mut text = String::new();
        let scalars = [
            ("target", &self.target, &other.target),
            ("rustc", &self.rustc, &other.rustc),
            ("bpf_linker", &self.bpf_linker, &other.bpf_linker),
        ];
        for (name, old, new) in scalars.into_iter().filter(|(_, old, new)| old != new) {
            let _ = writeln!(text, "  {name}: {old} -> {new}");
        }
        for arch in changed(&self.objects, &other.objects) {
            let _ = writeln!(text, "  the object for {arch}: changed");
        }
        for name in changed(&self.files, &other.files) {
            let _ = writeln!(text, "  {name}: changed");
        }
        for name in self.crates.symmetric_difference(&other.crates) {
            let _ = writeln!(text, "  crate {name}: changed");
        }
        text
    }
}

/// The names whose sums differ.
fn changed<'a>(
    old: &'a BTreeMap<String, String>,
    new: &'a BTreeMap<String, String>,
) -> BTreeSet<&'a String> {
    let names = old.keys().chain(new.keys());
    names
        .filter(|&name| old.get(name) != new.get(name))
        .collect()
}

/// Sources of the objects, by path from the root of the repository.
fn source_files(root: &Path) -> Result<BTreeMap<String, String>> {
    let mut files = BTreeMap::new();
    let mut dirs: Vec<_> = CRATES.iter().map(|name| root.join(name)).collect();
    while let Some(dir) = dirs.pop() {
        for entry in fs::read_dir(&dir).with_context(|| dir.display().to_string())? {
            let path = entry?.path();
            let is_source = path
                .extension()
                .is_some_and(|ext| ext == "rs" || ext == "toml");
            if path.is_dir() {
                dirs.push(path);
            } else if is_source {
                let name = path.strip_prefix(root)?.to_string_lossy().into_owned();
                files.insert(name, sha256(&fs::read(&path)?));
            }
        }
    }
    Ok(files)
}

/// Crates that `oom-ebpf` depends on, directly or not, as `name version`.
fn locked_crates(lock: &str) -> Result<BTreeSet<String>> {
    #[derive(Deserialize)]
    struct Lock {
        package: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        version: String,
        #[serde(default)]
        dependencies: Vec<String>,
    }
    let lock: Lock = toml::from_str(lock).context("Cargo.lock")?;
    let mut crates = BTreeSet::new();
    let mut wanted = vec![CRATES[0].to_owned()];
    while let Some(wish) = wanted.pop() {
        // `name`, or `name version` where several versions are locked.
        let (name, version) = wish
            .split_once(' ')
            .map_or((wish.as_str(), None), |(name, version)| {
                (name, Some(version))
            });
        let package = lock
            .package
            .iter()
            .find(|p| p.name == name && version.is_none_or(|v| p.version == v));
        let package = package.with_context(|| format!("Cargo.lock names no {wish}"))?;
        if crates.insert(format!("{} {}", package.name, package.version)) {
            wanted.extend(package.dependencies.iter().cloned());
        }
    }
    Ok(crates)
}

fn sha256(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_committed_objects_are_of_these_sources() {
        let committed = Manifest::committed().expect("manifest");
        let objects = super::super::ARCHES
            .map(|arch| (arch, fs::read(project::object(arch)).expect("object")));
        let now = Manifest::new(
            &objects.into(),
            &committed.rustc,
            super::super::BPF_LINKER.version,
            super::super::TARGET,
        )
        .expect("sources");
        assert!(
            committed == now,
            "oom-agent/bpf is out of date, run `cargo xtask build-ebpf`:\n{}",
            committed.difference(&now)
        );
        let version = committed.rustc.split_whitespace().next();
        assert_eq!(
            version,
            Some(super::super::RUSTC),
            "the committed objects are built by the pinned compiler"
        );
    }

    #[test]
    fn only_what_the_objects_depend_on_is_listed() {
        let lock = r#"
            [[package]]
            name = "a"
            version = "1.0.0"
            [[package]]
            name = "a"
            version = "2.0.0"
            dependencies = ["b"]
            [[package]]
            name = "b"
            version = "3.0.0"
            [[package]]
            name = "other"
            version = "4.0.0"
            [[package]]
            name = "oom-ebpf"
            version = "0.1.0"
            dependencies = ["a 2.0.0"]
        "#;
        let crates = locked_crates(lock).expect("lock");
        assert_eq!(
            Vec::from_iter(crates),
            ["a 2.0.0", "b 3.0.0", "oom-ebpf 0.1.0"]
        );
    }
}
