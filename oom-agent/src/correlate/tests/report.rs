//! What a report says, from which source, and what it leaves out: limit, owner, scope, reaper, disagreement.

use std::sync::Arc;

use super::bench::{Bench, MS, bpf, decision, end, killed, kmsg_kill, log, mark, report};
use crate::{
    event::{KmsgReportState, LimitLevel, LimitSource, OomKill, Outcome, OwnerKind, Reaper, Scope},
    evidence::{Evidence, KmsgEnd, KmsgEvidence, KmsgKill, KmsgReport},
    text::Comm,
};

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
        let owner = |kill: &OomKill| kill.owner.as_ref().map(|owner| owner.kind);
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
