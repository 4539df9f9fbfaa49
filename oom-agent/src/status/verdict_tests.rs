//! Statuses and what is wrong with them: a table.

use super::*;

fn source(name: &str, up: bool, wanted: bool) -> Source {
    Source {
        name: name.into(),
        up,
        wanted,
        reason: (!up).then(|| "why".to_owned()),
    }
}

/// Of one that is well.
fn seen<'a>(sources: &'a [Source], losses: &'a BTreeMap<String, u64>) -> Seen<'a> {
    Seen {
        not_ready: None,
        detecting: true,
        sources,
        unexplained: Some(0),
        losses,
        waiting: 0,
        sinks: Vec::new(),
    }
}

fn found(seen: &Seen<'_>) -> Vec<(Severity, String, String)> {
    let troubles = judge(seen).into_iter();
    troubles
        .map(|it| (it.severity, it.about, it.what))
        .collect()
}

fn expected(troubles: &[(Severity, &str, &str)]) -> Vec<(Severity, String, String)> {
    let troubles = troubles.iter();
    troubles
        .map(|(severity, about, what)| (*severity, (*about).into(), (*what).into()))
        .collect()
}

#[test]
fn what_the_audit_says() {
    let none = BTreeMap::new();
    for (unexplained, troubles) in [
        (Some(0), vec![]),
        // Told before it was counted, or counted before the audit began.
        (Some(-3), vec![]),
        (
            Some(1),
            vec![(
                Severity::Missed,
                "audit",
                "1 kill that the kernel has counted, no source showed",
            )],
        ),
        (None, vec![(Severity::Unproven, "audit", UNPROVEN)]),
    ] {
        let seen = Seen {
            unexplained,
            ..seen(&[], &none)
        };
        assert_eq!(found(&seen), expected(&troubles), "{unexplained:?}");
    }
}

#[test]
fn sources_are_judged_that_are_wanted() {
    const BLIND: (Severity, &str, &str) = (
        Severity::Blind,
        "detection",
        "no source that can see a kill is up",
    );
    let none = BTreeMap::new();
    let down = |about: &'static str, what: &'static str| (Severity::Failing, about, what);
    for (sources, troubles) in [
        (vec![("bpf", true, true), ("kmsg", true, true)], vec![]),
        // By choice.
        (
            vec![
                ("bpf", false, false),
                ("kmsg", true, true),
                ("cgroups", false, false),
                ("memory", false, false),
            ],
            vec![],
        ),
        // Not by choice, from the start.
        (
            vec![("bpf", false, true), ("kmsg", true, true)],
            vec![(Severity::Limited, "bpf", "bpf cannot be used here")],
        ),
        // Nothing is left.
        (
            vec![
                ("bpf", false, false),
                ("kmsg", false, true),
                ("memory", true, true),
            ],
            vec![BLIND, down("kmsg", "kmsg is down: why")],
        ),
        (
            vec![("bpf", false, true), ("kmsg", false, false)],
            vec![BLIND, down("bpf", "bpf is down: why")],
        ),
        (
            vec![
                ("bpf", true, true),
                ("cgroups", false, true),
                ("victims", false, true),
            ],
            vec![
                down("cgroups", "cgroups is down: why"),
                down("victims", "victims is down: why"),
            ],
        ),
    ] {
        let sources: Vec<_> = sources
            .into_iter()
            .map(|(name, up, wanted)| source(name, up, wanted))
            .collect();
        let seen = seen(&sources, &none);
        assert_eq!(found(&seen), expected(&troubles), "{sources:?}");
    }
}

