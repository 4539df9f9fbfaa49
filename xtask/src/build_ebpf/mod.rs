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
    process::ExitCode,
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
    let toolchain = Toolchain::find()?;
    let path = BPF_LINKER.ensure()?;
    let built = build(&toolchain, &path)?;
    let object =
        strip::debug_sections(&fs::read(&built).with_context(|| built.display().to_string())?)?;
    let manifest = Manifest::new(&object, toolchain.version(), BPF_LINKER.version, TARGET)?;
    if args.check {
        check(&object, &manifest)?;
        println!(
            "build-ebpf: the committed object is what its sources build ({} bytes)",
            object.len()
        );
    } else {
        let dir = project::object();
        fs::create_dir_all(dir.parent().unwrap_or(Path::new(".")))?;
        fs::write(project::object(), &object)?;
        fs::write(project::manifest(), manifest.to_json()?)?;
        println!(
            "build-ebpf: {} ({} bytes, sha256 {})",
            project::object().display(),
            object.len(),
            manifest.object_sha256
        );
    }
    Ok(ExitCode::SUCCESS)
}

/// Runs cargo for the BPF target; returns the object that it made.
fn build(toolchain: &Toolchain, path: &std::ffi::OsString) -> Result<PathBuf> {
    let target_dir = project::target().join("ebpf");
    let mut cargo = toolchain.cargo();
    cargo
        .current_dir(project::root())
        .args([
            "build",
            "--quiet",
            "--locked",
            "--package",
            "oom-ebpf",
            "--release",
        ])
        .args(["-Z", "build-std=core", "--target", TARGET, "--target-dir"])
        .arg(&target_dir)
        .env("PATH", path)
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
    for (key, value) in [
        ("OPT_LEVEL", "3"),
        ("DEBUG", "2"),
        ("CODEGEN_UNITS", "1"),
        ("LTO", "off"),
        ("STRIP", "none"),
        ("PANIC", "abort"),
    ] {
        cargo.env(format!("CARGO_PROFILE_RELEASE_{key}"), value);
    }
    tool::run(&mut cargo)?;
    Ok(target_dir.join(TARGET).join("release/oom-ebpf"))
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
    for (dir, name) in [
        (project::root(), "oom-agent"),
        (cargo_home, "cargo"),
        (toolchain.sysroot()?, "rust"),
    ] {
        flags.push(format!("--remap-path-prefix={}=/{name}", dir.display()));
    }
    Ok(flags)
}

/// Compares what was built with what is committed.
fn check(object: &[u8], manifest: &Manifest) -> Result<()> {
    let committed = Manifest::committed()?;
    if committed != *manifest {
        bail!(
            "oom-agent/bpf/manifest.json is not what the sources give:\n{}run `cargo xtask build-ebpf`",
            committed.difference(manifest)
        );
    }
    let path = project::object();
    if fs::read(&path).with_context(|| path.display().to_string())? != object {
        bail!(
            "{} is not what the sources build; run `cargo xtask build-ebpf`",
            path.display()
        );
    }
    Ok(())
}
