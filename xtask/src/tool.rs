//! Runs other programs, and installs the cargo tools that a command needs.
//!
//! Reads exit codes and output; emits an error that names the command. Refuses tools of another
//! version than the pinned one: their output would differ.

use std::{
    env,
    ffi::{OsStr, OsString},
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};

use crate::project;

/// A cargo tool at the version that this project is tested with.
pub(crate) struct Tool {
    /// Crate name.
    pub name: &'static str,
    /// Exact version.
    pub version: &'static str,
}

impl Tool {
    /// Installs the tool into `target/tools` unless the pinned version is there or on the path.
    /// Returns the `PATH` under which it is found.
    pub(crate) fn ensure(&self) -> Result<OsString> {
        let path = path_with_tools()?;
        if self.found(&path) {
            return Ok(path);
        }
        eprintln!("xtask: installing {} {}", self.name, self.version);
        let mut install = cargo();
        install
            .args(["install", self.name, "--version", self.version])
            .args(["--locked", "--quiet", "--root"])
            .arg(project::tools())
            // A caller's target directory would be shared with builds of other profiles.
            .env_remove("CARGO_TARGET_DIR");
        run(&mut install)?;
        if !self.found(&path) {
            bail!(
                "{} is installed, but does not say version {}",
                self.name,
                self.version
            );
        }
        Ok(path)
    }

    fn found(&self, path: &OsString) -> bool {
        let mut command = Command::new(self.name);
        command.arg("--version").env("PATH", path);
        output(&mut command)
            .is_ok_and(|text| text.split_whitespace().any(|word| word == self.version))
    }
}

/// `PATH` with the tools of this project first.
fn path_with_tools() -> Result<OsString> {
    let old = env::var_os("PATH").unwrap_or_default();
    let dirs = [project::tools().join("bin")]
        .into_iter()
        .chain(env::split_paths(&old));
    env::join_paths(dirs).context("PATH")
}

/// Whether a program of this name is on the path.
pub(crate) fn on_path(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH")?;
    env::split_paths(&path)
        .map(|dir| dir.join(name))
        .find(|file| file.is_file())
}

/// cargo, in the repository.
pub(crate) fn cargo() -> Command {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut cargo = without_package(cargo);
    cargo.current_dir(project::root());
    cargo
}

/// A command without what cargo tells xtask of its package: some build scripts would run again for it.
pub(crate) fn without_package(program: impl AsRef<OsStr>) -> Command {
    let mut command = Command::new(program);
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            command.env_remove(name);
        }
    }
    command
}

/// Runs a command to its end; fails if it does.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command
        .status()
        .with_context(|| format!("cannot run {}", shown(command)))?;
    if !status.success() {
        bail!("{} failed: {status}", shown(command));
    }
    Ok(())
}

/// Runs a command and returns its standard output, trimmed.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot run {}", shown(command)))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!(
            "{} failed: {}\n{}",
            shown(command),
            output.status,
            stderr.trim()
        );
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// The command as a person would type it.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words
        .map(|word| word.to_string_lossy())
        .collect::<Vec<_>>()
        .join(" ")
}
