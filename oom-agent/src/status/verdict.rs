//! One verdict on how an agent is, for all who tell of it: the command line, the page, the fleet.
//!
//! Reads what a status says, or as much of it as a heartbeat does; emits what is wrong, the worst first. Pure. Refuses
//! to take for trouble what nobody wanted, what the kernel does not have, and what cost nobody an event.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{Kind, Source, Status};
use crate::render::units::count;

/// How bad a trouble is, the worst first.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// It is not ready, or sees no kill now.
    Blind,
    /// The kernel has counted kills that no source has shown.
    Missed,
    /// Events, or evidence of kills, are gone for good.
    Lost,
    /// Something that is wanted does not work now; nothing has been lost for it so far.
    Failing,
    /// The kernel has no counter of kills, or it cannot be read: nothing can prove that every kill is told.
    Unproven,
    /// The log or BPF cannot be used here, and has not been since the start: a lower tier, and no failure.
    Limited,
}

/// Something that is not as it should be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Trouble {
    /// How bad it is.
    pub severity: Severity,
    /// With what: `detection`, `audit`, `store`, or the name of a source, a sink or a loss.
    pub about: String,
    /// What it is, in a few words.
    pub what: String,
}

const UNPROVEN: &str = "nothing can prove that every kill is told: the kernel's count is not known";

/// What is judged.
#[derive(Clone, Debug)]
pub struct Seen<'a> {
    /// Why it does not detect now, if it does not.
    pub not_ready: Option<&'static str>,
    /// Detection answered; if not, nothing is known of sources and the audit.
    pub detecting: bool,
    /// Where evidence comes from.
    pub sources: &'a [Source],
    /// What the audit has left over.
    pub unexplained: Option<i64>,
    /// What was lost, by its name.
    pub losses: &'a BTreeMap<String, u64>,
    /// Events that wait for the disk.
    pub waiting: u64,
    /// Where events are delivered to.
    pub sinks: Vec<SeenSink<'a>>,
}

/// Where events are delivered to.
#[derive(Clone, Copy, Debug)]
pub struct SeenSink<'a> {
    /// Its name.
    pub name: &'a str,
    /// Whether it took what it was told last, if it was told anything, and that is known.
    pub up: Option<bool>,
    /// Events that it never gets.
    pub lost: u64,
}

impl Status {
    /// Why it does not detect now; `None` if it does.
    #[must_use]
    pub const fn not_ready(&self) -> Option<&'static str> {
        match (self.detecting, self.ready) {
            (false, _) => Some("detection does not answer"),
            (true, false) => Some("it is starting or ending"),
            (true, true) => None,
        }
    }

    /// What is wrong, the worst first.
    #[must_use]
    pub fn judge(&self) -> Vec<Trouble> {
        let sinks = self.sinks.iter();
        judge(&Seen {
            not_ready: self.not_ready(),
            detecting: self.detecting,
            sources: &self.sources,
            unexplained: self.audit.unexplained,
            losses: &self.losses,
            waiting: self.store.as_ref().map_or(0, |store| store.waiting),
            sinks: sinks
                .map(|sink| SeenSink {
                    name: &sink.sink,
                    up: sink.up,
                    lost: sink.lost,
                })
                .collect(),
        })
    }
}

/// What is wrong, the worst first.
#[must_use]
pub fn judge(seen: &Seen<'_>) -> Vec<Trouble> {
    let mut troubles = Vec::new();
    let mut add = |severity, about: &str, what: String| {
        troubles.push(Trouble {
            severity,
            about: about.to_owned(),
            what,
        });
    };
    if let Some(why) = seen.not_ready {
        add(Severity::Blind, "detection", why.to_owned());
    }
    // What is told before it is counted makes it negative for a moment.
    if let Some(kills @ 1..) = seen.unexplained {
        let kills = count(kills.unsigned_abs(), "kill", "kills");
        let what = format!("{kills} that the kernel has counted, no source showed");
        add(Severity::Missed, "audit", what);
    }
    if seen.detecting {
        sources(seen.sources, &mut add);
        if seen.unexplained.is_none() {
            add(Severity::Unproven, "audit", UNPROVEN.to_owned());
        }
    }
    for (name, &lost) in seen.losses {
        let is_harm = match Kind::of(name) {
            Kind::Harm => true,
            // Negative only for a moment: told before it is counted.
            Kind::Evidence => seen.unexplained.is_none_or(|kills| kills > 0),
            Kind::Detail | Kind::MadeUp | Kind::Normal => false,
        };
        if lost > 0 && is_harm {
            let what = format!("{}: {lost}", name.replace('_', " "));
            add(Severity::Lost, name, what);
        }
    }
    for sink in &seen.sinks {
        if sink.lost > 0 {
            let events = count(sink.lost, "event", "events");
            add(
                Severity::Lost,
                sink.name,
                format!("{} has lost {events}", sink.name),
            );
        }
        if sink.up == Some(false) {
            add(
                Severity::Failing,
                sink.name,
                format!("{} is away", sink.name),
            );
        }
    }
    if seen.waiting > 0 {
        let wait = count(seen.waiting, "event waits", "events wait");
        add(Severity::Failing, "store", format!("{wait} for the disk"));
    }
    troubles.sort_by_key(|trouble| trouble.severity);
    troubles
}

/// Sources that are down and should not be.
fn sources(sources: &[Source], add: &mut impl FnMut(Severity, &str, String)) {
    let shows_kills = |source: &&Source| matches!(source.name.as_str(), "bpf" | "kmsg");
    let mut seers = sources.iter().filter(shows_kills).peekable();
    let is_blind = seers.peek().is_some() && !seers.any(|source| source.up);
    if is_blind {
        let what = "no source that can see a kill is up";
        add(Severity::Blind, "detection", what.to_owned());
    }
    for source in sources.iter().filter(|source| source.wanted && !source.up) {
        // What went down later has its reason in the log alone.
        if !is_blind && shows_kills(&source) && source.reason.is_some() {
            let what = format!("{} cannot be used here", source.name);
            add(Severity::Limited, &source.name, what);
            continue;
        }
        let why = source.reason.as_deref();
        let why = why.map_or_else(String::new, |why| format!(": {why}"));
        let what = format!("{} is down{why}", source.name);
        add(Severity::Failing, &source.name, what);
    }
}

#[cfg(test)]
#[path = "verdict_tests.rs"]
mod tests;
