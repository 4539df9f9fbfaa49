//! Which kill gets which report. Written as the log's own lines: what matters is their order.

use proptest::prelude::*;

use super::*;
use crate::source::kmsg::open::MAX_TASKS;

const PAGE: u64 = 4096;

/// Feeds lines `caller|text` with increasing numbers and times 1 ms apart; `--` is a gap, `+5s` time.
fn feed(lines: &[&str]) -> (Vec<KmsgEvidence>, u64) {
    let mut assembler = Assembler::new(PAGE);
    let mut out = Vec::new();
    let (mut seq, mut monotonic_ns) = (0, 0);
    for line in lines {
        seq += 1;
        monotonic_ns += 1_000_000;
        match *line {
            "--" => assembler.gap(),
            "+5s" => monotonic_ns += 5_000_000_000,
            line => {
                let (caller, text) = line.split_once('|').unwrap_or(("", line));
                let caller = caller.parse().ok().map(Caller::Thread);
                let meta = Meta {
                    seq,
                    monotonic_ns,
                    caller,
                };
                assembler.feed(meta, Line::parse(text.as_bytes(), PAGE), &mut out);
            }
        }
    }
    (out, assembler.abandoned())
}

/// One word a kill: its thread, and `-`, or the number of its report's first line, `!` if that is not
/// complete, and `@group`.
fn kills(lines: &[&str]) -> Vec<String> {
    let (out, _) = feed(lines);
    let word = |evidence: &KmsgEvidence| match evidence {
        KmsgEvidence::Killed(kill) => {
            assert_eq!(kill.group.is_some(), kill.role == Role::GroupMember);
            let report = kill.report.as_ref().map_or("-".into(), |report| {
                format!("{}{}", report.seq, if report.complete { "" } else { "!" })
            });
            let group = kill
                .group
                .as_ref()
                .map_or(String::new(), |group| format!("@{group}"));
            Some(format!("{} {report}{group}", kill.tid))
        }
        _ => None,
    };
    out.iter().filter_map(word).collect()
}

const HEADER: &str = "hog invoked oom-killer: gfp_mask=0xcc0(GFP_KERNEL), order=0, oom_score_adj=0";
const TABLE: &str =
    "[  pid  ]   uid  tgid total_vm      rss pgtables_bytes swapents oom_score_adj name";
const ROW_7: &str = "[      7]     0     7     6279     4636    94208        0             0 hog";
const ROW_8: &str =
    "[      8]     0     7     6279     4636    94208        0             0 thread";
const SUMMARY_7: &str = "oom-kill:constraint=CONSTRAINT_MEMCG,nodemask=(null),cpuset=/,mems_allowed=0,oom_memcg=/a,task_memcg=/a/b,task=hog,pid=7,uid=0";
const KILLED_7: &str = "Memory cgroup out of memory: Killed process 7 (hog) total-vm:1kB, anon-rss:1kB, file-rss:1kB, shmem-rss:0kB, UID:0 pgtables:92kB oom_score_adj:0";
const KILLED_8: &str = "Memory cgroup out of memory: Killed process 8 (thread) total-vm:1kB, anon-rss:1kB, file-rss:1kB, shmem-rss:0kB, UID:0 pgtables:92kB oom_score_adj:0";
const GLOBAL_9: &str = "Out of memory: Killed process 9 (hog) total-vm:1kB, anon-rss:1kB, file-rss:1kB, shmem-rss:0kB, UID:0 pgtables:92kB oom_score_adj:0";
const GROUP: &str = "Tasks in /a/b are going to be killed due to memory.oom.group set";
const EXITING_7: &str =
    "Memory cgroup out of memory: OOM victim 7 (hog) is already exiting. Skip killing the task";
const CHOICE_7: &str =
    "Memory cgroup out of memory: Kill process 7 (hog) score 9 or sacrifice child";
const USAGE: &str = "memory: usage 4kB, limit 4kB, failcnt 1";

