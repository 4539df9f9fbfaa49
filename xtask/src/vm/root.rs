//! A small Debian with systemd, as an image of a disk.
//!
//! Takes files to put into it; emits an ext4 image. What mmdebstrap makes of the mirror that this machine's apt
//! uses is kept as an archive; the image is made anew each time, so that every guest starts from the same.
//! Refuses to work without root: the files have owners.

use std::{
    fs::{self, File},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result};

use super::kernels;
use crate::tool;

/// The release, whose systemd is of 2025.
const SUITE: &str = "trixie";

/// Not on the `PATH` of everybody.
const MKFS: &str = "/usr/sbin/mkfs.ext4";

/// Sparse: what is not written to takes no room.
const SIZE: u64 = 1 << 30;

/// Kept in the archive: systemd, dpkg and what these need, without what only people read.
const MMDEBSTRAP: &[&str] = &[
    "--quiet",
    "--mode=root",
    "--variant=essential",
    "--include=systemd-sysv",
    "--aptopt=Acquire::Languages \"none\"",
    "--dpkgopt=force-unsafe-io",
    "--dpkgopt=path-exclude=/usr/share/man/*",
    "--dpkgopt=path-exclude=/usr/share/doc/*",
    "--dpkgopt=path-exclude=/usr/share/locale/*",
];

/// What this machine lacks for making one.
pub(super) fn lacks() -> Option<&'static str> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root");
    }
    if tool::on_path("mmdebstrap").is_none() {
        return Some("needs mmdebstrap (apt-get install mmdebstrap)");
    }
    (!Path::new(MKFS).is_file()).then_some("needs mkfs.ext4 (apt-get install e2fsprogs)")
}

/// The files of a system that is about to become an image.
pub(super) struct Root(tempfile::TempDir);

impl Root {
    /// Debian as it is installed.
    pub(super) fn new(cache: &Path) -> Result<Self> {
        let archive = archive(cache)?;
        let dir = tempfile::tempdir()?;
        fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755))?;
        let mut unpack = Command::new("tar");
        unpack.arg("-C").arg(dir.path()).arg("-xf").arg(archive);
        tool::run(&mut unpack)?;
        Ok(Self(dir))
    }

    fn at(&self, path: &str) -> PathBuf {
        self.0.path().join(path.trim_start_matches('/'))
    }

    /// Adds a file, and the directories that lead to it.
    pub(super) fn file(&self, path: &str, mode: u32, contents: &[u8]) -> Result<()> {
        let at = self.at(path);
        fs::create_dir_all(at.parent().context("no directory")?)?;
        fs::write(&at, contents).with_context(|| path.to_owned())?;
        Ok(fs::set_permissions(&at, fs::Permissions::from_mode(mode))?)
    }

    /// Adds a unit that is started in every boot.
    pub(super) fn unit(&self, name: &str, text: &str) -> Result<()> {
        let dir = "/etc/systemd/system";
        self.file(&format!("{dir}/{name}"), 0o644, text.as_bytes())?;
        let wants = self.at(&format!("{dir}/multi-user.target.wants"));
        fs::create_dir_all(&wants)?;
        Ok(symlink(format!("../{name}"), wants.join(name))?)
    }

    /// The image.
    pub(super) fn image(&self, path: &Path) -> Result<()> {
        File::create(path)?.set_len(SIZE)?;
        let mut mkfs = Command::new(MKFS);
        mkfs.args(["-q", "-d"]).arg(self.0.path()).arg(path);
        tool::run(&mut mkfs)
    }
}

/// Debian, made once.
fn archive(cache: &Path) -> Result<PathBuf> {
    let kept = cache.join(format!("root-{SUITE}.tar"));
    if !kept.exists() {
        eprintln!("vm: making a Debian {SUITE} with systemd");
        let work = tempfile::tempdir_in(cache)?;
        let new = work.path().join("root.tar");
        let mut make = Command::new("mmdebstrap");
        make.args(MMDEBSTRAP).arg(SUITE).arg(&new);
        make.arg(kernels::mirror()?);
        tool::output(&mut make)?;
        fs::rename(new, &kept)?;
    }
    Ok(kept)
}
