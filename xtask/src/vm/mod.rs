//! `cargo xtask vm`: runs a command under another kernel, in a guest that lives for this command.
//!
//! Builds the agent and the test programs statically, puts them into `/bin` of an initramfs, boots a
//! kernel into it and passes on the console and the command's exit code. Needs QEMU, no root, no disk
//! and no network of its own; downloads a kernel once.

mod initramfs;
mod kernels;
mod qemu;

use std::{
    env, fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail, ensure};

use initramfs::Initramfs;
use qemu::Guest;

const TARGET: &str = "x86_64-unknown-linux-musl";

/// The test program that is the guest's first process.
const INIT: &str = "vm-init";

/// `vm`
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Debian's newest kernel of a series (5.10, 6.1, 6.12, 7.2), a version (5.10.223) or an image
    /// file; several run one after the other.
    #[arg(long, default_value = "6.12")]
    kernel: Vec<String>,
    /// More for the kernel's command line; `OOM_VM_MEMORY=v1` puts the memory controller on cgroup
    /// v1.
    #[arg(long, default_value = "")]
    append: String,
    /// One more file for the guest's /bin.
    #[arg(long)]
    file: Vec<PathBuf>,
    /// The guest's memory in MiB.
    #[arg(long, default_value_t = 512)]
    memory: u32,
    /// Seconds from power on to power off.
    #[arg(long, default_value_t = 120)]
    timeout: u64,
    /// The command, by its path in the guest: /bin/oom-agent doctor.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

pub(crate) fn run(args: &Args) -> Result<()> {
    let cache = target_dir().join("vm-cache");
    fs::create_dir_all(&cache)?;
    let initramfs = tempfile::NamedTempFile::new_in(&cache)?;
    fs::write(&initramfs, archive(&args.file)?)?;

    let mut failed = Vec::new();
    for kernel in &args.kernel {
        let started = Instant::now();
        let guest = Guest {
            vmlinuz: &kernels::resolve(kernel, &cache)?,
            initramfs: initramfs.path(),
            append: &args.append,
            command: &args.command,
            memory: args.memory,
            timeout: Duration::from_secs(args.timeout),
        };
        let outcome = qemu::boot(&guest, |line| println!("{line}"))?;
        let end = match outcome.exit {
            Some(code) => format!("exit {code}"),
            None if outcome.timed_out => format!("no end in {} s", args.timeout),
            None => "the guest died".to_owned(),
        };
        eprintln!(
            "vm: {kernel}: {end}, {:.1} s",
            started.elapsed().as_secs_f32()
        );
        if outcome.exit != Some(0) {
            failed.push(format!("{kernel}: {end}"));
        }
    }
    ensure!(failed.is_empty(), "{}", failed.join("; "));
    Ok(())
}

/// The initramfs: every program of the agent and of the tests in /bin, one of them as /init.
fn archive(more: &[PathBuf]) -> Result<Vec<u8>> {
    let mut archive = Initramfs::new()?;
    for program in programs()?.iter().chain(more) {
        let name = program
            .file_name()
            .context("no file name")?
            .to_string_lossy();
        let contents = fs::read(program).with_context(|| program.display().to_string())?;
        let path = if name == INIT {
            "init".to_owned()
        } else {
            format!("bin/{name}")
        };
        archive.file(&path, &contents)?;
    }
    archive.finish()
}

/// Builds the programs statically; where cargo put them.
fn programs() -> Result<Vec<PathBuf>> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let build = Command::new(cargo)
        .args([
            "build",
            "--target",
            TARGET,
            "--bins",
            "--package",
            "oom-agent",
            "--package",
            "oom-tests",
        ])
        .arg("--message-format=json-render-diagnostics")
        .current_dir(workspace())
        .stderr(Stdio::inherit())
        .output()?;
    if !build.status.success() {
        bail!("the programs do not build for {TARGET} (rustup target add {TARGET})");
    }
    let mut programs = Vec::new();
    for line in build
        .stdout
        .split(|&byte| byte == b'\n')
        .filter(|line| !line.is_empty())
    {
        let message: serde_json::Value = serde_json::from_slice(line)?;
        programs.extend(message["executable"].as_str().map(PathBuf::from));
    }
    Ok(programs)
}

fn workspace() -> &'static Path {
    let xtask = Path::new(env!("CARGO_MANIFEST_DIR"));
    xtask.parent().unwrap_or(xtask)
}

fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace().join("target"), PathBuf::from)
}