#[test]
fn a_report_goes_to_the_first_kill_that_fits_it_or_to_none() {
    let cases: &[(&str, &[&str], &[&str])] = &[
        ("a full report", &[HEADER, SUMMARY_7, KILLED_7], &["7 1"]),
        ("a kill alone", &[KILLED_7], &["7 -"]),
        (
            "a report is used once",
            &[HEADER, SUMMARY_7, KILLED_7, KILLED_8],
            &["7 1", "8 -"],
        ),
        (
            "somebody else's kill",
            &[HEADER, SUMMARY_7, KILLED_8],
            &["8 -"],
        ),
        (
            "and it is not kept for later",
            &[HEADER, SUMMARY_7, KILLED_8, KILLED_7],
            &["8 -", "7 -"],
        ),
        (
            "another thread of the victim",
            &[HEADER, TABLE, ROW_8, SUMMARY_7, KILLED_8],
            &["8 1"],
        ),
        (
            "a report overtaken by another",
            &[HEADER, HEADER, SUMMARY_7, KILLED_7],
            &["7 2"],
        ),
        (
            "the end of a report",
            &[USAGE, SUMMARY_7, KILLED_7],
            &["7 1!"],
        ),
        (
            "a report after a summary",
            &[HEADER, SUMMARY_7, USAGE, KILLED_7],
            &["7 3!"],
        ),
        ("no summary", &[HEADER, USAGE, KILLED_7], &["7 1!"]),
        (
            "a gap before the summary",
            &[HEADER, "--", SUMMARY_7, KILLED_7],
            &["7 3!"],
        ),
        (
            "a gap after the summary",
            &[HEADER, SUMMARY_7, "--", KILLED_7],
            &["7 1"],
        ),
        (
            "a gap over summary and kill",
            &[HEADER, "--", KILLED_7],
            &["7 -"],
        ),
        (
            "a victim that was gone",
            &[HEADER, SUMMARY_7, EXITING_7, KILLED_7],
            &["7 -"],
        ),
        (
            "sacrifice child",
            &[HEADER, SUMMARY_7, CHOICE_7, KILLED_8],
            &["8 1"],
        ),
        (
            "before 5.0 the choice stands for the summary",
            &[HEADER, CHOICE_7, KILLED_8],
            &["8 1"],
        ),
        (
            "sacrifice child without a report",
            &[CHOICE_7, KILLED_8],
            &["8 -"],
        ),
        (
            "no victim",
            &[
                HEADER,
                "Out of memory and no killable processes...",
                KILLED_7,
            ],
            &["7 -"],
        ),
        (
            "callers",
            &[
                "1|x",
                &format!("1|{HEADER}"),
                &format!("2|{KILLED_7}"),
                &format!("1|{SUMMARY_7}"),
                &format!("1|{KILLED_7}"),
            ],
            &["7 -", "7 2"],
        ),
    ];
    for (name, lines, expected) in cases {
        assert_eq!(kills(lines), *expected, "{name}");
    }
}

