//! What a report, or a victim that does not end, has to tell Kubernetes.
//!
//! Reads a report; emits one [`Post`] for each kill in a pod, and one for each kill for want of memory on the
//! node. Reads what is told of a victim that is stuck; emits one for its pod, else for the node. Pure. Refuses a pod
//! without namespace and name, and names that Kubernetes would not take.

use k8s_openapi::{
    api::{
        core::v1::ObjectReference,
        events::v1::{Event, EventSeries},
    },
    apimachinery::pkg::apis::meta::v1::{MicroTime, ObjectMeta},
    jiff,
};
use serde::{Deserialize, Serialize};

use super::{name, note};
use crate::event::{OomInstance, OomKill, OomStuck, Outcome, Owner, Pod, Scope};

/// `reportingController` of all events.
const CONTROLLER: &str = "oom-agent";

/// Bytes of `reportingInstance` that are taken.
const INSTANCE: usize = 128;

/// What an event is about; kills of one are told as series.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Object {
    /// A pod, or a container of it.
    Pod {
        namespace: String,
        name: String,
        uid: String,
        container: Option<String>,
    },
    /// The node.
    Node { name: String },
}

/// What happened to it; what is alike is told as a series.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum What {
    /// The kernel has killed.
    #[default]
    Killed,
    /// What it has killed does not end.
    Stuck,
}

/// One kill, or one victim that is stuck, that is to be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Post {
    pub(super) object: Object,
    pub(super) what: What,
    /// Name of its event, if it begins a series.
    pub(super) name: String,
    /// Unix time of the kill, or of when the victim was looked at.
    pub(super) time_ns: i64,
    pub(super) note: String,
}

/// What cannot be told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unfit {
    /// The kill, or the report.
    pub(super) id: String,
    pub(super) why: String,
}

/// What is to be told of a report on this node, and what cannot be.
pub(super) fn of(report: &OomInstance, node: &str) -> (Vec<Post>, Vec<Unfit>) {
    let mut posts = Vec::new();
    let mut refused = Vec::new();
    let mut put = |id: &str, post: Result<Post, String>| match post {
        Ok(post) => posts.push(post),
        Err(why) => refused.push(Unfit {
            id: id.to_owned(),
            why,
        }),
    };
    for kill in &report.kills {
        let pod = kill.owner.as_ref().and_then(Owner::kubernetes_pod);
        if let Some(pod) = pod {
            put(&kill.id, on_pod(report, kill, pod));
        }
        if is_of_node(report.scope) {
            put(&kill.id, on_node(report, Some(kill), node));
        }
    }
    let nothing_to_kill = matches!(report.outcome, Some(Outcome::NoVictim | Outcome::Panic));
    if nothing_to_kill && is_of_node(report.scope) {
        put(&report.id, on_node(report, None, node));
    }
    (posts, refused)
}

/// What is to be told of a victim on this node that has not ended; or why it cannot be.
pub(super) fn of_stuck(stuck: &OomStuck, node: &str) -> Result<Post, String> {
    let kill = &stuck.kill;
    let pod = kill.owner.as_ref().and_then(Owner::kubernetes_pod);
    let (object, about) = match pod {
        Some(pod) => pod_of(kill, pod)?,
        None => node_of(node)?,
    };
    let time = i64::try_from(stuck.time.as_unix_ns());
    Ok(Post {
        name: name::of_event(about, "", &stuck.id),
        object,
        what: What::Stuck,
        time_ns: time.map_err(|_| "its time is not known")?,
        note: note::of_stuck(stuck),
    })
}

/// Where the kernel names no cgroup's limit, which is what the kubelet goes by.
const fn is_of_node(scope: Option<Scope>) -> bool {
    matches!(
        scope,
        Some(Scope::System | Scope::Cpuset | Scope::Mempolicy | Scope::Sysrq)
    )
}

fn on_pod(report: &OomInstance, kill: &OomKill, pod: &Pod) -> Result<Post, String> {
    let (object, name) = pod_of(kill, pod)?;
    Ok(Post {
        object,
        what: What::Killed,
        name: name::of_event(name, "", &kill.id),
        time_ns: time_ns(report, Some(kill))?,
        note: note::of_pod(report, kill),
    })
}

fn on_node(report: &OomInstance, kill: Option<&OomKill>, node: &str) -> Result<Post, String> {
    let (object, name) = node_of(node)?;
    let id = kill.map_or(&report.id, |kill| &kill.id);
    Ok(Post {
        object,
        what: What::Killed,
        name: name::of_event(name, "system-", id),
        time_ns: time_ns(report, kill)?,
        note: note::of_node(kill),
    })
}

