//! What a predecessor has told is not told again.

use super::*;
use crate::evidence::{KmsgEvidence, Mark};

const MS: u64 = 1_000_000;

fn mark(tid: u32, at_ns: u64) -> Evidence {
    let mut mark = Mark {
        monotonic_ns: at_ns,
        ..Mark::default()
    };
    mark.victim.tid = tid;
    Evidence::Mark(Box::new(mark))
}

fn in_ring(ring: u64) -> RingPlace {
    let end = ring * RingPlace::SPAN + 64;
    RingPlace { end, seq: 1 }
}

fn journal(told: Told, overlap: bool) -> Journal {
    Journal {
        told,
        told_until_ns: Some(u64::MAX),
        overlap,
        ..Journal::default()
    }
}

#[test]
fn a_hook_that_two_generations_recorded_is_one() {
    let mut both = journal(Told::default(), true);
    assert!(!both.is_known(&mark(7, 1000 * MS), Some(in_ring(0))));
    assert!(both.is_known(&mark(7, 1001 * MS), Some(in_ring(1))));
    assert!(!both.is_known(&mark(8, 1001 * MS), Some(in_ring(1))));
    assert!(!both.is_known(&mark(7, 1100 * MS), Some(in_ring(1))));
    let mut one = journal(Told::default(), false);
    assert!(!one.is_known(&mark(7, 1000 * MS), Some(in_ring(0))));
    assert!(!one.is_known(&mark(7, 1001 * MS), Some(in_ring(0))));
}

#[test]
fn a_victim_that_is_marked_twice_is_so_in_each_ring() {
    let mut journal = journal(Told::default(), true);
    for (ring, known) in [(0, false), (1, true)] {
        for at_ms in [1000, 1001] {
            let mark = mark(7, at_ms * MS);
            assert_eq!(
                journal.is_known(&mark, Some(in_ring(ring))),
                known,
                "{at_ms}"
            );
        }
    }
}

/// What was journaled and then not let go of, minutes before this start.
#[test]
fn what_a_predecessor_has_journaled_is_known_in_any_ring() {
    let told = |tid| Hook::of(&mark(tid, 1000 * MS)).unwrap();
    let hooks: VecDeque<Hook> = (0..10_000).map(told).collect();
    let told = Told {
        hooks,
        ..Told::default()
    };
    let mut journal = journal(told, true);
    for ring in [0, 1] {
        for tid in (0..10_000).step_by(97) {
            assert!(journal.is_known(&mark(tid, 1000 * MS), Some(in_ring(ring))));
        }
    }
    assert!(!journal.is_known(&mark(10_000, 1000 * MS), Some(in_ring(0))));
}

#[test]
fn a_death_that_was_told_by_other_means_is_not_told_by_the_ring() {
    let told = Told {
        deaths: HashMap::from([(7, vec![5_000 * MS])]),
        ..Told::default()
    };
    let mut journal = journal(told, false);
    assert!(journal.is_known(&mark(7, 5_003 * MS), Some(in_ring(0))));
    // The same number, another process.
    assert!(!journal.is_known(&mark(7, 60_000 * MS), Some(in_ring(0))));
}

#[test]
fn records_of_the_log_are_known_until_nothing_of_before_can_come() {
    let told = Told {
        log_records: HashSet::from([5]),
        ..Told::default()
    };
    let mut journal = journal(told, false);
    let forged = |seq| Evidence::Kmsg(KmsgEvidence::Forged { seq });
    assert!(journal.is_known(&forged(5), None) && !journal.is_known(&forged(6), None));
    journal.told_until_ns = None;
    assert!(!journal.is_known(&forged(5), None));
}
