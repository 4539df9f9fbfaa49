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
    assert!(!both.is_known(&mark(7, 1000 * MS)));
    assert!(both.is_known(&mark(7, 1001 * MS)));
    assert!(!both.is_known(&mark(8, 1001 * MS)));
    assert!(!both.is_known(&mark(7, 1100 * MS)));
    let mut one = journal(Told::default(), false);
    assert!(!one.is_known(&mark(7, 1000 * MS)) && !one.is_known(&mark(7, 1001 * MS)));
}

#[test]
fn a_death_that_was_told_by_other_means_is_not_told_by_the_ring() {
    let told = Told {
        deaths: HashMap::from([(7, vec![5_000 * MS])]),
        ..Told::default()
    };
    let mut journal = journal(told, false);
    assert!(journal.is_known(&mark(7, 5_003 * MS)));
    // The same number, another process.
    assert!(!journal.is_known(&mark(7, 60_000 * MS)));
}

#[test]
fn records_of_the_log_are_known_until_nothing_of_before_can_come() {
    let told = Told {
        log_records: HashSet::from([5]),
        ..Told::default()
    };
    let mut journal = journal(told, false);
    let forged = |seq| Evidence::Kmsg(KmsgEvidence::Forged { seq });
    assert!(journal.is_known(&forged(5)) && !journal.is_known(&forged(6)));
    journal.told_until_ns = None;
    assert!(!journal.is_known(&forged(5)));
}
