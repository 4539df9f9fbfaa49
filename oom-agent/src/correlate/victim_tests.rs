//! Ends of victims: in the report, after it, or never; who is meant; and what a restart remembers.

use std::sync::Arc;

use super::{
    tests::{Bench, MS, bpf, killed, kmsg_kill, log, mark},
    victim::EARLY,
    *,
};
use crate::{
    event::{End, EndSource, Memory, OomKill, Reaper},
    evidence::{KmsgEvidence, VictimEvidence},
};

fn bench(bpf: bool) -> Bench {
    let mut bench = Bench::new(bpf, true);
    bench.at(0, state(true));
    bench
}

fn state(up: bool) -> Evidence {
    Evidence::SourceState {
        source: Feed::Victims,
        up,
    }
}

fn victim(evidence: VictimEvidence) -> Evidence {
    Evidence::Victim(Box::new(evidence))
}

/// The start that [`mark`] gives to a process.
fn start(pid: u32) -> u64 {
    u64::from(pid) * 1000
}

fn exited(ms: u64, pid: u32, left_bytes: Option<u64>) -> Evidence {
    victim(VictimEvidence::Exited {
        pid,
        start_boottime_ns: start(pid),
        monotonic_ns: ms * MS,
        left_bytes,
    })
}

fn freed(ms: u64, pid: u32) -> Evidence {
    victim(VictimEvidence::Freed {
        pid,
        start_boottime_ns: start(pid),
        monotonic_ns: ms * MS,
    })
}

fn id(pid: u32) -> Arc<str> {
    format!("b0071d-{pid}-{}", start(pid)).into()
}

fn gone(ms: u64, pid: u32, at_most: bool) -> Evidence {
    victim(VictimEvidence::Gone {
        kill: id(pid),
        tid: pid,
        monotonic_ns: ms * MS,
        at_most,
        tells_reaper: true,
    })
}

fn alive(ms: u64, pid: u32) -> Evidence {
    victim(VictimEvidence::Alive {
        kill: id(pid),
        tid: pid,
        monotonic_ns: ms * MS,
        thread: None,
        threads: Some(2),
        uninterruptible: Some(1),
        held_bytes: Some(7),
    })
}

fn reaping(ms: u64, tid: u32) -> Evidence {
    let monotonic_ns = ms * MS;
    victim(VictimEvidence::Reaping { tid, monotonic_ns })
}

fn reaped_by_log(tid: u32, reaped: bool) -> Evidence {
    Evidence::Kmsg(KmsgEvidence::Reaped {
        monotonic_ns: 0,
        tid,
        reaped,
        left_bytes: reaped.then_some(4096),
    })
}

fn sized(ms: u64, tid: u32) -> Evidence {
    let mut mark = mark(ms, tid);
    mark.memory = Memory {
        anon_bytes: Some(1000),
        file_bytes: Some(20),
        shmem_bytes: Some(3),
        ..Memory::default()
    };
    bpf(mark)
}

fn reported(bench: &Bench) -> OomKill {
    bench.instances()[0].kills[0].clone()
}

#[test]
fn a_report_waits_for_the_end_and_tells_it() {
    let mut bench = bench(true);
    bench.at(1, sized(1, 50)).at(2, log(1, 50));
    assert_eq!(bench.story(), "K50", "it waits");
    bench.at(3, exited(3, 50, None)).at(5, freed(5, 50));
    assert_eq!(
        bench.story(),
        "K50",
        "somebody is still to say that it is over"
    );
    bench.at(6, gone(6, 50, false));
    assert_eq!(bench.story(), "K50 I[50]");
    let kill = reported(&bench);
    let end = kill.end.unwrap();
    assert_eq!(end.exit_after_ns, Some(2 * MS));
    assert_eq!(
        (end.exit_source, end.at_most),
        (Some(EndSource::Bpf), false)
    );
    assert_eq!(end.freed_after_ns, Some(4 * MS));
    assert_eq!(end.freed_bytes, Some(1023));
    assert!(!end.still_alive);
    assert_eq!(kill.reaper, Some(Reaper::NotNeeded));
}

#[test]
fn older_kernels_let_go_of_memory_before_the_exit_is_told() {
    let mut bench = bench(true);
    bench.at(1, sized(1, 50)).at(2, log(1, 50));
    bench
        .at(3, exited(3, 50, Some(23)))
        .at(4, gone(4, 50, false));
    let end = reported(&bench).end.unwrap();
    assert_eq!(
        (end.freed_after_ns, end.freed_bytes),
        (Some(2 * MS), Some(1000))
    );
}

