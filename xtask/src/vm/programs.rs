//! What runs in a guest: the agent and the test programs, linked statically, in an initramfs.
//!
//! Builds them (`cross.rs`); emits the archive. Refuses what cannot be built.

use std::{fs, path::PathBuf};

use anyhow::{Context as _, Result};

use super::initramfs::Initramfs;
use crate::{
    arch::Arch,
    cross::{self, Build, Program},
};

/// The test program that is the guest's first process.
const INIT: &str = "vm-init";

/// The initramfs: every program of the agent and of the tests in /bin, one of them as /init.
pub(super) fn archive(arch: Arch, tests: &[String], files: &[PathBuf]) -> Result<Vec<u8>> {
    let mut archive = Initramfs::new()?;
    let mut programs = programs(arch, tests)?;
    for file in files {
        let name = file.file_name().context("no file name")?;
        programs.push(Program {
            name: name.to_string_lossy().into_owned(),
            path: file.clone(),
        });
    }
    for Program { name, path } in programs {
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

/// Builds the programs, a little optimised because QEMU without KVM is slow.
pub(super) fn programs(arch: Arch, tests: &[String]) -> Result<Vec<Program>> {
    let mut what = vec!["--package", "oom-agent", "--package", "oom-tests", "--bins"];
    // This machine's is as it is released. Another's is built for its guests alone, where there is nothing to
    // deliver to.
    if !arch.is_here() {
        what.push("--no-default-features");
    }
    what.extend(tests.iter().flat_map(|test| ["--test", test]));
    cross::build(&Build {
        arch,
        profile: "guest",
        what: &what,
        rustflags: None,
    })
}
