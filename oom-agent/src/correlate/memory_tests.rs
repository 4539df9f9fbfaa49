//! Wishes and answers: what a report waits for, for how long, and whose word counts.

use std::sync::Arc;

use super::{
    Wish,
    tests::{Bench, MS, bpf, killed, kmsg_kill, log, mark, report},
};
use crate::{
    event::{Cgroup, CgroupMemory, Counter, FiguresSource, MemorySample, MemoryTrend, TaskRow},
    evidence::{Evidence, Feed, KmsgReport, MemoryEvidence},
    text::Comm,
};

fn bench() -> Bench {
    let mut bench = Bench::new(true, true);
    let up = Evidence::SourceState {
        source: Feed::Memory,
        up: true,
    };
    bench.at(0, up);
    bench
}

fn wishes(bench: &mut Bench) -> Vec<Wish> {
    bench.correlator.wishes().collect()
}

fn used(bytes: u64) -> CgroupMemory {
    CgroupMemory {
        memory: Some(Counter {
            usage_bytes: bytes,
            limit_bytes: None,
            failcnt: None,
        }),
        ..CgroupMemory::default()
    }
}

fn task(pid: u32) -> TaskRow {
    TaskRow {
        pid,
        tgid: pid,
        uid: 0,
        comm: Comm::new(b"hog"),
        total_vm_bytes: 0,
        rss_bytes: 0,
        pgtables_bytes: None,
        swap_bytes: None,
        oom_score_adj: 0,
    }
}

fn answer(wish: &Wish, recorded: &str) -> Evidence {
    let trend = MemoryTrend {
        cgroup: Cgroup {
            path: Some(recorded.to_owned()),
            id: None,
            version: Some(2),
        },
        peak_bytes: 3 << 20,
        growth_bytes_per_s: None,
        growth_over_ns: None,
        since_80_percent_ns: None,
    };
    Evidence::Memory(Box::new(MemoryEvidence {
        instance: wish.instance.clone(),
        history: Some((vec![MemorySample::of(-5, 3 << 20)], trend)),
        limit_memory: Some(used(1)),
        tasks: vec![task(1)],
        tasks_dropped: 2,
        ..MemoryEvidence::default()
    }))
}

#[test]
fn the_first_alert_wishes_for_the_memory_of_its_limit_and_its_report_waits() {
    let mut bench = bench();
    bench.at(1, bpf(mark(1, 50)));
    let made = wishes(&mut bench);
    assert_eq!(made.len(), 1);
    assert_eq!(made[0].limit.as_deref(), Some("/a"));
    assert_eq!(made[0].victim.as_deref(), Some("/a/b"));
    assert_eq!((made[0].monotonic_ns, made[0].machine), (MS, false));
    bench.at(2, log(1, 50));
    assert_eq!(bench.story(), "K50");
    bench.at(3, answer(&made[0], "/a"));
    assert_eq!(bench.story(), "K50 I[50]");
    assert!(wishes(&mut bench).is_empty());
    let instance = bench.instances()[0];
    // The last point is what the kernel itself saw.
    assert_eq!(
        instance.memory_history,
        [
            MemorySample::of(-5, 3 << 20),
            MemorySample {
                limit_bytes: Some(4 << 20),
                ..MemorySample::of(0, 4 << 20)
            }
        ]
    );
    let peak = instance.memory_trend.as_ref().map(|trend| trend.peak_bytes);
    assert_eq!(peak, Some(4 << 20));
    assert_eq!(instance.limit_memory_source, Some(FiguresSource::Read));
    assert_eq!(
        (instance.tasks_source, instance.tasks_dropped),
        (Some(FiguresSource::Read), 2)
    );
}

#[test]
fn the_history_of_another_cgroup_does_not_end_with_the_limits_usage() {
    let mut bench = bench();
    bench.at(1, bpf(mark(1, 50)));
    let made = wishes(&mut bench);
    bench.at(2, answer(&made[0], "/a/b")).at(3, log(1, 50));
    assert_eq!(bench.instances()[0].memory_history.len(), 1);
}

#[test]
fn what_the_kernel_reported_is_not_replaced() {
    let mut bench = bench();
    bench.at(1, bpf(mark(1, 50)));
    let made = wishes(&mut bench);
    let told = KmsgReport {
        limit_memory: Some(used(9)),
        tasks: vec![task(8), task(9)],
        ..(*report(50)).clone()
    };
    let mut line = kmsg_kill(1, 50);
    line.report = Some(Arc::new(told));
    bench.at(2, answer(&made[0], "/a")).at(3, killed(line));
    let instance = bench.instances()[0];
    assert_eq!(instance.limit_memory, Some(used(9)));
    assert_eq!(instance.limit_memory_source, Some(FiguresSource::Kmsg));
    assert_eq!((instance.tasks.len(), instance.tasks_dropped), (2, 0));
    assert_eq!(instance.tasks_source, Some(FiguresSource::Kmsg));
}

#[test]
fn an_answer_is_not_waited_for_for_ever_and_counted_when_it_comes_too_late() {
    let mut bench = bench();
    bench.at(1, bpf(mark(1, 50))).at(2, log(1, 50));
    let made = wishes(&mut bench);
    assert_eq!(bench.correlator.next_deadline(), Some(1001 * MS));
    assert_eq!(bench.pass(1000).story(), "K50");
    assert_eq!(bench.pass(1001).story(), "K50 I[50]");
    bench.at(1100, answer(&made[0], "/a"));
    assert_eq!(bench.correlator.counts().memory_missed, 1);
    assert!(bench.instances()[0].memory_history.is_empty());
}

#[test]
fn a_wish_that_nobody_takes_holds_up_nothing() {
    let mut bench = bench();
    bench.at(1, bpf(mark(1, 50))).at(2, log(1, 50));
    for wish in wishes(&mut bench) {
        bench.correlator.refuse(&wish);
    }
    assert_eq!(bench.pass(2).story(), "K50 I[50]");
    assert_eq!(bench.correlator.counts().memory_missed, 1);
}

#[test]
fn without_a_recorder_nothing_is_wished_for() {
    let mut bench = Bench::new(true, true);
    bench.at(1, bpf(mark(1, 50))).at(2, log(1, 50));
    assert!(wishes(&mut bench).is_empty());
    assert_eq!(bench.story(), "K50 I[50]");
}
