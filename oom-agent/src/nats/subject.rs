//! Names: of streams, of subjects.
//!
//! Takes names of clusters, nodes and kinds; emits subjects (<https://docs.nats.io/nats-concepts/subjects>).
//! Refuses nothing: what means something in a subject becomes `_`. The event itself has the names as they are.

use std::borrow::Cow;

use crate::event::Kind;

/// The stream of events, if nothing else is said.
pub const STREAM: &str = "OOM";

/// Subjects of events.
pub(super) const EVENTS: &str = "oom.>";

/// Subjects of heartbeats.
pub const HEARTBEATS: &str = "oom-nodes.>";

/// The stream of heartbeats beside this stream of events.
#[must_use]
pub fn nodes_of(stream: &str) -> String {
    format!("{stream}_NODES")
}

/// A name as one part of a subject.
#[must_use]
pub fn token(name: &str) -> Cow<'_, str> {
    let is_special = |c: char| matches!(c, '.' | '*' | '>') || c.is_whitespace() || c.is_control();
    match name {
        "" => Cow::Borrowed("_"),
        name if name.contains(is_special) => Cow::Owned(name.replace(is_special, "_")),
        name => Cow::Borrowed(name),
    }
}

/// Where an event of this kind goes: the kind as events name it.
#[must_use]
pub fn of_event(cluster: &str, node: &str, kind: Kind) -> String {
    format!("oom.{}.{}.{}", token(cluster), token(node), kind.as_str())
}

/// All events of a node.
#[must_use]
pub fn of_node(cluster: &str, node: &str) -> String {
    format!("oom.{}.{}.>", token(cluster), token(node))
}

/// Subjects of events of these, each of them any if it is not told.
#[must_use]
pub fn subjects_of(cluster: Option<&str>, node: Option<&str>, kinds: &[Kind]) -> Vec<String> {
    let any = |name: Option<&str>| name.map_or_else(|| "*".to_owned(), |name| token(name).into());
    let above = format!("oom.{}.{}", any(cluster), any(node));
    match kinds {
        [] => vec![format!("{above}.*")],
        kinds => (kinds.iter())
            .map(|kind| format!("{above}.{}", kind.as_str()))
            .collect(),
    }
}

/// Where a node's heartbeats go.
#[must_use]
pub fn of_heartbeat(cluster: &str, node: &str) -> String {
    format!("oom-nodes.{}.{}", token(cluster), token(node))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_become_parts() {
        for (name, part) in [
            ("node-1", "node-1"),
            ("node-1.eu.example", "node-1_eu_example"),
            ("a b\tc", "a_b_c"),
            ("*", "_"),
            (">", "_"),
            ("", "_"),
            ("knoten-ä", "knoten-ä"),
        ] {
            assert_eq!(token(name), part);
        }
        assert_eq!(of_event("eu.1", "n", Kind::OomKill), "oom.eu_1.n.OomKill");
        assert_eq!(of_node("eu", "n.x"), "oom.eu.n_x.>");
        assert_eq!(subjects_of(None, None, &[]), ["oom.*.*.*"]);
        assert_eq!(
            subjects_of(Some("eu"), Some("n.x"), &[Kind::OomKill]),
            ["oom.eu.n_x.OomKill"]
        );
        assert_eq!(of_heartbeat("eu", "n.x"), "oom-nodes.eu.n_x");
    }

    proptest! {
        #[test]
        fn no_name_reaches_beyond_its_part(cluster in ".*", node in ".*") {
            let subject = of_event(&cluster, &node, Kind::OomInstance);
            prop_assert_eq!(subject.split('.').count(), 4);
            prop_assert!(subject.split('.').all(|part| !part.is_empty()));
            prop_assert!(!subject.contains(|c: char| "*>".contains(c) || c.is_whitespace()));
        }
    }
}
