//! The crates that are linked into the agent and its eBPF objects, for one target.
//!
//! Reads `cargo tree` (which crates, exactly), `cargo metadata` (what they say of themselves) and
//! `Cargo.lock` (their sums); emits one list, sorted. Leaves out procedural macros and build scripts, which
//! run on the builder's machine. Refuses a crate that one of them does not know.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};
use serde::Deserialize;

use super::binary::FEATURES;
use crate::{build_ebpf, project, tool};

/// One version of one crate.
#[derive(Clone, Debug)]
pub(super) struct Crate {
    pub(super) name: String,
    pub(super) version: String,
    /// An SPDX expression.
    pub(super) licence: Option<String>,
    pub(super) repository: Option<String>,
    pub(super) description: Option<String>,
    /// Where its sources are.
    pub(super) dir: PathBuf,
    /// The sum of its archive; none: it is of this workspace.
    pub(super) sha256: Option<String>,
    /// Which others it needs, by their place in the list.
    pub(super) needs: Vec<usize>,
}

#[derive(Deserialize)]
struct Metadata {
    packages: Vec<Package>,
    resolve: Resolve,
}

#[derive(Deserialize)]
struct Package {
    id: String,
    name: String,
    version: String,
    license: Option<String>,
    repository: Option<String>,
    description: Option<String>,
    manifest_path: PathBuf,
}

#[derive(Deserialize)]
struct Resolve {
    nodes: Vec<Node>,
}

#[derive(Deserialize)]
struct Node {
    id: String,
    deps: Vec<Dep>,
}

#[derive(Deserialize)]
struct Dep {
    pkg: String,
    dep_kinds: Vec<DepKind>,
}

/// `null` for what is linked; `dev` and `build` are not.
#[derive(Deserialize)]
struct DepKind {
    kind: Option<String>,
}

impl Dep {
    fn is_linked(&self) -> bool {
        self.dep_kinds.iter().any(|of| of.kind.is_none())
    }
}

#[derive(Deserialize)]
struct Lock {
    package: Vec<Locked>,
}

#[derive(Deserialize)]
struct Locked {
    name: String,
    version: String,
    checksum: Option<String>,
}

/// Those for this target, and for the kernel's.
pub(super) fn linked(target: &str) -> Result<Vec<Crate>> {
    let mut linked = tree("oom-agent", target, FEATURES)?;
    linked.append(&mut tree("oom-ebpf", build_ebpf::TARGET, &[])?);

    let mut metadata = tool::cargo();
    metadata.args([
        "metadata",
        "--locked",
        "--format-version=1",
        "--all-features",
    ]);
    for target in [target, build_ebpf::TARGET] {
        metadata.args(["--filter-platform", target]);
    }
    let metadata = tool::output(&mut metadata)?;
    let metadata: Metadata = serde_json::from_str(&metadata)?;
    let lock: Lock = toml::from_str(&fs::read_to_string(project::root().join("Cargo.lock"))?)?;
    let sums: BTreeMap<_, _> = lock
        .package
        .into_iter()
        .map(|of| ((of.name, of.version), of.checksum))
        .collect();

    let packages: BTreeMap<_, _> = metadata
        .packages
        .iter()
        .map(|package| ((package.name.clone(), package.version.clone()), package))
        .collect();
    let place: BTreeMap<&str, usize> = linked
        .iter()
        .enumerate()
        .filter_map(|(at, key)| Some((packages.get(key)?.id.as_str(), at)))
        .collect();
    let nodes: BTreeMap<&str, &Node> = metadata
        .resolve
        .nodes
        .iter()
        .map(|node| (node.id.as_str(), node))
        .collect();
    let of = |key: &(String, String)| -> Result<Crate> {
        let package = packages.get(key).context("not in cargo's metadata")?;
        let node = nodes.get(package.id.as_str()).context("not resolved")?;
        let needs = node.deps.iter().filter(|dep| dep.is_linked());
        let needs = needs.filter_map(|dep| place.get(dep.pkg.as_str()).copied());
        Ok(Crate {
            name: package.name.clone(),
            version: package.version.clone(),
            licence: package.license.clone(),
            repository: package.repository.clone(),
            description: package.description.clone(),
            dir: package
                .manifest_path
                .parent()
                .unwrap_or(Path::new("/"))
                .to_owned(),
            sha256: sums.get(key).context("not in Cargo.lock")?.clone(),
            needs: needs.collect(),
        })
    };
    linked
        .iter()
        .map(|key| of(key).with_context(|| key.0.clone()))
        .collect()
}

/// Names and versions of a package and of all that is linked with it.
fn tree(package: &str, target: &str, features: &[&str]) -> Result<BTreeSet<(String, String)>> {
    let mut tree = tool::cargo();
    tree.args(["tree", "--locked", "--prefix=none", "--format={p}"])
        .args(["--edges=normal,no-proc-macro", "--package", package])
        .args(["--target", target])
        .args(features);
    let tree = tool::output(&mut tree)?;
    Ok(tree.lines().filter_map(named).collect())
}

/// `name vVERSION …`
fn named(line: &str) -> Option<(String, String)> {
    let mut words = line.split(' ');
    let name = words.next()?;
    let version = words.next()?.strip_prefix('v')?;
    Some((name.to_owned(), version.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_cargo_tree_are_read() {
        let of = |name: &str, version: &str| Some((name.to_owned(), version.to_owned()));
        assert_eq!(named("serde v1.0.2"), of("serde", "1.0.2"));
        assert_eq!(named("serde v1.0.2 (*)"), of("serde", "1.0.2"));
        assert_eq!(named("oom-agent v0.1.0 (/a/b)"), of("oom-agent", "0.1.0"));
        assert_eq!(named(""), None);
    }
}
