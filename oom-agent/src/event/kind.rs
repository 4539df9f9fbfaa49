//! What all events have: kind, identity, time.
//!
//! Reads nothing.

use std::sync::Arc;

use super::{Event, OomKill, Outcome, OwnerKind, Scope, Timestamp};

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
    /// [`super::VictimEnd`].
    VictimEnd,
    /// [`super::OomStuck`].
    OomStuck,
}

impl Kind {
    /// Each of them.
    pub const ALL: [Self; 6] = [
        Self::OomKill,
        Self::OomInstance,
        Self::ContainerCreation,
        Self::ContainerDeletion,
        Self::VictimEnd,
        Self::OomStuck,
    ];

    /// The word.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::OomKill => "OomKill",
            Self::OomInstance => "OomInstance",
            Self::ContainerCreation => "ContainerCreation",
            Self::ContainerDeletion => "ContainerDeletion",
            Self::VictimEnd => "VictimEnd",
            Self::OomStuck => "OomStuck",
        }
    }

    /// The words that it is made of, in small letters: `oom` and `kill`.
    #[must_use]
    pub fn words(self) -> Vec<String> {
        let mut words: Vec<String> = Vec::new();
        for c in self.as_str().chars() {
            match words.last_mut() {
                Some(word) if !c.is_ascii_uppercase() => word.push(c),
                _ => words.push(c.to_ascii_lowercase().to_string()),
            }
        }
        words
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
    /// Name of its node.
    #[must_use]
    pub const fn node(&self) -> Option<&Arc<str>> {
        match self {
            Self::OomKill(kill) => kill.node.as_ref(),
            Self::OomInstance(instance) => instance.node.as_ref(),
            Self::ContainerCreation(created) => created.node.as_ref(),
            Self::ContainerDeletion(deleted) => deleted.node.as_ref(),
            Self::VictimEnd(end) => end.node.as_ref(),
            Self::OomStuck(stuck) => stuck.node.as_ref(),
        }
    }

    /// Name of its cluster.
    #[must_use]
    pub const fn cluster(&self) -> Option<&Arc<str>> {
        match self {
            Self::OomKill(kill) => kill.cluster.as_ref(),
            Self::OomInstance(instance) => instance.cluster.as_ref(),
            Self::ContainerCreation(created) => created.cluster.as_ref(),
            Self::ContainerDeletion(deleted) => deleted.cluster.as_ref(),
            Self::VictimEnd(end) => end.cluster.as_ref(),
            Self::OomStuck(stuck) => stuck.cluster.as_ref(),
        }
    }

    /// Its kind.
    #[must_use]
    pub const fn kind(&self) -> Kind {
        match self {
            Self::OomKill(_) => Kind::OomKill,
            Self::OomInstance(_) => Kind::OomInstance,
            Self::ContainerCreation(_) => Kind::ContainerCreation,
            Self::ContainerDeletion(_) => Kind::ContainerDeletion,
            Self::VictimEnd(_) => Kind::VictimEnd,
            Self::OomStuck(_) => Kind::OomStuck,
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
            Self::VictimEnd(end) => &end.id,
            Self::OomStuck(stuck) => &stuck.id,
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
            Self::VictimEnd(end) => Some(end.time),
            Self::OomStuck(stuck) => Some(stuck.time),
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
            Self::VictimEnd(end) => end.boot_id.as_ref(),
            Self::OomStuck(stuck) => stuck.boot_id.as_ref(),
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
            Self::VictimEnd(_)
            | Self::OomStuck(_)
            | Self::ContainerCreation(_)
            | Self::ContainerDeletion(_) => false,
        }
    }

    /// The kill that it tells what became of.
    #[must_use]
    pub const fn victim_of(&self) -> Option<&OomKill> {
        match self {
            Self::VictimEnd(end) => Some(&end.kill),
            Self::OomStuck(stuck) => Some(&stuck.kill),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{ContainerDeletion, OomStuck, VictimEnd};

    #[test]
    fn words_are_those_of_the_contract() {
        let kill = Event::OomKill(Box::new(OomKill::for_tests()));
        let report = Event::OomInstance(Box::new(crate::event::OomInstance::for_tests(Vec::new())));
        let gone = Event::ContainerDeletion(Box::new(ContainerDeletion::for_tests()));
        let end = Event::VictimEnd(Box::new(VictimEnd::for_tests()));
        let stuck = Event::OomStuck(Box::new(OomStuck::for_tests()));
        for event in [kill, report, gone, end, stuck] {
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
