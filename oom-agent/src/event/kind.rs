//! What all events have: kind, identity, time.
//!
//! Reads nothing.

use std::sync::Arc;

use super::{Event, Outcome, OwnerKind, Scope, Timestamp};

/// Kinds of events, by their words in `kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Kind {
    /// [`super::OomKill`].
    OomKill,
    /// [`super::OomInstance`].
    OomInstance,
    /// [`super::ContainerCreation`].
    ContainerCreation,
    /// [`super::ContainerDeletion`].
    ContainerDeletion,
}

impl Kind {
    /// Each of them.
    pub const ALL: [Self; 4] = [
        Self::OomKill,
        Self::OomInstance,
        Self::ContainerCreation,
        Self::ContainerDeletion,
    ];

    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OomKill => "OomKill",
            Self::OomInstance => "OomInstance",
            Self::ContainerCreation => "ContainerCreation",
            Self::ContainerDeletion => "ContainerDeletion",
        }
    }

    /// Whether it tells of a kill, and not of containers that come and go.
    #[must_use]
    pub const fn is_of_kill(self) -> bool {
        !matches!(self, Self::ContainerCreation | Self::ContainerDeletion)
    }
}

impl Scope {
    /// Each of them.
    pub const ALL: [Self; 5] = [
        Self::Memcg,
        Self::System,
        Self::Cpuset,
        Self::Mempolicy,
        Self::Sysrq,
    ];

    /// Its word in `scope`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Memcg => "memcg",
            Self::System => "system",
            Self::Cpuset => "cpuset",
            Self::Mempolicy => "mempolicy",
            Self::Sysrq => "sysrq",
        }
    }
}

impl Outcome {
    /// Each of them.
    pub const ALL: [Self; 4] = [
        Self::Killed,
        Self::AlreadyExiting,
        Self::NoVictim,
        Self::Panic,
    ];

    /// Its word in `outcome`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Killed => "killed",
            Self::AlreadyExiting => "already_exiting",
            Self::NoVictim => "no_victim",
            Self::Panic => "panic",
        }
    }
}

impl OwnerKind {
    /// Each of them.
    pub const ALL: [Self; 7] = [
        Self::Container,
        Self::Pod,
        Self::Unit,
        Self::User,
        Self::Machine,
        Self::Job,
        Self::System,
    ];

    /// Its word in `owner.kind`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Container => "container",
            Self::Pod => "pod",
            Self::Unit => "unit",
            Self::User => "user",
            Self::Machine => "machine",
            Self::Job => "job",
            Self::System => "system",
        }
    }
}

impl Event {
    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::OomKill(_) => Kind::OomKill,
            Self::OomInstance(_) => Kind::OomInstance,
            Self::ContainerCreation(_) => Kind::ContainerCreation,
            Self::ContainerDeletion(_) => Kind::ContainerDeletion,
        }
    }

    /// Its id, which no other event of its kind has.
    #[must_use]
    pub const fn id(&self) -> &Arc<str> {
        match self {
            Self::OomKill(kill) => &kill.id,
            Self::OomInstance(instance) => &instance.id,
            Self::ContainerCreation(created) => &created.id,
            Self::ContainerDeletion(deleted) => &deleted.id,
        }
    }

    /// Wall clock of what it tells.
    #[must_use]
    pub const fn time(&self) -> Option<Timestamp> {
        match self {
            Self::OomKill(kill) => kill.time,
            Self::OomInstance(instance) => instance.time,
            Self::ContainerCreation(created) => Some(created.time),
            Self::ContainerDeletion(deleted) => Some(deleted.time),
        }
    }

    /// The boot that it is of.
    #[must_use]
    pub const fn boot_id(&self) -> Option<&Arc<str>> {
        match self {
            Self::OomKill(kill) => kill.boot_id.as_ref(),
            Self::OomInstance(instance) => instance.boot_id.as_ref(),
            Self::ContainerCreation(created) => created.boot_id.as_ref(),
            Self::ContainerDeletion(deleted) => deleted.boot_id.as_ref(),
        }
    }

    /// What ran out, of a report.
    #[must_use]
    pub const fn scope(&self) -> Option<Scope> {
        match self {
            Self::OomInstance(instance) => instance.scope,
            _ => None,
        }
    }

    /// Whether it is of before the agent's first start of this boot.
    #[must_use]
    pub const fn is_backfill(&self) -> bool {
        match self {
            Self::OomKill(kill) => kill.backfill,
            Self::OomInstance(instance) => instance.backfill,
            Self::ContainerCreation(_) | Self::ContainerDeletion(_) => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{ContainerDeletion, OomKill};

    #[test]
    fn words_are_those_of_the_contract() {
        let kill = Event::OomKill(Box::new(OomKill::for_tests()));
        let report = Event::OomInstance(Box::new(crate::event::OomInstance::for_tests(Vec::new())));
        let gone = Event::ContainerDeletion(Box::new(ContainerDeletion::for_tests()));
        for event in [kill, report, gone] {
            let json = serde_json::to_value(&event).unwrap();
            assert_eq!(json["kind"], event.kind().as_str());
            assert_eq!(json["id"], **event.id());
        }
        for scope in Scope::ALL {
            assert_eq!(serde_json::to_value(scope).unwrap(), scope.as_str());
        }
        for outcome in Outcome::ALL {
            assert_eq!(serde_json::to_value(outcome).unwrap(), outcome.as_str());
        }
        for kind in OwnerKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }
}
