//! Orders, duplicates and losses, one table row each: evidence with its time in, events out.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::{
    event::{KmsgReportState, LimitLevel, LimitSource, Outcome, OwnerKind, Role, Scope, Source},
    evidence::{Asker, Charge, Decision, Feed, KmsgEnd, KmsgEvidence, KmsgReport, Level, Verdict},
    text::Comm,
};

pub(super) const MS: u64 = 1_000_000;

/// Feeds steps to a correlator and tells what came out.
pub(super) struct Bench {
    pub(super) correlator: Correlator,
    out: Vec<Event>,
}

impl Bench {
    pub(super) fn new(bpf: bool, kmsg: bool) -> Self {
        let host = Host::new("b007-1d", "node");
        let mut bench = Self {
            correlator: Correlator::new(host, Timing::default()),
            out: Vec::new(),
        };
        for (source, up) in [(Feed::Bpf, bpf), (Feed::Kmsg, kmsg)] {
            bench.at(0, Evidence::SourceState { source, up });
        }
        bench.at(0, counted(1000));
        bench
    }

    pub(super) fn at(&mut self, ms: u64, evidence: Evidence) -> &mut Self {
        self.pass(ms);
        self.correlator.observe(evidence, now(ms), &mut self.out);
        self
    }

    pub(super) fn pass(&mut self, ms: u64) -> &mut Self {
        self.correlator.tick(now(ms), &mut self.out);
        self
    }

    pub(super) fn events(&self) -> &[Event] {
        &self.out
    }

    fn kills(&self) -> Vec<&OomKillEvent> {
        self.out
            .iter()
            .filter_map(|event| match event {
                Event::OomKill(kill) => Some(&**kill),
                _ => None,
            })
            .collect()
    }

    pub(super) fn instances(&self) -> Vec<&crate::event::OomInstance> {
        self.out
            .iter()
            .filter_map(|event| match event {
                Event::OomInstance(instance) => Some(&**instance),
                _ => None,
            })
            .collect()
    }

    /// `K<tid>` for a kill, `I[<tids>]` for a report with kills, `I!<outcome>` for one without.
    pub(super) fn story(&self) -> String {
        let words: Vec<String> = self
            .out
            .iter()
            .map(|event| match event {
                Event::OomKill(kill) => format!("K{}", kill.victim.tid),
                Event::OomInstance(instance) if instance.kills.is_empty() => {
                    let outcome = instance.outcome.map(|outcome| format!("{outcome:?}"));
                    format!("I!{}", outcome.as_deref().unwrap_or("Unknown"))
                }
                Event::ContainerCreation(_) | Event::ContainerDeletion(_) => "C".to_owned(),
                Event::VictimEnd(end) => format!("E{}", end.kill.victim.tid),
                Event::OomStuck(stuck) => format!("S{}", stuck.kill.victim.tid),
                Event::OomInstance(instance) => {
                    let tids: Vec<String> = instance
                        .kills
                        .iter()
                        .map(|kill| kill.victim.tid.to_string())
                        .collect();
                    format!("I[{}]", tids.join(","))
                }
            })
            .collect();
        words.join(" ")
    }
}

type OomKillEvent = crate::event::OomKill;

fn counted(oom_kill: u64) -> Evidence {
    Evidence::Counter {
        oom_kill,
        read_ns: 0,
    }
}

fn now(ms: u64) -> Now {
    Now {
        monotonic_ns: ms * MS,
        wall_offset_ns: 0,
        boot_offset_ns: 0,
    }
}

pub(super) fn mark(ms: u64, tid: u32) -> Mark {
    let charge = |limit| Charge {
        usage_bytes: 4 << 20,
        limit_bytes: limit,
        failcnt: 7,
        oom_group: Some(false),
    };
    Mark {
        monotonic_ns: ms * MS,
        victim: crate::event::Victim {
            pid: Some(tid),
            tid,
            comm: Comm::new(b"hog"),
            uid: Some(0),
            ..Default::default()
        },
        start_boottime_ns: Some(u64::from(tid) * 1000),
        levels: vec![
            Level {
                id: 12,
                path: Some("/a/b".into()),
                memcg: true,
                charge: Some(charge(None)),
            },
            Level {
                id: 11,
                path: Some("/a".into()),
                memcg: true,
                charge: Some(charge(Some(4 << 20))),
            },
            Level {
                id: 1,
                path: Some("/".into()),
                memcg: true,
                charge: Some(charge(None)),
            },
        ],
        cgroup_version: Some(2),
        asker: Asker {
            pid: 7,
            tid: 7,
            comm: Comm::new(b"asker"),
            ..Default::default()
        },
        verdict: Verdict::Kill,
        scope: Some(Scope::Memcg),
        role: Some(Role::Chosen),
        ..Default::default()
    }
}