#[test]
fn a_group_shares_its_report_and_nobody_else_does() {
    let report: &[&str] = &[HEADER, TABLE, ROW_7, SUMMARY_7, KILLED_7, GROUP];
    let full: &[&str] = &[HEADER, TABLE, ROW_7, ROW_8, SUMMARY_7, KILLED_7, GROUP];
    let elsewhere = GROUP.replace("/a/b", "/c");
    let cases: &[(&str, Vec<&str>, &[&str])] = &[
        (
            "members, the first victim again",
            [full, &[KILLED_7, KILLED_8]].concat(),
            &["7 1", "7 1@/a/b", "8 1@/a/b"],
        ),
        (
            "without a report",
            vec![KILLED_7, GROUP, KILLED_8, KILLED_7],
            &["7 -", "8 -@/a/b", "7 -@/a/b"],
        ),
        (
            "without the first kill",
            vec![GROUP, KILLED_8],
            &["8 -@/a/b"],
        ),
        (
            "the first was exiting",
            vec![HEADER, SUMMARY_7, EXITING_7, GROUP, KILLED_8],
            &["8 1@/a/b"],
        ),
        (
            "one that is not in the table",
            [report, &[KILLED_8, KILLED_7]].concat(),
            &["7 1", "8 -", "7 1@/a/b"],
        ),
        (
            "until the next header",
            [full, &[KILLED_8, HEADER, SUMMARY_7, KILLED_7]].concat(),
            &["7 1", "8 1@/a/b", "7 9"],
        ),
        (
            "until the next prefix",
            [full, &[GLOBAL_9, KILLED_8]].concat(),
            &["7 1", "9 -", "8 -"],
        ),
        (
            "until a silence",
            [full, &["+5s", KILLED_8]].concat(),
            &["7 1", "8 -"],
        ),
        (
            "until a gap",
            [full, &["--", KILLED_8]].concat(),
            &["7 1", "8 -"],
        ),
        (
            "until the next decision",
            [
                full,
                &["oom_kill_process: 3 callbacks suppressed", KILLED_8],
            ]
            .concat(),
            &["7 1", "8 -"],
        ),
        (
            "a group elsewhere",
            vec![HEADER, SUMMARY_7, KILLED_7, &elsewhere, KILLED_8],
            &["7 1", "8 -@/c"],
        ),
    ];
    for (name, lines, expected) in cases {
        assert_eq!(kills(lines), *expected, "{name}");
    }
}

#[test]
fn a_report_holds_what_its_lines_said() {
    let cpu = "CPU: 1 UID: 0 PID: 17 Comm: hog Not tainted 6.18";
    let other_cpu = "CPU: 0 UID: 0 PID: 18 Comm: hogs Not tainted 6.18";
    let lines = [
        HEADER, other_cpu, cpu, USAGE, TABLE, ROW_7, "[ 7] bad", SUMMARY_7, ROW_8, KILLED_7,
    ];
    let (out, abandoned) = feed(&lines);
    let [KmsgEvidence::Killed(kill)] = &out[..] else {
        panic!("{out:?}")
    };
    let report = kill.report.as_ref().unwrap();
    assert_eq!(report.trigger_comm, Some(Comm::new(b"hog")));
    assert_eq!(report.trigger_tid, Some(17));
    assert_eq!(report.gfp_flags.as_deref(), Some("GFP_KERNEL"));
    assert_eq!(report.oom_memcg.as_deref(), Some("/a"));
    assert_eq!(report.task_memcg.as_deref(), Some("/a/b"));
    assert_eq!(report.limit.unwrap().limit_bytes, Some(4096));
    assert_eq!((report.tasks.len(), report.tasks_dropped), (1, 1));
    assert_eq!(abandoned, 0);
}

/// Before 4.2 two cgroups could run out at once; the log of then names no callers.
#[test]
fn two_reports_that_the_log_does_not_hold_apart_are_refused() {
    let task_in = "Task in /a/b killed as a result of limit of /a";
    let other = HEADER.replace("hog", "other");
    let old = "Killed process 7 (hog) total-vm:1kB, anon-rss:1kB, file-rss:1kB";
    let cases: &[(&str, &[&str], &[&str], u64)] = &[
        ("one", &[HEADER, task_in, USAGE, CHOICE_7, old], &["7 1"], 0),
        (
            "two headers",
            &[HEADER, &other, task_in, CHOICE_7, old],
            &["7 -"],
            2,
        ),
        (
            "two limits",
            &[HEADER, task_in, task_in, CHOICE_7, old],
            &["7 -"],
            1,
        ),
        (
            "two counters",
            &[HEADER, USAGE, USAGE, CHOICE_7, old],
            &["7 -"],
            1,
        ),
        (
            "two tables",
            &[HEADER, TABLE, TABLE, CHOICE_7, old],
            &["7 -"],
            1,
        ),
        (
            "a part after the choice",
            &[HEADER, CHOICE_7, USAGE, old],
            &["7 -"],
            1,
        ),
        (
            "one that ended before",
            &[HEADER, CHOICE_7, HEADER, CHOICE_7, old],
            &["7 3"],
            1,
        ),
        (
            "a summary says that it is one",
            &[HEADER, HEADER, SUMMARY_7, KILLED_7],
            &["7 2"],
            1,
        ),
    ];
    for (name, lines, expected, abandoned) in cases {
        assert_eq!(kills(lines), *expected, "{name}");
        assert_eq!(feed(lines).1, *abandoned, "{name}");
    }
}