#[test]
fn a_storm_is_no_harm() {
    let storm = [
        ("suppressed_reports", 900),
        ("bare_marks", 12),
        ("late_lines", 7),
        ("possible_repeats", 1),
        ("memory_missed", 40),
        ("names_late", 3),
        ("forged", 2),
    ];
    let mut losses: BTreeMap<String, u64> =
        storm.map(|(name, lost)| (name.to_owned(), lost)).into();
    assert_eq!(found(&seen(&[], &losses)), []);
    losses.insert("kmsg_lost".into(), 5);
    losses.insert("ring_dropped".into(), 0);
    losses.insert("of_a_later_version".into(), 1);
    let lost = |about, what| (Severity::Lost, about, what);
    let later = lost("of_a_later_version", "of a later version: 1");
    // Every kill was told by the other source, and that is proved.
    assert_eq!(found(&seen(&[], &losses)), expected(&[later]));
    let unproven = Seen {
        unexplained: None,
        ..seen(&[], &losses)
    };
    let troubles = [
        lost("kmsg_lost", "kmsg lost: 5"),
        later,
        (Severity::Unproven, "audit", UNPROVEN),
    ];
    assert_eq!(found(&unproven), expected(&troubles));
}

#[test]
fn the_worst_comes_first_and_who_does_not_answer_is_judged_by_that_alone() {
    let (sources, losses) = (
        [source("bpf", false, true)],
        [("malformed".to_owned(), 1)].into(),
    );
    let away = SeenSink {
        name: "otlp",
        up: Some(false),
        lost: 2,
    };
    let mut all = Seen {
        not_ready: Some("it is starting or ending"),
        unexplained: Some(2),
        waiting: 1,
        sinks: vec![away],
        ..seen(&sources, &losses)
    };
    let severities: Vec<_> = judge(&all).iter().map(|it| it.severity).collect();
    assert!(severities.is_sorted(), "{severities:?}");
    let rest = [
        (Severity::Lost, "malformed", "malformed: 1"),
        (Severity::Lost, "otlp", "otlp has lost 2 events"),
        (Severity::Failing, "otlp", "otlp is away"),
        (Severity::Failing, "store", "1 event waits for the disk"),
    ];
    for it in expected(&rest) {
        assert!(found(&all).contains(&it), "{it:?}");
    }
    all = Seen {
        not_ready: Some("detection does not answer"),
        detecting: false,
        unexplained: None,
        ..seen(&sources, &losses)
    };
    all.losses = const { &BTreeMap::new() };
    assert_eq!(
        found(&all),
        expected(&[(Severity::Blind, "detection", "detection does not answer")])
    );
}

#[test]
fn each_loss_is_known_by_its_name() {
    let losses = super::super::Summary::default().losses();
    let mut names: Vec<_> = losses.iter().map(|loss| loss.name).collect();
    names.sort_unstable();
    names.dedup();
    assert_eq!(names.len(), losses.len());
    for loss in losses {
        assert_eq!(Kind::of(loss.name), loss.kind, "{}", loss.name);
    }
    assert_eq!(Kind::of("what nobody knows"), Kind::Harm);
}

#[test]
fn how_cgroups_are_watched_is_told_and_judged() {
    use crate::{
        source::cgroup::Watched,
        status::{Board, Facts, Summary},
    };
    for (watched, up, wanted, reason) in [
        (Watched::Soon, false, false, Some("being attached")),
        (Watched::ByBpf, true, true, Some("by BPF")),
        (Watched::ByInotify, true, true, Some("by inotify")),
        (
            Watched::Ended,
            false,
            true,
            Some("its thread has ended; the log says why"),
        ),
        // It could not be started.
        (Watched::Off, false, true, Some("why")),
    ] {
        let facts = Facts {
            reasons: [("cgroups", "why".to_owned())].into(),
            unwanted: ["bpf", "memory", "victims"].into(),
            ..Facts::default()
        };
        let mut summary = Summary::default();
        summary.helpers.cgroups.watched = watched;
        summary.tally.up.kmsg = true;
        summary.tally.unexplained = Some(0);
        let board = Board::new(
            facts,
            Box::new(move || Some(summary)),
            Box::new(|| 0),
            Box::new(Vec::new),
        );
        board.set_ready(true);
        let status = board.read();
        let said = status.sources.iter().find(|it| it.name == "cgroups");
        let expected = Source {
            name: "cgroups".into(),
            up,
            wanted,
            reason: reason.map(str::to_owned),
        };
        assert_eq!(said, Some(&expected));
        let troubles: Vec<_> = status.troubles.iter().map(|it| &*it.about).collect();
        let is_trouble = wanted && !up;
        assert_eq!(troubles, if is_trouble { vec!["cgroups"] } else { vec![] });
    }
}
