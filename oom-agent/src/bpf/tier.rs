//! How much a kernel allows, and how that is said.
//!
//! Reads what was attached; emits a [`Tier`].

use super::decision::Hook;

/// How much the running kernel allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tier {
    /// The mark with its task, and the decision with its `oom_control`.
    Full(Hook),
    /// The mark with its task; the decision from the kernel stack.
    Stack,
    /// The mark with only a pid, from a BTF tracepoint; the decision if it can be hooked.
    Pid(Option<Hook>),
    /// The classic tracepoint, by its `format`.
    Format,
}

impl Tier {
    /// By what the mark carries and how the decision is hooked, where BTF tells both.
    pub(super) fn of(mark_has_task: bool, hook: Option<Hook>) -> Self {
        match hook {
            _ if !mark_has_task => Self::Pid(hook),
            Some(hook) => Self::Full(hook),
            None => Self::Stack,
        }
    }

    /// In a few words, for people.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Full(Hook::Fentry) => "bpf, full (mark_victim + oom_kill_process)",
            Self::Full(Hook::Kprobe) => "bpf, full (mark_victim + oom_kill_process by kprobe)",
            Self::Stack => "bpf + stack (mark_victim, decision from the kernel stack)",
            Self::Pid(Some(Hook::Fentry)) => {
                "bpf by pid (mark_victim carries only a pid on this kernel; more from the decision or /proc)"
            }
            Self::Pid(Some(Hook::Kprobe)) => {
                "bpf by pid (mark_victim carries only a pid on this kernel; more from the decision by kprobe or /proc)"
            }
            Self::Pid(None) => {
                "bpf by pid (mark_victim carries only a pid on this kernel; more from /proc)"
            }
            Self::Format => "bpf by format (classic tracepoint)",
        }
    }
}
