//! An event as a log record.
//!
//! Reads an event as it is stored; emits a record with the names of the semantic conventions where there are such
//! (<https://opentelemetry.io/docs/specs/semconv/registry/attributes/>), else with names below `oom.`. Pure. Every
//! plain member of an event is there, also of kinds that came later than this file. Refuses what is no event.

use opentelemetry_proto::tonic::{
    common::v1::{AnyValue, any_value},
    logs::v1::{LogRecord, SeverityNumber},
};
use serde::Deserialize as _;
use serde_json::Value;

use super::{attributes::Attributes, image::Image};
use crate::{
    event::{Event, Kind, Pod, Timestamp},
    stdout::Renderer,
    store::Stored,
};

/// Bytes of the body at most: a report may have a table of thousands of processes, and the event is in the store.
const BODY: usize = 16 * 1024;

/// Members that are told by other means, or of no use.
const TOLD: [&str; 7] = [
    "schema", "kind", "id", "time", "node", "cluster", "backfill",
];

/// Of whom the event is: names of the conventions, and where their values are.
const OF_PROCESS: [(&str, &str); 9] = [
    ("process.pid", "/victim/pid"),
    ("process.parent_pid", "/victim/ppid"),
    ("process.executable.path", "/victim/exe"),
    ("process.command_line", "/victim/cmdline"),
    ("process.real_user.id", "/victim/uid"),
    ("process.creation.time", "/victim/start_time"),
    ("oom.victim.comm", "/victim/comm"),
    ("oom.victim.tid", "/victim/tid"),
    ("oom.victim.oom_score_adj", "/victim/oom_score_adj"),
];

/// Whose it was.
const OF_OWNER: [(&str, &str); 7] = [
    ("oom.owner.kind", "/owner/kind"),
    ("oom.owner.unit", "/owner/unit"),
    ("oom.owner.machine", "/owner/machine"),
    ("container.id", "/owner/container_id"),
    ("container.name", "/owner/container_name"),
    ("container.runtime.name", "/owner/runtime"),
    ("oom.cgroup.path", "/cgroup/path"),
];

/// In which pod of Kubernetes.
const OF_POD: [(&str, &str); 3] = [
    ("k8s.namespace.name", "/owner/pod/namespace"),
    ("k8s.pod.name", "/owner/pod/name"),
    ("k8s.pod.uid", "/owner/pod/uid"),
];

/// What was hit, and who asked.
const OF_REPORT: [(&str, &str); 8] = [
    ("oom.limit.cgroup.path", "/limit/cgroup/path"),
    ("oom.limit.level", "/limit/level"),
    ("oom.limit.bytes", "/limit/limit_bytes"),
    ("oom.limit.usage_bytes", "/limit/usage_bytes"),
    ("oom.limit.source", "/limit/source"),
    ("oom.trigger.comm", "/trigger/comm"),
    ("oom.trigger.pid", "/trigger/pid"),
    ("oom.trigger.allocation", "/trigger/allocation"),
];

/// The record.
pub(super) fn of(stored: &Stored) -> Result<LogRecord, String> {
    let failed = |error: serde_json::Error| error.to_string();
    let value: Value = serde_json::from_str(&stored.body).map_err(failed)?;
    let event: Event = serde_json::from_str(&stored.body).map_err(failed)?;
    let mut text = Vec::new();
    Renderer::plain().render(&event, &mut text);
    let known = event.time().map_or(0, unix_ns);
    let severity = severity(&value, stored.kind);
    Ok(LogRecord {
        time_unix_nano: known,
        observed_time_unix_nano: observed(&value, stored),
        severity_number: severity.into(),
        severity_text: severity_text(severity).to_owned(),
        body: Some(AnyValue {
            value: Some(any_value::Value::StringValue(bounded(&text))),
        }),
        attributes: attributes(&value, stored),
        event_name: event_name(stored.kind),
        ..LogRecord::default()
    })
}

