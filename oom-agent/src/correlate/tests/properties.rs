//! Whatever comes: every kill once, the same from a successor, and memory that is bounded.

use proptest::prelude::*;

use super::bench::{Bench, bpf, decision, log, mark, now, with};
use crate::{
    event::Event,
    evidence::{Evidence, Feed, Verdict},
};

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

/// A decision, and its mark that a second agent read minutes later.
#[test]
fn what_waited_for_a_second_agent_has_one_report_for_a_third() {
    let (decided, minutes) = (3, 200_000);
    let marked = mark(4, 50);
    let start = Bench::new(true, true).correlator.snapshot();
    let successor = |before: Vec<(u64, Evidence)>, at: u64| {
        let mut bench = Bench::new(false, false);
        bench.correlator.restore(&start);
        let before = before.into_iter().map(|(ms, evidence)| (now(ms), evidence));
        bench.correlator.replay(before, now(at), &mut bench.out);
        bench
    };
    let mut second = successor(vec![(decided, decision(decided, &marked))], minutes);
    second.at(minutes + 1, bpf(marked.clone()));
    second.pass(minutes + 5_000);
    assert_eq!(second.story(), "K50 I[50]");

    let journal = vec![
        (decided, decision(decided, &marked)),
        (minutes, Evidence::Resumed),
        (minutes + 1, bpf(marked)),
    ];
    let mut third = successor(journal, 2 * minutes);
    third.pass(3 * minutes);
    assert_eq!(third.story(), "K50 I[50]");
    assert_eq!(second.instances()[0].id, third.instances()[0].id);
}

/// Two kills, and the log goes away: the first report is closed then, and not when the next thing is seen.
#[test]
fn time_goes_on_in_a_replay_where_a_source_has_gone() {
    let start = Bench::new(true, true).correlator.snapshot();
    let mut bench = Bench::new(false, false);
    bench.correlator.restore(&start);
    let source = Feed::Kmsg;
    let before = [
        (1, bpf(mark(1, 50))),
        (2, Evidence::SourceState { source, up: false }),
        (3, with(Verdict::Unknown, mark(3, 60))),
        (9_000, bpf(mark(9_000, 70))),
    ];
    let before = before.map(|(ms, evidence)| (now(ms), evidence));
    bench.correlator.replay(before, now(9_001), &mut bench.out);
    assert_eq!(bench.story(), "K50 I[50] I!AlreadyExiting K70 I[70]");
}

proptest! {
    /// Cut off anywhere, a successor that is told what was told before says the same, and counts the same; so does one
    /// that comes after it.
    #[test]
    fn a_successor_goes_on_where_it_was_cut(
        shown in prop::collection::vec((any::<bool>(), any::<bool>(), 0u64..400, 0u32..3), 1..30),
        log_lag in 0u64..100,
        cut in 0usize..60,
        later in 0usize..60,
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
        let mut before: Vec<_> =
            steps[..cut].iter().map(|(ms, evidence)| (now(*ms), evidence.clone())).collect();
        let last = now(steps[..cut].last().map_or(0, |(ms, _)| *ms));
        next.correlator.replay(before.clone(), last, &mut next.out);
        for (ms, evidence) in steps[cut..].iter().cloned() {
            next.at(ms, evidence);
        }
        next.pass(1_000).pass(4_000);

        let later = later.clamp(cut, steps.len());
        before.push((last, Evidence::Resumed));
        before.extend(steps[cut..later].iter().map(|(ms, evidence)| (now(*ms), evidence.clone())));
        let mut third = Bench::new(false, false);
        third.correlator.restore(&start);
        let last = now(steps[..later].last().map_or(0, |(ms, _)| *ms));
        third.correlator.replay(before, last, &mut third.out);
        for (ms, evidence) in steps[later..].iter().cloned() {
            third.at(ms, evidence);
        }
        third.pass(1_000).pass(4_000);
        let ids = |bench: &Bench| {
            let mut ids: Vec<String> = bench.out.iter().map(|event| match event {
                Event::OomKill(kill) => kill.id.to_string(),
                Event::OomInstance(instance) => format!("{} {}", instance.id, instance.kills.len()),
                _ => String::new(),
            }).collect();
            ids.sort_unstable();
            ids
        };
        for successor in [&next, &third] {
            prop_assert_eq!(ids(successor), ids(&whole));
            prop_assert_eq!(successor.correlator.counts(), whole.correlator.counts());
        }
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
