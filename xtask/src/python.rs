//! Programs that come as Python packages, each in an environment of its own below the tools.
//!
//! Reads `schemathesis.txt`, `nats-server.txt` and `ziglang.txt`, which pin them and all that they need; emits paths. Refuses
//! other versions: what they do would differ.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{project, tool};

/// The test of the API's fuzzer asks this variable where the program is.
pub(crate) const VARIABLE: &str = "OOM_TESTS_SCHEMATHESIS";

/// Python packages that hold a program.
struct Packages {
    /// Of the environment's directory.
    name: &'static str,
    /// What pip installs.
    requirements: &'static str,
    /// Below the environment; the first that is there.
    program: fn(&Path) -> Option<PathBuf>,
}

const SCHEMATHESIS: Packages = Packages {
    name: "schemathesis",
    requirements: include_str!("schemathesis.txt"),
    program: |dir| Some(dir.join("bin/schemathesis")),
};

/// Tests and benches of the fleet ask this variable where the program is.
pub(crate) const NATS_VARIABLE: &str = "OOM_TESTS_NATS_SERVER";

const NATS: Packages = Packages {
    name: "nats-server",
    requirements: include_str!("nats-server.txt"),
    program: |dir| Some(dir.join("bin/nats-server")),
};

const ZIG: Packages = Packages {
    name: "ziglang",
    requirements: include_str!("ziglang.txt"),
    // The directory between is named for Python's version.
    program: |dir| {
        let versions = fs::read_dir(dir.join("lib")).ok()?;
        let mut places = versions.map(|version| {
            let packages = version.ok()?.path().join("site-packages");
            Some(packages.join("ziglang/zig"))
        });
        places.find_map(|place| place.filter(|place| place.is_file()))
    },
};

/// The fuzzer of the API: Schemathesis.
pub(crate) fn schemathesis() -> Result<PathBuf> {
    SCHEMATHESIS.ensure()
}

/// The server of a fleet's stream: NATS.
pub(crate) fn nats_server() -> Result<PathBuf> {
    NATS.ensure()
}

/// A C compiler for other machines: Zig.
pub(crate) fn zig() -> Result<PathBuf> {
    ZIG.ensure()
}

impl Packages {
    /// Installs them unless these very versions are there.
    fn ensure(&self) -> Result<PathBuf> {
        let dir = project::tools().join(self.name);
        let done = dir.join("installed.txt");
        let is_done = fs::read_to_string(&done).is_ok_and(|text| text == self.requirements);
        if let Some(program) = self.found(&dir).filter(|_| is_done) {
            return Ok(program);
        }
        eprintln!("xtask: installing {}", self.name);
        let requirements = dir.join("requirements.txt");
        tool::run(
            Command::new("python3")
                .args(["-m", "venv", "--clear"])
                .arg(&dir),
        )?;
        fs::write(&requirements, self.requirements).context(self.name)?;
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
        fs::rename(&requirements, &done).context(self.name)?;
        self.found(&dir)
            .with_context(|| format!("{} has no program", self.name))
    }

    fn found(&self, dir: &Path) -> Option<PathBuf> {
        (self.program)(dir).filter(|program| program.is_file())
    }
}
