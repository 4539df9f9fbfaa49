//! The agent as one static file, without symbols.
//!
//! Builds it with all features; strips it with the tool that comes with rustc, for any architecture. Refuses a
//! toolchain that lacks it.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context as _, Result, ensure};

use crate::{
    arch::Arch,
    cross::{self, Build},
    project, tool,
};

const WHAT: &[&str] = &["--locked", "--package=oom-agent", "--bin=oom-agent"];

/// What is in a program that is shipped.
pub(super) const FEATURES: &[&str] = &["--all-features"];

/// A program for one kind of machine.
pub(crate) struct Binary {
    pub(super) arch: Arch,
    /// Where cargo put it.
    pub(crate) path: PathBuf,
    /// What of it is shipped.
    pub(crate) bytes: Vec<u8>,
}

impl Binary {
    /// Builds it.
    pub(crate) fn build(arch: Arch, profile: &str) -> Result<Self> {
        let what: Vec<&str> = [WHAT, FEATURES].concat();
        // Paths of this machine are nobody's business, and would make it differ from that of another one.
        let is_released = profile == "release";
        let build = Build {
            arch,
            profile,
            what: &what,
            rustflags: is_released.then(remapped).transpose()?,
        };
        let programs = cross::build(&build)?;
        let program = programs.into_iter().find(|it| it.name == "oom-agent");
        let path = program.context("cargo built no oom-agent")?.path;
        Self::built(arch, path)
    }

    /// One that is there.
    pub(crate) fn built(arch: Arch, path: PathBuf) -> Result<Self> {
        let bytes = stripped(&path)?;
        Ok(Self { arch, path, bytes })
    }
}

/// One of them that this machine can run; built for it if none is.
pub(super) fn that_runs_here(binaries: &[Binary]) -> Result<PathBuf> {
    if let Some(binary) = binaries.iter().find(|it| it.arch.is_here()) {
        return Ok(binary.path.clone());
    }
    let here = Arch::ALL.into_iter().find(|arch| arch.is_here());
    let here = here.context("this machine is none that the agent is for")?;
    Ok(Binary::build(here, "dev")?.path)
}

/// The file without symbols and debug information.
fn stripped(path: &PathBuf) -> Result<Vec<u8>> {
    let sysroot = sysroot()?;
    let objcopy = sysroot.join(format!(
        "lib/rustlib/{}/bin/rust-objcopy",
        rustc_says("host")?
    ));
    ensure!(
        objcopy.is_file(),
        "this toolchain has no {}",
        objcopy.display()
    );
    let to = tempfile::NamedTempFile::new()?;
    let mut strip = Command::new(objcopy);
    strip.arg("--strip-all").arg(path).arg(to.path());
    // Its libraries are the compiler's.
    strip.env("LD_LIBRARY_PATH", sysroot.join("lib"));
    tool::run(&mut strip)?;
    Ok(fs::read(to.path())?)
}

/// The sources' directories, as they are shown instead.
fn remapped() -> Result<Vec<String>> {
    let cargo = std::env::var_os("CARGO_HOME").map_or_else(
        || std::env::home_dir().map(|home| home.join(".cargo")),
        |dir| Some(dir.into()),
    );
    let dirs = [
        (cargo.context("no home directory")?, "/cargo"),
        (project::root(), "/oom-agent"),
    ];
    let flags = dirs.map(|(from, to)| format!("--remap-path-prefix={}={to}", from.display()));
    Ok(flags.into())
}

fn rustc() -> Command {
    tool::without_package(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}

/// Where the toolchain is.
pub(super) fn sysroot() -> Result<PathBuf> {
    Ok(tool::output(
        rustc()
            .args(["--print", "sysroot"])
            .current_dir(project::root()),
    )?
    .into())
}

/// A line of what rustc says of itself: `release`, `host`.
pub(super) fn rustc_says(what: &str) -> Result<String> {
    let about = tool::output(rustc().arg("-vV").current_dir(project::root()))?;
    let mut lines = about.lines().filter_map(|line| line.split_once(": "));
    let line = lines.find(|&(name, _)| name == what);
    let (_, text) = line.with_context(|| format!("rustc does not say its {what}"))?;
    Ok(text.to_owned())
}
