//! The programs and what they rest on: BTF, the tracepoint, the decision, the symbols.
//!
//! Reads the kernel's BTF and `/proc/kallsyms`, and loads and attaches the programs for a moment:
//! no list of requirements is as good as the attempt.

use std::{fs::File, io, io::BufReader};

use oom_common::Layout;

use super::{Check, State, setting};
use crate::{
    bpf::{
        btf::Btf,
        cgroups::CgroupPrograms,
        decision::{Hook, WantedHook},
        format,
        layout::{self, DECISION_FUNC, MarkPrototype},
        load::{self, KERNEL_BTF, LoadError, Options, Tier},
    },
    render::units::{bytes, grouped},
    source::bpf::stack::Symbols,
};

/// Enough for the self-check.
const RING_BYTES: u32 = 64 * 1024;

/// Name of the check of `/proc/kallsyms`.
pub(super) const SYMBOLS: &str = "kernel symbols";

/// What the kernel accepted.
pub(super) struct Reached {
    pub(super) tier: Tier,
    pub(super) notes: Vec<String>,
    /// What it takes to watch cgroups; `None` where the kernel lacks it.
    pub(super) cgroups: Option<CgroupPrograms>,
}

/// Why it accepted nothing.
pub(super) struct Refused {
    pub(super) reason: String,
    fix: &'static str,
}

/// Loads and attaches the programs, and takes them away again.
pub(super) fn try_load() -> Result<Reached, Refused> {
    match load::load(&Options {
        ring_bytes: RING_BYTES,
        debug_log: false,
        by_format: false,
        hook: WantedHook::Best,
        wire_version: oom_common::WIRE_VERSION,
        resume: None,
    }) {
        Ok(mut loaded) => Ok(Reached {
            tier: loaded.tier,
            cgroups: loaded.cgroups.take(),
            notes: loaded.notes,
        }),
        Err(error) => Err(Refused {
            fix: match &error {
                LoadError::NotPermitted(_) => {
                    "run as root, or with CAP_BPF and CAP_PERFMON; a container's seccomp profile \
                     must allow bpf(2)"
                }
                LoadError::NoBtf(_) | LoadError::Layout(_) => {
                    "a kernel with CONFIG_DEBUG_INFO_BTF=y, or tracefs for the classic tracepoint"
                }
                LoadError::SelfCheck(_) => "run in the host's pid namespace; else report this",
                _ => "see the reason; CONFIG_BPF_SYSCALL, CONFIG_BPF_EVENTS and a JIT are needed",
            },
            reason: crate::error::chain(&error),
        }),
    }
}

pub(super) fn checks(outcome: &Result<Reached, Refused>) -> Vec<Check> {
    let mut checks = btf(std::fs::read(KERNEL_BTF));
    checks.push(programs(outcome));
    checks.push(decision(outcome));
    checks.push(symbols(
        File::open("/proc/kallsyms").and_then(|file| Symbols::read(BufReader::new(file))),
        setting("/proc/sys/kernel/kptr_restrict").as_deref(),
    ));
    checks.push(tracefs(
        format::read(&mut Layout::UNKNOWN.clone()).err(),
        outcome.is_ok(),
    ));
    checks
}

fn programs(outcome: &Result<Reached, Refused>) -> Check {
    let name = "BPF programs";
    match outcome {
        Ok(reached) => {
            let check = Check::ok(name, format!("attached: {}", reached.tier.describe()));
            match reached.tier {
                Tier::Full(_) | Tier::Stack => check,
                Tier::Pid(_) | Tier::Format => Check {
                    state: State::Degraded,
                    ..check
                }
                .cost("the victim's cgroup is looked up after the kill, while it still exists")
                .fix("kernel 6.9 or later, or a stable kernel with its mark_victim"),
            }
        }
        Err(refused) => Check::new(name, State::Missing, &*refused.reason)
            .cost(
                "kills come from the kernel log alone: later, and in a storm without a cgroup, for \
                 the kernel prints 10 full reports in 5 s at most",
            )
            .fix(refused.fix),
    }
}

