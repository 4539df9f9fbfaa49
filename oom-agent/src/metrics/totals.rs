//! Counters of the whole node, from the start of the agent: kills, decisions, how soon kills were known.
//!
//! Reads events; emits metrics. Labels are words of the contract and nothing else, so that there are never
//! more series than now; all of them are there from the start, at 0, for `increase()` does not see the first
//! kill of a series that begins with it. Refuses history (`backfill`): nobody was there to be told.

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, histogram::Histogram},
    registry::{Registry, Unit},
};

use crate::event::{Event, OomInstance, OomKill, Outcome, OwnerKind, Scope};

/// What was not told, in place of a word.
const UNKNOWN: &str = "unknown";

/// Upper bounds in seconds: from the fastest kills that are known to kills of a ring that nobody read for a
/// while.
const LATENCY: [f64; 18] = [
    20e-6, 50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 50e-3, 0.1, 0.2, 0.5,
    1.0, 2.0, 5.0, 10.0,
];

/// Upper bounds in seconds: most victims end within milliseconds, and what takes a minute is stuck.
const EXIT: [f64; 16] = [
    1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 50e-3, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0,
];

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KillLabels {
    owner: &'static str,
    scope: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct InstanceLabels {
    outcome: &'static str,
    scope: &'static str,
}

/// The counters. Clones share them.
#[derive(Clone, Debug)]
pub(super) struct Totals {
    kills: Family<KillLabels, Counter>,
    instances: Family<InstanceLabels, Counter>,
    latency: Histogram,
    exit: Histogram,
    stuck: Counter,
}

impl Totals {
    /// All at 0, as parts of `registry`.
    pub(super) fn new(registry: &mut Registry) -> Self {
        let totals = Self {
            kills: Family::default(),
            instances: Family::default(),
            latency: Histogram::new(LATENCY),
            exit: Histogram::new(EXIT),
            stuck: Counter::default(),
        };
        for scope in words(Scope::ALL.map(Scope::as_str)) {
            for owner in words(OwnerKind::ALL.map(OwnerKind::as_str)) {
                drop(totals.kills.get_or_create(&KillLabels { owner, scope }));
            }
            for outcome in words(Outcome::ALL.map(Outcome::as_str)) {
                let labels = InstanceLabels { outcome, scope };
                drop(totals.instances.get_or_create(&labels));
            }
        }
        registry.register(
            "oom_kills",
            "Processes that the kernel killed for memory, by what had run out and what kind of owner the \
             victim had; counted when the report of the kill is closed",
            totals.kills.clone(),
        );
        registry.register(
            "oom_instances",
            "Decisions of the kernel's OOM killer, by what had run out and how they ended",
            totals.instances.clone(),
        );
        registry.register_with_unit(
            "oom_detection_latency",
            "Time from the kernel's mark of a victim (or its log line) until the agent told of the kill; of a \
             kill while no agent ran, until the next one did",
            Unit::Seconds,
            totals.latency.clone(),
        );
        registry.register_with_unit(
            "oom_victim_exit",
            "Time from the kernel's mark of a victim until its last thread had ended; where it had gone when \
             it was first looked for, the most that it can have been",
            Unit::Seconds,
            totals.exit.clone(),
        );
        registry.register(
            "oom_stuck_victims",
            "Victims that had not ended in time (--stuck-after)",
            totals.stuck.clone(),
        );
        totals
    }

    /// Counts what an event tells.
    pub(super) fn count(&self, event: &Event) {
        match event {
            _ if event.is_backfill() => {}
            Event::OomKill(kill) => self.latency_of(kill),
            Event::OomInstance(instance) => {
                self.instance(instance);
                instance.kills.iter().for_each(|kill| self.exit_of(kill));
            }
            Event::VictimEnd(end) => self.exit_of(&end.kill),
            Event::OomStuck(_) => _ = self.stuck.inc(),
            Event::ContainerCreation(_) | Event::ContainerDeletion(_) => {}
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "of a century, not of a second")]
    fn latency_of(&self, kill: &OomKill) {
        if let Some(ns) = kill.detection_latency_ns {
            self.latency.observe(ns as f64 / 1e9);
        }
    }

    #[expect(clippy::cast_precision_loss, reason = "of a century, not of a second")]
    fn exit_of(&self, kill: &OomKill) {
        if let Some(ns) = kill.end.as_ref().and_then(|end| end.exit_after_ns) {
            self.exit.observe(ns as f64 / 1e9);
        }
    }

    fn instance(&self, instance: &OomInstance) {
        let scope = instance.scope.map_or(UNKNOWN, Scope::as_str);
        let outcome = instance.outcome.map_or(UNKNOWN, Outcome::as_str);
        let labels = InstanceLabels { outcome, scope };
        self.instances.get_or_create(&labels).inc();
        for kill in &instance.kills {
            let owner = kill.owner.as_ref();
            let owner = owner.map_or(UNKNOWN, |owner| owner.kind.as_str());
            self.kills.get_or_create(&KillLabels { owner, scope }).inc();
        }
    }
}

/// The words, and the one for none of them.
fn words<const N: usize>(words: [&'static str; N]) -> impl Iterator<Item = &'static str> {
    words.into_iter().chain([UNKNOWN])
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text;

    use super::*;
    use crate::event::Owner;

    fn text(registry: &Registry) -> String {
        let mut text = String::new();
        text::encode(&mut text, registry).unwrap();
        text
    }

    fn kill(owner: Option<OwnerKind>, latency_ns: Option<u64>) -> OomKill {
        OomKill {
            owner: owner.map(Owner::of),
            detection_latency_ns: latency_ns,
            ..OomKill::for_tests()
        }
    }

    #[test]
    fn reports_are_counted_with_their_kills_and_alerts_with_their_latency() {
        let mut registry = Registry::default();
        let totals = Totals::new(&mut registry);
        let kills = [
            kill(Some(OwnerKind::Container), Some(84_000)),
            kill(None, None),
        ];
        for kill in &kills {
            totals.count(&Event::OomKill(Box::new(kill.clone())));
        }
        let report = OomInstance {
            scope: Some(Scope::Memcg),
            ..OomInstance::for_tests(kills.to_vec())
        };
        totals.count(&Event::OomInstance(Box::new(report.clone())));
        let mut history = Event::OomInstance(Box::new(report));
        history.mark_backfill();
        totals.count(&history);
        totals.count(&Event::OomInstance(Box::new(OomInstance {
            outcome: None,
            ..OomInstance::for_tests(Vec::new())
        })));
        let text = text(&registry);
        for line in [
            "oom_kills_total{owner=\"container\",scope=\"memcg\"} 1",
            "oom_kills_total{owner=\"unknown\",scope=\"memcg\"} 1",
            "oom_kills_total{owner=\"system\",scope=\"system\"} 0",
            "oom_instances_total{outcome=\"killed\",scope=\"memcg\"} 1",
            "oom_instances_total{outcome=\"unknown\",scope=\"unknown\"} 1",
            "oom_detection_latency_seconds_count 1",
            "oom_detection_latency_seconds_bucket{le=\"0.00005\"} 0",
            "oom_detection_latency_seconds_bucket{le=\"0.0001\"} 1",
        ] {
            assert!(text.lines().any(|it| it == line), "no {line} in\n{text}");
        }
        let kills = text.matches("oom_kills_total{").count();
        let instances = text.matches("oom_instances_total{").count();
        assert_eq!((kills, instances), (48, 30));
    }
}
