//! What is linked into the agent besides crates: Rust's standard library, the C library, SQLite.
//!
//! Reads the versions where they are: in what rustc says of itself, in the C library that comes with the target,
//! in the header within the crate that brings SQLite. Emits one list. Refuses a version that it cannot find.

use std::{ffi::CStr, fs, io::Read as _};

use anyhow::{Context as _, Result, bail};
use object::{Object as _, ObjectSection as _};

use super::{binary, crates::Crate};

/// A work of others that is no crate.
pub(super) struct Besides {
    pub(super) name: &'static str,
    pub(super) version: String,
    /// An SPDX expression.
    pub(super) licence: &'static str,
    /// What databases of vulnerabilities call it: vendor and product of a CPE.
    pub(super) known_as: &'static str,
    /// Where its sources are.
    pub(super) repository: &'static str,
    /// Which crate has it linked.
    pub(super) of: &'static str,
}

/// All of them, for this target.
pub(super) fn linked(target: &str, crates: &[Crate]) -> Result<[Besides; 3]> {
    Ok([
        Besides {
            name: "rust-std",
            version: binary::rustc_says("release")?,
            licence: "MIT OR Apache-2.0",
            known_as: "rust-lang:rust",
            repository: "https://github.com/rust-lang/rust",
            of: "oom-agent",
        },
        Besides {
            name: "musl",
            version: musl(target)?,
            licence: "MIT",
            known_as: "musl-libc:musl",
            repository: "https://git.musl-libc.org/cgit/musl",
            of: "oom-agent",
        },
        Besides {
            name: "sqlite",
            version: sqlite(crates)?,
            licence: "blessing",
            known_as: "sqlite:sqlite",
            repository: "https://sqlite.org/src",
            of: BRINGS_SQLITE,
        },
    ])
}

const BRINGS_SQLITE: &str = "libsqlite3-sys";

fn sqlite(crates: &[Crate]) -> Result<String> {
    let brings = crates.iter().find(|of| of.name == BRINGS_SQLITE);
    let header = brings.context("no SQLite")?.dir.join("sqlite3/sqlite3.h");
    let text = fs::read_to_string(&header).with_context(|| header.display().to_string())?;
    sqlite_in(&text).with_context(|| header.display().to_string())
}

/// `#define SQLITE_VERSION        "3.54.1"`
fn sqlite_in(header: &str) -> Result<String> {
    let mut lines = header.lines();
    let version = lines.find_map(|line| {
        let mut words = line.strip_prefix("#define ")?.split_whitespace();
        (words.next()? == "SQLITE_VERSION").then(|| words.next())?
    });
    Ok(version.context("no version")?.trim_matches('"').to_owned())
}

/// What the archive says that rustc links (`self-contained`).
fn musl(target: &str) -> Result<String> {
    let path = binary::sysroot()?
        .join("lib/rustlib")
        .join(target)
        .join("lib/self-contained/libc.a");
    let bytes = fs::read(&path).with_context(|| path.display().to_string())?;
    musl_in(&bytes).with_context(|| path.display().to_string())
}

/// The text at `__libc_version` (src/internal/version.c of musl), which has a section of its own.
fn musl_in(archive: &[u8]) -> Result<String> {
    let mut archive = ar::Archive::new(archive);
    while let Some(entry) = archive.next_entry() {
        let mut entry = entry?;
        if entry.header().identifier() != b"version.lo" {
            continue;
        }
        let mut elf = Vec::new();
        entry.read_to_end(&mut elf)?;
        let elf = object::File::parse(elf.as_slice())?;
        let section = elf.section_by_name(".rodata.__libc_version");
        let text = CStr::from_bytes_until_nul(section.context("no version")?.data()?)?;
        return Ok(text.to_str()?.to_owned());
    }
    bail!("no version.lo")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{arch::Arch, cross};

    #[test]
    fn versions_are_read_where_they_are() {
        let header = "#define SQLITE_VERSION_NUMBER 3\n#define SQLITE_VERSION        \"3.54.1\"\n";
        assert_eq!(sqlite_in(header).unwrap(), "3.54.1");
        assert!(sqlite_in("#define SQLITE_VERSION\n").is_err());
        assert!(musl_in(b"!<arch>\n").is_err());
    }

    #[test]
    fn the_c_library_that_is_here_has_a_version() {
        for arch in Arch::ALL {
            if cross::lacks(arch).unwrap().is_none() {
                let version = musl(&arch.target()).unwrap();
                assert!(version.starts_with("1."), "{version}");
            }
        }
    }
}