fn in_group(mut mark: Mark, role: Role) -> Mark {
    mark.role = Some(role);
    for level in &mut mark.levels {
        if let Some(charge) = &mut level.charge {
            charge.oom_group = Some(level.id == 11);
        }
    }
    mark
}

fn with(verdict: Verdict, mut mark: Mark) -> Evidence {
    mark.verdict = verdict;
    if verdict != Verdict::Kill {
        mark.role = None;
    }
    Evidence::Mark(Box::new(mark))
}

pub(super) fn bpf(mark: Mark) -> Evidence {
    Evidence::Mark(Box::new(mark))
}

pub(super) fn kmsg_kill(ms: u64, tid: u32) -> KmsgKill {
    KmsgKill {
        decision: 5000 + u64::from(tid),
        seq: 5000 + u64::from(tid),
        monotonic_ns: ms * MS,
        tid,
        comm: Comm::new(b"hog"),
        uid: Some(0),
        oom_score_adj: None,
        memory: crate::event::Memory::default(),
        role: Role::Chosen,
        scope: None,
        group: None,
        report: None,
        sacrificed: false,
        reaper: None,
        reaper_left_bytes: None,
    }
}

pub(super) fn killed(kill: KmsgKill) -> Evidence {
    Evidence::Kmsg(KmsgEvidence::Killed(Box::new(kill)))
}

pub(super) fn log(ms: u64, tid: u32) -> Evidence {
    killed(kmsg_kill(ms, tid))
}

fn end(ms: u64, decision: u64) -> KmsgEnd {
    KmsgEnd {
        decision,
        seq: decision,
        monotonic_ns: ms * MS,
        report: None,
    }
}

fn exiting(ms: u64, decision: u64) -> Evidence {
    Evidence::Kmsg(KmsgEvidence::AlreadyExiting {
        end: end(ms, decision),
        tid: 50,
        comm: Comm::new(b"x"),
    })
}

/// The decision of a group whose chosen one is thread 50.
const GROUP: u64 = 5050;

fn log_member(ms: u64, tid: u32) -> Evidence {
    killed(KmsgKill {
        decision: GROUP,
        role: Role::GroupMember,
        group: Some("/a".into()),
        ..kmsg_kill(ms, tid)
    })
}

fn group_notice(ms: u64) -> Evidence {
    Evidence::Kmsg(KmsgEvidence::GroupKill {
        decision: GROUP,
        seq: 1,
        monotonic_ns: ms * MS,
        cgroup: "/a".into(),
    })
}

pub(super) fn report(tid: u32) -> Arc<KmsgReport> {
    Arc::new(KmsgReport {
        complete: true,
        trigger_comm: Some(Comm::new(b"asker")),
        trigger_tid: Some(7),
        order: Some(0),
        constraint: Some(crate::event::Constraint::Memcg),
        oom_memcg: Some("/a".into()),
        task_memcg: Some("/a/b".into()),
        victim_comm: Some(Comm::new(b"hog")),
        victim_tid: Some(tid),
        ..Default::default()
    })
}