/// The pod, or the container of it, that this kill was in; and its name.
fn pod_of<'a>(kill: &OomKill, pod: &'a Pod) -> Result<(Object, &'a str), String> {
    let (Some(namespace), Some(name)) = (&pod.namespace, &pod.name) else {
        return Err(format!(
            "namespace and name of pod {:?} are not known",
            pod.uid
        ));
    };
    if !name::is_label(namespace) || !name::is_subdomain(name) {
        return Err(format!("not names of Kubernetes: {namespace:?}, {name:?}"));
    }
    let owner = kill.owner.as_ref();
    let container = owner.and_then(|owner| owner.container_name.clone());
    let object = Object::Pod {
        namespace: namespace.clone(),
        name: name.clone(),
        uid: pod.uid.clone(),
        container: container.filter(|container| name::is_label(container)),
    };
    Ok((object, name))
}

fn node_of(node: &str) -> Result<(Object, &str), String> {
    if !name::is_subdomain(node) {
        return Err(format!("not the name of a node of Kubernetes: {node:?}"));
    }
    let name = node.to_owned();
    Ok((Object::Node { name }, node))
}

fn time_ns(report: &OomInstance, kill: Option<&OomKill>) -> Result<i64, String> {
    let time = kill.and_then(|kill| kill.time).or(report.time);
    time.and_then(|time| i64::try_from(time.as_unix_ns()).ok())
        .ok_or_else(|| "its time is not known".to_owned())
}

impl Object {
    /// The namespace that its events are in: those of nodes, which are in none, in that of `kubectl describe`.
    pub(super) fn namespace(&self) -> &str {
        match self {
            Self::Pod { namespace, .. } => namespace,
            Self::Node { .. } => "default",
        }
    }

    fn reference(&self) -> ObjectReference {
        match self {
            Self::Pod {
                namespace,
                name,
                uid,
                container,
            } => ObjectReference {
                api_version: Some("v1".to_owned()),
                kind: Some("Pod".to_owned()),
                namespace: Some(namespace.clone()),
                name: Some(name.clone()),
                uid: Some(uid.clone()),
                field_path: container
                    .as_ref()
                    .map(|container| format!("spec.containers{{{container}}}")),
                ..ObjectReference::default()
            },
            // As the kubelet does: its uid is the name.
            Self::Node { name } => ObjectReference {
                kind: Some("Node".to_owned()),
                name: Some(name.clone()),
                uid: Some(name.clone()),
                ..ObjectReference::default()
            },
        }
    }
}

impl Post {
    const fn reason(&self) -> &'static str {
        match (self.what, &self.object) {
            (What::Killed, Object::Pod { .. }) => "OOMKilling",
            (What::Killed, Object::Node { .. }) => "SystemOOM",
            (What::Stuck, _) => "OOMVictimStuck",
        }
    }
}

/// An event that tells of `count` kills, the first and the last at these times.
pub(super) fn event(first: &Post, count: u32, last_ns: i64, node: &str) -> Event {
    let instance = node.get(..node.floor_char_boundary(INSTANCE));
    Event {
        metadata: ObjectMeta {
            name: Some(first.name.clone()),
            namespace: Some(first.object.namespace().to_owned()),
            ..ObjectMeta::default()
        },
        event_time: Some(time(first.time_ns)),
        type_: Some("Warning".to_owned()),
        reason: Some(first.reason().to_owned()),
        action: Some("Killing".to_owned()),
        note: Some(first.note.clone()),
        regarding: Some(first.object.reference()),
        reporting_controller: Some(CONTROLLER.to_owned()),
        reporting_instance: instance.map(str::to_owned),
        series: series(count, last_ns),
        ..Event::default()
    }
}

/// Of a single kill there is none.
pub(super) fn series(count: u32, last_ns: i64) -> Option<EventSeries> {
    (count > 1).then(|| EventSeries {
        count: i32::try_from(count).unwrap_or(i32::MAX),
        last_observed_time: time(last_ns),
    })
}

