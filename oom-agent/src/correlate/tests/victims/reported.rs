//! What a report waits for, and what it tells of the end.

use super::{
    bench, exited, freed, gone, id, reaped_by_log, reaping, reported, sized, state, victim,
};
use crate::{
    correlate::tests::bench::{Bench, MS, bpf, killed, kmsg_kill, log, mark},
    event::{EndSource, Reaper, Role},
    evidence::{Evidence, Verdict, VictimEvidence},
};

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
fn every_member_of_a_group_is_waited_for() {
    let mut bench = Bench::new(true, false);
    bench.at(0, state(true));
    let member = |tid| {
        let mut mark = mark(1, tid);
        mark.levels[1].charge.as_mut().unwrap().oom_group = Some(true);
        mark.role = (tid != 50).then_some(Role::GroupMember);
        bpf(mark)
    };
    bench.at(1, member(50)).at(2, member(51));
    bench.at(3, gone(3, 50, false)).pass(1000);
    assert_eq!(bench.story(), "K50 K51");
    bench.at(1001, gone(1001, 51, true));
    assert_eq!(bench.story(), "K50 K51 I[50,51]");
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
    bare.verdict = Verdict::MarkOnly;
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
