//! Machines that oom-agent is for, by the names that others give them.
//!
//! Emits the words of rustc, Debian and QEMU. Refuses nothing.

use std::env;

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

/// A kind of machine.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Arch {
    #[value(name = "x86_64", alias = "amd64")]
    #[serde(rename = "x86_64")]
    X86,
    #[value(name = "aarch64", alias = "arm64")]
    #[serde(rename = "aarch64")]
    Arm,
}

impl Arch {
    /// Every one.
    pub(crate) const ALL: [Self; 2] = [Self::X86, Self::Arm];

    /// Whether this machine is one.
    pub(crate) fn is_here(self) -> bool {
        self.name() == env::consts::ARCH
    }

    /// As rustc and `uname -m` call it.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::X86 => "x86_64",
            Self::Arm => "aarch64",
        }
    }

    /// As Debian, Go and container images call it.
    pub(crate) fn debian(self) -> &'static str {
        match self {
            Self::X86 => "amd64",
            Self::Arm => "arm64",
        }
    }

    /// The target of static programs for it.
    pub(crate) fn target(self) -> String {
        format!("{}-unknown-linux-musl", self.name())
    }
}
