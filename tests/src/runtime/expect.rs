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
    differences.paired(&finished.events);
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

    /// Nothing is told twice.
    fn paired(&mut self, events: &[Value]) {
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

fn cgroup(place: &Place) -> Value {
    json!({ "path": place.path, "id": place.id, "version": place.version })
}

fn owner(container: &Container) -> Value {
    json!(container.owner)
}
