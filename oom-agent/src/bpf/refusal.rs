//! Why no program could be brought into the kernel, in words that help.
//!
//! Reads what aya and the verifier say; emits [`LoadError`]. The verifier's whole log goes to the debug log only.

use std::io;

use aya::{EbpfError, programs::ProgramError};
use thiserror::Error;

use super::{
    btf::BtfError, format::FormatError, generation::GenerationError, kernel_types::KERNEL_BTF,
    layout::LayoutError, self_check::SelfCheckError,
};

/// Why no BPF program could be brought into the kernel.
#[derive(Debug, Error)]
pub enum LoadError {
    /// Not allowed to use BPF.
    #[error("BPF is not permitted: it needs CAP_BPF and CAP_PERFMON, or root (bpf(2) said EPERM)")]
    NotPermitted(#[source] Box<EbpfError>),
    /// The object did not load.
    #[error("the kernel refused the BPF object")]
    Object(#[source] Box<EbpfError>),
    /// A program did not load or attach.
    #[error("the kernel refused program {program}: {}", first_line(.error))]
    Program {
        /// Its name.
        program: &'static str,
        /// What the kernel said.
        error: Box<ProgramError>,
    },
    /// The object lacks a program: a fault of ours.
    #[error("the BPF object has no program {0}")]
    Lacks(&'static str),
    /// A map is not there or not what it should be.
    #[error(transparent)]
    Maps(#[from] GenerationError),
    /// No BTF.
    #[error("cannot read {KERNEL_BTF} (CONFIG_DEBUG_INFO_BTF)")]
    NoBtf(#[source] io::Error),
    /// The kernel's BTF cannot be parsed.
    #[error("cannot understand {KERNEL_BTF}")]
    Btf(#[from] BtfError),
    /// The kernel's BTF lacks what is needed.
    #[error("{KERNEL_BTF} lacks needed types")]
    Layout(#[from] LayoutError),
    /// The stand-in BTF did not parse: a fault of ours.
    #[error("stand-in BTF refused")]
    StandIn(#[source] Box<aya::BtfError>),
    /// What the program read of the agent itself is not what the agent knows of itself.
    #[error(transparent)]
    SelfCheck(#[from] SelfCheckError),
    /// The classic tracepoint is out of reach.
    #[error(transparent)]
    Format(#[from] FormatError),
}

/// What the kernel said, on one line. The verifier's whole log goes to the debug log: its complaint is
/// the last line that is no statistics.
pub(super) fn first_line(error: &ProgramError) -> String {
    const STATISTICS: [&str; 4] = [
        "processed ",
        "stack depth",
        "verification time",
        "max_states",
    ];
    match error {
        ProgramError::LoadError {
            io_error,
            verifier_log,
        } => {
            let log = verifier_log.to_string();
            tracing::debug!("verifier: {log}");
            let complaint = log.lines().rev().find(|line| {
                !line.is_empty() && !STATISTICS.iter().any(|word| line.starts_with(word))
            });
            match complaint {
                Some(complaint) => format!("{io_error}: {complaint}"),
                None => io_error.to_string(),
            }
        }
        ProgramError::SyscallError(error) => format!("{}: {}", error.call, error.io_error),
        other => crate::error::chain(other),
    }
}

pub(super) fn is_eperm(error: &EbpfError) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if error
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
        {
            return true;
        }
        cause = error.source();
    }
    false
}
