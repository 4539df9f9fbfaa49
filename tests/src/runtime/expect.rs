//! Compares what the agent said of containers with what happened.
//!
//! Reads all its events and a [`Story`]; emits every difference at once. Nothing that a story tells may be
//! missing or null.

#[cfg(test)]
mod tests;

use std::collections::{HashMap, HashSet};

use anyhow::{Result, ensure};
use serde_json::{Value, json};

use super::{
    Container,
    churn::{Moment, POD},
    play::{Death, Life, Story},
};
use crate::{agent::Finished, scene::Place};

const CAME_AND_WENT: [&str; 2] = ["ContainerCreation", "ContainerDeletion"];

/// What watches over podman's containers is no container, though its cgroup is beside theirs.
const CONMON: &str = "/libpod_parent/conmon";

/// The agent's whole life against the stories that it saw, and its own sums.
pub fn told(finished: &Finished, stories: &[Story]) -> Result<()> {
    told_but(finished, stories, 0)
}

/// The same where so many kills cannot be attributed in full.
pub fn told_but(finished: &Finished, stories: &[Story], unattributed: i64) -> Result<()> {
    let mut differences = Differences::default();
    // inotify does not tell when a cgroup was made: it comes when it is found.
    let found = |line: &String| line.contains("cgroups are watched by inotify");
    let exact = !finished.log.iter().any(found);
    for story in stories {
        for death in &story.deaths {
            differences.death(&finished.events, death, exact);
        }
        for life in &story.lives {
            differences.life(&finished.events, life);
        }
    }
    differences.strangers(&finished.events, stories);
    differences.twice(&finished.events);
    let summary = finished.summary()?;
    let sums = [
        ("unattributed", unattributed),
        ("unexplained", 0),
        ("ring_dropped", 0),
        ("malformed", 0),
    ];
    for (name, truth) in sums {
        let count = summary.get_or_zero(name)?;
        differences.same(&format!("summary {name}"), &json!(count), &json!(truth));
    }
    differences.none()
}

/// Whether a container's end has been told.
#[must_use]
pub fn is_gone(events: &[Value], life: &Life) -> bool {
    find(events, "ContainerDeletion", &life.container.place).is_some()
}

/// What is told of cgroups that lived for a moment only is true, though what their bundles held may be
/// missing; how many were told to come and to go.
pub fn moments(finished: &Finished, made: &[Moment]) -> Result<[usize; 2]> {
    let mut differences = Differences::default();
    let by_path: HashMap<&str, &Moment> = made
        .iter()
        .map(|moment| (moment.place.path.as_str(), moment))
        .collect();
    let mut told = [HashSet::new(), HashSet::new()];
    for event in &finished.events {
        let path = event["cgroup"]["path"].as_str().unwrap_or_default();
        let Some(nth) = CAME_AND_WENT.iter().position(|kind| event["kind"] == *kind) else {
            continue;
        };
        if !path.starts_with(POD) {
            continue;
        }
        match by_path.get(path) {
            Some(moment) => differences.moment(event, moment),
            None => differences.add(format!("nobody made this container: {event}")),
        }
        told[nth].insert(path);
    }
    let [came, went] = &told;
    for path in went.difference(came) {
        differences.add(format!("{path} was not told to come"));
    }
    differences.none()?;
    Ok([came.len(), went.len()])
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
    fn death(&mut self, events: &[Value], death: &Death, exact: bool) {
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
        if exact {
            self.order(&what, events, kill, &death.container);
        }
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
        for kind in CAME_AND_WENT {
            let what = format!("{kind} of {}", place.path);
            match find(events, kind, place) {
                Some(event) => self.subset(&what, event, &truth),
                None => self.add(format!("{what}: not told")),
            }
        }
        let Some(went) = find(events, "ContainerDeletion", place) else {
            return;
        };
        // -1 where its runtime does not leave it on disk. Podman 4 takes away what conmon wrote, some 100 ms after
        // the end, with the cgroup or before it.
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

    fn moment(&mut self, event: &Value, moment: &Moment) {
        let what = format!("{} of {}", event["kind"], moment.place.path);
        self.same(&what, &event["cgroup"], &cgroup(&moment.place));
        let (found, truth) = (&event["owner"], json!(moment.owner));
        for read_from_disk in [
            "/runtime",
            "/container_name",
            "/image",
            "/pod/name",
            "/pod/namespace",
        ] {
            if !at(found, read_from_disk).is_null() {
                self.same(&what, at(found, read_from_disk), at(&truth, read_from_disk));
            }
        }
        for by_path in ["/kind", "/container_id", "/pod/uid", "/pod/qos"] {
            self.same(&what, at(found, by_path), at(&truth, by_path));
        }
    }

    /// Nothing in a container, and nothing else in its pod, is a container.
    fn strangers(&mut self, events: &[Value], stories: &[Story]) {
        let lives = stories.iter().flat_map(|story| &story.lives);
        let ours: HashSet<&str> = lives
            .map(|life| life.container.place.path.as_str())
            .collect();
        let kinds = CAME_AND_WENT.map(Some);
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

fn at<'a>(value: &'a Value, pointer: &str) -> &'a Value {
    value.pointer(pointer).unwrap_or(&Value::Null)
}

/// As events write a cgroup.
fn cgroup(place: &Place) -> Value {
    json!({ "path": place.path, "id": place.id, "version": place.version })
}

fn owner(container: &Container) -> Value {
    json!(container.owner)
}
