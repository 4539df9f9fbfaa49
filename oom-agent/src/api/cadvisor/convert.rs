//! Our events in cAdvisor's words, and the one place where its inversion lives.
//!
//! Reads an event; emits what cAdvisor would have said of it. A report of a kill becomes an `oom`, whose
//! `container_name` is the *victim's* cgroup, and for each kill an `oomKill`, whose `container_name` is the cgroup
//! whose *limit* was hit: `/` where the machine, or some of its nodes, ran out, which the kubelet takes for an OOM of
//! the system. Refuses to make that of any other kill: one by a limit that nobody named is said of the victim's own
//! cgroup, and one of no known cgroup, or of the root, is no `oomKill`. What is of no known cgroup is no `oom`, and a
//! report without a kill is nothing to cAdvisor.

use std::{borrow::Cow, fmt, str::FromStr};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

use crate::{
    event::{Cgroup, Constraint, Event, OomInstance, OomKill, Role, Scope},
    timestamp::Timestamp,
};

/// The root.
pub(super) const ROOT: &str = "/";

/// An event of cAdvisor (its `info/v1.Event`).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct CadvisorEvent {
    /// A cgroup, by its path.
    pub container_name: String,
    /// When it happened.
    pub timestamp: GoTime,
    /// What happened.
    pub event_type: CadvisorType,
    /// More of it; empty for `oom` and `containerCreation`.
    pub event_data: EventData,
}

/// What happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum CadvisorType {
    /// A process of this cgroup was killed for memory.
    Oom,
    /// This cgroup's limit had a process killed.
    OomKill,
    /// It came.
    ContainerCreation,
    /// It went.
    ContainerDeletion,
}

/// More of an event: one member at most.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventData {
    /// Of an `oomKill`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub oom: Option<OomKillData>,
    /// Of a `containerDeletion`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub container_deletion: Option<ContainerDeletionData>,
}

/// Who was killed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct OomKillData {
    /// The process; the thread, where only that is known.
    pub pid: u32,
    /// Its name.
    pub process_name: String,
    /// The kernel's `enum oom_constraint` by name; empty where nobody told.
    pub constraint: String,
}

/// How a container ended.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ContainerDeletionData {
    /// Its exit code; -1: not known.
    pub exit_code: i32,
}

/// A time as Go writes it: RFC 3339 with as many digits as it takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct GoTime(pub Timestamp);

impl fmt::Display for GoTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = jiff::Timestamp::from_nanosecond(self.0.as_unix_ns());
        time.map_err(|_| fmt::Error)?.fmt(f)
    }
}

impl Serialize for GoTime {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for GoTime {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let time = jiff::Timestamp::from_str(&text).map_err(D::Error::custom)?;
        Ok(Self(Timestamp::from_unix_ns(time.as_nanosecond())))
    }
}

