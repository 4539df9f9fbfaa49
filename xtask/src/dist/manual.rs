//! Pages of the manual and completions, as the program itself prints them.
//!
//! Runs a binary that this machine can run; emits names and texts, which are the same for every
//! architecture. Refuses a binary that fails.

use std::{fs, path::Path, process::Command};

use anyhow::{Context as _, Result};

use crate::tool;

/// What a person reads and a shell completes.
pub(crate) struct Manual {
    /// Name (`oom-agent-run.1`) and text.
    pub(crate) pages: Vec<(String, String)>,
    /// Path below the root, and script.
    pub(crate) completions: Vec<(String, String)>,
}

/// Shells, and where their packages look on Debian.
const COMPLETIONS: &[(&str, &str)] = &[
    ("bash", "usr/share/bash-completion/completions/oom-agent"),
    ("fish", "usr/share/fish/vendor_completions.d/oom-agent.fish"),
    ("zsh", "usr/share/zsh/vendor-completions/_oom-agent"),
];

impl Manual {
    /// What this program prints.
    pub(crate) fn of(program: &Path) -> Result<Self> {
        let dir = tempfile::tempdir()?;
        tool::run(Command::new(program).arg("man").arg(dir.path()))?;
        let mut pages = Vec::new();
        for entry in fs::read_dir(dir.path())? {
            let entry = entry?;
            let name = entry
                .file_name()
                .into_string()
                .ok()
                .context("a page's name")?;
            pages.push((name, fs::read_to_string(entry.path())?));
        }
        pages.sort();
        let mut completions = Vec::new();
        for &(shell, path) in COMPLETIONS {
            let script = tool::output(Command::new(program).args(["completions", shell]))?;
            completions.push((path.to_owned(), script + "\n"));
        }
        Ok(Self { pages, completions })
    }
}
