//! What somebody asks for, by the names that the query string and the command line have for it.
//!
//! Reads words; emits a [`Filter`]. Refuses a word that it does not know, and says which are known.

use std::{borrow::Cow, fmt, str::FromStr};

use jiff::{SpanRelativeTo, Timestamp};
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};
use thiserror::Error;

use crate::{
    event::{Kind, Scope},
    store::{CgroupFilter, Filter},
};

/// Conditions that an event must meet, all of those that are given.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema, clap::Args)]
#[serde(default, deny_unknown_fields)]
pub struct Question {
    /// Not before this: a time (RFC 3339), or how long ago ("90s", "15m", "1h30m", "7d").
    #[arg(long, value_name = "WHEN")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub since: Option<When>,
    /// Not after this: a time (RFC 3339), or how long ago.
    #[arg(long, value_name = "WHEN")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<When>,
    /// Only these kinds, with commas between.
    #[arg(long, value_name = "KIND,…", help = kind_help())]
    #[schemars(description = kind_help())]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kind: Option<Kinds>,
    /// A cgroup by its path: the victim's, the container's, or the one whose limit was hit.
    #[arg(long, value_name = "PATH")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cgroup: Option<String>,
    /// Whether the cgroups below that one are meant, too; they are if nothing is said.
    #[arg(long, value_name = "BOOL", requires = "cgroup")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subtree: Option<bool>,
    /// A container: its name, its id, or at least the first 12 digits of it.
    #[arg(long, value_name = "NAME|ID")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container: Option<String>,
    /// A pod: its name or its uid.
    #[arg(long, value_name = "NAME|UID")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// The namespace of a pod.
    #[arg(long, short = 'n', value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// A workload: the name of a pod without what controllers append to it.
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub workload: Option<String>,
    /// An image of a container; without its digest, or without its tag, any of these.
    #[arg(long, value_name = "IMAGE")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The node.
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// The cluster of the node.
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cluster: Option<String>,
    /// A systemd unit.
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unit: Option<String>,
    /// Name of a victim, as the kernel has it (at most 15 bytes).
    #[arg(long, value_name = "NAME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub comm: Option<String>,
    /// Process or thread id of a victim.
    #[arg(long, value_name = "PID")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pid: Option<u32>,
    /// What ran out of memory: memcg, system, cpuset, mempolicy or sysrq. Only reports tell.
    #[arg(long, value_parser = scope)]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub scope: Option<Scope>,
    /// Boot id.
    #[arg(long, value_name = "ID")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
    /// Whether it is history that was read back from the log of before the agent's first start.
    #[arg(long, value_name = "BOOL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub backfill: Option<bool>,
}

impl Question {
    /// What the store and live subscribers are asked.
    #[must_use]
    pub fn filter(self) -> Filter {
        let subtree = self.subtree.unwrap_or(true);
        Filter {
            since: self.since.map(|When(ns)| ns),
            until: self.until.map(|When(ns)| ns),
            kinds: self.kind.map(|Kinds(kinds)| kinds).unwrap_or_default(),
            cgroup: self.cgroup.map(|path| CgroupFilter { path, subtree }),
            container: self.container,
            pod: self.pod,
            namespace: self.namespace,
            workload: self.workload,
            image: self.image,
            node: self.node,
            cluster: self.cluster,
            unit: self.unit,
            comm: self.comm,
            pid: self.pid,
            scope: self.scope,
            boot: self.boot,
            backfill: self.backfill,
        }
    }
}

/// A moment: Unix time in nanoseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct When(pub i64);

/// A word that is no moment.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error(
    "{0:?} is neither a time like 2026-11-20T22:01:03Z nor how long ago, like 90s, 15m, 1h30m or 7d"
)]
pub struct NoTime(String);

impl When {
    /// Reads a moment; one that is told as how long ago is counted back from `now`.
    pub fn parse(text: &str, now: Timestamp) -> Result<Self, NoTime> {
        let refused = || NoTime(text.to_owned());
        let at = match text.parse::<Timestamp>() {
            Ok(at) => at,
            Err(_) if text == "now" => now,
            Err(_) => {
                let ago: jiff::Span = text.parse().map_err(|_| refused())?;
                let ago = ago.to_duration(SpanRelativeTo::days_are_24_hours());
                let ago = ago.ok().filter(|ago| !ago.is_negative());
                let at = ago.and_then(|ago| now.checked_sub(ago).ok());
                at.ok_or_else(refused)?
            }
        };
        Ok(Self(
            i64::try_from(at.as_nanosecond()).map_err(|_| refused())?,
        ))
    }
}

