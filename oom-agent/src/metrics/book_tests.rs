//! What is kept how long, what has no room, and that no kill is ever lost from the sum.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const LIMITS: Limits = Limits {
    keep_ns: 100,
    series: 3,
};

fn of(id: &str) -> Labels {
    Labels::alone(id)
}

fn at(ns: i64) -> Timestamp {
    Timestamp::from_unix_ns(ns.into())
}

fn counts(book: &Book) -> BTreeMap<String, u64> {
    let series = book.series().into_iter();
    series
        .map(|(labels, count)| (labels.id.clone(), count.kills))
        .collect()
}

fn sum(book: &Book) -> u64 {
    let overflow = book.overflow().unwrap_or_default();
    counts(book).values().sum::<u64>() + overflow.kills + book.expired()
}

#[test]
fn kills_of_one_owner_are_one_series_and_its_last_time_is_told() {
    let mut book = Book::new(LIMITS);
    for ns in [5, 9, 7] {
        book.add(of("/a"), Some(at(ns)), ns);
    }
    book.add(of("/b"), None, 9);
    assert_eq!(counts(&book), [("/a".into(), 3), ("/b".into(), 1)].into());
    let last = |id| {
        let series = book.series();
        let it = series.iter().find(|(labels, _)| labels.id == id);
        it.unwrap().1.last
    };
    assert_eq!((last("/a"), last("/b")), (Some(at(9)), None));
    assert_eq!(book.overflow(), None);
}

#[test]
fn a_series_ends_when_it_has_been_kept_since_its_last_kill() {
    let mut book = Book::new(LIMITS);
    book.add(of("/a"), None, 0);
    book.add(of("/b"), None, 50);
    book.add(of("/a"), None, 60);
    book.expire(150);
    assert_eq!(counts(&book), [("/a".into(), 2), ("/b".into(), 1)].into());
    book.expire(151);
    assert_eq!(counts(&book), [("/a".into(), 2)].into());
    // A clock that goes back ends nothing, and begins nothing anew.
    book.expire(0);
    book.expire(161);
    assert_eq!((counts(&book), book.expired()), (BTreeMap::new(), 3));
    book.add(of("/a"), None, 162);
    assert_eq!(counts(&book), [("/a".into(), 1)].into());
}

#[test]
fn without_room_the_one_killed_longest_ago_goes_into_the_rest() {
    let mut book = Book::new(LIMITS);
    for id in ["/a", "/b", "/c", "/a", "/d"] {
        book.add(of(id), Some(at(1)), 0);
    }
    assert_eq!(
        counts(&book),
        [("/a".into(), 2), ("/c".into(), 1), ("/d".into(), 1)].into()
    );
    book.add(of("/b"), Some(at(2)), 0);
    assert_eq!(book.overflow().unwrap().kills, 2);
    assert_eq!(counts(&book)["/b"], 1);
}

#[test]
fn labels_beyond_all_measure_take_no_more_room_than_there_is() {
    let mut book = Book::new(LIMITS);
    book.add(of("/a"), None, 0);
    book.add(of(&"x".repeat(4 * LABEL_BYTES)), None, 0);
    assert_eq!((counts(&book), sum(&book)), (BTreeMap::new(), 2));
    let none = Limits {
        series: 0,
        ..LIMITS
    };
    let mut book = Book::new(none);
    book.add(of("/a"), None, 0);
    assert_eq!(book.overflow().unwrap().kills, 1);
}

#[derive(Clone, Debug)]
enum Step {
    Kill(u8),
    Look,
}

proptest! {
    #[test]
    fn no_kill_is_lost_and_looking_changes_nothing(
        steps in prop::collection::vec(
            (prop_oneof![(0_u8..6).prop_map(Step::Kill), Just(Step::Look)], 0_i64..60),
            0..200,
        ),
    ) {
        let (mut looked_at, mut replayed) = (Book::new(LIMITS), Book::new(LIMITS));
        let (mut now, mut fed) = (0, 0);
        for (step, passed) in steps {
            now += passed;
            match step {
                Step::Kill(who) => {
                    fed += 1;
                    for book in [&mut looked_at, &mut replayed] {
                        book.add(of(&format!("/{who}")), Some(at(now)), now);
                    }
                }
                Step::Look => looked_at.expire(now),
            }
            prop_assert_eq!(sum(&looked_at), fed);
            prop_assert!(looked_at.series.len() <= LIMITS.series);
            prop_assert_eq!(looked_at.series.len(), looked_at.by_turn.len());
            let bytes: usize = looked_at.series.keys().map(|labels| labels.bytes()).sum();
            prop_assert_eq!(looked_at.bytes, bytes);
        }
        for book in [&mut looked_at, &mut replayed] {
            book.expire(now);
        }
        prop_assert_eq!(counts(&looked_at), counts(&replayed));
        prop_assert_eq!(looked_at.overflow(), replayed.overflow());
        prop_assert_eq!(looked_at.expired(), replayed.expired());
    }
}
