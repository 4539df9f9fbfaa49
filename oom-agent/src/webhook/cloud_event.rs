//! An event as a `CloudEvent` (<https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/spec.md>).
//!
//! Reads an event as it is stored; emits JSON in the structured mode, with the event in `data` as it is on standard
//! output. Pure. Refuses what is no JSON object.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::{
    event::{Cgroup, Owner},
    host::Host,
    store::Stored,
};

/// What is encoded in a part of a path (RFC 3986, section 2.3).
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'.')
    .remove(b'_')
    .remove(b'~');

/// What the types of all events begin with.
const TYPES: &str = "io.oom-agent.";

#[derive(Serialize)]
struct CloudEvent<'a> {
    specversion: &'static str,
    id: &'a str,
    source: &'a str,
    r#type: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    time: Option<&'a str>,
    datacontenttype: &'static str,
    data: &'a RawValue,
}

/// Of an event, what its envelope repeats.
#[derive(Deserialize)]
struct Head<'a> {
    time: Option<&'a str>,
    owner: Option<Owner>,
    cgroup: Option<Cgroup>,
    kill: Option<Whose>,
    #[serde(default)]
    kills: Vec<Whose>,
}

/// Of a kill that an event tells of.
#[derive(Deserialize)]
struct Whose {
    owner: Option<Owner>,
    cgroup: Option<Cgroup>,
}

/// Whose events these are: `/oom-agent/CLUSTER/NODE`, or without a cluster that nobody has told.
pub(super) fn source(host: &Host) -> String {
    let mut source = "/oom-agent".to_owned();
    for name in host.cluster.iter().chain(&host.node) {
        source.push('/');
        source.extend(utf8_percent_encode(name, SEGMENT));
    }
    source
}

/// The JSON.
pub(super) fn json(event: &Stored, id: &str, source: &str) -> Result<String, serde_json::Error> {
    let head: Head<'_> = serde_json::from_str(&event.body)?;
    let mut whose = vec![Whose {
        owner: head.owner,
        cgroup: head.cgroup,
    }];
    whose.extend(head.kill.into_iter().chain(head.kills));
    let cloud_event = CloudEvent {
        specversion: "1.0",
        id,
        source,
        r#type: format!("{TYPES}{}", event.kind.words().join("_")),
        subject: whose.iter().find_map(subject),
        time: head.time,
        datacontenttype: "application/json",
        data: serde_json::from_str(&event.body)?,
    };
    serde_json::to_string(&cloud_event)
}

/// Whose it is, as far as it has a name; else the path of the cgroup.
fn subject(of: &Whose) -> Option<String> {
    let owner = of.owner.as_ref();
    let pod = owner.and_then(|owner| owner.pod.as_ref());
    let container = owner.and_then(|owner| owner.container_name.as_ref());
    if let Some(pod) = pod
        && let (Some(namespace), Some(name)) = (&pod.namespace, &pod.name)
    {
        let parts = [Some(namespace), Some(name), container];
        let parts: Vec<_> = parts.into_iter().flatten().map(String::as_str).collect();
        return Some(parts.join("/"));
    }
    let named = owner.and_then(|owner| {
        let machine = owner.machine.as_ref();
        container.or(owner.unit.as_ref()).or(machine)
    });
    let path = of.cgroup.as_ref().and_then(|cgroup| cgroup.path.as_ref());
    named.or(path).filter(|it| !it.is_empty()).cloned()
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::{
        event::{Event, OomInstance, OomKill, OwnerKind, Pod, VictimEnd},
        store::Cursor,
    };

    fn told(event: &Event) -> Value {
        let stored = Stored {
            seq: 7,
            cursor: "1.0.7".parse::<Cursor>().unwrap(),
            kind: event.kind(),
            id: event.id().to_string(),
            time_ns: 0,
            body: serde_json::to_string(event).unwrap(),
        };
        let text = json(&stored, &stored.uid(), "/oom-agent/node-1").unwrap();
        serde_json::from_str(&text).unwrap()
    }

    fn kill() -> OomKill {
        let mut kill = OomKill::for_tests();
        kill.cgroup = Some(Cgroup {
            path: Some("/kubepods/x".to_owned()),
            id: None,
            version: None,
        });
        kill
    }

    #[test]
    fn an_event_is_told_with_its_envelope() {
        let event = Event::OomKill(Box::new(kill()));
        let wanted = json!({
            "specversion": "1.0",
            "id": "OomKill:id",
            "source": "/oom-agent/node-1",
            "type": "io.oom-agent.oom_kill",
            "subject": "/kubepods/x",
            "time": "1970-01-01T00:00:00.000000000Z",
            "datacontenttype": "application/json",
            "data": event,
        });
        assert_eq!(told(&event), wanted);
    }

    #[test]
    fn a_report_is_of_whom_its_first_kill_is() {
        let mut of_pod = kill();
        of_pod.owner = Some(Owner {
            container_name: Some("app".to_owned()),
            pod: Some(Pod {
                namespace: Some("shop".to_owned()),
                name: Some("cart-0".to_owned()),
                uid: "u".to_owned(),
                qos: None,
            }),
            ..Owner::of(OwnerKind::Container)
        });
        let mut report = OomInstance::for_tests(vec![of_pod, kill()]);
        report.time = None;
        let told = told(&Event::OomInstance(Box::new(report)));
        assert_eq!(told["subject"], "shop/cart-0/app");
        assert_eq!(told["type"], "io.oom-agent.oom_instance");
        assert_eq!(told.get("time"), None);
    }

    #[test]
    fn an_end_is_of_whom_the_kill_is() {
        let end = VictimEnd {
            kill: kill(),
            ..VictimEnd::for_tests()
        };
        let told = told(&Event::VictimEnd(Box::new(end)));
        assert_eq!(told["type"], "io.oom-agent.victim_end");
        assert_eq!(told["subject"], "/kubepods/x");
    }

    #[test]
    fn the_source_is_a_path() {
        let mut host = Host::new("b-o-o-t", "node 1");
        assert_eq!(source(&host), "/oom-agent/node%201");
        host.cluster = Some("prod".into());
        assert_eq!(source(&host), "/oom-agent/prod/node%201");
    }

    #[test]
    fn what_nobody_knows_is_left_out() {
        let bare = Event::OomKill(Box::new(OomKill::for_tests()));
        assert_eq!(told(&bare).get("subject"), None);
    }
}