fn attributes(
    value: &Value,
    stored: &Stored,
) -> Vec<opentelemetry_proto::tonic::common::v1::KeyValue> {
    let mut attributes = Attributes::default();
    attributes.text("log.record.uid", &stored.uid());
    attributes.text("oom.event.id", &stored.id);
    // A report is of whom its first kill is.
    let kill = value.get("kill").or(value.pointer("/kills/0"));
    let of = kill.unwrap_or(value);
    let pod = of.pointer("/owner/pod");
    let pod = pod.and_then(|pod| Pod::deserialize(pod).ok());
    let in_kubernetes = pod.as_ref().is_some_and(|pod| !pod.is_of_podman());
    for (key, pointer) in OF_PROCESS.into_iter().chain(OF_OWNER) {
        attributes.json(key, of.pointer(pointer));
    }
    if let Some(pod) = pod.filter(Pod::is_of_podman) {
        attributes.text("oom.owner.pod.id", &pod.uid);
    } else {
        for (key, pointer) in OF_POD {
            attributes.json(key, of.pointer(pointer));
        }
    }
    for (key, pointer) in OF_REPORT {
        attributes.json(key, value.pointer(pointer));
    }
    let text = |pointer: &str| of.pointer(pointer).and_then(Value::as_str);
    // By the conventions the last part of the path; where that is not known, the name that the kernel has.
    let path = text("/victim/exe").and_then(|exe| exe.rsplit('/').next());
    let name = path.or(text("/victim/comm")).unwrap_or_default();
    attributes.text("process.executable.name", name);
    if let Some(image) = text("/owner/image") {
        let image = Image::of(image);
        attributes.text("container.image.name", image.name);
        attributes.list("container.image.tags", image.tag);
        attributes.list("container.image.repo_digests", &image.repo_digest);
        attributes.text("container.image.id", image.id);
    }
    if in_kubernetes {
        attributes.text(
            "k8s.container.name",
            text("/owner/container_name").unwrap_or_default(),
        );
        let node = value.get("node").and_then(Value::as_str);
        attributes.text("k8s.node.name", node.unwrap_or_default());
    }
    if let Some(kills) = value.get("kills").and_then(Value::as_array) {
        attributes.json("oom.kills", Some(&kills.len().into()));
    }
    let members = value.as_object().into_iter().flatten();
    for (name, member) in members.filter(|(name, _)| !TOLD.contains(&name.as_str())) {
        attributes.json(&format!("oom.{name}"), Some(member));
    }
    for part in ["memory", "end"] {
        let members = of.get(part).and_then(Value::as_object);
        for (name, member) in members.into_iter().flatten() {
            attributes.json(&format!("oom.{part}.{name}"), Some(member));
        }
    }
    attributes.0
}

/// When the agent knew it; of what tells no time, when it was stored.
fn observed(value: &Value, stored: &Stored) -> u64 {
    let late = ["detection_latency_ns", "open_for_ns"]
        .into_iter()
        .find_map(|name| value.get(name)?.as_u64());
    u64::try_from(stored.time_ns)
        .unwrap_or(0)
        .saturating_add(late.unwrap_or(0))
}

fn unix_ns(time: Timestamp) -> u64 {
    u64::try_from(time.as_unix_ns()).unwrap_or(0)
}

/// A kill is an error of somebody; a machine that has no memory left, or a victim that does not die, is worse.
fn severity(value: &Value, kind: Kind) -> SeverityNumber {
    let is = |name: &str, words: &[&str]| {
        let word = value.get(name).and_then(Value::as_str);
        word.is_some_and(|word| words.contains(&word))
    };
    match kind.as_str() {
        "OomStuck" => SeverityNumber::Fatal,
        "OomInstance" if is("scope", &["system"]) || is("outcome", &["panic", "no_victim"]) => {
            SeverityNumber::Fatal
        }
        "OomInstance" | "OomKill" => SeverityNumber::Error,
        _ => SeverityNumber::Info,
    }
}

const fn severity_text(severity: SeverityNumber) -> &'static str {
    match severity {
        SeverityNumber::Fatal => "FATAL",
        SeverityNumber::Error => "ERROR",
        _ => "INFO",
    }
}

