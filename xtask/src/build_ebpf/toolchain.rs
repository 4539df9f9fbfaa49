//! Finds a Rust toolchain that builds the eBPF object.
//!
//! Reads what rustup has, else the plain `rustc`; emits a [`Toolchain`] with `rust-src`, fetching
//! through rustup what is missing. Refuses a compiler of another version than the pinned one, unless
//! the caller names it in `RUSTC`.

use std::{env, path::PathBuf, process::Command};

use anyhow::{Context, Result, bail};

use super::RUSTC;
use crate::tool;

const NO_TOOLCHAIN: &str = "\
the eBPF object is built by rustc 1.95.0 with its sources, and neither is here nor can rustup fetch it.
 - with rustup and a network: rustup toolchain install 1.95.0 --component rust-src
 - on Debian bookworm, without rustup: apt-get install rustc-web cargo-web rust-web-src, then
   RUSTC=/usr/bin/rustc cargo xtask build-ebpf
   (another compiler, another object: good for working on oom-ebpf, not for committing)";

/// A compiler with the sources of `core`.
pub(super) enum Toolchain {
    /// A toolchain of rustup, by name.
    Rustup {
        /// As in `rustup run NAME`.
        name: String,
        /// `rustc --version` without the first word.
        version: String,
    },
    /// A compiler outside rustup.
    Plain {
        /// The compiler.
        rustc: PathBuf,
        /// `rustc --version` without the first word.
        version: String,
    },
}

impl Toolchain {
    /// The first that fits: `RUSTC`, the pinned toolchain, the active one, the plain `rustc`.
    pub(super) fn find() -> Result<Self> {
        if let Some(rustc) = env::var_os("RUSTC") {
            let named = Self::plain(rustc.into())?;
            if !named.has_sources() {
                bail!("RUSTC is set, but the sources of core are not in its sysroot");
            }
            return Ok(named);
        }
        if tool::on_path("rustup").is_none() {
            let plain = Self::plain("rustc".into());
            let fits = plain
                .ok()
                .filter(|plain| plain.is_pinned() && plain.has_sources());
            return fits.context(NO_TOOLCHAIN);
        }
        let active = env::var("RUSTUP_TOOLCHAIN").unwrap_or_else(|_| "stable".into());
        let here: Vec<Self> = [RUSTC, &active]
            .into_iter()
            .filter_map(|name| Self::rustup(name).ok())
            .filter(Self::is_pinned)
            .collect();
        if let Some(position) = here.iter().position(Self::has_sources) {
            return here.into_iter().nth(position).context(NO_TOOLCHAIN);
        }
        for toolchain in here {
            if toolchain.fetch_sources().is_ok() && toolchain.has_sources() {
                return Ok(toolchain);
            }
        }
        tool::run(Command::new("rustup").args([
            "toolchain",
            "install",
            RUSTC,
            "--profile",
            "minimal",
            "--component",
            "rust-src",
        ]))
        .and_then(|()| Self::rustup(RUSTC))
        .context(NO_TOOLCHAIN)
    }

    fn rustup(name: &str) -> Result<Self> {
        let version = version(Command::new("rustup").args(["run", name, "rustc"]))?;
        Ok(Self::Rustup {
            name: name.to_owned(),
            version,
        })
    }

    fn plain(rustc: PathBuf) -> Result<Self> {
        let version = version(&mut Command::new(&rustc))?;
        Ok(Self::Plain { rustc, version })
    }

    /// `1.95.0 (59807616e 2026-04-14)`.
    pub(super) fn version(&self) -> &str {
        match self {
            Self::Rustup { version, .. } | Self::Plain { version, .. } => version,
        }
    }

    fn is_pinned(&self) -> bool {
        self.version().split_whitespace().next() == Some(RUSTC)
    }

    /// Where the toolchain keeps its libraries and sources.
    pub(super) fn sysroot(&self) -> Result<PathBuf> {
        let mut rustc = match self {
            Self::Rustup { name, .. } => with_args("rustup", &["run", name, "rustc"]),
            Self::Plain { rustc, .. } => Command::new(rustc),
        };
        tool::output(rustc.args(["--print", "sysroot"])).map(PathBuf::from)
    }

    fn has_sources(&self) -> bool {
        self.sysroot().is_ok_and(|root| {
            root.join("lib/rustlib/src/rust/library/core/src/lib.rs")
                .is_file()
        })
    }

    fn fetch_sources(&self) -> Result<()> {
        match self {
            Self::Rustup { name, .. } => tool::run(Command::new("rustup").args([
                "component",
                "add",
                "rust-src",
                "--toolchain",
                name,
            ])),
            Self::Plain { .. } => bail!(NO_TOOLCHAIN),
        }
    }

    /// The cargo that goes with the compiler.
    pub(super) fn cargo(&self) -> Command {
        match self {
            Self::Rustup { name, .. } => with_args("rustup", &["run", name, "cargo"]),
            Self::Plain { rustc, .. } => {
                let sibling = rustc.with_file_name("cargo");
                let mut cargo = Command::new(if sibling.is_file() {
                    sibling
                } else {
                    "cargo".into()
                });
                cargo.env("RUSTC", rustc);
                cargo
            }
        }
    }
}

fn with_args(program: &str, args: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.args(args);
    command
}

fn version(rustc: &mut Command) -> Result<String> {
    let text = tool::output(rustc.arg("--version"))?;
    Ok(text.trim_start_matches("rustc ").to_owned())
}
