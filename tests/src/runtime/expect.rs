//! Compares what the agent said of containers with what happened.
//!
//! Reads all its events and a [`Story`]; emits every difference at once. Nothing that a story tells may be
//! missing or null.

use std::collections::HashSet;

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{
    Container,
    play::{Death, Life, Story},
};
use crate::{agent::Finished, scene::Place};

/// What watches over podman's containers is no container, though its cgroup is beside theirs.
const CONMON: &str = "/libpod_parent/conmon";

/// The agent's whole life against the stories that it saw, and its own sums.
pub fn told(finished: &Finished, stories: &[Story]) -> Result<()> {
    let mut differences = Differences::default();
    for story in stories {
        for death in &story.deaths {
            differences.death(&finished.events, death);
        }
        for life in &story.lives {
            differences.life(&finished.events, life);
        }
    }
    differences.strangers(&finished.events, stories);
    differences.twice(&finished.events);
    let summary = finished.summary()?;
    for nothing in ["unattributed", "unexplained", "ring_dropped", "malformed"] {
        let count = summary.get_or_zero(nothing)?;
        differences.same(&format!("summary {nothing}"), &json!(count), &json!(0));
    }
    differences.none()
}

/// Whether a container's end has been told.
#[must_use]
pub fn is_gone(events: &[Value], life: &Life) -> bool {
    find(events, "ContainerDeletion", &life.container.place).is_some()
}

/// Of cgroups that lived for a moment only, nothing wrong is told; how many were told to come and to go.
pub fn moments(finished: &Finished, made: &[Place]) -> Result<[usize; 2]> {
    let mut differences = Differences::default();
    let mut told = [0, 0];
    for place in made {
        for (kind, count) in ["ContainerCreation", "ContainerDeletion"]
            .into_iter()
            .zip(&mut told)
        {
            let Some(event) = find(&finished.events, kind, place) else {
                continue;
            };
            *count += 1;
            let id = place.path.rsplit('/').next();
            let found = &event["owner"]["container_id"];
            differences.same(&format!("{kind} of {}", place.path), found, &json!(id));
        }
    }
    differences.none()?;
    Ok(told)
}

/// The event of that kind about a cgroup.
fn find<'a>(events: &'a [Value], kind: &str, place: &Place) -> Option<&'a Value> {
    events.iter().find(|event| {
        event["kind"] == kind
            && event["cgroup"]["id"] == place.id
            && event["cgroup"]["path"] == place.path
    })
}

#[derive(Debug, Default)]
struct Differences(Vec<String>);

impl Differences {
    fn death(&mut self, events: &[Value], death: &Death) {
        let victim = &death.victim;
        let what = format!("kill of {} in {}", victim.pid, death.container.place.path);
        let is_it =
            |event: &&Value| event["kind"] == "OomKill" && event["victim"]["tid"] == victim.pid;
        let kills: Vec<&Value> = events.iter().filter(is_it).collect();
        let [kill] = kills.as_slice() else {
            return self.add(format!("{what}: told {} times", kills.len()));
        };
        let truth = json!({
            "victim": { "pid": victim.pid, "ns_pid": victim.ns_pid, "comm": victim.comm },
            "cgroup": cgroup(&death.container.place),
            "owner": owner(&death.container),
            "role": "chosen",
        });
        self.subset(&what, kill, &truth);
        let report = events
            .iter()
            .find(|event| event["kind"] == "OomInstance" && event["id"] == kill["instance_id"]);
        let Some(report) = report else {
            return self.add(format!("{what}: no report"));
        };
        let limit = &death.limit;
        let whole = json!({
            "scope": "memcg",
            "outcome": "killed",
            "limit": {
                "cgroup": cgroup(&limit.place),
                "level": limit.level,
                "limit_bytes": limit.bytes,
            },
            "crosscheck": { "mismatches": [] },
        });
        self.subset(&format!("report of the {what}"), report, &whole);
        match report["kills"].as_array().map(Vec::as_slice) {
            Some([last]) => self.subset(&format!("report of the {what}: kills[0]"), last, &truth),
            _ => self.add(format!("report of the {what}: kills: {}", report["kills"])),
        }
        self.order(&what, events, kill, &death.container);
    }