fn time(ns: i64) -> MicroTime {
    let time = jiff::Timestamp::from_nanosecond(i128::from(ns));
    // All numbers of nanoseconds in 64 bits are times.
    MicroTime(time.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use serde_json::{json, to_value};

    use super::*;
    use crate::event::{OwnerKind, Timestamp};

    fn kill(id: &str, namespace: Option<&str>, pod: Option<&str>) -> OomKill {
        let mut kill = OomKill::for_tests();
        kill.id = id.into();
        kill.time = Some(Timestamp::from_unix_ns(1_790_000_000_123_456_789));
        kill.owner = Some(Owner {
            container_name: Some("app".into()),
            pod: Some(Pod {
                namespace: namespace.map(str::to_owned),
                name: pod.map(str::to_owned),
                uid: "u-i-d".into(),
                qos: None,
            }),
            ..Owner::of(OwnerKind::Container)
        });
        kill
    }

    fn report(scope: Scope, kills: Vec<OomKill>) -> OomInstance {
        let mut report = OomInstance::for_tests(kills);
        report.scope = Some(scope);
        report
    }

    #[test]
    fn a_pod_is_told_of_each_kill_in_it() {
        let kills = vec![
            kill("b-1", Some("shop"), Some("cart-0")),
            OomKill::for_tests(),
            kill("b-2", Some("shop"), Some("cart-0")),
        ];
        let (posts, refused) = of(&report(Scope::Memcg, kills), "node-1");
        assert_eq!((posts.len(), refused.len()), (2, 0));
        assert_eq!(posts[1].name, "cart-0.b-2");
        let told = to_value(event(&posts[0], 1, posts[0].time_ns, "node-1")).unwrap();
        let wanted = json!({
            "apiVersion": "events.k8s.io/v1",
            "kind": "Event",
            "metadata": {"name": "cart-0.b-1", "namespace": "shop"},
            "eventTime": "2026-09-21T14:13:20.123456Z",
            "type": "Warning",
            "reason": "OOMKilling",
            "action": "Killing",
            "note": posts[0].note,
            "regarding": {
                "apiVersion": "v1", "kind": "Pod", "namespace": "shop", "name": "cart-0",
                "uid": "u-i-d", "fieldPath": "spec.containers{app}",
            },
            "reportingController": "oom-agent",
            "reportingInstance": "node-1",
        });
        assert_eq!(told, wanted);
    }

    #[test]
    fn a_pod_of_podmans_is_none_of_kubernetes() {
        let mut podmans = kill("b-1", None, None);
        let pod = podmans.owner.as_mut().and_then(|owner| owner.pod.as_mut());
        pod.unwrap().uid = "5f".repeat(32);
        let (posts, refused) = of(&report(Scope::Memcg, vec![podmans]), "node-1");
        assert_eq!((posts.len(), refused.len()), (0, 0));
    }

    #[test]
    fn the_node_is_told_of_what_is_its_own_want() {
        for scope in [Scope::System, Scope::Cpuset, Scope::Mempolicy, Scope::Sysrq] {
            let kills = vec![kill("b-1", Some("shop"), Some("cart-0"))];
            let (posts, _) = of(&report(scope, kills), "node-1");
            assert_eq!(posts.len(), 2);
            let told = to_value(event(&posts[1], 3, 1_790_000_001_000_000_000, "node-1")).unwrap();
            assert_eq!(told["metadata"]["name"], "node-1.system-b-1");
            assert_eq!(told["metadata"]["namespace"], "default");
            assert_eq!(told["reason"], "SystemOOM");
            let node = json!({"kind": "Node", "name": "node-1", "uid": "node-1"});
            assert_eq!(told["regarding"], node);
            let series = json!({"count": 3, "lastObservedTime": "2026-09-21T14:13:21.000000Z"});
            assert_eq!(told["series"], series);
        }
        let mut none = report(Scope::System, Vec::new());
        none.outcome = Some(Outcome::NoVictim);
        let (posts, _) = of(&none, "node-1");
        assert_eq!(posts[0].note, "System OOM encountered");
        assert_eq!(posts[0].name, "node-1.system-instance");
        none.outcome = Some(Outcome::AlreadyExiting);
        assert_eq!(of(&none, "node-1"), (Vec::new(), Vec::new()));
    }

    #[test]
    fn a_victim_that_is_stuck_is_told_of_to_its_pod_or_else_to_the_node() {
        let mut stuck = OomStuck::for_tests();
        stuck.time = Timestamp::from_unix_ns(1_790_000_010_000_000_000);
        stuck.id = "b-1-stuck".into();
        stuck.kill = kill("b-1", Some("shop"), Some("cart-0"));
        let told = |stuck: &OomStuck| {
            let post = of_stuck(stuck, "node-1").unwrap();
            to_value(event(&post, 1, post.time_ns, "node-1")).unwrap()
        };
        let on_pod = told(&stuck);
        assert_eq!(on_pod["metadata"]["name"], "cart-0.b-1-stuck");
        assert_eq!(on_pod["metadata"]["namespace"], "shop");
        assert_eq!(on_pod["reason"], "OOMVictimStuck");
        assert_eq!(on_pod["eventTime"], "2026-09-21T14:13:30.000000Z");
        assert_eq!(on_pod["regarding"]["fieldPath"], "spec.containers{app}");
        stuck.kill.owner = None;
        let on_node = told(&stuck);
        assert_eq!(on_node["metadata"]["name"], "node-1.b-1-stuck");
        assert_eq!(on_node["reason"], "OOMVictimStuck");
        assert_eq!(on_node["regarding"]["kind"], "Node");
        stuck.kill = kill("b-1", None, Some("cart-0"));
        assert!(of_stuck(&stuck, "node-1").is_err());
    }

    #[test]
    fn what_kubernetes_cannot_be_told_is_refused_with_a_reason() {
        let mut timeless = kill("b", Some("a"), Some("b"));
        timeless.time = None;
        for kill in [
            kill("b", None, Some("cart-0")),
            kill("b", Some("shop"), None),
            kill("b", Some("../../nodes"), Some("cart-0")),
            kill("b", Some("shop"), Some("a/b")),
            timeless,
        ] {
            let mut report = report(Scope::Memcg, vec![kill]);
            report.time = None;
            let (posts, refused) = of(&report, "node-1");
            assert!(posts.is_empty());
            assert_eq!(refused.len(), 1);
        }
        let report = report(Scope::System, vec![OomKill::for_tests()]);
        assert_eq!(of(&report, "My_Laptop").1.len(), 1);
    }
}