impl FromStr for When {
    type Err = NoTime;

    fn from_str(text: &str) -> Result<Self, NoTime> {
        Self::parse(text, Timestamp::now())
    }
}

impl fmt::Display for When {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        crate::timestamp::Timestamp::from_unix_ns(self.0.into()).fmt(f)
    }
}

/// Some kinds of events; never none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Kinds(pub Vec<Kind>);

/// A word that is no kind.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{0:?} is no kind of event: {kinds}, with commas between", kinds = kinds(", "))]
pub struct NoKind(String);

impl FromStr for Kinds {
    type Err = NoKind;

    fn from_str(text: &str) -> Result<Self, NoKind> {
        let kind = |word: &str| {
            let is_it = |kind: &Kind| kind.as_str().eq_ignore_ascii_case(word);
            let kind = Kind::ALL.into_iter().find(is_it);
            kind.ok_or_else(|| NoKind(word.to_owned()))
        };
        text.split(',')
            .map(kind)
            .collect::<Result<_, _>>()
            .map(Self)
    }
}

impl fmt::Display for Kinds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.0.iter().map(|kind| kind.as_str()).collect();
        f.write_str(&words.join(","))
    }
}

/// The words of all kinds.
fn kinds(between: &str) -> String {
    Kind::ALL.map(Kind::as_str).join(between)
}

fn kind_help() -> String {
    format!("Only these kinds, with commas between: {}", kinds(", "))
}

fn scope(word: &str) -> Result<Scope, serde_json::Error> {
    serde_json::from_value(word.into())
}

/// Written and read as one word, as a query string has it.
macro_rules! word {
    ($type:ty, $name:literal, $schema:tt) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let word = Cow::<str>::deserialize(deserializer)?;
                word.parse().map_err(D::Error::custom)
            }
        }

        impl JsonSchema for $type {
            fn schema_name() -> Cow<'static, str> {
                $name.into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    };
}

word!(When, "When", {
    "type": "string",
    "examples": ["2026-11-20T22:01:03Z", "15m", "7d"]
});
word!(Kinds, "Kinds", {
    "type": "string",
    "examples": ["OomKill", "OomKill,OomInstance"]
});

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000_000_000_000;

    fn when(text: &str) -> Option<i64> {
        let now = Timestamp::from_nanosecond(NOW.into()).unwrap();
        When::parse(text, now).ok().map(|When(ns)| ns)
    }

    #[test]
    fn moments() {
        let second = 1_000_000_000;
        assert_eq!(when("now"), Some(NOW));
        assert_eq!(when("90s"), Some(NOW - 90 * second));
        assert_eq!(when("1h30m"), Some(NOW - 5400 * second));
        assert_eq!(when("7d"), Some(NOW - 7 * 86_400 * second));
        assert_eq!(when("1970-01-01T00:00:01Z"), Some(second));
        assert_eq!(when("1970-01-01T01:00:01+01:00"), Some(second));
        for none in [
            "",
            "1",
            "-1h",
            "1970-01-01",
            "yesterday",
            "9999-01-01T00:00:00Z",
            "99999999d",
        ] {
            assert_eq!(when(none), None, "{none}");
        }
    }

    #[test]
    fn kinds_are_words_with_commas_between() {
        let kinds: Kinds = "oomkill,ContainerDeletion".parse().unwrap();
        assert_eq!(kinds.0, [Kind::OomKill, Kind::ContainerDeletion]);
        assert_eq!(kinds.to_string(), "OomKill,ContainerDeletion");
        for none in ["", "OomKill,", "oom"] {
            assert!(none.parse::<Kinds>().is_err(), "{none}");
        }
    }

    #[test]
    fn it_is_written_as_it_is_read() {
        let asked = Question {
            since: Some(When(NOW)),
            kind: Some("OomKill".parse().unwrap()),
            cgroup: Some("/a b".into()),
            subtree: Some(false),
            scope: Some(Scope::Memcg),
            pid: Some(7),
            ..Question::default()
        };
        let text = serde_json::to_string(&asked).unwrap();
        assert_eq!(serde_json::from_str::<Question>(&text).unwrap(), asked);
        assert!(serde_json::from_str::<Question>(r#"{"pods":"x"}"#).is_err());
    }
}
