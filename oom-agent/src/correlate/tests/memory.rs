//! Wishes and answers: what a report waits for, for how long, and whose word counts.

use std::sync::Arc;

use super::bench::{Bench, MS, bpf, killed, kmsg_kill, log, mark, report};
use crate::{
    correlate::{Wish, memory::at_this_limit},
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

fn trend(recorded: &str) -> MemoryTrend {
    MemoryTrend {
        cgroup: Cgroup {
            path: Some(recorded.to_owned()),
            id: None,
            version: Some(2),
        },
        peak_bytes: 3 << 20,
        growth_bytes_per_s: None,
        growth_of: None,
        growth_over_ns: None,
        since_80_percent_ns: None,
        since_80_percent_at_least: false,
    }
}

fn answer(wish: &Wish, recorded: &str) -> Evidence {
    Evidence::Memory(Box::new(MemoryEvidence {
        instance: wish.instance.clone(),
        history: Some((vec![MemorySample::of(-5, 3 << 20)], trend(recorded))),
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

const S: i64 = 1_000_000_000;

/// Samples, in seconds and MiB, of a cgroup that then had another limit.
const RISE: &[(i64, u64)] = &[(-20, 60), (-14, 60), (-12, 80), (-6, 90), (-1, 90)];

fn rise() -> Vec<MemorySample> {
    let points = RISE.iter();
    points
        .map(|&(s, mib)| MemorySample::of(s * S, mib << 20))
        .collect()
}

/// What comes of that, if this limit, in MiB, was hit, and the recorder had said `since_ns` of the one that
/// it knew.
fn since(limit: u64, since_ns: Option<u64>) -> Option<u64> {
    let mut bench = bench();
    let mut hit = mark(1, 50);
    let charge = hit.levels[1].charge.as_mut().unwrap();
    (charge.usage_bytes, charge.limit_bytes) = (limit << 20, Some(limit << 20));
    bench.at(1, bpf(hit));
    let wish = wishes(&mut bench).remove(0);
    let Evidence::Memory(mut memory) = answer(&wish, "/a") else {
        unreachable!()
    };
    let (samples, trend) = memory.history.as_mut().unwrap();
    *samples = rise();
    trend.since_80_percent_ns = since_ns;
    bench.at(2, Evidence::Memory(memory)).at(3, log(1, 50));
    let trend = bench.instances()[0].memory_trend.as_ref().unwrap();
    trend.since_80_percent_ns
}

#[test]
fn what_counts_is_the_limit_as_it_was_at_the_kill() {
    let wrong = Some(98_000_000);
    // Lowered from 1 GiB: the usage had passed 80 MiB 12 s before.
    assert_eq!(since(100, wrong), Some(12_000_000_000));
    assert_eq!(since(100, None), Some(12_000_000_000));
    // Raised from 100 MiB: it passed 120 MiB half way from 90 to 150.
    assert_eq!(since(150, wrong), Some(500_000_000));
    // Lowered so far that it had been above for as long as is known.
    assert_eq!(since(60, wrong), Some(20_000_000_000));
}

#[test]
fn a_limit_that_nobody_tells_is_as_it_was_read() {
    let read = MemoryTrend {
        since_80_percent_ns: Some(5),
        ..trend("/a")
    };
    let trend = at_this_limit(&rise(), read.clone(), None);
    assert_eq!(trend.since_80_percent_ns, Some(5));
    assert_eq!(at_this_limit(&[], read.clone(), None), read);
}

#[test]
fn a_rise_after_the_last_sample_is_growth() {
    let mut samples: Vec<MemorySample> = (-5..=-1)
        .map(|s| MemorySample::of(s * S, 1 << 20))
        .collect();
    samples.push(MemorySample::of(0, 100 << 20));
    let trend = at_this_limit(&samples, trend("/a"), Some(100 << 20));
    assert_eq!(trend.peak_bytes, 100 << 20);
    assert!(trend.growth_bytes_per_s.unwrap() > 40 << 20, "{trend:?}");
}

#[test]
fn of_what_only_the_log_told_the_moment_is_when_its_line_was_read() {
    let moment = |bpf: bool, read_ms: u64, by_mark: bool| {
        let mut bench = Bench::new(bpf, true);
        let up = Evidence::SourceState {
            source: Feed::Memory,
            up: true,
        };
        bench.at(0, up);
        if by_mark {
            bench.at(read_ms, super::bench::bpf(mark(1, 50)));
        }
        bench.at(read_ms, log(1, 50)).pass(read_ms + 300);
        wishes(&mut bench).remove(0).monotonic_ns / MS
    };
    // The log's clock lags by a second; with BPF there the line has waited for its mark.
    assert_eq!(moment(false, 1001, false), 1001);
    assert_eq!(moment(true, 1001, false), 1001);
    assert_eq!(moment(true, 1001, true), 1);
    // Nobody read the log for long.
    assert_eq!(moment(false, 9000, false), 1);
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
