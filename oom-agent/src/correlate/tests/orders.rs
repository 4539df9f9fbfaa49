//! Orders, duplicates and losses, one table row each: evidence with its time in, events out.

use super::bench::{
    Bench, GROUP, bpf, counted, decision, end, exiting, group_notice, in_group, log, log_member,
    mark, now, with,
};
use crate::{
    event::{Role, Source},
    evidence::{Evidence, KmsgEvidence, Mark, Verdict},
};

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
fn what_is_still_open_at_the_end_is_closed() {
    let mut bench = Bench::new(true, true);
    bench
        .at(1, bpf(mark(1, 50)))
        .at(2, log(2, 60))
        .at(2, with(Verdict::Unknown, mark(2, 70)));
    bench.correlator.finish(now(3), &mut bench.out);
    // Nobody has said how the held mark came out.
    assert_eq!(bench.story(), "K50 K60 I[50] I!Unknown I[60]");
    assert!(bench.correlator.is_quiet());
}

#[test]
fn what_may_still_be_a_kill_is_left_to_who_goes_on() {
    let mut bench = Bench::new(true, true);
    bench
        .at(1, bpf(mark(1, 50)))
        .at(2, with(Verdict::Unknown, mark(2, 70)))
        .at(3, decision(3, &mark(3, 80)));
    bench.correlator.hand_over(now(4), &mut bench.out);
    assert_eq!(bench.story(), "K50 I[50]");
    assert!(!bench.correlator.is_quiet());
    bench.correlator.finish(now(5), &mut bench.out);
    assert_eq!(bench.story(), "K50 I[50] I!Unknown");
}