/// Found by trying: whether a kernel has trampolines cannot be asked.
fn decision(outcome: &Result<Reached, Refused>) -> Check {
    let name = DECISION_FUNC;
    let cost = "which limit was hit is inferred from the counters, or comes from the kernel log";
    let Ok(reached) = outcome else {
        return Check::new(
            name,
            State::Unknown,
            "not tried: the other programs did not load",
        )
        .cost(cost)
        .fix("see BPF programs");
    };
    let note = reached.notes.iter().find(|note| note.contains(name));
    let note = note.map_or("not attached", String::as_str);
    match reached.tier {
        Tier::Full(Hook::Fentry) | Tier::Pid(Some(Hook::Fentry)) => {
            Check::ok(name, "attached by fentry")
        }
        Tier::Full(Hook::Kprobe) | Tier::Pid(Some(Hook::Kprobe)) => {
            Check::ok(name, format!("attached by kprobe; {note}"))
        }
        Tier::Stack | Tier::Pid(None) | Tier::Format => {
            Check::new(name, State::Missing, note).cost(cost).fix(
                "a kernel with BPF trampolines (5.5+, arm64 6.4+, CONFIG_FUNCTION_TRACER), or with \
                 CONFIG_KPROBE_EVENTS",
            )
        }
    }
}

/// The kernel's description of itself, and what of it the agent needs.
fn btf(read: io::Result<Vec<u8>>) -> Vec<Check> {
    let (name, tracepoint) = ("kernel BTF", "mark_victim");
    let cost = "no BTF tracepoint: at best a pid from the classic one, without cgroup";
    let absent = |found: String| {
        vec![
            Check::new(name, State::Missing, found)
                .cost(cost)
                .fix("a kernel with CONFIG_DEBUG_INFO_BTF=y and /sys mounted"),
        ]
    };
    let content = match read {
        Ok(content) => content,
        Err(error) => return absent(format!("{KERNEL_BTF}: {error}")),
    };
    let btf = match Btf::parse(&content) {
        Ok(btf) => btf,
        Err(error) => return absent(format!("{KERNEL_BTF}: {error}")),
    };
    let found = match layout::layout(&btf) {
        Ok(found) => found,
        Err(error) => return absent(error.to_string()),
    };
    let size = format!(
        "{}, {} types",
        bytes(content.len() as u64),
        grouped(btf.len().into())
    );
    let fields = if found.missing.is_empty() {
        Check::ok(name, format!("{size}, every field that is read"))
    } else {
        let lost: Vec<String> = found.missing.iter().map(ToString::to_string).collect();
        Check::new(name, State::Degraded, size).cost(lost.join("; "))
    };
    let mark = match found.mark {
        MarkPrototype::Task => Check::ok(tracepoint, "hands over the victim's task"),
        MarkPrototype::Pid => Check::new(tracepoint, State::Degraded, "carries only a pid")
            .cost("the victim is looked up after the mark: its cgroup may be gone")
            .fix("kernel 6.9 or later, or a stable kernel since early 2025"),
        MarkPrototype::Absent => Check::new(tracepoint, State::Missing, "not in this kernel's BTF")
            .cost(cost)
            .fix("kernel 4.13 or later with CONFIG_TRACEPOINTS"),
    };
    vec![fields, mark]
}

fn symbols(read: io::Result<Symbols>, kptr_restrict: Option<&str>) -> Check {
    let name = SYMBOLS;
    let found = match read {
        Ok(symbols) if symbols.usable() => return Check::ok(name, "/proc/kallsyms has addresses"),
        Ok(_) => format!(
            "/proc/kallsyms hides its addresses (kernel.kptr_restrict is {})",
            kptr_restrict.unwrap_or("unknown")
        ),
        Err(error) => format!("/proc/kallsyms: {error}"),
    };
    Check::new(name, State::Missing, found)
        .cost(
            "the stack of a kill says nothing: kill or mere mark is told by the counter, and what \
             was being allocated stays unknown",
        )
        .fix("CAP_SYSLOG, and sysctl kernel.kptr_restrict=1 where it is 2")
}