#[test]
fn another_task_s_stack_does_not_get_into_the_trace() {
    let cpu = |cpu: u32, pid: u32, comm: &str| {
        format!("CPU: {cpu} PID: {pid} Comm: {comm} Not tainted 6.1.9 #1")
    };
    let (own, again, other) = (cpu(1, 17, "hog"), cpu(0, 18, "hog"), cpu(0, 18, "x"));
    let (begin, frame) = ("Call Trace:", " do_anonymous_page+0x1/0x2");
    let told = |lines: &[&str]| {
        let (out, _) = feed(&[&[HEADER], lines, &[SUMMARY_7, KILLED_7]].concat());
        let [KmsgEvidence::Killed(kill)] = &out[..] else {
            panic!("{out:?}")
        };
        let report = kill.report.clone().unwrap();
        (
            report.trigger_tid,
            report.trigger_cpu,
            report.call_trace.iter().count(),
        )
    };
    let known = (Some(17), Some(1));
    for (lines, tid, cpu, frames) in [
        (
            &[&own, begin, frame, " </TASK>", &other, begin, frame][..],
            known.0,
            known.1,
            1,
        ),
        (
            &[&own, begin, frame, &other, begin, frame],
            known.0,
            known.1,
            0,
        ),
        (
            &[&other, begin, frame, &own, begin, frame],
            known.0,
            known.1,
            0,
        ),
        (&[&own, begin, frame, &again, begin, frame], None, None, 0),
        (&[begin, frame], None, None, 0),
    ] {
        assert_eq!(told(lines), (tid, cpu, frames), "{lines:?}");
    }
}

#[test]
fn the_kill_line_settles_an_ambiguous_summary() {
    let summary = SUMMARY_7.replace("task=hog", "task=x,task=y");
    let killed = KILLED_7.replace("(hog)", "(x,task=y)");
    let (out, _) = feed(&[HEADER, &summary, &killed]);
    let [KmsgEvidence::Killed(kill)] = &out[..] else {
        panic!("{out:?}")
    };
    let report = kill.report.as_ref().unwrap();
    assert_eq!(report.task_memcg.as_deref(), Some("/a/b"));
    assert_eq!(report.victim_comm, Some(kill.comm));
}

#[test]
fn a_request_without_a_victim_is_told_once() {
    let header = HEADER.replace("order=0", "order=-1");
    let none = "Out of memory and no killable processes...";
    let ignored = "sysrq: OOM request ignored. No task eligible";
    for lines in [
        &[&header, none, ignored][..],
        &[&header, ignored],
        &[&header, none],
    ] {
        let (out, _) = feed(lines);
        let [KmsgEvidence::NoVictim(end)] = &out[..] else {
            panic!("{out:?}")
        };
        assert_eq!(end.report.as_ref().unwrap().order, Some(-1));
    }
    assert_eq!(feed(&[ignored]).0, []);
}