    /// A container comes, something dies in it, it goes.
    fn order(&mut self, what: &str, events: &[Value], kill: &Value, container: &Container) {
        let at = |event: Option<&Value>| event.and_then(|event| event["monotonic_ns"].as_u64());
        let came = at(find(events, "ContainerCreation", &container.place));
        let went = at(find(events, "ContainerDeletion", &container.place));
        let died = at(Some(kill));
        if came.is_some_and(|came| Some(came) > died) {
            self.add(format!("{what}: before its container came"));
        }
        if went.is_some_and(|went| Some(went) < died) {
            self.add(format!("{what}: after its container went"));
        }
    }

    fn life(&mut self, events: &[Value], life: &Life) {
        let place = &life.container.place;
        let truth = json!({ "cgroup": cgroup(place), "owner": owner(&life.container) });
        for kind in ["ContainerCreation", "ContainerDeletion"] {
            let what = format!("{kind} of {}", place.path);
            match find(events, kind, place) {
                Some(event) => self.subset(&what, event, &truth),
                None => self.add(format!("{what}: not told")),
            }
        }
        let Some(went) = find(events, "ContainerDeletion", place) else {
            return;
        };
        // -1 where its runtime does not leave it on disk.
        let code = &went["exit_code"];
        if *code != -1 && *code != life.exit_code {
            let truth = life.exit_code;
            self.add(format!(
                "exit code of {}: found {code}, truth {truth}",
                place.path
            ));
        }
        if let Some(came) = find(events, "ContainerCreation", place) {
            let what = format!("ContainerDeletion of {}: created", place.path);
            self.same(&what, &went["created"], &came["time"]);
        }
    }

    /// Nothing in a container, and nothing else in its pod, is a container.
    fn strangers(&mut self, events: &[Value], stories: &[Story]) {
        let lives = stories.iter().flat_map(|story| &story.lives);
        let ours: HashSet<&str> = lives
            .map(|life| life.container.place.path.as_str())
            .collect();
        let kinds = ["ContainerCreation", "ContainerDeletion"].map(Some);
        for event in events
            .iter()
            .filter(|event| kinds.contains(&event["kind"].as_str()))
        {
            let path = event["cgroup"]["path"].as_str().unwrap_or_default();
            let (parent, _) = path.rsplit_once('/').unwrap_or_default();
            let in_our_pod = parent.contains("/pod")
                && ours
                    .iter()
                    .any(|path| path.rsplit_once('/').unwrap_or_default().0 == parent);
            if !ours.contains(path) && (in_our_pod || ours.contains(parent) || path == CONMON) {
                self.add(format!("nobody made this container: {event}"));
            }
        }
    }

    fn twice(&mut self, events: &[Value]) {
        let mut seen = HashSet::new();
        for event in events {
            let (kind, id) = (event["kind"].as_str(), event["id"].as_str());
            if !seen.insert((kind, id)) {
                self.add(format!("told twice: {event}"));
            }
        }
    }

    /// All that the truth has, the event must have; of objects only the fields that the truth names.
    fn subset(&mut self, name: &str, found: &Value, truth: &Value) {
        match truth {
            Value::Object(fields) => {
                for (field, truth) in fields {
                    self.subset(&format!("{name}: {field}"), &found[field], truth);
                }
            }
            truth => self.same(name, found, truth),
        }
    }

    fn same(&mut self, name: &str, found: &Value, truth: &Value) {
        if found != truth {
            self.add(format!("{name}: found {found}, truth {truth}"));
        }
    }

    fn add(&mut self, difference: String) {
        self.0.push(difference);
    }

    fn none(&self) -> Result<()> {
        ensure!(self.0.is_empty(), "\n{}", self.0.join("\n"));
        Ok(())
    }
}

/// As events write a cgroup.
fn cgroup(place: &Place) -> Value {
    json!({ "path": place.path, "id": place.id, "version": place.version })
}

fn owner(container: &Container) -> Value {
    json!(container.owner)
}

#[cfg(test)]
mod tests {
    use std::{os::unix::process::ExitStatusExt as _, process::ExitStatus};

    use oom_agent::event::{LimitLevel, Owner, OwnerKind, Pod, Qos, Runtime};

    use super::*;
    use crate::runtime::play::{Limit, Process};

