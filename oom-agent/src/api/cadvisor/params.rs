//! What cAdvisor can be asked for.
//!
//! Reads its parameters and the name of a container; emits what is wanted. Refuses words that are none of
//! its own: booleans are those of Go's `strconv.ParseBool`, times RFC 3339.

use std::{borrow::Cow, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, de::Error as _};

use super::convert::{CadvisorEvent, CadvisorType, OF_ROOT, ROOT};
use crate::{
    api::{Problem, query::refused},
    event::Kind,
    store::{CgroupFilter, Filter},
    timestamp::Timestamp,
};

/// How many if nothing is said.
const MAX_EVENTS: usize = 10;

/// How many cAdvisor keeps of a type; -1 asks for all.
const ALL_EVENTS: usize = 100_000;

/// No report is open for longer: a kill in it is no later than this after the report's own time.
const OPEN_NS: i64 = 60_000_000_000;

/// Parameters, by their names in the query.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Parameters {
    /// Whether to go on for ever, with what happens from now on.
    stream: Option<Flag>,
    /// Whether the containers below that one are meant, too.
    subcontainers: Option<Flag>,
    /// Whether all four types are meant.
    all_events: Option<Flag>,
    /// Whether `oom` is meant: by the cgroup of the victim.
    oom_events: Option<Flag>,
    /// Whether `oomKill` is meant: by the cgroup whose limit was hit, `/` where there was none.
    oom_kill_events: Option<Flag>,
    /// Whether `containerCreation` is meant.
    creation_events: Option<Flag>,
    /// Whether `containerDeletion` is meant.
    deletion_events: Option<Flag>,
    /// The newest so many; 10 if nothing is said, -1: all.
    #[schemars(range(min = -1))]
    max_events: Option<i64>,
    /// Not before this; not for a stream.
    start_time: Option<Time>,
    /// Not after this; not for a stream.
    end_time: Option<Time>,
}

/// A boolean as Go reads it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Flag(bool);

/// A time as RFC 3339 has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Time(Timestamp);

const TRUE: [&str; 6] = ["1", "t", "T", "TRUE", "true", "True"];
const FALSE: [&str; 6] = ["0", "f", "F", "FALSE", "false", "False"];

impl<'de> Deserialize<'de> for Flag {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = Cow::<str>::deserialize(deserializer)?;
        match word.as_ref() {
            word if TRUE.contains(&word) => Ok(Self(true)),
            word if FALSE.contains(&word) => Ok(Self(false)),
            word => Err(D::Error::custom(format!(
                "{word:?} is neither true nor false"
            ))),
        }
    }
}

impl JsonSchema for Flag {
    fn schema_name() -> Cow<'static, str> {
        "Flag".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let words = [TRUE, FALSE].concat();
        json_schema!({ "type": "string", "enum": words })
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let word = Cow::<str>::deserialize(deserializer)?;
        let time = jiff::Timestamp::from_str(&word);
        let time =
            time.map_err(|_| D::Error::custom(format!("{word:?} is no time of RFC 3339")))?;
        Ok(Self(Timestamp::from_unix_ns(time.as_nanosecond())))
    }
}

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

/// What is wanted.
#[derive(Clone, Debug)]
pub(super) struct Request {
    /// Path of the cgroup, from the root.
    container: String,
    below: bool,
    types: Vec<CadvisorType>,
    start: Option<Timestamp>,
    end: Option<Timestamp>,
    /// No more than so many.
    pub(super) at_most: usize,
    /// As they come.
    pub(super) stream: bool,
}

impl Request {
    /// What these parameters ask of that container.
    pub(super) fn new(name: &str, parameters: &Parameters) -> Result<Self, Problem> {
        let is_set = |flag: Option<Flag>| flag.unwrap_or_default().0;
        let at_most = match parameters.max_events {
            None => MAX_EVENTS,
            Some(-1) => ALL_EVENTS,
            Some(number) => usize::try_from(number)
                .map_err(|_| refused(format!("max_events: {number} is below -1")))?
                .min(ALL_EVENTS),
        };
        let stream = is_set(parameters.stream);
        let (start, end) = (parameters.start_time, parameters.end_time);
        if stream && (start.is_some() || end.is_some()) {
            return Err(refused("a stream has neither start_time nor end_time"));
        }
        let types = [
            (parameters.oom_events, CadvisorType::Oom),
            (parameters.oom_kill_events, CadvisorType::OomKill),
            (parameters.creation_events, CadvisorType::ContainerCreation),
            (parameters.deletion_events, CadvisorType::ContainerDeletion),
        ];
        let all = is_set(parameters.all_events);
        let types = types.into_iter().filter(|(flag, _)| all || is_set(*flag));
        Ok(Self {
            container: absolute(name),
            below: is_set(parameters.subcontainers),
            types: types.map(|(_, of)| of).collect(),
            start: start.map(|Time(time)| time),
            end: end.map(|Time(time)| time),
            at_most,
            stream,
        })
    }

    /// What the store is asked, each on its own: together all that may hold an event that is meant, and little more,
    /// as each costs what it finds. Nothing if no type is wanted.
    pub(super) fn searches(&self) -> Vec<Filter> {
        let all = self.filter();
        if self.types.is_empty() {
            return Vec::new();
        }
        if self.container != ROOT || self.below {
            return vec![all];
        }
        // What is said of the root alone: what the machine did, and what happened in the root itself.
        let mut searches = Vec::new();
        if self.types.contains(&CadvisorType::OomKill) {
            searches.extend(OF_ROOT.map(|scope| Filter {
                kinds: vec![Kind::OomInstance],
                scope: Some(scope),
                ..all.clone()
            }));
        }
        if self.types.iter().any(|of| *of != CadvisorType::OomKill) {
            searches.push(Filter {
                cgroup: Some(CgroupFilter {
                    path: ROOT.into(),
                    subtree: false,
                }),
                ..all
            });
        }
        searches
    }

