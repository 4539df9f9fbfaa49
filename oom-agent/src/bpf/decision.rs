//! The hook on `oom_kill_process`: by fentry, else by a kprobe.
//!
//! Reads `/proc/kallsyms` and what the kernel says of its kprobes; emits the [`Hook`] that is
//! attached, and why it is not a better one. Refuses a kprobe whose argument could be something else
//! than BTF says, for nothing checks it: the verifier takes it for a number.

use std::{
    fs::{self, File},
    io::{self, BufRead, BufReader},
    path::Path,
};

use aya::{
    Ebpf,
    programs::{FEntry, KProbe, ProgramError},
};
use thiserror::Error;

use super::{
    kallsyms::{each_symbol, is_cold},
    layout::DECISION_FUNC,
    link::{self, Hold},
    refusal::first_line,
};

/// How the decision is seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hook {
    /// A trampoline at the function's entry.
    Fentry,
    /// A breakpoint, or ftrace, at the function's entry: the same fields, a little slower.
    Kprobe,
}

/// What of it is tried: less than the best only by tests, for kernels that have less.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub enum WantedHook {
    /// Fentry, else a kprobe.
    #[default]
    Best,
    /// A kprobe.
    Kprobe,
    /// Nothing.
    None,
}

/// What of it may be tried.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowed {
    /// What is wanted.
    pub(super) wanted: WantedHook,
    /// Reads of any kernel address, which a kprobe cannot do without.
    pub(super) probe_reads: bool,
}

/// Only these have an object of their own, with the kprobe for their `pt_regs`.
const HAS_KPROBE: bool = cfg!(any(target_arch = "x86_64", target_arch = "aarch64"));

/// What perf says of kprobes: there if it has them.
const PMU: &str = "/sys/bus/event_source/devices/kprobe";

/// `0` if somebody disarmed all kprobes: attaching works, but they never fire.
const SWITCH: &str = "/sys/kernel/debug/kprobes/enabled";

