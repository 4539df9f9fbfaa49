//! `cargo xtask build-ebpf`: the kernel side, from source to the committed objects.
//!
//! Reads `oom-ebpf`, `oom-common` and Cargo.lock; emits `oom-agent/bpf/oom.ARCH.bpf.o` for each
//! architecture, on any host, and `manifest.json` beside them. With `--check` it writes nothing,
//! rebuilds, and refuses an object that is not the committed one, byte for byte.
//!
//! An object is the same from any directory and any sysroot: paths are remapped, the profile is set
//! here and not inherited, and DWARF goes once the linker has made BTF of it.

mod manifest;
mod strip;
mod toolchain;

use std::{
    collections::BTreeMap,
    env, fs,
    path::PathBuf,
    process::{Command, ExitCode},
};

use anyhow::{Context, Result, bail};

use crate::{
    project,
    tool::{self, Tool},
};
use manifest::Manifest;
use toolchain::Toolchain;

/// The compiler of the committed objects. Its LLVM writes the bytes, so it is pinned exactly.
const RUSTC: &str = "1.95.0";

/// Loads rustc's own LLVM; 0.11 and later want an LLVM of their own.
const BPF_LINKER: Tool = Tool {
    name: "bpf-linker",
    version: "0.10.4",
};

/// Little-endian BPF.
pub(crate) const TARGET: &str = "bpfel-unknown-none";

/// Whose `pt_regs` the kprobe reads; all other programs are the same in each object.
const ARCHES: [&str; 2] = ["x86_64", "aarch64"];

/// The objects by architecture.
type Objects = BTreeMap<&'static str, Vec<u8>>;

/// Builds the eBPF objects from source and writes them, with their manifest, to oom-agent/bpf.
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Writes nothing: rebuilds and compares with the committed objects, byte for byte.
    #[arg(long)]
    check: bool,
}

pub(crate) fn main(args: &Args) -> Result<ExitCode> {
    if args.check {
        check()?;
        return Ok(ExitCode::SUCCESS);
    }
    let (objects, manifest) = build()?;
    fs::create_dir_all(project::root().join("oom-agent/bpf"))?;
    for (arch, object) in &objects {
        fs::write(project::object(arch), object)?;
    }
    fs::write(project::manifest(), manifest.to_json()?)?;
    println!("build-ebpf: {}", sizes(&objects));
    Ok(ExitCode::SUCCESS)
}

/// Rebuilds the objects and compares them with the committed ones.
pub(crate) fn check() -> Result<()> {
    let (objects, built) = build()?;
    let committed = Manifest::committed()?;
    if committed != built {
        bail!(
            "oom-agent/bpf is not what its sources build, run `cargo xtask build-ebpf`:\n{}",
            committed.difference(&built)
        );
    }
    for (arch, object) in &objects {
        let path = project::object(arch);
        if fs::read(&path).with_context(|| path.display().to_string())? != *object {
            bail!(
                "{} is not the object of its manifest, run `cargo xtask build-ebpf`",
                path.display()
            );
        }
    }
    println!(
        "build-ebpf: the committed objects are what their sources build ({})",
        sizes(&objects)
    );
    Ok(())
}

fn sizes(objects: &Objects) -> String {
    let sizes = objects
        .iter()
        .map(|(arch, object)| format!("{arch} {} bytes", object.len()));
    sizes.collect::<Vec<_>>().join(", ")
}

/// Clippy for the kernel side, where the toolchain has it.
pub(crate) fn lint() -> Result<()> {
    let toolchain = Toolchain::find()?;
    tool::run(cargo(&toolchain, "clippy", ARCHES[0])?.args(["--", "-D", "warnings"]))
}

/// Builds the objects and says what they were built from.
fn build() -> Result<(Objects, Manifest)> {
    let toolchain = Toolchain::find()?;
    let path = BPF_LINKER.ensure()?;
    let mut objects = Objects::new();
    for arch in ARCHES {
        tool::run(cargo(&toolchain, "build", arch)?.env("PATH", &path))?;
        let linked = target_dir().join(TARGET).join("release/oom-ebpf");
        let linked = fs::read(&linked).with_context(|| linked.display().to_string())?;
        objects.insert(arch, strip::debug_sections(&linked)?);
    }
    let manifest = Manifest::new(&objects, toolchain.version(), BPF_LINKER.version, TARGET)?;
    Ok((objects, manifest))
}

/// Apart from the host's: no build of one waits for or spoils the other.
fn target_dir() -> PathBuf {
    project::target().join("ebpf")
}

/// Cargo for the BPF target, and for programs that run on `arch`.
fn cargo(toolchain: &Toolchain, command: &str, arch: &str) -> Result<Command> {
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
        // For the build script of aya-ebpf. As a flag of rustc it would have core built twice.
        .env("AYA_BPF_TARGET_ARCH", arch)
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