/// `OomKill` as `oom.kill`: the first word is the name's space.
fn event_name(kind: Kind) -> String {
    kind.words().join("_").replacen('_', ".", 1)
}

fn bounded(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let text = text.trim_end();
    let mut end = text.len().min(BODY);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    let mark = if end < text.len() { "…" } else { "" };
    format!("{}{mark}", &text[..end])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        event::{
            Cgroup, End, Limit, LimitSource, OomInstance, OomKill, Owner, OwnerKind, Pod, Scope,
            VictimEnd,
        },
        store::Cursor,
    };

    fn stored(event: &Event) -> Stored {
        Stored {
            seq: 7,
            cursor: "1.0.7".parse::<Cursor>().unwrap(),
            kind: event.kind(),
            id: event.id().to_string(),
            time_ns: 1_790_000_000_000_000_000,
            body: serde_json::to_string(event).unwrap(),
        }
    }

    fn kill() -> OomKill {
        let mut kill = OomKill::for_tests();
        kill.time = Some(Timestamp::from_unix_ns(1_790_000_000_000_000_000));
        kill.detection_latency_ns = Some(84_000);
        kill.victim.pid = Some(4242);
        kill.victim.exe = Some("/usr/bin/java".to_owned());
        kill.memory.anon_bytes = Some(1 << 20);
        kill.owner = Some(Owner {
            container_name: Some("app".to_owned()),
            image: Some("registry:5000/shop/cart:v2".to_owned()),
            pod: Some(Pod {
                namespace: Some("shop".to_owned()),
                name: Some("cart-0".to_owned()),
                uid: "u-i-d".to_owned(),
                qos: None,
            }),
            ..Owner::of(OwnerKind::Container)
        });
        kill
    }

    fn shown(record: &LogRecord) -> Vec<(String, String)> {
        let shown = |value: &AnyValue| match value.value.as_ref().unwrap() {
            any_value::Value::StringValue(text) => text.clone(),
            any_value::Value::IntValue(int) => int.to_string(),
            any_value::Value::BoolValue(bool) => bool.to_string(),
            any_value::Value::ArrayValue(array) => match array.values.as_slice() {
                [
                    AnyValue {
                        value: Some(any_value::Value::StringValue(text)),
                    },
                ] => format!("[{text}]"),
                other => panic!("{other:?}"),
            },
            other => panic!("{other:?}"),
        };
        let attributes = record.attributes.iter();
        attributes
            .map(|it| (it.key.clone(), shown(it.value.as_ref().unwrap())))
            .collect()
    }

    #[test]
    fn a_kill_is_told_by_the_conventions() {
        let record = of(&stored(&Event::OomKill(Box::new(kill())))).unwrap();
        assert_eq!(record.event_name, "oom.kill");
        assert_eq!(record.severity_number(), SeverityNumber::Error);
        assert_eq!(record.time_unix_nano, 1_790_000_000_000_000_000);
        assert_eq!(record.observed_time_unix_nano, 1_790_000_000_000_084_000);
        let shown = shown(&record);
        for (key, value) in [
            ("log.record.uid", "OomKill:id"),
            ("process.pid", "4242"),
            ("process.executable.name", "java"),
            ("process.executable.path", "/usr/bin/java"),
            ("container.image.name", "registry:5000/shop/cart"),
            ("container.image.tags", "[v2]"),
            ("k8s.namespace.name", "shop"),
            ("k8s.pod.name", "cart-0"),
            ("k8s.pod.uid", "u-i-d"),
            ("k8s.container.name", "app"),
            ("k8s.node.name", "node"),
            ("oom.instance_id", "instance"),
            ("oom.role", "chosen"),
            ("oom.memory.anon_bytes", "1048576"),
            ("oom.detection_latency_ns", "84000"),
        ] {
            let wanted = (key.to_owned(), value.to_owned());
            assert!(shown.contains(&wanted), "no {wanted:?} in {shown:#?}");
        }
        let mut keys: Vec<_> = shown.iter().map(|(key, _)| key).collect();
        keys.sort_unstable();
        let all = keys.len();
        keys.dedup();
        assert_eq!(keys.len(), all, "{shown:#?}");
        let Some(any_value::Value::StringValue(body)) = record.body.unwrap().value else {
            panic!()
        };
        assert!(
            body.contains("OOM KILL") && body.contains("pid 4242"),
            "{body}"
        );
        assert!(!body.contains('\x1b') && !body.ends_with('\n'));
    }

    #[test]
    fn a_pod_of_podmans_is_none_of_kubernetes() {
        let mut kill = kill();
        let pod = kill.owner.as_mut().and_then(|owner| owner.pod.as_mut());
        let id = "5f".repeat(32);
        pod.unwrap().uid.clone_from(&id);
        let shown = shown(&of(&stored(&Event::OomKill(Box::new(kill)))).unwrap());
        assert!(shown.contains(&("oom.owner.pod.id".to_owned(), id)));
        let of_kubernetes = shown.iter().any(|(key, _)| key.starts_with("k8s."));
        assert!(!of_kubernetes, "{shown:#?}");
    }

    #[test]
    fn a_report_is_of_whom_its_first_kill_is_and_names_the_limit() {
        let mut report = OomInstance::for_tests(vec![kill()]);
        report.limit = Some(Limit {
            cgroup: Cgroup {
                path: Some("/kubepods/x".to_owned()),
                id: None,
                version: None,
            },
            level: None,
            limit_bytes: Some(32 << 20),
            usage_bytes: None,
            failcnt: None,
            source: LimitSource::OomControl,
        });
        let of_limit = of(&stored(&Event::OomInstance(Box::new(report.clone())))).unwrap();
        assert_eq!(of_limit.event_name, "oom.instance");
        assert_eq!(of_limit.severity_number(), SeverityNumber::Error);
        let shown = shown(&of_limit);
        for (key, value) in [
            ("k8s.pod.name", "cart-0"),
            ("oom.limit.bytes", "33554432"),
            ("oom.limit.cgroup.path", "/kubepods/x"),
            ("oom.outcome", "killed"),
            ("oom.kills", "1"),
        ] {
            assert!(
                shown.contains(&(key.to_owned(), value.to_owned())),
                "{shown:#?}"
            );
        }
        report.scope = Some(Scope::System);
        let of_machine = of(&stored(&Event::OomInstance(Box::new(report)))).unwrap();
        assert_eq!(of_machine.severity_number(), SeverityNumber::Fatal);
    }

    #[test]
    fn an_end_is_of_whom_the_kill_is() {
        let mut kill = kill();
        kill.end = Some(End {
            exit_after_ns: Some(7),
            ..End::default()
        });
        let end = VictimEnd {
            cluster: Some("prod".into()),
            kill,
            ..VictimEnd::for_tests()
        };
        let record = of(&stored(&Event::VictimEnd(Box::new(end)))).unwrap();
        assert_eq!(record.event_name, "victim.end");
        assert_eq!(record.severity_number(), SeverityNumber::Info);
        let shown = shown(&record);
        for (key, value) in [("k8s.pod.name", "cart-0"), ("oom.end.exit_after_ns", "7")] {
            assert!(
                shown.contains(&(key.to_owned(), value.to_owned())),
                "{shown:#?}"
            );
        }
    }

    #[test]
    fn names_of_kinds_and_long_bodies() {
        let names = Kind::ALL.map(event_name);
        assert!(
            names.contains(&"container.creation".to_owned()),
            "{names:?}"
        );
        let long = "ü".repeat(BODY);
        let cut = bounded(long.as_bytes());
        assert!(cut.len() <= BODY + "…".len() && cut.ends_with("ü…"));
        assert!(
            of(&Stored {
                body: "{}".to_owned(),
                ..stored(&Event::OomKill(Box::new(kill())))
            })
            .is_err()
        );
    }
}
