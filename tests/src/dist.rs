//! What `cargo xtask dist` makes of a program that is there.
//!
//! Runs it; emits the directory that it filled. Refuses a run that fails.

use std::{
    env,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

/// The files of a release for this machine.
#[derive(Debug)]
pub struct Dist(TempDir);

impl Dist {
    /// Packages this program, which is linked statically.
    pub fn of(program: &Path) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command
            .args(["run", "--quiet", "--package", "xtask", "--", "dist"])
            .args(["--target", env::consts::ARCH, "--program"])
            .arg(program)
            .arg("--out")
            .arg(dir.path())
            .current_dir(env!("CARGO_MANIFEST_DIR"));
        printed(&mut command)?;
        Ok(Self(dir))
    }

    /// A file of it.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    /// The only file of it with this ending.
    pub fn ending(&self, end: &str) -> Result<PathBuf> {
        for entry in self.0.path().read_dir()? {
            let path = entry?.path();
            if path.to_string_lossy().ends_with(end) {
                return Ok(path);
            }
        }
        anyhow::bail!("no file of a release ends in {end}")
    }
}

/// What a command printed; an error if it failed.
pub fn printed(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?}: {output:?}");
    let all = [output.stdout, output.stderr].concat();
    Ok(String::from_utf8_lossy(&all).into_owned())
}
