//! The package for Debian in a guest with a disk and a real systemd.
//!
//! Makes two packages of the guests' agent, the older one by its version alone, and a Debian that has them on its
//! disk; boots it, and again when it reboots. What is done there is `packaged` of the tests crate; its lines
//! are printed. Refuses any end but `exit 0`.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context as _, Result, bail};

use super::{
    boot, cache, kernels, lacks, matrix, programs,
    qemu::{Guest, Start},
    root::{self, Root},
};
use crate::{
    arch::Arch,
    dist::{Binary, deb::Deb, manual::Manual},
    project,
    test::Skip,
};

/// The kernel that the release has.
const KERNEL: &str = "6.12";

/// Both boots, emulated, on a machine that others share.
const TIMEOUT: Duration = Duration::from_mins(15);

/// MiB.
const MEMORY: u32 = 768;

/// Nobody logs in, and there is no udev to say that there is a console.
const APPEND: &str = "systemd.mask=serial-getty@ttyS0.service systemd.mask=getty@tty1.service \
    systemd.mask=systemd-modules-load.service systemd.show_status=error rcupdate.rcu_expedited=1";

/// Versions of the packages: the older one, and that of a release.
const VERSIONS: [(&str, &str); 2] = [
    ("old", "0.0.1-1"),
    ("new", concat!(env!("CARGO_PKG_VERSION"), "-1")),
];

const UNIT: &str = "\
[Unit]
Description=What a test does
After=multi-user.target

[Service]
Type=exec
ExecStart=/opt/oom-test/packaged
StandardOutput=tty
StandardError=tty
TTYPath=/dev/ttyS0
OOMScoreAdjust=-1000
";

/// Plays it; if it cannot be played, why.
pub(crate) fn play() -> Result<Option<Skip>> {
    let reason = match lacks(Arch::X86)? {
        None if !Arch::X86.is_here() => Some("needs a machine that runs its programs".to_owned()),
        None => root::lacks().map(str::to_owned),
        lacks => lacks,
    };
    if let Some(reason) = reason {
        let name = "package under systemd".to_owned();
        return Ok(Some(Skip { name, reason }));
    }
    let started = Instant::now();
    let cache = cache()?;
    let kernel = kernels::resolve(KERNEL, &cache)?;
    let root = filled(&cache)?;
    let work = tempfile::tempdir()?;
    let disk = work.path().join("disk");
    root.image(&disk)?;
    let logs = project::target().join("vm-logs");
    fs::create_dir_all(&logs)?;
    let console = logs.join("packaged.console");
    let guest = Guest {
        kernel: &kernel,
        start: Start::Disk(&disk),
        append: APPEND,
        memory: MEMORY,
        outbox: &work.path().join("outbox"),
        console: &console,
        timeout: TIMEOUT,
    };
    let made = started.elapsed().as_secs();
    let outcome = boot("packaged", &guest, |line| println!("{line}"))?;
    if outcome.exit != Some(0) {
        let said = matrix::end_of(&fs::read(&console)?);
        bail!(
            "the package under systemd: {outcome}; the end of {}:\n{said}",
            console.display()
        );
    }
    let seconds = started.elapsed().as_secs();
    println!("vm: packaged: {outcome}, {seconds} s, of which {made} s to make it");
    Ok(None)
}

/// Debian, the packages, and what is done with them.
fn filled(cache: &Path) -> Result<Root> {
    let programs = programs::programs(Arch::X86, &[])?;
    let path = |name: &str| {
        let program = programs.iter().find(|it| it.name == name);
        program.map(|it| it.path.clone()).context(name.to_owned())
    };
    let does = fs::read(path("packaged")?)?;
    let agent = Binary::built(Arch::X86, path("oom-agent")?)?;
    let manual = Manual::of(&agent.path)?;
    let root = Root::new(cache)?;
    let put = |name: &str, mode: u32, bytes: &[u8]| {
        root.file(&format!("/opt/oom-test/{name}"), mode, bytes)
    };
    for (name, version) in VERSIONS {
        let deb = Deb {
            version,
            arch: Arch::X86.debian(),
            binary: &agent.bytes,
            manual: &manual,
            licences: "Not of a release.\n",
            mtime: 0,
        };
        put(&format!("{name}.deb"), 0o644, &deb.bytes()?)?;
    }
    put("packaged", 0o755, &does)?;
    root.unit("oom-test.service", UNIT)?;
    Ok(root)
}