impl JsonSchema for GoTime {
    fn schema_name() -> Cow<'static, str> {
        "GoTime".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

/// What cAdvisor says of an event.
pub(super) fn events(event: &Event) -> Vec<CadvisorEvent> {
    match event {
        // It has no words for these.
        Event::OomKill(_) | Event::VictimEnd(_) | Event::OomStuck(_) => Vec::new(),
        Event::OomInstance(report) => of_report(report),
        Event::ContainerCreation(created) => {
            let time = GoTime(created.time);
            let of = of(Some(&created.cgroup), time, CadvisorType::ContainerCreation);
            of.into_iter().collect()
        }
        Event::ContainerDeletion(deleted) => {
            let time = GoTime(deleted.time);
            let of = of(Some(&deleted.cgroup), time, CadvisorType::ContainerDeletion);
            let with_code = |event| CadvisorEvent {
                event_data: EventData {
                    container_deletion: Some(ContainerDeletionData {
                        exit_code: deleted.exit_code,
                    }),
                    ..EventData::default()
                },
                ..event
            };
            of.into_iter().map(with_code).collect()
        }
    }
}

/// An event that says no more; none of a cgroup that is not known.
fn of(
    cgroup: Option<&Cgroup>,
    timestamp: GoTime,
    event_type: CadvisorType,
) -> Option<CadvisorEvent> {
    Some(CadvisorEvent {
        container_name: path(cgroup)?.to_owned(),
        timestamp,
        event_type,
        event_data: EventData::default(),
    })
}

fn of_report(report: &OomInstance) -> Vec<CadvisorEvent> {
    let mut kills = report.kills.iter();
    let chosen = kills.find(|kill| kill.role == Role::Chosen);
    let Some(chosen) = chosen.or(report.kills.first()) else {
        return Vec::new();
    };
    let oom = of(
        chosen.cgroup.as_ref(),
        time(chosen, report),
        CadvisorType::Oom,
    );
    let kills = report.kills.iter().filter_map(|kill| {
        Some(CadvisorEvent {
            container_name: limit(report, kill)?.to_owned(),
            timestamp: time(kill, report),
            event_type: CadvisorType::OomKill,
            event_data: EventData {
                oom: Some(OomKillData {
                    pid: kill.victim.pid.unwrap_or(kill.victim.tid),
                    process_name: kill.victim.comm.to_string(),
                    constraint: report.constraint.map_or("", constraint).to_owned(),
                }),
                ..EventData::default()
            },
        })
    });
    oom.into_iter().chain(kills).collect()
}

/// Where there is no limit: the machine, or some of its nodes, ran out. All kills of these are said of the root, and
/// no others are.
pub(super) const OF_ROOT: [Scope; 4] =
    [Scope::System, Scope::Cpuset, Scope::Mempolicy, Scope::Sysrq];

/// The cgroup whose limit was hit, or may have been. The root has none.
fn limit<'a>(report: &'a OomInstance, kill: &'a OomKill) -> Option<&'a str> {
    if report.scope.is_some_and(|scope| OF_ROOT.contains(&scope)) {
        return Some(ROOT);
    }
    let limit = report.limit.as_ref().map(|limit| &limit.cgroup);
    let mut known = [limit, kill.cgroup.as_ref()].into_iter();
    known.find_map(|cgroup| path(cgroup).filter(|path| *path != ROOT))
}

fn path(cgroup: Option<&Cgroup>) -> Option<&str> {
    cgroup?.path.as_deref()
}

/// Go's zero time where nobody told.
fn time(kill: &OomKill, report: &OomInstance) -> GoTime {
    const ZERO_NS: i128 = -62_135_596_800_000_000_000;
    let time = kill.time.or(report.time);
    GoTime(time.unwrap_or_else(|| Timestamp::from_unix_ns(ZERO_NS)))
}

/// As the kernel's log has it.
const fn constraint(constraint: Constraint) -> &'static str {
    match constraint {
        Constraint::None => "CONSTRAINT_NONE",
        Constraint::Cpuset => "CONSTRAINT_CPUSET",
        Constraint::MemoryPolicy => "CONSTRAINT_MEMORY_POLICY",
        Constraint::Memcg => "CONSTRAINT_MEMCG",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{ContainerDeletion, Limit, LimitSource},
        text::Comm,
    };

    /// 2026-11-20T22:01:03.5Z
    const AT: i128 = 1_795_212_063_500_000_000;

    fn cgroup(path: &str) -> Cgroup {
        Cgroup {
            path: Some(path.into()),
            id: None,
            version: None,
        }
    }

    fn kill(pid: Option<u32>, tid: u32, comm: &str, path: Option<&str>) -> OomKill {
        let mut kill = OomKill::for_tests();
        kill.time = Some(Timestamp::from_unix_ns(AT));
        kill.victim.pid = pid;
        kill.victim.tid = tid;
        kill.victim.comm = Comm::new(comm.as_bytes());
        kill.cgroup = path.map(cgroup);
        kill
    }

    fn report(
        scope: Option<Scope>,
        constraint: Option<Constraint>,
        limit: Option<&str>,
        kills: Vec<OomKill>,
    ) -> String {
        let mut report = OomInstance::for_tests(kills);
        report.scope = scope;
        report.constraint = constraint;
        report.limit = limit.map(|path| Limit {
            cgroup: cgroup(path),
            level: None,
            limit_bytes: None,
            usage_bytes: None,
            failcnt: None,
            source: LimitSource::OomControl,
        });
        lines(&Event::OomInstance(Box::new(report)))
    }

    fn lines(event: &Event) -> String {
        let lines = events(event).into_iter().map(|event| {
            assert_eq!(
                serde_json::from_value::<CadvisorEvent>(serde_json::to_value(&event).unwrap())
                    .unwrap(),
                event
            );
            serde_json::to_string(&event).unwrap()
        });
        lines.collect::<Vec<_>>().join("\n")
    }