#[test]
fn without_bpf_a_pidfd_tells_and_what_was_over_before_is_a_bound() {
    for at_most in [false, true] {
        let mut bench = bench(false);
        bench.at(2, log(1, 50));
        let watch = bench.correlator.watches().next().unwrap();
        assert_eq!((watch.pid, watch.start_boottime_ns), (50, None));
        bench.at(
            9,
            victim(VictimEvidence::Gone {
                kill: watch.kill,
                tid: 50,
                monotonic_ns: 9 * MS,
                at_most,
                tells_reaper: false,
            }),
        );
        bench.pass(300);
        let kill = reported(&bench);
        let end = kill.end.unwrap();
        assert_eq!(end.exit_after_ns, Some(8 * MS));
        assert_eq!(
            (end.exit_source, end.at_most),
            (Some(EndSource::Pidfd), at_most)
        );
        assert_eq!((end.freed_after_ns, end.freed_bytes), (None, None));
        assert_eq!(kill.reaper, None, "nobody could tell");
    }
}

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
fn what_the_reaper_began_the_log_may_finish() {
    let mut bench = bench(true);
    bench
        .at(1, sized(1, 50))
        .at(2, log(1, 50))
        .at(3, reaping(3, 50));
    bench.at(4, exited(4, 50, None)).at(5, gone(5, 50, false));
    assert_eq!(bench.story(), "K50", "the log has not said how that went");
    bench.at(6, reaped_by_log(50, false));
    assert_eq!(bench.story(), "K50 I[50]");
    assert_eq!(reported(&bench).reaper, Some(Reaper::Unable));
}

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
fn every_member_of_a_group_is_waited_for() {
    let mut bench = Bench::new(true, false);
    bench.at(0, state(true));
    let member = |tid| {
        let mut mark = mark(1, tid);
        mark.levels[1].charge.as_mut().unwrap().oom_group = Some(true);
        mark.role = (tid != 50).then_some(crate::event::Role::GroupMember);
        bpf(mark)
    };
    bench.at(1, member(50)).at(2, member(51));
    bench.at(3, gone(3, 50, false)).pass(1000);
    assert_eq!(bench.story(), "K50 K51");
    bench.at(1001, gone(1001, 51, true));
    assert_eq!(bench.story(), "K50 K51 I[50,51]");
}

#[test]
fn an_end_may_be_known_before_the_kill() {
    let mut bench = bench(true);
    let mut unknown = mark(1, 50);
    unknown.verdict = crate::evidence::Verdict::Unknown;
    unknown.role = None;
    bench.at(1, bpf(unknown)).at(2, exited(2, 50, None));
    bench.at(3, freed(3, 50)).at(4, log(1, 50));
    bench.at(5, gone(5, 50, true));
    assert_eq!(bench.story(), "K50 I[50]");
    let end = reported(&bench).end.unwrap();
    assert_eq!((end.exit_after_ns, end.at_most), (Some(MS), false));
}

#[test]
fn nobody_waits_where_nobody_tells() {
    for (up, evidence, missed) in [
        (false, None, 0),
        (
            true,
            Some(VictimEvidence::Unwatched {
                kill: id(50),
                tid: 50,
                kernel_tells: false,
            }),
            1,
        ),
    ] {
        let mut bench = Bench::new(true, true);
        bench.at(0, state(up)).at(1, sized(1, 50)).at(2, log(1, 50));
        if let Some(evidence) = evidence {
            bench.at(3, victim(evidence));
        }
        assert_eq!(bench.story(), "K50 I[50]");
        assert_eq!(reported(&bench).end, None);
        assert_eq!(bench.correlator.counts().ends_missed, missed);
    }
    let mut bench = bench(true);
    bench.at(1, sized(1, 50)).at(2, log(1, 50));
    let watch = bench.correlator.watches().next().unwrap();
    bench.correlator.refuse_watch(&watch);
    bench.pass(3);
    assert_eq!(bench.story(), "K50 I[50]");
}

#[test]
fn a_bare_mark_and_history_have_no_end() {
    let mut bench = bench(true);
    let mut bare = mark(1, 50);
    bare.verdict = crate::evidence::Verdict::MarkOnly;
    bare.role = None;
    bench.at(1, bpf(bare)).at(2, exited(2, 50, None)).pass(3000);
    assert_eq!(bench.correlator.watches().count(), 0);
    assert_eq!(bench.story(), "I!AlreadyExiting");
    let mut history = Bench::new(false, true);
    history.at(1, killed_long_ago()).pass(3000);
    assert_eq!(history.correlator.watches().count(), 0);
    assert_eq!(reported(&history).end, None);
}

fn killed_long_ago() -> Evidence {
    killed(kmsg_kill(1, 50))
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
fn without_a_pidfd_the_kernel_is_to_tell_of_the_memory_too() {
    for memory in [true, false] {
        let mut bench = bench(true);
        bench.at(1, sized(1, 50)).at(2, log(1, 50));
        let unwatched = VictimEvidence::Unwatched {
            kill: id(50),
            tid: 50,
            kernel_tells: true,
        };
        bench.at(3, victim(unwatched)).at(4, exited(4, 50, None));
        assert_eq!(bench.story(), "K50", "it may still let go of its memory");
        if memory {
            bench.at(5, freed(5, 50));
        } else {
            bench.pass(3000);
        }
        assert_eq!(bench.story(), "K50 I[50]");
        let end = reported(&bench).end.unwrap();
        assert_eq!(end.exit_after_ns, Some(3 * MS));
        assert_eq!(end.freed_after_ns, memory.then_some(4 * MS));
        assert!(!end.still_alive);
    }
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