#[test]
fn what_was_decided_at_once_has_one_number() {
    let decisions = |lines: &[&str]| -> Vec<u64> {
        let (out, _) = feed(lines);
        let number = |evidence: &KmsgEvidence| match evidence {
            KmsgEvidence::Killed(kill) => Some(kill.decision),
            KmsgEvidence::GroupKill { decision, .. } => Some(*decision),
            KmsgEvidence::AlreadyExiting { end, .. }
            | KmsgEvidence::NoVictim(end)
            | KmsgEvidence::Panic(end) => Some(end.decision),
            _ => None,
        };
        out.iter().filter_map(number).collect()
    };
    let none = "Out of memory and no killable processes...";
    let panic = "Kernel panic - not syncing: System is deadlocked on memory";
    for (lines, expected) in [
        (&[HEADER, SUMMARY_7, KILLED_7, KILLED_8][..], &[1, 4][..]),
        (
            &[HEADER, SUMMARY_7, KILLED_7, GROUP, KILLED_7, KILLED_8],
            &[1, 1, 1, 1],
        ),
        (&[KILLED_7, GROUP, KILLED_8, EXITING_7], &[1, 1, 1, 1]),
        (&[HEADER, SUMMARY_7, EXITING_7, KILLED_8], &[1, 4]),
        (&[HEADER, none, panic], &[1, 1]),
        (&[none, HEADER, SUMMARY_7, KILLED_7, panic], &[1, 2, 5]),
    ] {
        assert_eq!(decisions(lines), expected, "{lines:?}");
    }
}

#[test]
fn a_child_that_dies_for_the_chosen_does_not_get_its_cgroup() {
    let child = KILLED_8.replace("process 8", "process 80");
    let sacrificed = |lines: &[&str]| match &feed(lines).0[..] {
        [KmsgEvidence::Killed(kill)] => kill.sacrificed,
        other => panic!("{other:?}"),
    };
    assert!(sacrificed(&[HEADER, SUMMARY_7, CHOICE_7, &child]));
    assert!(sacrificed(&[HEADER, CHOICE_7, &child]));
    assert!(!sacrificed(&[HEADER, SUMMARY_7, CHOICE_7, KILLED_7]));
    assert!(!sacrificed(&[
        HEADER, TABLE, ROW_8, SUMMARY_7, CHOICE_7, KILLED_8
    ]));
}

#[test]
fn what_ends_without_a_kill_is_counted_and_bounded() {
    let mut lines = vec![TABLE];
    lines.resize(MAX_TASKS + 11, ROW_7);
    lines.extend([SUMMARY_7, KILLED_7]);
    let (out, _) = feed(&lines);
    let [KmsgEvidence::Killed(kill)] = &out[..] else {
        panic!("{} pieces", out.len())
    };
    let report = kill.report.as_ref().unwrap();
    assert_eq!((report.tasks.len(), report.tasks_dropped), (MAX_TASKS, 10));

    let many: Vec<_> = (0..MAX_STREAMS + 3)
        .map(|caller| format!("{caller}|{HEADER}"))
        .collect();
    let many: Vec<_> = many.iter().map(String::as_str).collect();
    assert_eq!(feed(&many).1, 3);
    assert_eq!(
        feed(&[HEADER, HEADER, "--", HEADER, SUMMARY_7, KILLED_8]).1,
        3
    );
}

proptest! {
    /// However lines are mixed: a kill's report names it, a report is chosen for at most one kill,
    /// and every kill line is one kill.
    #[test]
    fn no_order_of_lines_gives_a_kill_somebody_elses_report(
        order in proptest::collection::vec(0usize..11, 0..60),
    ) {
        let kinds = [HEADER, TABLE, ROW_7, ROW_8, SUMMARY_7, KILLED_7, KILLED_8, GROUP, EXITING_7, USAGE, "--"];
        let lines: Vec<_> = order.iter().map(|&kind| kinds[kind]).collect();
        let (out, _) = feed(&lines);
        let kills = out.iter().filter_map(|evidence| match evidence {
            KmsgEvidence::Killed(kill) => Some(kill),
            _ => None,
        });
        let mut used = std::collections::HashSet::new();
        let mut count = 0;
        for kill in kills {
            count += 1;
            let Some(report) = &kill.report else { continue };
            if kill.role == Role::Chosen {
                prop_assert!(used.insert(report.seq));
                let names_it = report.victim_tid.is_none_or(|tid| tid == kill.tid)
                    || report.tasks.iter().any(|task| task.pid == kill.tid);
                prop_assert!(names_it, "{:?}", lines);
            }
        }
        prop_assert_eq!(count, lines.iter().filter(|l| **l == KILLED_7 || **l == KILLED_8).count());
    }
}
