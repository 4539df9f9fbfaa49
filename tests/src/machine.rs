//! The machine a scenario runs on: whether it may, alone, and what the kernel has counted.
//!
//! Reads `/proc/vmstat` and the caller's privileges. Refuses to let two scenarios run at once: they
//! compare counters of the whole machine.

use std::{
    env,
    ffi::OsString,
    fs::{self, File},
    io::{self, Write as _},
    path::{Path, PathBuf},
    process::Command,
    sync::OnceLock,
    thread,
};

use anyhow::{Context as _, Result, bail, ensure};
use oom_agent::{
    hierarchy::Hierarchy,
    trigger::scratch::{PREFIX, ScratchCgroup, Settings},
};
use rustix::fs::FlockOperation;

/// The whole machine, for one scenario at a time.
#[derive(Debug)]
pub struct Machine {
    /// Where the memory controller is.
    pub hierarchy: Hierarchy,
    /// Held for its lock.
    _lock: File,
}

impl Machine {
    /// Waits for the other scenarios to end. `None`, after saying why, where this machine or this
    /// user cannot make an OOM kill.
    pub fn alone() -> Result<Option<Self>> {
        if !rustix::process::geteuid().is_root() {
            return skip("needs root").map(|()| None);
        }
        let hierarchy = match Hierarchy::find() {
            Ok(hierarchy) => hierarchy,
            Err(error) => return skip(&error.to_string()).map(|()| None),
        };
        let path = env::temp_dir().join("oom-agent-scenarios.lock");
        let lock = File::create(&path).with_context(|| format!("create {}", path.display()))?;
        rustix::fs::flock(&lock, FlockOperation::LockExclusive).context("flock")?;
        Ok(Some(Self {
            hierarchy,
            _lock: lock,
        }))
    }

    /// A cgroup of this process's own, with a limit.
    pub fn scratch(&self, name: &str, limit_bytes: u64) -> Result<ScratchCgroup> {
        let name = format!("{PREFIX}{}-{name}", std::process::id());
        let settings = Settings {
            limit_bytes: Some(limit_bytes),
            ..Settings::default()
        };
        Ok(ScratchCgroup::create(&self.hierarchy, &name, settings)?)
    }
}

/// What `cargo xtask vm` puts on the command line of a guest's kernel, where no process can forge it.
const GUEST: &str = "OOM_TESTS_GUEST=1";

/// Whether this machine lives for the tests alone.
#[must_use]
pub fn is_guest() -> bool {
    fs::read_to_string("/proc/cmdline")
        .is_ok_and(|line| line.split_whitespace().any(|word| word == GUEST))
}

/// Fails on a machine that somebody needs.
pub fn only_in_a_guest() -> Result<()> {
    ensure!(
        is_guest(),
        "takes the memory of a whole machine: only for test guests"
    );
    Ok(())
}

/// Whether a program can be run; says so if not, for the test is skipped then.
pub fn has_program(program: &str) -> Result<bool> {
    let there = Command::new(program).arg("--version").output().is_ok();
    if !there {
        skip(&format!("needs {program}"))?;
    }
    Ok(there)
}

/// A file of `packaging/`.
#[must_use]
pub fn packaging(file: &str) -> PathBuf {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging");
    root.join(file)
}

/// Says that the running test is skipped; an error where CI demands that nothing is.
pub fn skip(reason: &str) -> Result<()> {
    if env::var_os("OOM_TESTS_REQUIRE_PRIVILEGED").is_some_and(|value| value == "1") {
        bail!("OOM_TESTS_REQUIRE_PRIVILEGED=1, but this test {reason}");
    }
    say_skipped(reason);
    Ok(())
}

/// Says that the running test is skipped because the kernel has not got what it is about.
pub fn say_skipped(reason: &str) {
    let thread = thread::current();
    let test = thread.name().unwrap_or("?");
    // Not `eprintln!`: the test harness hides that of a test that passes. In one piece: several tests may
    // speak at once, and xtask reads lines.
    let line = format!("skipped: {test}: {reason}\n");
    let _ = io::stderr().write_all(line.as_bytes());
}

/// All OOM kills since boot (`/proc/vmstat oom_kill`).
pub fn vmstat_oom_kill() -> Result<u64> {
    let text = fs::read_to_string("/proc/vmstat").context("/proc/vmstat")?;
    text.lines()
        .find_map(|line| line.strip_prefix("oom_kill "))
        .context("this kernel does not count OOM kills (4.13+)")?
        .parse()
        .context("oom_kill")
}

/// The directory that holds this build's programs: beside the test, or above cargo's `deps`.
pub fn build_dir() -> Result<PathBuf> {
    let test = env::current_exe()?;
    let dir = test.parent().context("test binary")?;
    let dir = if by_cargo()? { dir.parent() } else { Some(dir) };
    Ok(dir.context("target directory")?.to_owned())
}

/// Whether this test lies where cargo put it, and not in a guest or a package.
fn by_cargo() -> Result<bool> {
    let test = env::current_exe()?;
    Ok(test.parent().is_some_and(|dir| dir.ends_with("deps")))
}

/// The agent under test: `OOM_AGENT_BIN`, or the one beside the test, built here, once.
pub fn agent_binary() -> Result<&'static Path> {
    static BINARY: OnceLock<Result<PathBuf, String>> = OnceLock::new();
    let built = BINARY.get_or_init(|| {
        env::var_os("OOM_AGENT_BIN")
            .map_or_else(build_agent, |path| Ok(path.into()))
            .map_err(|error| format!("{error:#}"))
    });
    built.as_deref().map_err(|error| anyhow::anyhow!("{error}"))
}

fn build_agent() -> Result<PathBuf> {
    let dir = build_dir()?;
    let agent = dir.join("oom-agent");
    if !by_cargo()? {
        return Ok(agent);
    }
    let cargo = env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    let mut build = Command::new(cargo);
    build
        .args([
            "build",
            "--quiet",
            "--package",
            "oom-agent",
            "--bin",
            "oom-agent",
        ])
        .arg("--manifest-path")
        .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("../Cargo.toml"))
        .arg("--target-dir")
        .arg(dir.parent().context("target directory")?);
    if dir.ends_with("release") {
        build.arg("--release");
    }
    // What cargo tells this test of its package: some build scripts would run again for it.
    for (name, _) in env::vars_os() {
        let text = name.to_string_lossy();
        if text.starts_with("CARGO_PKG_") || text.starts_with("CARGO_MANIFEST_") {
            build.env_remove(name);
        }
    }
    ensure!(
        build.status().context("cargo build")?.success(),
        "cargo build failed"
    );
    Ok(agent)
}