/// Why there is no kprobe.
#[derive(Debug, Error)]
enum KprobeError {
    #[error("not for this architecture")]
    Architecture,
    #[error("it needs probe reads, which lockdown=confidentiality forbids")]
    Lockdown,
    #[error("this kernel has no kprobes (CONFIG_KPROBE_EVENTS)")]
    NoKprobes,
    #[error("all kprobes are switched off ({SWITCH})")]
    SwitchedOff,
    #[error("cannot read /proc/kallsyms: {0}")]
    Symbols(#[from] io::Error),
    #[error(transparent)]
    Unsafe(#[from] Unsafe),
    #[error("{}; where kernel.perf_event_paranoid is above 2 it takes CAP_SYS_ADMIN", first_line(.0))]
    NotPermitted(ProgramError),
    #[error("{}", first_line(.0))]
    Kernel(ProgramError),
}

impl From<ProgramError> for KprobeError {
    fn from(error: ProgramError) -> Self {
        match &error {
            ProgramError::SyscallError(call)
                if call.io_error.kind() == io::ErrorKind::PermissionDenied =>
            {
                Self::NotPermitted(error)
            }
            _ => Self::Kernel(error),
        }
    }
}

/// Why the function may not take what its prototype says, or may not see every decision.
#[derive(Debug, Error, PartialEq, Eq)]
enum Unsafe {
    #[error("the kernel has no function of that name, it is inlined")]
    Inlined,
    #[error("the kernel has {0} functions of that name")]
    Ambiguous(usize),
    #[error("the compiler made {0} of it, which may take other arguments")]
    Clone(String),
}

/// Attaches the best; says why not better.
pub(super) fn attach(
    ebpf: &mut Ebpf,
    stand_in: &aya::Btf,
    allowed: Allowed,
) -> (Option<(Hook, Hold)>, Option<String>) {
    if allowed.wanted == WantedHook::None {
        let note = format!("{DECISION_FUNC}: not to be hooked");
        return (None, Some(note));
    }
    let refused = if allowed.wanted == WantedHook::Best {
        match fentry(ebpf, stand_in) {
            Ok(hold) => return (Some((Hook::Fentry, hold)), None),
            Err(error) => first_line(&error),
        }
    } else {
        "not tried".to_owned()
    };
    let refused = format!("fentry on {DECISION_FUNC}: {refused}");
    match kprobe(ebpf, allowed) {
        Ok(hold) => (
            Some((Hook::Kprobe, hold)),
            Some(format!("{refused}; a kprobe is there instead")),
        ),
        Err(error) => (
            None,
            Some(format!(
                "{refused}; kprobe on it: {error}; the decision comes from the kernel stack and the log"
            )),
        ),
    }
}

fn fentry(ebpf: &mut Ebpf, stand_in: &aya::Btf) -> Result<Hold, ProgramError> {
    let program: &mut FEntry = ebpf
        .program_mut("oom_kill_process")
        .ok_or(ProgramError::NotLoaded)?
        .try_into()?;
    program.load(DECISION_FUNC, stand_in)?;
    link::fentry(program)
}

fn kprobe(ebpf: &mut Ebpf, allowed: Allowed) -> Result<Hold, KprobeError> {
    if !HAS_KPROBE {
        return Err(KprobeError::Architecture);
    }
    if !allowed.probe_reads {
        return Err(KprobeError::Lockdown);
    }
    if !Path::new(PMU).exists() {
        return Err(KprobeError::NoKprobes);
    }
    if fs::read_to_string(SWITCH).is_ok_and(|text| text.trim() == "0") {
        return Err(KprobeError::SwitchedOff);
    }
    let kallsyms = BufReader::with_capacity(64 * 1024, File::open("/proc/kallsyms")?);
    as_written(kallsyms)??;
    let program: &mut KProbe = ebpf
        .program_mut("oom_kill_process_kprobe")
        .ok_or(ProgramError::NotLoaded)?
        .try_into()?;
    program.load()?;
    Ok(link::kprobe(program, DECISION_FUNC)?)
}

/// Whether the function is there once, under its own name, and no clone with it
/// (`oom_kill_process.isra.0`, `.constprop.0`, `.part.0`): a clone may have lost an argument, and
/// takes calls away from the original. Its unlikely half (`.cold`) is no function to call.
fn as_written(kallsyms: impl BufRead) -> io::Result<Result<(), Unsafe>> {
    let mut found = 0;
    let mut clone = None;
    each_symbol(kallsyms, |_, name| {
        match name.strip_prefix(DECISION_FUNC.as_bytes()) {
            Some([]) => found += 1,
            Some([b'.', ..]) if !is_cold(name) => {
                clone = Some(String::from_utf8_lossy(name).into_owned());
            }
            _ => {}
        }
    })?;
    Ok(match (found, clone) {
        (_, Some(clone)) => Err(Unsafe::Clone(clone)),
        (0, None) => Err(Unsafe::Inlined),
        (1, None) => Ok(()),
        (several, None) => Err(Unsafe::Ambiguous(several)),
    })
}

#[cfg(test)]
mod tests {
    use aya::sys::SyscallError;
    use rustix::io::Errno;

    use super::*;

    #[test]
    fn a_refusal_by_perf_says_what_it_takes() {
        for (errno, hint) in [(Errno::ACCESS, true), (Errno::NOENT, false)] {
            let call = "perf_event_open";
            let io_error = io::Error::from(errno);
            let refused = ProgramError::from(SyscallError { call, io_error });
            let said = KprobeError::from(refused).to_string();
            assert!(said.contains(call), "{said}");
            assert_eq!(said.contains("perf_event_paranoid"), hint, "{said}");
        }
    }

    #[test]
    fn only_the_function_as_it_was_written_is_probed() {
        let clone = |name: &str| Err(Unsafe::Clone(name.to_owned()));
        for (symbols, expected) in [
            (&["oom_kill_process"][..], Ok(())),
            (&["oom_kill_process.cold", "oom_kill_process"], Ok(())),
            (&["oom_kill_process", "oom_kill_process.cold.57"], Ok(())),
            (&["__pfx_oom_kill_process", "oom_kill_process"], Ok(())),
            (&["__oom_kill_process"], Err(Unsafe::Inlined)),
            (&["oom_kill_process_once"], Err(Unsafe::Inlined)),
            (&[], Err(Unsafe::Inlined)),
            (
                &["oom_kill_process.isra.0"],
                clone("oom_kill_process.isra.0"),
            ),
            (
                &["oom_kill_process", "oom_kill_process.constprop.0"],
                clone("oom_kill_process.constprop.0"),
            ),
            (
                &["oom_kill_process.part.0.cold", "oom_kill_process.part.0"],
                clone("oom_kill_process.part.0"),
            ),
            (
                &["oom_kill_process", "oom_kill_process"],
                Err(Unsafe::Ambiguous(2)),
            ),
            // What comes behind the text is no function of the kernel's own.
            (&["_etext", "oom_kill_process"], Err(Unsafe::Inlined)),
        ] {
            // With hidden addresses as well: the names are there for everybody.
            for address in ["ffffffff81000000", "0000000000000000"] {
                let lines = symbols.iter().map(|name| format!("{address} t {name}\n"));
                let kallsyms: Vec<String> = lines.collect();
                let told = as_written(kallsyms.concat().as_bytes()).unwrap();
                assert_eq!(told, expected, "{symbols:?}");
            }
        }
    }
}