    /// What live listeners are asked: all that may hold an event that is meant, and more.
    pub(super) fn filter(&self) -> Filter {
        let ns = |time: Timestamp| {
            let ns = time.as_unix_ns();
            i64::try_from(ns).unwrap_or(if ns < 0 { i64::MIN } else { i64::MAX })
        };
        let mut kinds: Vec<_> = self.types.iter().map(|of| of.kind()).collect();
        kinds.dedup();
        Filter {
            since: self.start.map(|start| ns(start).saturating_sub(OPEN_NS)),
            until: self.end.map(ns),
            kinds,
            // What the machine did is said of the root, whose cgroup is none of the event's.
            cgroup: (self.container != ROOT).then(|| CgroupFilter {
                path: self.container.clone(),
                subtree: self.below,
            }),
            ..Filter::default()
        }
    }

    /// Whether this event is meant.
    pub(super) fn means(&self, event: &CadvisorEvent) -> bool {
        let at = event.timestamp;
        self.types.contains(&event.event_type)
            && self.start.is_none_or(|start| start <= at.0)
            && self.end.is_none_or(|end| at.0 <= end)
            && self.is_of(&event.container_name)
    }

    fn is_of(&self, name: &str) -> bool {
        let below = || {
            let rest = name.strip_prefix(&self.container);
            self.container == "/" || rest.is_some_and(|rest| rest.starts_with('/'))
        };
        name == self.container || self.below && below()
    }
}

impl CadvisorType {
    const fn kind(self) -> Kind {
        match self {
            Self::Oom | Self::OomKill => Kind::OomInstance,
            Self::ContainerCreation => Kind::ContainerCreation,
            Self::ContainerDeletion => Kind::ContainerDeletion,
        }
    }
}

/// From the root, without `.`, `..` and empty parts, as Go's `path.Join` has it.
fn absolute(name: &str) -> String {
    let mut parts = Vec::new();
    for part in name.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    format!("/{}", parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::query::Query;

    fn request(name: &str, query: &str) -> Result<Request, String> {
        let parameters = Query::of(Some(query)).and_then(|query| query.read::<Parameters>());
        let request = parameters.and_then(|parameters| Request::new(name, &parameters));
        request.map_err(|problem| problem.detail)
    }

    #[test]
    fn what_is_not_said_is_as_in_cadvisor() {
        let request = request("", "").unwrap();
        assert_eq!(request.container, "/");
        assert_eq!(
            (request.at_most, request.stream, request.below),
            (10, false, false)
        );
        assert!(request.searches().is_empty());
    }

    #[test]
    fn names_are_cleaned_as_go_cleans_them() {
        for (name, path) in [
            ("", "/"),
            ("docker/abc", "/docker/abc"),
            ("//docker//abc/", "/docker/abc"),
            ("./a/../b/.", "/b"),
            ("../..", "/"),
            ("...", "/..."),
        ] {
            assert_eq!(absolute(name), path, "{name}");
        }
    }

    #[test]
    fn booleans_are_gos() {
        for word in TRUE {
            assert!(request("", &format!("stream={word}")).unwrap().stream);
        }
        for word in FALSE {
            assert!(!request("", &format!("stream={word}")).unwrap().stream);
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for (query, words) in [
            ("stream=yes", "stream: \"yes\" is neither"),
            ("subcontainers=", "subcontainers: \"\" is neither"),
            ("max_events=-2", "-2 is below -1"),
            ("max_events=ten", "max_events: "),
            (
                "start_time=yesterday",
                "start_time: \"yesterday\" is no time",
            ),
            ("oom_event=true", "oom_event: unknown field"),
            (
                "stream=1&end_time=2026-01-01T00:00:00Z",
                "a stream has neither",
            ),
            ("oom_events=1&oom_events=0", "given twice"),
        ] {
            let refused = request("", query).unwrap_err();
            assert!(refused.contains(words), "{query}: {refused}");
        }
    }

    #[test]
    fn types_and_numbers() {
        let some = request("a", "oom_events=1&deletion_events=t&creation_events=0").unwrap();
        assert_eq!(
            some.types,
            [CadvisorType::Oom, CadvisorType::ContainerDeletion]
        );
        assert_eq!(
            some.filter().kinds,
            [Kind::OomInstance, Kind::ContainerDeletion]
        );
        let all = request("a", "all_events=true&oom_events=false&max_events=-1").unwrap();
        assert_eq!((all.types.len(), all.at_most), (4, ALL_EVENTS));
        assert_eq!(all.filter().kinds.len(), 3);
        assert_eq!(request("a", "max_events=0").unwrap().at_most, 0);
    }

    #[test]
    fn a_container_and_those_below_it() {
        let alone = request("a", "all_events=1").unwrap();
        let below = request("a", "all_events=1&subcontainers=1").unwrap();
        let all = request("", "all_events=1&subcontainers=1").unwrap();
        for (name, is_it, is_below) in [
            ("/a", true, true),
            ("/a/b", false, true),
            ("/ab", false, false),
            ("/", false, false),
        ] {
            assert_eq!(alone.is_of(name), is_it, "{name}");
            assert_eq!(below.is_of(name), is_below, "{name}");
            assert!(all.is_of(name), "{name}");
        }
    }
}
