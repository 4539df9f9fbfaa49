//! What runs in a guest: the agent and the test programs, linked statically, in an initramfs.
//!
//! Builds them with cargo; emits the archive. Refuses a toolchain without the target.

use std::{
    env, fs,
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, bail};

use super::initramfs::Initramfs;
use crate::project;

/// What they are built for.
pub(super) const TARGET: &str = "x86_64-unknown-linux-musl";

/// The test program that is the guest's first process.
const INIT: &str = "vm-init";

/// Whether the toolchain can build for guests.
pub(super) fn has_target() -> Result<bool> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let dir = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(project::root())
        .output()?;
    Ok(PathBuf::from(String::from_utf8(dir.stdout)?.trim()).is_dir())
}

/// The initramfs: every program of the agent and of the tests in /bin, one of them as /init.
pub(super) fn archive(tests: &[String], files: &[PathBuf]) -> Result<Vec<u8>> {
    let mut archive = Initramfs::new()?;
    let mut programs = programs(tests)?;
    for file in files {
        let name = file.file_name().context("no file name")?;
        programs.push((name.to_string_lossy().into_owned(), file.clone()));
    }
    for (name, path) in programs {
        let contents = fs::read(&path).with_context(|| path.display().to_string())?;
        let place = if name == INIT {
            "init".to_owned()
        } else {
            format!("bin/{name}")
        };
        archive.file(&place, &contents)?;
    }
    archive.finish()
}

/// Builds the programs statically, a little optimised because QEMU without KVM is slow; their names
/// and where cargo put them.
fn programs(tests: &[String]) -> Result<Vec<(String, PathBuf)>> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let build = Command::new(cargo)
        .args(["build", "--quiet", "--profile", "guest", "--target", TARGET])
        .args(["--package", "oom-agent", "--package", "oom-tests", "--bins"])
        // There is no cluster in a guest.
        .arg("--no-default-features")
        .args(tests.iter().flat_map(|test| ["--test", test]))
        .arg("--message-format=json-render-diagnostics")
        .current_dir(project::root())
        .stderr(Stdio::inherit())
        .output()?;
    if !build.status.success() {
        bail!("the programs do not build for {TARGET} (rustup target add {TARGET})");
    }
    let mut programs = Vec::new();
    for line in build
        .stdout
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let message: serde_json::Value = serde_json::from_slice(line)?;
        let (name, path) = (&message["target"]["name"], &message["executable"]);
        if let (Some(name), Some(path)) = (name.as_str(), path.as_str()) {
            programs.push((name.to_owned(), path.into()));
        }
    }
    Ok(programs)
}