fn tracefs(error: Option<format::FormatError>, loaded: bool) -> Check {
    let name = "tracefs";
    let Some(error) = error else {
        return Check::ok(name, "describes mark_victim");
    };
    let cost = if loaded {
        "nothing here: it is for kernels without a BTF tracepoint"
    } else {
        "no classic tracepoint as the last resort of BPF"
    };
    let found = match error {
        format::FormatError::Unreadable(error) => format!("no mark_victim in it: {error}"),
        format::FormatError::NoPid => error.to_string(),
    };
    Check::new(name, State::Missing, found)
        .cost(cost)
        .fix("mount -t tracefs tracefs /sys/kernel/tracing")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn extract(kernel: &str) -> io::Result<Vec<u8>> {
        std::fs::read(format!(
            "{}/tests/btf/{kernel}.btf",
            env!("CARGO_MANIFEST_DIR")
        ))
    }

    #[test]
    fn the_form_of_the_tracepoint_is_told() {
        for (kernel, state) in [
            ("5.10.223", State::Degraded),
            ("5.10.262", State::Ok),
            ("6.18.44", State::Ok),
            ("7.2.13", State::Ok),
        ] {
            let checks = btf(extract(kernel));
            assert_eq!(checks[1].name, "mark_victim");
            assert_eq!(checks[1].state, state, "{kernel}: {checks:?}");
        }
    }

    #[test]
    fn no_btf_and_broken_btf_are_missing() {
        let none = btf(Err(io::ErrorKind::NotFound.into()));
        let broken = btf(Ok(b"not BTF".to_vec()));
        for checks in [none, broken] {
            assert_eq!(checks.len(), 1);
            assert_eq!(checks[0].state, State::Missing);
            assert!(checks[0].cost.is_some() && checks[0].fix.is_some());
        }
    }

    #[test]
    fn the_attempt_is_what_counts() {
        let reached = |tier, notes: &[&str]| {
            Ok(Reached {
                tier,
                notes: notes.iter().map(|&note| note.to_owned()).collect(),
                cgroups: None,
            })
        };
        let refused = Err(Refused {
            reason: "EPERM".to_owned(),
            fix: "root",
        });
        let note = "fentry on oom_kill_process: EPERM";
        let (full, pid) = (Tier::Full, |hook| Tier::Pid(Some(hook)));
        for (outcome, attached, hooked, words) in [
            (
                reached(full(Hook::Fentry), &[]),
                State::Ok,
                State::Ok,
                "fentry",
            ),
            (
                reached(full(Hook::Kprobe), &[note]),
                State::Ok,
                State::Ok,
                "by kprobe; fentry on",
            ),
            (
                reached(Tier::Stack, &[note]),
                State::Ok,
                State::Missing,
                note,
            ),
            (
                reached(pid(Hook::Fentry), &[]),
                State::Degraded,
                State::Ok,
                "fentry",
            ),
            (
                reached(pid(Hook::Kprobe), &[note]),
                State::Degraded,
                State::Ok,
                "by kprobe",
            ),
            (
                reached(Tier::Pid(None), &[note]),
                State::Degraded,
                State::Missing,
                note,
            ),
            (
                reached(Tier::Format, &[]),
                State::Degraded,
                State::Missing,
                "not attached",
            ),
            (refused, State::Missing, State::Unknown, "not tried"),
        ] {
            assert_eq!(programs(&outcome).state, attached);
            let decision = decision(&outcome);
            assert_eq!(decision.state, hooked);
            assert!(decision.found.contains(words), "{decision:?}");
        }
    }

    #[test]
    fn hidden_addresses_are_no_symbols() {
        let hidden = "0000000000000000 T oom_kill_process\n0000000000000000 T out_of_memory\n";
        let check = symbols(Symbols::read(hidden.as_bytes()), Some("2"));
        assert_eq!(check.state, State::Missing);
        assert!(check.found.contains("kptr_restrict is 2"));
        let shown = "ffffffff81000000 T oom_kill_process\nffffffff81000100 T next\n";
        assert_eq!(
            symbols(Symbols::read(shown.as_bytes()), None).state,
            State::Ok
        );
    }
}
