//! Who is meant: by number and start, and where the end is known before the kill.

use super::{
    bench, exited, freed, gone, reaped_by_log, reaping, reported, sized, start, state, victim,
};
use crate::{
    correlate::{
        tests::bench::{MS, bpf, log, mark},
        victim::EARLY,
    },
    event::Reaper,
    evidence::{Verdict, VictimEvidence},
};

#[test]
fn a_process_that_only_has_the_number_is_not_meant() {
    let mut bench = bench(true);
    bench.at(1, sized(1, 50)).at(2, log(1, 50));
    let other = VictimEvidence::Exited {
        pid: 50,
        start_boottime_ns: start(50) + 1_000_000_000,
        monotonic_ns: 3 * MS,
        left_bytes: None,
    };
    bench.at(3, victim(other)).pass(3000);
    let end = reported(&bench).end.unwrap();
    assert!(end.still_alive && end.exit_after_ns.is_none());
}

#[test]
fn an_end_may_be_known_before_the_kill() {
    let mut bench = bench(true);
    let mut unknown = mark(1, 50);
    unknown.verdict = Verdict::Unknown;
    unknown.role = None;
    bench.at(1, bpf(unknown)).at(2, exited(2, 50, None));
    bench.at(3, freed(3, 50)).at(4, log(1, 50));
    bench.at(5, gone(5, 50, true));
    assert_eq!(bench.story(), "K50 I[50]");
    let end = reported(&bench).end.unwrap();
    assert_eq!((end.exit_after_ns, end.at_most), (Some(MS), false));
}

#[test]
fn the_reaper_may_begin_before_the_kill_is_known() {
    let mut bench = bench(true);
    let reaped = VictimEvidence::Reaped {
        tid: 50,
        monotonic_ns: 3 * MS,
    };
    bench.at(2, reaping(2, 50)).at(3, victim(reaped));
    bench.at(4, sized(1, 50)).at(5, log(1, 50));
    bench.at(6, gone(6, 50, false));
    assert_eq!(bench.story(), "K50", "the log is to say how that went");
    bench.at(7, reaped_by_log(50, true));
    let kill = reported(&bench);
    let end = kill.end.unwrap();
    assert_eq!(end.reaping_started_after_ns, Some(MS));
    assert_eq!(end.reaping_finished_after_ns, Some(2 * MS));
    assert_eq!(kill.reaper, Some(Reaper::Reaped));
}

#[test]
fn what_was_seen_before_the_mark_or_long_before_the_kill_is_not_meant() {
    for (told_ms, seen_ms, marked_ms, known_ms, meant) in [
        (2, 2, 1, 3, true),
        (600, 499, 1000, 1001, false),
        (1000, 1000, 999, 60_999, true),
        (1000, 1000, 999, 61_001, false),
    ] {
        let mut bench = bench(true);
        bench.at(told_ms, exited(seen_ms, 50, None));
        bench.at(told_ms, reaping(seen_ms, 50));
        let mut unnamed = mark(marked_ms, 50);
        unnamed.start_boottime_ns = None;
        bench.at(known_ms, bpf(unnamed)).pass(known_ms + 3000);
        bench.at(known_ms + 3001, state(false));
        let end = reported(&bench).end;
        let began = end.and_then(|end| end.reaping_started_after_ns);
        assert_eq!(began.is_some(), meant, "{seen_ms} {marked_ms} {known_ms}");
        assert_eq!(bench.story().ends_with("E50"), meant);
    }
}

#[test]
fn early_ends_have_a_bound_and_those_of_known_kills_are_not_early() {
    let mut bench = bench(true);
    bench.at(1, sized(1, 50)).at(1, log(1, 50));
    bench.at(2, gone(2, 50, false));
    assert_eq!(bench.story(), "K50 I[50]");
    let strangers = u32::try_from(EARLY).unwrap();
    for pid in 1000..1000 + strangers {
        bench.at(3, exited(3, pid, None)).at(4, freed(4, 50));
    }
    assert_eq!(bench.correlator.counts().ends_missed, 0);
    for pid in [1, 2, 3] {
        bench.at(5, reaping(5, pid));
    }
    assert_eq!(bench.correlator.counts().ends_missed, 3);
    // A minute later there is room again.
    bench.at(70_000, freed(70_000, 4));
    assert_eq!(bench.correlator.counts().ends_missed, 3);
}
