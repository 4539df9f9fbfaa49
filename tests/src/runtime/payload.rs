//! Programs for containers, linked statically: `bin/container-payload`, and the agent itself.
//!
//! Builds them with cargo, as `cargo xtask vm` does for guests, so that both share what is built. Refuses a
//! toolchain without the target: that is said, and the test is skipped.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use anyhow::{Context as _, Result, ensure};

use crate::machine;

const PROGRAM: &str = "container-payload";

/// Where it is, built once; else why it cannot be built here.
pub(super) fn binary() -> Result<Result<&'static Path, String>> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    if let Some(lacks) = lacks_target()? {
        return Ok(Err(lacks));
    }
    let built = || build(PROGRAM).map_err(|error| format!("{error:#}"));
    let path = BINARY.get_or_init(built).as_deref();
    path.map(Ok).map_err(|error| anyhow::anyhow!("{error}"))
}

/// The agent as it is put into containers; else why it cannot be built here.
pub fn agent() -> Result<Result<PathBuf, String>> {
    match lacks_target()? {
        Some(lacks) => Ok(Err(lacks)),
        None => build("oom-agent").map(Ok),
    }
}

fn target() -> String {
    format!("{}-unknown-linux-musl", env::consts::ARCH)
}

fn lacks_target() -> Result<Option<String>> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let dir = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", &target()])
        .stderr(Stdio::null())
        .output()
        .context("rustc")?;
    let there = Path::new(String::from_utf8(dir.stdout)?.trim()).is_dir();
    Ok((!there).then(|| format!("needs `rustup target add {}`", target())))
}

/// With the same packages and features as for guests: with others, much would be built once more.
fn build(program: &str) -> Result<PathBuf> {
    let dir = machine::build_dir()?;
    let target_dir = dir.parent().context("target directory")?;
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let status = Command::new(cargo)
        .args(["build", "--quiet", "--profile", "guest"])
        .args(["--package", "oom-agent", "--package", "oom-tests"])
        .arg("--bins")
        .args(["--target", &target()])
        .arg("--manifest-path")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml"))
        .arg("--target-dir")
        .arg(target_dir)
        .status()
        .context("cargo build")?;
    ensure!(status.success(), "{program} does not build");
    Ok(target_dir.join(target()).join("guest").join(program))
}
