//! `cargo xtask vm`: runs a command under another kernel, in a guest that lives for this command.
//!
//! Builds the agent and the test programs statically, puts them into `/bin` of an initramfs, boots a
//! kernel into it and passes on the console and the command's exit code. Needs QEMU, no root, no disk
//! and no network of its own; downloads a kernel once.

mod initramfs;
mod kernels;
mod outbox;
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

use crate::project;

const TARGET: &str = "x86_64-unknown-linux-musl";

/// QEMU without KVM now and then trips over a kernel that patches itself while it boots. What died
/// before any of our code ran is booted again this often.
const BOOT_AGAIN: u32 = 2;

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
    /// A test program of the tests crate for the guest's /bin: single, group.
    #[arg(long)]
    test: Vec<String>,
    /// One more file for the guest's /bin.
    #[arg(long)]
    file: Vec<PathBuf>,
    /// The guest's memory in MiB.
    #[arg(long, default_value_t = 512)]
    memory: u32,
    /// A directory for the console (`KERNEL.console`) and for what the guest's programs send out
    /// (`KERNEL-NAME`).
    #[arg(long)]
    capture: Option<PathBuf>,
    /// Seconds from power on to power off.
    #[arg(long, default_value_t = 120)]
    timeout: u64,
    /// The command, by its path in the guest: /bin/oom-agent doctor. Several, with a `;` of its own
    /// between them, run one after the other.
    #[arg(last = true, required = true)]
    command: Vec<String>,
}

impl Args {
    /// These test programs, one after the other, under this kernel.
    pub(crate) fn tests(kernel: &str, tests: &[&str], env: &str) -> Self {
        let commands: Vec<_> = tests.iter().map(|test| format!("/bin/{test}")).collect();
        let command = commands.join(" ; ");
        Self {
            kernel: vec![kernel.to_owned()],
            // The console is for the tests; the log that the agent reads stays whole.
            append: format!("loglevel=1 OOM_AGENT_BIN=/bin/oom-agent {env}"),
            test: tests.iter().map(|&test| test.to_owned()).collect(),
            file: Vec::new(),
            capture: None,
            memory: 1024,
            timeout: 300,
            command: command.split(' ').map(str::to_owned).collect(),
        }
    }
}

/// What this machine lacks for booting this kernel; downloads it if need be.
pub(crate) fn lacks(kernel: &str) -> Result<Option<String>> {
    if qemu::version().is_err() {
        return Ok(Some(
            "needs QEMU (apt-get install qemu-system-x86)".to_owned(),
        ));
    }
    if !has_target()? {
        return Ok(Some(format!("needs `rustup target add {TARGET}`")));
    }
    let kernel = kernels::resolve(kernel, &cache()?);
    Ok(kernel.err().map(|error| format!("no kernel: {error:#}")))
}

/// Whether the toolchain can build for guests.
fn has_target() -> Result<bool> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let dir = Command::new(rustc)
        .args(["--print", "target-libdir", "--target", TARGET])
        .current_dir(project::root())
        .output()?;
    Ok(PathBuf::from(String::from_utf8(dir.stdout)?.trim()).is_dir())
}

fn cache() -> Result<PathBuf> {
    let cache = project::target().join("vm-cache");
    fs::create_dir_all(&cache)?;
    Ok(cache)
}

pub(crate) fn run(args: &Args) -> Result<()> {
    boot(args, |line| println!("{line}"))
}

/// Boots one guest for each kernel; every line of their consoles goes to `on_line`.
pub(crate) fn boot(args: &Args, mut on_line: impl FnMut(&str)) -> Result<()> {
    let cache = cache()?;
    let initramfs = tempfile::NamedTempFile::new_in(&cache)?;
    fs::write(&initramfs, archive(args)?)?;

    let mut failed = Vec::new();
    let work = tempfile::tempdir_in(&cache)?;
    let (outbox, console) = (work.path().join("outbox"), work.path().join("console"));
    for kernel in &args.kernel {
        let started = Instant::now();
        let guest = Guest {
            vmlinuz: &kernels::resolve(kernel, &cache)?,
            initramfs: initramfs.path(),
            append: &args.append,
            command: &args.command,
            memory: args.memory,
            outbox: &outbox,
            console: &console,
            timeout: Duration::from_secs(args.timeout),
        };
        let mut outcome = qemu::boot(&guest, &mut on_line)?;
        for _ in 0..BOOT_AGAIN {
            if outcome.up || outcome.timed_out {
                break;
            }
            eprintln!("vm: {kernel}: died before its first process; booting it once more");
            outcome = qemu::boot(&guest, &mut on_line)?;
        }
        if let Some(dir) = &args.capture {
            keep(dir, kernel, &outbox, &console)?;
        }
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

/// Keeps what the guest said and sent.
fn keep(dir: &Path, kernel: &str, outbox: &Path, console: &Path) -> Result<()> {
    fs::create_dir_all(dir)?;
    let sent = fs::read(outbox)?;
    for piece in outbox::pieces(&sent) {
        match piece {
            Ok(piece) => fs::write(dir.join(format!("{kernel}-{}", piece.name)), piece.bytes)?,
            Err(error) => eprintln!("vm: {kernel}: what the guest sent last: {error:#}"),
        }
    }
    fs::copy(outbox, dir.join(format!("{kernel}.outbox")))?;
    fs::copy(console, dir.join(format!("{kernel}.console")))?;
    Ok(())
}

/// The initramfs: every program of the agent and of the tests in /bin, one of them as /init.
fn archive(args: &Args) -> Result<Vec<u8>> {
    let mut archive = Initramfs::new()?;
    let mut programs = programs(&args.test)?;
    for file in &args.file {
        let name = file.file_name().context("no file name")?;
        programs.push((name.to_string_lossy().into_owned(), file.clone()));
    }
    for (name, path) in programs {
        let contents = fs::read(&path).with_context(|| path.display().to_string())?;
        let place = if name == INIT {
            "init".to_owned()
        } else {
            format!("bin/{name}")
        };
        archive.file(&place, &contents)?;
    }
    archive.finish()
}

/// Builds the programs statically, a little optimised because QEMU without KVM is slow; their names
/// and where cargo put them.
fn programs(tests: &[String]) -> Result<Vec<(String, PathBuf)>> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let build = Command::new(cargo)
        .args(["build", "--quiet", "--profile", "guest", "--target", TARGET])
        .args(["--package", "oom-agent", "--package", "oom-tests", "--bins"])
        .args(tests.iter().flat_map(|test| ["--test", test]))
        .arg("--message-format=json-render-diagnostics")
        .current_dir(project::root())
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
        let (name, path) = (&message["target"]["name"], &message["executable"]);
        if let (Some(name), Some(path)) = (name.as_str(), path.as_str()) {
            programs.push((name.to_owned(), path.into()));
        }
    }
    Ok(programs)
}