fn decision(ms: u64, chosen: &Mark) -> Evidence {
    Evidence::Decision(Box::new(Decision {
        seq: 0,
        monotonic_ns: ms * MS,
        asker: chosen.asker.clone(),
        constraint: Some(crate::event::Constraint::Memcg),
        gfp_mask: 0xcc0,
        order: 0,
        total_bytes: 4 << 20,
        points: 900,
        limit: Some((
            crate::event::Cgroup {
                path: Some("/a".into()),
                id: Some(11),
                version: Some(2),
            },
            Charge {
                usage_bytes: 4 << 20,
                limit_bytes: Some(4 << 20),
                failcnt: 9,
                oom_group: None,
            },
        )),
        chosen: (chosen.victim.tid, chosen.victim.tid),
        chosen_task: Some(Box::new(chosen.clone())),
    }))
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn orders_and_losses() {
    type Steps = Vec<(u64, Evidence)>;
    let both = (true, true);
    let table: Vec<(&str, (bool, bool), Steps, &str)> = vec![
        (
            "the usual order",
            both,
            vec![(1, bpf(mark(1, 50))), (2, log(1, 50))],
            "K50 I[50]",
        ),
        (
            "the log was read first",
            both,
            vec![(1, log(1, 50)), (2, bpf(mark(1, 50)))],
            "K50 I[50]",
        ),
        (
            "no log at all",
            (true, false),
            vec![(1, bpf(mark(1, 50)))],
            "K50 I[50]",
        ),
        (
            "no BPF at all",
            (false, true),
            vec![(1, log(1, 50))],
            "K50 I[50]",
        ),
        (
            "the ring had no room",
            both,
            vec![(1, Evidence::RingGap { lost: 1 }), (2, log(1, 50))],
            "K50 I[50]",
        ),
        (
            "the log lost it",
            both,
            vec![(1, bpf(mark(1, 50)))],
            "K50 I[50]",
        ),
        (
            "a mark that is no kill",
            both,
            vec![(1, with(Verdict::MarkOnly, mark(1, 50)))],
            "I!AlreadyExiting",
        ),
        (
            "a mark whose kill the log shows",
            both,
            vec![(1, with(Verdict::MarkOnly, mark(1, 50))), (2, log(1, 50))],
            "K50 I[50]",
        ),
        (
            "an unclear mark, told by the log",
            both,
            vec![(1, with(Verdict::Unknown, mark(1, 50))), (2, log(1, 50))],
            "K50 I[50]",
        ),
        (
            "an unclear mark, told by the counter",
            (true, false),
            vec![(1, with(Verdict::Unknown, mark(1, 50))), (2, counted(1001))],
            "K50 I[50]",
        ),
        (
            "an unclear mark, denied by the counter",
            (true, false),
            vec![(1, with(Verdict::Unknown, mark(1, 50))), (2, counted(1000))],
            "I!AlreadyExiting",
        ),
        (
            "a decision, its mark, its line",
            both,
            vec![
                (1, decision(1, &mark(1, 50))),
                (1, bpf(mark(1, 50))),
                (2, log(1, 50)),
            ],
            "K50 I[50]",
        ),
        (
            "a decision, and a console that takes its time before the mark",
            both,
            vec![
                (1, decision(1, &mark(1, 50))),
                (900, counted(1000)),
                (9000, bpf(mark(9000, 50))),
                (9001, log(9000, 50)),
            ],
            "K50 I[50]",
        ),
        (
            "a decision that came to nothing, and the next one",
            (true, false),
            vec![
                (1, decision(1, &mark(1, 50))),
                (900, decision(900, &mark(900, 51))),
                (900, bpf(mark(900, 51))),
            ],
            "I!AlreadyExiting K51 I[51]",
        ),
        (
            "a decision whose mark was lost",
            both,
            vec![(1, decision(1, &mark(1, 50))), (2, log(1, 50))],
            "K50 I[50]",
        ),
        (
            "a decision for a task that exits",
            both,
            vec![
                (1, decision(1, &mark(1, 50))),
                (1, with(Verdict::MarkOnly, mark(1, 50))),
            ],
            "I!AlreadyExiting",
        ),
        (
            "two kills in a row",
            both,
            vec![
                (1, bpf(mark(1, 50))),
                (2, bpf(mark(2, 51))),
                (3, log(1, 50)),
                (3, log(2, 51)),
            ],
            "K50 K51 I[50] I[51]",
        ),
        (
            "a group, its first named twice by the log",
            both,
            vec![
                (1, bpf(in_group(mark(1, 50), Role::Chosen))),
                (1, bpf(in_group(mark(1, 51), Role::GroupMember))),
                (1, bpf(in_group(mark(1, 52), Role::GroupMember))),
                (2, log(1, 50)),
                (2, group_notice(1)),
                (2, log_member(1, 50)),
                (2, log_member(1, 51)),
                (2, log_member(1, 52)),
            ],
            "K50 K51 K52 I[50,51,52]",
        ),
        (
            "the same group from the log alone",
            (false, true),
            vec![
                (2, log(1, 50)),
                (2, group_notice(1)),
                (2, log_member(1, 50)),
                (2, log_member(1, 51)),
                (2, log_member(1, 52)),
            ],
            "K50 K51 K52 I[50,51,52]",
        ),
        (
            "a pid used again, from the log alone",
            (false, true),
            vec![(1, log(1, 50)), (9, log(9, 50))],
            "K50 K50 I[50] I[50]",
        ),
        (
            "a pid used again, told by the log and then by BPF",
            both,
            vec![
                (1, log(1, 50)),
                (300, counted(1001)),
                (2600, counted(1001)),
                (3000, bpf(mark(3000, 50))),
                (3000, log(3000, 50)),
            ],
            "K50 I[50] K50 I[50]",
        ),
        (
            "nothing could be killed",
            both,
            vec![(1, Evidence::Kmsg(KmsgEvidence::NoVictim(end(1, 1))))],
            "I!NoVictim",
        ),
        (
            "the log says that the victim was exiting",
            both,
            vec![(1, exiting(1, 1))],
            "I!AlreadyExiting",
        ),
        (
            "nothing could be killed, so the kernel panicked",
            both,
            vec![
                (1, Evidence::Kmsg(KmsgEvidence::NoVictim(end(1, 1)))),
                (1, Evidence::Kmsg(KmsgEvidence::Panic(end(1, 1)))),
            ],
            "I!Panic",
        ),
        (
            "a member of a group was exiting, and later another decision's task",
            both,
            vec![
                (1, bpf(in_group(mark(1, 50), Role::Chosen))),
                (2, log(1, 50)),
                (2, group_notice(1)),
                (2, log_member(1, 50)),
                (2, exiting(1, GROUP)),
                (900, exiting(900, 7000)),
            ],
            "K50 I[50] I!AlreadyExiting",
        ),
        (
            "a group whose marks were lost, right after another kill",
            both,
            vec![
                (1, bpf(mark(1, 40))),
                (2, log(1, 40)),
                (2, Evidence::RingGap { lost: 2 }),
                (2, log(1, 50)),
                (2, group_notice(1)),
                (2, log_member(1, 50)),
                (2, log_member(1, 51)),
            ],
            "K40 I[40] K50 K51 I[50,51]",
        ),
        (
            "what stays unexplained is not an unclear mark",
            (true, false),
            vec![
                (1, counted(1001)),
                (1100, counted(1001)),
                (1200, with(Verdict::Unknown, mark(1200, 50))),
                (1201, counted(1001)),
                (1300, with(Verdict::Unknown, mark(1300, 51))),
                (1301, counted(1002)),
            ],
            "K51 I[51] I!AlreadyExiting",
        ),
        (
            "a kill counted before the base does not deny another",
            (true, false),
            vec![
                (1, bpf(mark(1, 50))),
                (1100, counted(1000)),
                (1200, with(Verdict::Unknown, mark(1200, 51))),
                (1201, counted(1001)),
            ],
            "K50 I[50] K51 I[51]",
        ),
        (
            "a lost mark, told by the log after the next decision",
            both,
            vec![
                (1, decision(1, &mark(1, 50))),
                (1, Evidence::RingGap { lost: 1 }),
                (1, decision(1, &mark(1, 51))),
                (1, bpf(mark(1, 51))),
                (2, log(1, 50)),
                (2, log(1, 51)),
            ],
            "K51 K50 I[50] I[51]",
        ),
        (
            "a mark of another task than the decision's, its own lost",
            (true, false),
            vec![
                (1, decision(1, &mark(1, 50))),
                (1, Evidence::RingGap { lost: 2 }),
                (1, bpf(mark(1, 51))),
            ],
            "K51 I[51] I!Unknown",
        ),
        (
            "a decision whose mark nobody will tell",
            (true, false),
            vec![
                (1, decision(1, &mark(1, 50))),
                (1, Evidence::RingGap { lost: 1 }),
            ],
            "I!Unknown",
        ),
        (
            "a line after the report was closed",
            both,
            vec![(1, bpf(mark(1, 50))), (5000, log(1, 50))],
            "K50 I[50]",
        ),
    ];
    for (name, (bpf_up, kmsg_up), steps, expected) in table {
        let mut bench = Bench::new(bpf_up, kmsg_up);
        for (ms, evidence) in steps {
            bench.at(ms, evidence);
        }
        bench.pass(300).pass(2500).pass(6000).pass(70_000);
        assert_eq!(bench.story(), expected, "{name}");
        assert!(bench.correlator.is_quiet(), "{name}");
    }
}

#[test]
fn an_alert_does_not_wait() {
    let mut bench = Bench::new(true, true);
    bench.at(1, bpf(mark(1, 50)));
    assert_eq!(bench.story(), "K50");
    assert_eq!(bench.kills()[0].evidence, [Source::Bpf]);
    bench.at(2, log(1, 50));
    assert_eq!(
        bench.instances()[0].kills[0].evidence,
        [Source::Bpf, Source::Kmsg]
    );
}

#[test]
fn the_alert_and_the_report_name_the_kill_alike() {
    let mut bench = Bench::new(true, true);
    // The grace is over before the mark arrives: alerted from the log, then told by BPF.
    bench.at(1, log(1, 50)).pass(400);
    bench.at(401, bpf(mark(1, 50)));
    bench.pass(3000);
    assert_eq!(bench.story(), "K50 I[50]");
    let (alert, report) = (bench.kills()[0].clone(), bench.instances()[0]);
    assert_eq!(alert.id, report.kills[0].id);
    assert_eq!(alert.time, report.kills[0].time);
    assert_eq!(alert.instance_id, report.id);
    assert_eq!(alert.evidence, [Source::Kmsg]);
    assert_eq!(
        report.kills[0].cgroup.as_ref().unwrap().path.as_deref(),
        Some("/a/b")
    );
}

#[test]
fn one_start_read_in_two_ways_is_one_process() {
    let tick = crate::clock::TICK_NS;
    for (start, kills) in [(7 * tick, 1), (7 * tick + tick - 1, 1), (8 * tick, 2)] {
        let mut bench = Bench::new(true, false);
        let at = |ns| {
            bpf(Mark {
                start_boottime_ns: Some(ns),
                ..mark(10, 42)
            })
        };
        bench.at(10, at(7 * tick)).at(10, at(start)).pass(9000);
        assert_eq!(bench.kills().len(), kills, "{start}");
    }
}

#[test]
fn repeats_are_counted_and_the_audit_adds_up() {
    let mut bench = Bench::new(true, true);
    bench.at(1, bpf(in_group(mark(1, 50), Role::Chosen)));
    bench.at(1, bpf(in_group(mark(1, 51), Role::GroupMember)));
    bench.at(2, log(1, 50)).at(2, group_notice(1));
    bench.at(2, log_member(1, 50)).at(2, log_member(1, 51));
    bench.at(3, counted(1003));
    bench.pass(3000);
    let instance = bench.instances()[0];
    assert_eq!(instance.crosscheck.repeats, 1);
    assert_eq!(instance.group_kill, Some(true));
    let roles: Vec<Role> = instance.kills.iter().map(|kill| kill.role).collect();
    assert_eq!(roles, [Role::Chosen, Role::GroupMember]);
    assert_eq!(bench.correlator.audit().unexplained(), Some(0));
}

/// A ring that nobody has read since tells of kills that the first reading of the counter has in it.
#[test]
fn kills_of_before_the_base_are_not_held_against_it() {
    let mut bench = Bench::new(true, true);
    let host = Host::new("b007-1d", "node");
    bench.correlator = Correlator::new(host, Timing::default());
    let up = |source| Evidence::SourceState { source, up: true };
    bench.at(100, up(Feed::Bpf)).at(
        100,
        Evidence::Counter {
            oom_kill: 7,
            read_ns: 90 * MS,
        },
    );
    bench.at(101, bpf(mark(50, 50))).at(102, bpf(mark(101, 60)));
    bench.at(103, counted(8));
    assert_eq!(bench.correlator.counts().kills, 2);
    assert_eq!(bench.correlator.audit().unexplained(), Some(0));
}

#[test]
fn without_the_log_a_group_may_hide_one_repeat() {
    let mut bench = Bench::new(true, false);
    bench.at(1, bpf(in_group(mark(1, 50), Role::Chosen)));
    bench.at(1, bpf(in_group(mark(1, 51), Role::GroupMember)));
    bench.at(3, counted(1003)).pass(3000);
    assert_eq!(bench.correlator.audit().unexplained(), Some(1));
    assert_eq!(bench.correlator.counts().possible_repeats, 1);
}

#[test]
fn the_limit_says_how_it_is_known() {
    let limit_of = |steps: Vec<Evidence>| {
        let mut bench = Bench::new(true, true);
        for evidence in steps {
            bench.at(1, evidence);
        }
        bench.pass(3000);
        let instance = bench.instances()[0].clone();
        (instance.limit.clone().unwrap(), instance)
    };
    let with_report = || {
        killed(KmsgKill {
            report: Some(report(50)),
            ..kmsg_kill(1, 50)
        })
    };

    let (limit, instance) = limit_of(vec![bpf(mark(1, 50)), log(1, 50)]);
    assert_eq!(
        (limit.source, limit.cgroup.path.as_deref()),
        (LimitSource::Inferred, Some("/a"))
    );
    assert_eq!(instance.crosscheck.kmsg_report, KmsgReportState::Suppressed);

    let (limit, instance) = limit_of(vec![bpf(mark(1, 50)), with_report()]);
    assert_eq!(
        (limit.source, limit.cgroup.id),
        (LimitSource::Kmsg, Some(11))
    );
    assert_eq!(limit.limit_bytes, Some(4 << 20));
    assert_eq!(instance.crosscheck.kmsg_report, KmsgReportState::Full);

    let (limit, _) = limit_of(vec![
        decision(1, &mark(1, 50)),
        bpf(mark(1, 50)),
        with_report(),
    ]);
    assert_eq!(
        (limit.source, limit.failcnt),
        (LimitSource::OomControl, Some(9))
    );

    let (_, instance) = limit_of(vec![bpf(mark(1, 50))]);
    assert_eq!(instance.crosscheck.kmsg_report, KmsgReportState::Absent);
}

#[test]
fn the_owner_and_the_level_are_those_of_the_paths() {
    let container = format!(
        "/kubepods/pod6b1f0c2e-7d3a-4f55-9a61-0b7f4c1de911/{}",
        "4f1d".repeat(16)
    );
    for (own, above, kind, level) in [
        (
            Some(container.as_str()),
            container.rsplit_once('/').map(|(pod, _)| pod),
            Some(OwnerKind::Container),
            Some(LimitLevel::Pod),
        ),
        (
            Some("/system.slice/a.service"),
            Some("/system.slice"),
            Some(OwnerKind::Unit),
            Some(LimitLevel::Slice),
        ),
        (None, None, None, None),
    ] {
        let mut mark = mark(1, 50);
        mark.levels[0].path = own.map(Into::into);
        mark.levels[1].path = above.map(Into::into);
        let mut bench = Bench::new(true, false);
        bench.at(1, bpf(mark)).pass(3000);
        let owner = |kill: &OomKillEvent| kill.owner.as_ref().map(|owner| owner.kind);
        let report = bench.instances()[0];
        assert_eq!(owner(bench.kills()[0]), kind, "{own:?}");
        assert_eq!(owner(&report.kills[0]), kind, "{own:?}");
        assert_eq!(report.limit.as_ref().unwrap().level, level, "{above:?}");
        let levels = [&report.levels[0], &report.levels[1], &report.levels[2]];
        assert_eq!(levels[1].level, level, "{above:?}");
        assert_eq!(levels[2].level, Some(LimitLevel::Node));
        let limits = levels.map(|level| level.limit_bytes);
        assert_eq!(limits, [None, Some(4 << 20), None]);
        assert!(levels.iter().all(|level| level.usage_bytes.is_some()));
    }
}

#[test]
fn disagreement_is_recorded_and_the_kernels_structures_win() {
    let mut bench = Bench::new(true, true);
    let mut lying = (*report(50)).clone();
    lying.task_memcg = Some("/elsewhere".into());
    lying.trigger_comm = Some(Comm::new(b"other"));
    bench.at(1, bpf(mark(1, 50)));
    bench.at(
        2,
        killed(KmsgKill {
            comm: Comm::new(b"innocent"),
            report: Some(Arc::new(lying)),
            ..kmsg_kill(1, 50)
        }),
    );
    let instance = bench.instances()[0];
    let mut fields: Vec<&str> = instance
        .crosscheck
        .mismatches
        .iter()
        .map(|it| it.field.as_str())
        .collect();
    fields.sort_unstable();
    assert_eq!(fields, ["cgroup.path", "trigger.comm", "victim.comm"]);
    assert_eq!(instance.kills[0].victim.comm, Comm::new(b"hog"));
    assert_eq!(
        instance.kills[0].cgroup.as_ref().unwrap().path.as_deref(),
        Some("/a/b")
    );
}

#[test]
fn a_headerless_line_invents_nothing() {
    let mut bench = Bench::new(false, true);
    bench.at(1, log(1, 50)).pass(3000);
    let (kill, instance) = (bench.kills()[0], bench.instances()[0]);
    assert_eq!(
        (
            kill.cgroup.as_ref(),
            kill.victim.pid,
            kill.victim.start_time
        ),
        (None, None, None)
    );
    assert_eq!((instance.scope, instance.constraint), (None, None));
    assert!(instance.limit.is_none() && instance.trigger.is_none());
    assert_eq!(instance.outcome, Some(Outcome::Killed));
    assert_eq!(instance.crosscheck.bpf_kills, None);
}

#[test]
fn the_words_before_a_kill_tell_the_scope_where_nothing_else_does() {
    let scope_of = |bpf_up, steps: Vec<Evidence>| {
        let mut bench = Bench::new(bpf_up, true);
        for evidence in steps {
            bench.at(1, evidence);
        }
        bench.pass(3000);
        let instance = bench.instances()[0];
        (instance.scope, instance.constraint)
    };
    let line = |scope| {
        killed(KmsgKill {
            scope,
            ..kmsg_kill(1, 50)
        })
    };
    let (memcg, system) = (Some(Scope::Memcg), Some(Scope::System));
    assert_eq!(scope_of(false, vec![line(memcg)]), (memcg, None));
    assert_eq!(scope_of(false, vec![line(system)]), (system, None));
    let seen = || bpf(mark(1, 50));
    let by_stack = mark(1, 50).scope;
    assert_eq!(scope_of(true, vec![seen(), line(system)]), (by_stack, None));
    let legacy = KmsgReport {
        scope: memcg,
        ..KmsgReport::default()
    };
    let panic = Evidence::Kmsg(KmsgEvidence::Panic(KmsgEnd {
        report: Some(Arc::new(legacy)),
        ..end(1, 1)
    }));
    assert_eq!(scope_of(false, vec![panic]), (memcg, None));
}

#[test]
fn the_reaper_is_told_if_it_came_in_time_and_never_waited_for() {
    use crate::event::Reaper;
    let reaped = |tid, reaped| {
        Evidence::Kmsg(KmsgEvidence::Reaped {
            monotonic_ns: MS,
            tid,
            reaped,
            left_bytes: None,
        })
    };
    let told = |bpf_up, steps: Vec<(u64, Evidence)>| {
        let mut bench = Bench::new(bpf_up, true);
        for (ms, evidence) in steps {
            bench.at(ms, evidence);
        }
        bench.pass(3000).pass(6000);
        bench.instances()[0].kills[0].reaper
    };
    let group = || {
        let mut mark = mark(1, 50);
        mark.levels[0].charge.as_mut().unwrap().oom_group = Some(true);
        mark
    };
    let cases = vec![
        // The log alone: the report is open until it has settled.
        (
            false,
            vec![(1, log(1, 50)), (2, reaped(50, true))],
            Some(Reaper::Reaped),
        ),
        (
            false,
            vec![(1, log(1, 50)), (2, reaped(50, false))],
            Some(Reaper::Unable),
        ),
        (false, vec![(1, log(1, 50)), (2, reaped(51, true))], None),
        // The line waits for its mark.
        (
            true,
            vec![
                (1, log(1, 50)),
                (2, reaped(50, true)),
                (3, bpf(mark(1, 50))),
            ],
            Some(Reaper::Reaped),
        ),
        (
            true,
            vec![(1, log(1, 50)), (2, reaped(50, true))],
            Some(Reaper::Reaped),
        ),
        (
            true,
            vec![(1, bpf(group())), (2, log(1, 50)), (3, reaped(50, true))],
            Some(Reaper::Reaped),
        ),
        // Both sources have spoken: it is closed.
        (
            true,
            vec![
                (1, bpf(mark(1, 50))),
                (2, log(1, 50)),
                (3, reaped(50, true)),
            ],
            None,
        ),
    ];
    for (at, (bpf_up, steps, expected)) in cases.into_iter().enumerate() {
        assert_eq!(told(bpf_up, steps), expected, "case {at}");
    }
}

#[test]
fn what_is_still_open_at_the_end_is_closed() {
    let mut bench = Bench::new(true, true);
    bench
        .at(1, bpf(mark(1, 50)))
        .at(2, log(2, 60))
        .at(2, with(Verdict::Unknown, mark(2, 70)));
    bench.correlator.finish(now(3), &mut bench.out);
    assert_eq!(bench.story(), "K50 K60 I[50] I[60] I!AlreadyExiting");
    assert!(bench.correlator.is_quiet());
}

#[test]
fn memory_is_bounded() {
    let mut bench = Bench::new(true, true);
    for tid in 1..=5_000 {
        bench.at(1, bpf(mark(1, tid)));
    }
    bench.pass(2_500).pass(70_000);
    assert_eq!(bench.kills().len(), 5_000);
    assert_eq!(bench.instances().len(), 5_000);
    assert!(bench.correlator.kills.is_empty() && bench.correlator.by_tid.is_empty());
    assert!(bench.correlator.instances.is_empty() && bench.correlator.open.is_empty());
}

proptest! {
    /// Cut off anywhere, a successor that is told what was told before says the same, and counts the same.
    #[test]
    fn a_successor_goes_on_where_it_was_cut(
        shown in prop::collection::vec((any::<bool>(), any::<bool>(), 0u64..400, 0u32..3), 1..30),
        log_lag in 0u64..100,
        cut in 0usize..60,
    ) {
        let mut steps: Vec<(u64, Evidence)> = Vec::new();
        for (index, &(by_bpf, by_log, gap, verdict)) in shown.iter().enumerate() {
            let tid = 100 + u32::try_from(index).unwrap();
            let ms = 1 + index as u64 * 5 + gap;
            let verdict = [Verdict::Kill, Verdict::Unknown, Verdict::MarkOnly][verdict as usize];
            if by_bpf {
                steps.push((ms, with(verdict, mark(ms, tid))));
            }
            if by_log {
                steps.push((ms + log_lag, log(ms, tid)));
            }
        }
        steps.sort_by_key(|(ms, _)| *ms);
        let mut whole = Bench::new(true, true);
        for (ms, evidence) in steps.clone() {
            whole.at(ms, evidence);
        }
        whole.pass(1_000).pass(4_000);

        let start = Bench::new(true, true).correlator.snapshot();
        let cut = cut.min(steps.len());
        let mut next = Bench::new(false, false);
        next.correlator.restore(&start);
        let before = steps[..cut].iter().map(|(ms, evidence)| (now(*ms), evidence.clone()));
        let last = now(steps[..cut].last().map_or(0, |(ms, _)| *ms));
        next.correlator.replay(before, last, &mut next.out);
        for (ms, evidence) in steps[cut..].iter().cloned() {
            next.at(ms, evidence);
        }
        next.pass(1_000).pass(4_000);
        let ids = |bench: &Bench| {
            let mut ids: Vec<String> = bench.out.iter().map(|event| match event {
                Event::OomKill(kill) => kill.id.to_string(),
                Event::OomInstance(instance) => format!("{} {}", instance.id, instance.kills.len()),
                _ => String::new(),
            }).collect();
            ids.sort_unstable();
            ids
        };
        prop_assert_eq!(ids(&next), ids(&whole));
        prop_assert_eq!(next.correlator.counts(), whole.correlator.counts());
    }

    /// Whatever is lost, and in whatever order the two sources are read: every kill that one of them
    /// shows is alerted once, and stands in one report.
    #[test]
    fn once_whatever_is_lost(
        shown in prop::collection::vec((any::<bool>(), any::<bool>(), 0u64..40), 1..40),
        log_lag in 0u64..100,
    ) {
        let mut steps: Vec<(u64, Evidence)> = Vec::new();
        for (index, &(by_bpf, by_log, gap)) in shown.iter().enumerate() {
            let tid = 100 + u32::try_from(index).unwrap();
            let ms = 1 + index as u64 * 5 + gap;
            if by_bpf {
                steps.push((ms, bpf(mark(ms, tid))));
            }
            if by_log {
                steps.push((ms + log_lag, log(ms, tid)));
            }
        }
        steps.sort_by_key(|(ms, _)| *ms);
        let mut bench = Bench::new(true, true);
        for (ms, evidence) in steps {
            bench.at(ms, evidence);
        }
        bench.pass(1_000).pass(4_000);

        let mut expected: Vec<u32> = shown.iter().enumerate()
            .filter(|(_, (by_bpf, by_log, _))| *by_bpf || *by_log)
            .map(|(index, _)| 100 + u32::try_from(index).unwrap())
            .collect();
        expected.sort_unstable();
        let mut alerted: Vec<u32> = bench.kills().iter().map(|kill| kill.victim.tid).collect();
        alerted.sort_unstable();
        prop_assert_eq!(&alerted, &expected);
        let mut reported: Vec<u32> = bench.instances().iter()
            .flat_map(|instance| instance.kills.iter().map(|kill| kill.victim.tid))
            .collect();
        reported.sort_unstable();
        prop_assert_eq!(&reported, &expected);
        let ids: std::collections::HashSet<_> = bench.kills().iter().map(|kill| kill.id.clone()).collect();
        prop_assert_eq!(ids.len(), expected.len());
    }
}
