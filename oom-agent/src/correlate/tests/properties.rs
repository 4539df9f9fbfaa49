//! Whatever comes: every kill once, the same from a successor, and memory that is bounded.

use proptest::prelude::*;

use super::bench::{Bench, bpf, log, mark, now, with};
use crate::{
    event::Event,
    evidence::{Evidence, Verdict},
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

proptest! {
    /// Cut off anywhere, a successor that is told what was told before says the same, and counts the same.
    #[test]
    fn a_successor_goes_on_where_it_was_cut(
        shown in prop::collection::vec((any::<bool>(), any::<bool>(), 0u64..400, 0u32..3), 1..30),
        log_lag in 0u64..100,
        cut in 0usize..60,
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
        let before = steps[..cut].iter().map(|(ms, evidence)| (now(*ms), evidence.clone()));
        let last = now(steps[..cut].last().map_or(0, |(ms, _)| *ms));
        next.correlator.replay(before, last, &mut next.out);
        for (ms, evidence) in steps[cut..].iter().cloned() {
            next.at(ms, evidence);
        }
        next.pass(1_000).pass(4_000);
        let ids = |bench: &Bench| {
            let mut ids: Vec<String> = bench.out.iter().map(|event| match event {
                Event::OomKill(kill) => kill.id.to_string(),
                Event::OomInstance(instance) => format!("{} {}", instance.id, instance.kills.len()),
                _ => String::new(),
            }).collect();
            ids.sort_unstable();
            ids
        };
        prop_assert_eq!(ids(&next), ids(&whole));
        prop_assert_eq!(next.correlator.counts(), whole.correlator.counts());
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