    #[test]
    fn a_kill_by_the_limit_of_a_pod() {
        let kills = vec![kill(Some(7), 8, "hog", Some("/pods/p/c"))];
        let told = report(
            Some(Scope::Memcg),
            Some(Constraint::Memcg),
            Some("/pods/p"),
            kills,
        );
        assert_eq!(
            told,
            r#"{"container_name":"/pods/p/c","timestamp":"2026-11-20T22:01:03.5Z","event_type":"oom","event_data":{}}
{"container_name":"/pods/p","timestamp":"2026-11-20T22:01:03.5Z","event_type":"oomKill","event_data":{"oom":{"pid":7,"process_name":"hog","constraint":"CONSTRAINT_MEMCG"}}}"#
        );
    }

    #[test]
    fn a_kill_by_the_machine_is_said_of_the_root() {
        let kills = vec![kill(None, 8, "", Some("/a"))];
        let told = report(Some(Scope::System), Some(Constraint::None), None, kills);
        assert_eq!(
            told,
            r#"{"container_name":"/a","timestamp":"2026-11-20T22:01:03.5Z","event_type":"oom","event_data":{}}
{"container_name":"/","timestamp":"2026-11-20T22:01:03.5Z","event_type":"oomKill","event_data":{"oom":{"pid":8,"process_name":"","constraint":"CONSTRAINT_NONE"}}}"#
        );
    }

    #[test]
    fn a_group_is_one_oom_and_as_many_kills() {
        let mut member = kill(Some(9), 9, "b", Some("/g/b"));
        member.role = Role::GroupMember;
        let kills = vec![member, kill(Some(7), 7, "a", Some("/g/a"))];
        let told = report(
            Some(Scope::Memcg),
            Some(Constraint::Memcg),
            Some("/g"),
            kills,
        );
        assert_eq!(
            told,
            r#"{"container_name":"/g/a","timestamp":"2026-11-20T22:01:03.5Z","event_type":"oom","event_data":{}}
{"container_name":"/g","timestamp":"2026-11-20T22:01:03.5Z","event_type":"oomKill","event_data":{"oom":{"pid":9,"process_name":"b","constraint":"CONSTRAINT_MEMCG"}}}
{"container_name":"/g","timestamp":"2026-11-20T22:01:03.5Z","event_type":"oomKill","event_data":{"oom":{"pid":7,"process_name":"a","constraint":"CONSTRAINT_MEMCG"}}}"#
        );
    }

    #[test]
    fn a_limit_that_nobody_named_is_not_the_roots() {
        for scope in [None, Some(Scope::Memcg)] {
            let told = report(scope, None, None, vec![kill(Some(7), 7, "a", Some("/c"))]);
            let last = told.lines().last().unwrap();
            assert!(last.starts_with(r#"{"container_name":"/c","#), "{last}");
            assert!(last.ends_with(r#""constraint":""}}}"#), "{last}");
        }
    }

    #[test]
    fn of_the_root_is_what_the_machine_did_and_nothing_else() {
        let scopes = [
            (None, false),
            (Some(Scope::Memcg), false),
            (Some(Scope::System), true),
            (Some(Scope::Cpuset), true),
            (Some(Scope::Mempolicy), true),
            (Some(Scope::Sysrq), true),
        ];
        let paths = [None, Some("/")];
        for (scope, is_of_root) in scopes {
            for (limit, own) in paths.into_iter().flat_map(|a| paths.map(|b| (a, b))) {
                let told = report(scope, None, limit, vec![kill(Some(7), 7, "a", own)]);
                let many = |what: &str| told.matches(&format!("\"{what}\"")).count();
                assert_eq!(many("oomKill"), usize::from(is_of_root), "{told}");
                assert_eq!(
                    many("oom"),
                    usize::from(own.is_some()) + many("oomKill"),
                    "{told}"
                );
            }
        }
    }

    #[test]
    fn a_report_without_a_kill_is_nothing() {
        assert_eq!(report(Some(Scope::Memcg), None, Some("/a"), Vec::new()), "");
    }

    #[test]
    fn a_container_that_went() {
        let mut gone = ContainerDeletion::for_tests();
        gone.cgroup = cgroup("/c");
        gone.exit_code = 137;
        gone.time = Timestamp::from_unix_ns(AT - 500_000_000);
        assert_eq!(
            lines(&Event::ContainerDeletion(Box::new(gone))),
            r#"{"container_name":"/c","timestamp":"2026-11-20T22:01:03Z","event_type":"containerDeletion","event_data":{"container_deletion":{"exit_code":137}}}"#
        );
    }
}