    fn story() -> Story {
        let place = Place {
            path: "/kubepods/burstable/podu/c".to_owned(),
            id: 7,
            version: 1,
        };
        let container = Container {
            place: place.clone(),
            dir: "/nowhere".into(),
            owner: Owner {
                runtime: Some(Runtime::Containerd),
                container_id: Some("c".to_owned()),
                container_name: Some("app".to_owned()),
                image: Some("image".to_owned()),
                pod: Some(Pod {
                    namespace: Some("shop".to_owned()),
                    name: Some("cart".to_owned()),
                    uid: "u".to_owned(),
                    qos: Some(Qos::Burstable),
                }),
                ..Owner::of(OwnerKind::Container)
            },
            level: LimitLevel::Container,
        };
        let death = Death {
            victim: Process {
                pid: 10,
                ns_pid: 1,
                comm: "victim",
            },
            container: container.clone(),
            limit: Limit {
                place,
                level: LimitLevel::Container,
                bytes: 4096,
            },
        };
        Story {
            deaths: vec![death],
            lives: vec![Life::killed(container)],
        }
    }

    /// What a perfect agent would tell of that story.
    fn events() -> Vec<Value> {
        let story = story();
        let owner = owner(&story.deaths[0].container);
        let cgroup = cgroup(&story.deaths[0].limit.place);
        let kill = json!({
            "kind": "OomKill", "id": "k", "instance_id": "i", "monotonic_ns": 2,
            "victim": { "pid": 10, "tid": 10, "ns_pid": 1, "comm": "victim" },
            "cgroup": cgroup, "owner": owner, "role": "chosen",
        });
        vec![
            json!({
                "kind": "ContainerCreation", "id": "c", "time": "t", "monotonic_ns": 1,
                "cgroup": cgroup, "owner": owner,
            }),
            kill.clone(),
            json!({
                "kind": "OomInstance", "id": "i", "scope": "memcg", "outcome": "killed",
                "limit": { "cgroup": cgroup, "level": "container", "limit_bytes": 4096 },
                "crosscheck": { "mismatches": [] },
                "kills": [kill],
            }),
            json!({
                "kind": "ContainerDeletion", "id": "c", "created": "t", "monotonic_ns": 3,
                "cgroup": cgroup, "owner": owner, "exit_code": 137,
            }),
        ]
    }

    fn finished(events: Vec<Value>, more: &str) -> Finished {
        Finished {
            status: ExitStatus::from_raw(0),
            events,
            log: vec![format!(
                "summary: unexplained=0 ring_dropped=0 malformed=0{more}"
            )],
        }
    }

    #[test]
    fn a_perfect_agent_passes() {
        told(&finished(events(), ""), &[story()]).unwrap();
    }

    #[test]
    fn every_field_that_differs_is_found() {
        for (event, pointer, value) in [
            (0, "/owner/container_name", json!(null)),
            (0, "/owner/unit", json!("a.service")),
            (0, "/cgroup/version", json!(2)),
            (0, "/monotonic_ns", json!(9)),
            (1, "/victim/ns_pid", json!(10)),
            (1, "/owner/image", json!(null)),
            (1, "/owner/pod/name", json!("other")),
            (1, "/cgroup/id", json!(8)),
            (2, "/limit/level", json!("pod")),
            (2, "/limit/limit_bytes", json!(1)),
            (2, "/kills/0/owner/runtime", json!(null)),
            (2, "/id", json!("other")),
            (3, "/exit_code", json!(0)),
            (3, "/created", json!(null)),
            (3, "/cgroup/id", json!(8)),
            (3, "/monotonic_ns", json!(0)),
        ] {
            let mut events = events();
            *events[event].pointer_mut(pointer).expect(pointer) = value;
            let result = told(&finished(events, ""), &[story()]);
            assert!(result.is_err(), "{event} {pointer}");
        }
    }

    #[test]
    fn what_is_missing_or_too_much_is_found() {
        for missing in 0..events().len() {
            let mut events = events();
            events.remove(missing);
            assert!(
                told(&finished(events, ""), &[story()]).is_err(),
                "{missing}"
            );
        }
        let mut twice = events();
        twice.push(twice[0].clone());
        assert!(told(&finished(twice, ""), &[story()]).is_err());
        for path in [
            "/kubepods/burstable/podu/c/nested",
            "/kubepods/burstable/podu/d",
            CONMON,
        ] {
            let mut events = events();
            let stranger = json!({ "path": path, "id": 9, "version": 1 });
            events.push(json!({ "kind": "ContainerCreation", "id": "s", "cgroup": stranger }));
            assert!(told(&finished(events, ""), &[story()]).is_err(), "{path}");
        }
        let unattributed = finished(events(), " unattributed=1");
        assert!(told(&unattributed, &[story()]).is_err());
    }
}
