//! The names of the links in a generation, which tell what is attached.
//!
//! Reads the names of pins; emits the [`Tier`] that they make.

use super::{decision::Hook, tier::Tier};

/// The pin of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinName {
    /// The mark carries the task.
    MarkTask,
    /// The mark carries a pid.
    MarkPid,
    /// The mark is the classic tracepoint's.
    MarkFormat,
    /// The decision is hooked by fentry.
    DecisionFentry,
    /// The decision is hooked by a kprobe.
    DecisionKprobe,
}

impl PinName {
    pub(super) const ALL: [Self; 5] = [
        Self::MarkTask,
        Self::MarkPid,
        Self::MarkFormat,
        Self::DecisionFentry,
        Self::DecisionKprobe,
    ];

    pub(super) fn text(self) -> &'static str {
        match self {
            Self::MarkTask => "mark-task",
            Self::MarkPid => "mark-pid",
            Self::MarkFormat => "mark-format",
            Self::DecisionFentry => "decision-fentry",
            Self::DecisionKprobe => "decision-kprobe",
        }
    }
}

impl From<Hook> for PinName {
    fn from(hook: Hook) -> Self {
        match hook {
            Hook::Fentry => Self::DecisionFentry,
            Hook::Kprobe => Self::DecisionKprobe,
        }
    }
}

/// The tier that these links make; `None` without a mark.
pub(super) fn tier(links: &[PinName]) -> Option<Tier> {
    let has = |name| links.contains(&name);
    let hook = match () {
        () if has(PinName::DecisionFentry) => Some(Hook::Fentry),
        () if has(PinName::DecisionKprobe) => Some(Hook::Kprobe),
        () => None,
    };
    match () {
        () if has(PinName::MarkTask) => Some(Tier::of(true, hook)),
        () if has(PinName::MarkPid) => Some(Tier::of(false, hook)),
        () if has(PinName::MarkFormat) => Some(Tier::Format),
        () => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_names_of_the_links_tell_the_tier() {
        use PinName::{DecisionFentry, DecisionKprobe, MarkFormat, MarkPid, MarkTask};
        for (links, expected) in [
            (&[MarkTask][..], Some(Tier::Stack)),
            (&[MarkTask, DecisionFentry], Some(Tier::Full(Hook::Fentry))),
            (&[MarkTask, DecisionKprobe], Some(Tier::Full(Hook::Kprobe))),
            (&[MarkPid], Some(Tier::Pid(None))),
            (
                &[MarkPid, DecisionKprobe],
                Some(Tier::Pid(Some(Hook::Kprobe))),
            ),
            (&[MarkFormat], Some(Tier::Format)),
            (&[DecisionFentry], None),
            (&[], None),
        ] {
            assert_eq!(tier(links), expected, "{links:?}");
        }
    }
}
