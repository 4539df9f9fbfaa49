//! What every test of a runtime needs: the machine for itself, the programs, a directory.
//!
//! Looks for the runtimes' programs on the path. Refuses, with a reason, where one is missing.

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use anyhow::{Context as _, Result, ensure};
use tempfile::TempDir;

use super::{image, payload, traces::Traces};
use crate::machine::{self, Machine};

/// The programs of a runtime, and the Debian package of each.
pub(super) type Programs = &'static [(&'static str, &'static str)];

/// The machine, prepared for containers; as it was when dropped.
#[derive(Debug)]
pub struct Stage {
    dir: TempDir,
    payload: PathBuf,
    _traces: Traces,
    /// The machine. Dropped last, for it holds the lock.
    pub machine: Machine,
}

impl Stage {
    /// Waits for the other scenarios to end. `None`, after saying why, where something is missing.
    pub fn alone(programs: Programs) -> Result<Option<Self>> {
        let Some(machine) = Machine::alone()? else {
            return Ok(None);
        };
        for (program, package) in programs {
            if !on_path(program) {
                machine::skip(&format!("needs {program} (apt-get install {package})"))?;
                return Ok(None);
            }
        }
        let payload = match payload::binary()? {
            Ok(path) => path.to_owned(),
            Err(reason) => return machine::skip(&reason).map(|()| None),
        };
        Ok(Some(Self {
            dir: tempfile::tempdir()?,
            payload,
            _traces: Traces::none_yet()?,
            machine,
        }))
    }

    /// The stage's own directory.
    #[must_use]
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// The program of every container.
    #[must_use]
    pub fn payload(&self) -> &Path {
        &self.payload
    }

    /// An image archive; its containers run the program with this argument.
    pub fn image(&self, name: &str, argument: &str) -> Result<PathBuf> {
        let path = self.dir().join(format!("{argument}.tar"));
        image::archive(&self.payload, name, argument, &path)?;
        Ok(path)
    }

    /// A root file system.
    pub fn rootfs(&self, root: &Path) -> Result<()> {
        fs::create_dir_all(root)?;
        image::unpack(&self.payload, root)
    }
}

fn on_path(program: &str) -> bool {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).any(|dir| dir.join(program).is_file())
}

/// Runs a runtime's command to its end; what it printed.
pub(super) fn run(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("{command:?}"))?;
    ensure!(
        output.status.success(),
        "{command:?}: {}: {}",
        output.status,
        String::from_utf8_lossy(&output.stderr).trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}
