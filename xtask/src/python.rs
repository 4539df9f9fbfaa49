//! The fuzzer of the API: Schemathesis, a Python program, in an environment of its own.
//!
//! Reads `schemathesis.txt`, which pins it and all that it needs; emits the program's path. Refuses other
//! versions: what they ask would differ.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result};

use crate::{project, tool};

const REQUIREMENTS: &str = include_str!("schemathesis.txt");

/// The test asks this variable where the program is.
pub(crate) const VARIABLE: &str = "OOM_TESTS_SCHEMATHESIS";

/// Installs it unless these very versions are there.
pub(crate) fn schemathesis() -> Result<PathBuf> {
    let dir = project::tools().join("schemathesis");
    let (program, done) = (dir.join("bin/schemathesis"), dir.join("installed.txt"));
    if fs::read_to_string(&done).is_ok_and(|text| text == REQUIREMENTS) && program.is_file() {
        return Ok(program);
    }
    eprintln!("xtask: installing Schemathesis");
    let requirements = dir.join("requirements.txt");
    tool::run(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(&dir),
    )?;
    fs::write(&requirements, REQUIREMENTS).context("requirements of Schemathesis")?;
    let mut install = Command::new(dir.join("bin/pip"));
    install.args([
        "install",
        "--quiet",
        "--disable-pip-version-check",
        "--only-binary=:all:",
    ]);
    tool::run(
        install
            .args(["--no-deps", "--requirement"])
            .arg(&requirements),
    )?;
    fs::rename(&requirements, &done).context("requirements of Schemathesis")?;
    Ok(program)
}
