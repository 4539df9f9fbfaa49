//! `cargo xtask vm`: the scenarios under other kernels, or any command under one of them.
//!
//! Without a command it plays the matrix (`matrix.rs`): every scenario, under every kernel, told by agents
//! of every tier. With a command it boots a guest that lives for it, and passes on the console and the
//! exit code. Needs QEMU, no root, no disk and no network of its own; downloads a kernel once.

mod initramfs;
mod kernels;
mod machine;
mod matrix;
mod outbox;
mod packaged;
mod programs;
mod qemu;
mod report;
mod root;
mod rows;
mod table;

use std::{
    fs,
    path::{Path, PathBuf},
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Result, ensure};

use self::qemu::{Guest, Outcome, Start};
pub(crate) use self::{
    kernels::asked_for,
    matrix::{Plan, play},
    packaged::play as play_packaged,
};
use crate::{arch::Arch, cross, project};

/// What died before any of our code ran is booted again this often.
const BOOT_AGAIN: u32 = 2;

/// `vm`
#[derive(clap::Args)]
pub(crate) struct Args {
    /// Debian's newest kernel of a series (5.10, 6.1, 6.12, 7), a version (5.10.223), a package or an
    /// image file; several may be given. Behind a series or version, -arm64 or -arm64-16k is for those machines.
    /// Default: those of the matrix, or 6.12 for a command.
    #[arg(long, value_delimiter = ',', value_parser = kernels::asked_for)]
    kernel: Vec<String>,
    /// Only this scenario of the matrix; several may be given.
    #[arg(long)]
    scenario: Vec<String>,
    /// Only agents that are started like this: best, kprobe, no-hook, by-format, log-alone.
    #[arg(long)]
    tier: Vec<String>,
    /// List kernels and scenarios of the matrix.
    #[arg(long)]
    list: bool,
    /// The package for Debian, under a real systemd, over a reboot; no matrix.
    #[arg(long, conflicts_with = "command")]
    deb: bool,
    /// How many guests at a time; each takes one CPU.
    #[arg(long, default_value_t = 2)]
    jobs: usize,
    /// Put the result of the last whole matrix into the repository: `tests/kernels.json`, and the
    /// table in `docs/kernels.md`.
    #[arg(long)]
    publish: bool,
    /// A directory for the console (`KERNEL.console`) and for what the guest's programs send out
    /// (`KERNEL-NAME`): with the matrix, the log records of every scenario.
    #[arg(long)]
    capture: Option<PathBuf>,
    /// With a command: more for the kernel's command line; `OOM_VM_MEMORY=v1` puts the memory
    /// controller on cgroup v1.
    #[arg(long, default_value = "", requires = "command")]
    append: String,
    /// With a command: a test program of the tests crate for the guest's /bin: single, storm.
    #[arg(long, requires = "command")]
    test: Vec<String>,
    /// With a command: one more file for the guest's /bin.
    #[arg(long, requires = "command")]
    file: Vec<PathBuf>,
    /// The guest's memory in MiB.
    #[arg(long, default_value_t = 512)]
    memory: u32,
    /// Seconds from power on to power off. Default: 120 for a command; 400 for a matrix, and 900
    /// where another architecture is emulated.
    #[arg(long)]
    timeout: Option<u64>,
    /// The command, by its path in the guest: /bin/oom-agent doctor. Several, with a `;` of its own
    /// between them, run one after the other.
    #[arg(last = true)]
    command: Vec<String>,
}

pub(crate) fn main(args: &Args) -> Result<ExitCode> {
    if args.list {
        return matrix::list();
    }
    if args.deb {
        if let Some(skip) = packaged::play()? {
            println!("skipped: {}: {}", skip.name, skip.reason);
        }
        return Ok(ExitCode::SUCCESS);
    }
    if args.publish {
        return report::publish().map(|()| ExitCode::SUCCESS);
    }
    if !args.command.is_empty() {
        return command(args).map(|()| ExitCode::SUCCESS);
    }
    let skipped = play(&Plan {
        kernels: args.kernel.clone(),
        scenarios: args.scenario.clone(),
        tiers: args.tier.clone(),
        jobs: args.jobs,
        capture: args.capture.clone(),
        memory: args.memory,
        timeout: args.timeout,
    })?;
    for skip in skipped {
        println!("skipped: {}: {}", skip.name, skip.reason);
    }
    Ok(ExitCode::SUCCESS)
}

/// What this machine lacks for booting any kernel for such machines.
fn lacks(arch: Arch) -> Result<Option<String>> {
    match qemu::lacks(arch) {
        None => cross::lacks(arch),
        lacks => Ok(lacks),
    }
}

fn cache() -> Result<PathBuf> {
    let cache = project::target().join("vm-cache");
    fs::create_dir_all(&cache)?;
    Ok(cache)
}

/// Boots one guest for each kernel and runs the command there.
fn command(args: &Args) -> Result<()> {
    let cache = cache()?;
    let work = tempfile::tempdir()?;
    let file = |name: &str| work.path().join(name);
    let (initramfs, outbox, console) = (file("initramfs"), file("outbox"), file("console"));
    let newest = ["6.12".to_owned()];
    let kernels = match args.kernel.as_slice() {
        [] => &newest,
        kernels => kernels,
    };
    let mut failed = Vec::new();
    for kernel in kernels {
        let resolved = kernels::resolve(kernel, &cache)?;
        let programs = programs::archive(resolved.arch, &args.test, &args.file)?;
        fs::write(&initramfs, programs)?;
        let started = Instant::now();
        let guest = Guest {
            kernel: &resolved,
            start: Start::Initramfs(&initramfs, &args.command),
            append: &args.append,
            memory: args.memory,
            outbox: &outbox,
            console: &console,
            timeout: Duration::from_secs(args.timeout.unwrap_or(120)),
        };
        let outcome = boot(kernel, &guest, |line| println!("{line}"))?;
        if let Some(dir) = &args.capture {
            keep(dir, kernel, &outbox, &console)?;
        }
        let end = outcome.to_string();
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

/// Boots the guest, and again if it died before its first process: emulation now and then does that to a
/// kernel.
fn boot(name: &str, guest: &Guest<'_>, mut on_line: impl FnMut(&str)) -> Result<Outcome> {
    let mut outcome = qemu::boot(guest, &mut on_line)?;
    for _ in 0..BOOT_AGAIN {
        if outcome.up || outcome.timed_out {
            break;
        }
        eprintln!("vm: {name}: died before its first process; booting it once more");
        outcome = qemu::boot(guest, &mut on_line)?;
    }
    Ok(outcome)
}

/// Keeps what the guest said and sent.
fn keep(dir: &Path, name: &str, outbox: &Path, console: &Path) -> Result<()> {
    fs::create_dir_all(dir)?;
    let sent = fs::read(outbox)?;
    for piece in outbox::pieces(&sent) {
        match piece {
            Ok(piece) if piece.name == matrix::LINE => {}
            Ok(piece) => fs::write(dir.join(format!("{name}-{}", piece.name)), piece.bytes)?,
            Err(error) => eprintln!("vm: {name}: what the guest sent last: {error:#}"),
        }
    }
    fs::copy(console, dir.join(format!("{name}.console")))?;
    Ok(())
}
