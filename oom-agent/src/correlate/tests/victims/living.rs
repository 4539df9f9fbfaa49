//! Victims that outlive their report: alerts, late ends, a restart, and a bound.

use super::{
    alive, bench, exited, freed, gone, id, reaped_by_log, reaping, reported, sized, state, victim,
};
use crate::{
    correlate::tests::bench::{Bench, MS, log},
    event::{End, EndSource, Event, Reaper},
    evidence::VictimEvidence,
};

#[test]
fn an_end_after_the_report_is_an_event_and_a_stuck_victim_an_alert() {
    let mut bench = bench(true);
    bench.at(1, sized(1, 50)).at(2, log(1, 50)).pass(3000);
    assert_eq!(bench.story(), "K50 I[50]");
    assert!(reported(&bench).end.unwrap().still_alive);
    assert!(bench.correlator.is_quiet(), "nothing is pending");
    bench
        .at(3500, reaping(3400, 50))
        .at(3600, reaped_by_log(50, true));
    bench
        .at(10_001, alive(10_001, 50))
        .at(10_002, alive(10_002, 50));
    assert_eq!(bench.story(), "K50 I[50] S50", "once");
    // The kill itself is forgotten after a minute, its victim is not.
    bench.pass(100_000);
    bench.at(100_001, exited(100_000, 50, None));
    bench.at(100_002, gone(100_002, 50, false));
    assert_eq!(bench.story(), "K50 I[50] S50 E50");
    bench.at(100_003, gone(100_002, 50, false));
    assert_eq!(bench.story(), "K50 I[50] S50 E50");
    let ends = bench.events().iter();
    let ended = ends.filter_map(Event::victim_of).collect::<Vec<_>>();
    let [stuck, end] = ended[..] else {
        panic!("{ended:?}")
    };
    assert!(stuck.end.as_ref().unwrap().still_alive);
    assert_eq!(stuck.reaper, Some(Reaper::Reaped));
    let end = end.end.as_ref().unwrap();
    assert_eq!(end.exit_after_ns, Some(99_999 * MS));
    assert_eq!(end.reaping_started_after_ns, Some(3399 * MS));
    assert_eq!(end.reaping_left_bytes, Some(4096));
}

#[test]
fn a_victim_that_only_the_kernel_tells_of_may_outlive_its_report_too() {
    for kernel_tells in [true, false] {
        let mut bench = bench(true);
        bench.at(1, sized(1, 50)).at(2, log(1, 50));
        let unwatched = VictimEvidence::Unwatched {
            kill: id(50),
            tid: 50,
            kernel_tells,
        };
        bench.at(3, victim(unwatched)).pass(3000);
        assert_eq!(bench.story(), "K50 I[50]");
        bench.at(4001, exited(4000, 50, None));
        let told = if kernel_tells { " E50" } else { "" };
        assert_eq!(bench.story(), format!("K50 I[50]{told}"));
    }
}

/// Since 6.16 the tracepoint comes before the memory is let go of, and before the files in every kernel.
#[test]
fn what_the_kernel_calls_the_exit_is_not_the_end_of_one_that_hangs() {
    for (freed_in_time, stuck) in [(false, false), (false, true), (true, false), (true, true)] {
        let mut bench = bench(true);
        bench.at(1, sized(1, 50)).at(2, log(1, 50));
        bench.at(3, exited(3, 50, None));
        if freed_in_time {
            bench.at(5, freed(5, 50));
        }
        bench.pass(3000);
        assert_eq!(bench.story(), "K50 I[50]");
        let end = reported(&bench).end.unwrap();
        assert!(end.still_alive, "its pidfd says so");
        assert_eq!((end.exit_after_ns, end.exit_source), (None, None));
        assert_eq!(end.freed_after_ns, freed_in_time.then_some(4 * MS));
        let mut story = "K50 I[50]".to_owned();
        if stuck {
            bench.at(10_001, alive(10_001, 50));
            story.push_str(" S50");
        }
        if !freed_in_time {
            bench.at(20_001, freed(20_001, 50));
        }
        assert_eq!(bench.story(), story);
        bench.at(20_003, gone(20_002, 50, false));
        assert_eq!(bench.story(), story + " E50");
        let end = ended(&bench);
        assert!(!end.still_alive);
        let (exit_ms, source) = if stuck {
            (20_001, EndSource::Pidfd)
        } else {
            (2, EndSource::Bpf)
        };
        assert_eq!(end.exit_after_ns, Some(exit_ms * MS));
        assert_eq!(end.exit_source, Some(source));
        let freed_ms = if freed_in_time { 4 } else { 20_000 };
        assert_eq!(end.freed_after_ns, Some(freed_ms * MS));
    }
}

#[test]
fn a_successor_goes_on_waiting() {
    let mut before = bench(true);
    before.at(1, sized(1, 50)).at(2, log(1, 50)).pass(3000);
    before.at(10_001, alive(10_001, 50));
    let state_of = serde_json::to_string(&before.correlator.snapshot()).unwrap();
    let mut after = Bench::new(true, true);
    let snapshot = serde_json::from_str(&state_of).unwrap();
    after.correlator.restore(&snapshot);
    after.at(20_001, state(true));
    let watch = after.correlator.watches().next().unwrap();
    assert_eq!((watch.kill, watch.pid), (id(50), 50));
    after.at(20_002, alive(20_002, 50));
    assert_eq!(after.story(), "", "that was told");
    after.at(20_003, gone(20_003, 50, true));
    assert_eq!(after.story(), "E50");
    let Some(Event::VictimEnd(end)) = after.events().first() else {
        panic!()
    };
    assert_eq!(&*end.id, format!("{}-end", id(50)));
    assert!(end.kill.end.as_ref().unwrap().at_most);
}

#[test]
fn when_nobody_waits_any_more_nothing_is_alive_for_ever() {
    let mut bench = bench(true);
    // Two outlive their reports, of one of which the kernel has told the exit; and two are open.
    for pid in [50, 51] {
        bench.at(1, sized(1, pid)).at(2, log(1, pid)).pass(3000);
    }
    bench.at(3000, exited(3000, 51, None));
    for pid in [52, 53] {
        bench.at(4000, sized(4000, pid)).at(4001, log(4000, pid));
    }
    bench.at(4002, exited(4002, 53, None));
    bench.at(4003, state(false));
    assert_eq!(bench.story(), "K50 I[50] K51 I[51] K52 K53 E51 I[52] I[53]");
    assert_eq!(bench.correlator.counts().ends_missed, 2);
    let reports = bench.instances();
    let end = |at: usize| reports[at].kills[0].end.clone();
    assert_eq!(end(2), None);
    let told = end(3).unwrap();
    assert_eq!(
        (told.still_alive, told.exit_after_ns),
        (false, Some(2 * MS))
    );
    bench.at(5000, state(false));
    assert_eq!(bench.correlator.counts().ends_missed, 2, "once");
    bench.at(6000, state(true));
    assert_eq!(bench.correlator.watches().count(), 0);
}

#[test]
fn those_that_never_end_have_a_bound() {
    let mut bench = bench(true);
    for tid in 1..=300 {
        let ms = u64::from(tid) * 3000;
        bench
            .at(ms, sized(ms, tid))
            .at(ms, log(ms, tid))
            .pass(ms + 2500);
    }
    assert_eq!(bench.correlator.counts().ends_missed, 300 - 256);
}

fn ended(bench: &Bench) -> End {
    let end = bench.events().iter().find_map(|event| match event {
        Event::VictimEnd(end) => end.kill.end.clone(),
        _ => None,
    });
    end.unwrap()
}
