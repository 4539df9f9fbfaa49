//! `cargo xtask build-ebpf`: the kernel side, from source to the committed object.
//!
//! Reads `oom-ebpf`, `oom-common` and Cargo.lock; emits `oom-agent/bpf/oom.bpf.o` and
//! `manifest.json` beside it. With `--check` it writes nothing, rebuilds, and refuses an object that
//! is not the committed one, byte for byte.
//!
//! The object is the same from any directory and any sysroot: paths are remapped, the profile is set
//! here and not inherited, and DWARF goes once the linker has made BTF of it.

mod manifest;
mod strip;
mod toolchain;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail};

use crate::{
    project,
    tool::{self, Tool},
};
use manifest::Manifest;
use toolchain::Toolchain;

/// The compiler of the committed object. Its LLVM writes the bytes, so it is pinned exactly.
const RUSTC: &str = "1.95.0";

/// Loads rustc's own LLVM; 0.11 and later want an LLVM of their own.
const BPF_LINKER: Tool = Tool {
    name: "bpf-linker",
    version: "0.10.4",
};

/// Little-endian BPF: one object for `x86_64` and `aarch64`, since no program looks at `pt_regs`.
const TARGET: &str = "bpfel-unknown-none";

/// Builds the eBPF object from source and writes it, with its manifest, to oom-agent/bpf.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Writes nothing: rebuilds and compares with the committed object, byte for byte.
    #[arg(long)]
    check: bool,
}

pub(crate) fn main(args: &Args) -> Result<ExitCode> {
    if args.check {
        check()?;
        return Ok(ExitCode::SUCCESS);
    }
    let (object, manifest) = build()?;
    let path = project::object();
    fs::create_dir_all(path.parent().unwrap_or(Path::new(".")))?;
    fs::write(&path, &object)?;
    fs::write(project::manifest(), manifest.to_json()?)?;
    println!(
        "build-ebpf: {} bytes, sha256 {}",
        object.len(),
        manifest.object_sha256
    );
    Ok(ExitCode::SUCCESS)
}

/// Rebuilds the object and compares it with the committed one.
pub(crate) fn check() -> Result<()> {
    let (object, built) = build()?;
    let committed = Manifest::committed()?;
    if committed != built {
        bail!(
            "oom-agent/bpf is not what its sources build, run `cargo xtask build-ebpf`:\n{}",
            committed.difference(&built)
        );
    }
    let path = project::object();
    if fs::read(&path).with_context(|| path.display().to_string())? != object {
        bail!(
            "{} is not the object of its manifest, run `cargo xtask build-ebpf`",
            path.display()
        );
    }
    println!(
        "build-ebpf: the committed object is what its sources build ({} bytes)",
        object.len()
    );
    Ok(())
}

/// Clippy for the kernel side, where the toolchain has it.
pub(crate) fn lint() -> Result<()> {
    let toolchain = Toolchain::find()?;
    tool::run(cargo(&toolchain, "clippy")?.args(["--", "-D", "warnings"]))
}

/// Builds the object and says what it was built from.
fn build() -> Result<(Vec<u8>, Manifest)> {
    let toolchain = Toolchain::find()?;
    let path = BPF_LINKER.ensure()?;
    tool::run(cargo(&toolchain, "build")?.env("PATH", path))?;
    let linked = target_dir().join(TARGET).join("release/oom-ebpf");
    let linked = fs::read(&linked).with_context(|| linked.display().to_string())?;
    let object = strip::debug_sections(&linked)?;
    let manifest = Manifest::new(&object, toolchain.version(), BPF_LINKER.version, TARGET)?;
    Ok((object, manifest))
}

/// Apart from the host's: no build of one waits for or spoils the other.
fn target_dir() -> PathBuf {
    project::target().join("ebpf")
}

/// Cargo for the BPF target.
fn cargo(toolchain: &Toolchain, command: &str) -> Result<Command> {
    let mut cargo = toolchain.cargo();
    cargo
        .current_dir(project::root())
        .args([
            command,
            "--quiet",
            "--locked",
            "--package",
            "oom-ebpf",
            "--release",
        ])
        .args(["-Z", "build-std=core", "--target", TARGET, "--target-dir"])
        .arg(target_dir())
        // Where bpf-linker looks for the LLVM of rustc.
        .env("LD_LIBRARY_PATH", toolchain.sysroot()?.join("lib"))
        .env("RUSTC_BOOTSTRAP", "1")
        .env(
            "CARGO_ENCODED_RUSTFLAGS",
            rustflags(toolchain)?.join("\x1f"),
        )
        .env_remove("RUSTFLAGS")
        .env("CARGO_INCREMENTAL", "0");
    // The bytes must not depend on what the workspace wants of its release profile.
    let profile = [
        ("OPT_LEVEL", "3"),
        ("DEBUG", "2"),
        ("CODEGEN_UNITS", "1"),
        ("LTO", "off"),
        ("STRIP", "none"),
        ("PANIC", "abort"),
    ];
    for (key, value) in profile {
        cargo.env(format!("CARGO_PROFILE_RELEASE_{key}"), value);
    }
    Ok(cargo)
}

fn rustflags(toolchain: &Toolchain) -> Result<Vec<String>> {
    let mut flags: Vec<String> = ["-Clinker=bpf-linker", "-Clink-arg=--btf", "-Cdebuginfo=2"]
        .map(Into::into)
        .into();
    // aya-ebpf's own build script cannot know the machine that the object will run on; it only
    // matters to programs that look at `pt_regs`.
    flags.extend(["--cfg".into(), "bpf_target_arch=\"x86_64\"".into()]);
    let cargo_home = match env::var_os("CARGO_HOME") {
        Some(dir) => PathBuf::from(dir),
        None => env::home_dir().context("no home directory")?.join(".cargo"),
    };
    let mut remapped = vec![
        (project::root(), "oom-agent"),
        (cargo_home.clone(), "cargo"),
        (toolchain.sysroot()?, "rust"),
    ];
    // Below it every registry, a mirror for one, keeps its crates in a directory of its own name.
    if let Ok(registries) = fs::read_dir(cargo_home.join("registry/src")) {
        for registry in registries {
            remapped.push((registry?.path(), "crates"));
        }
    }
    for (dir, name) in remapped {
        flags.push(format!("--remap-path-prefix={}=/{name}", dir.display()));
    }
    Ok(flags)
}
