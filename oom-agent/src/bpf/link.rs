//! What holds an attached program in the kernel: a link of its own, or the object that it was loaded from.
//!
//! Emits [`FdLink`]s, which can be pinned and let the program run on without us. Kernels before 5.15 have
//! none for classic tracepoints and kprobes.

use aya::programs::{
    BtfTracePoint, FEntry, KProbe, ProgramError, TracePoint,
    links::{FdLink, LinkError},
};

/// An attached program's hold.
#[derive(Debug)]
pub(super) enum Hold {
    /// This link: dropped, it detaches.
    Link(FdLink),
    /// The object.
    Object,
}

/// Attaches a BTF tracepoint.
pub(super) fn tracepoint(program: &mut BtfTracePoint) -> Result<Hold, ProgramError> {
    let id = program.attach()?;
    Ok(Hold::Link(program.take_link(id)?.into()))
}

/// Attaches at a function's entry.
pub(super) fn fentry(program: &mut FEntry) -> Result<Hold, ProgramError> {
    let id = program.attach()?;
    Ok(Hold::Link(program.take_link(id)?.into()))
}

/// Attaches a kprobe.
pub(super) fn kprobe(program: &mut KProbe, function: &str) -> Result<Hold, ProgramError> {
    let id = program.attach(function, 0)?;
    let link: Result<FdLink, LinkError> = program.take_link(id)?.try_into();
    match link {
        Ok(link) => Ok(Hold::Link(link)),
        // Asking for it has detached the program.
        Err(_) => program.attach(function, 0).map(|_| Hold::Object),
    }
}

/// Attaches a classic tracepoint.
pub(super) fn classic(
    program: &mut TracePoint,
    category: &str,
    name: &str,
) -> Result<Hold, ProgramError> {
    let id = program.attach(category, name)?;
    let link: Result<FdLink, LinkError> = program.take_link(id)?.try_into();
    match link {
        Ok(link) => Ok(Hold::Link(link)),
        // As for a kprobe.
        Err(_) => program.attach(category, name).map(|_| Hold::Object),
    }
}
