//! A server of the test that takes, refuses and denies as it is told, as a property: nothing is lost, and nothing is given
//! up that another answer would have taken.

use std::collections::{BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::{event::Kind, store::Cursor};

/// Takes all events but some.
#[derive(Default)]
struct Other {
    denies: BTreeSet<i64>,
    refuses: BTreeSet<i64>,
    is_away: bool,
    rejects: u64,
    /// Events of a request; 0: four.
    batch: usize,
    /// What it says to the next requests, before anything else.
    says: VecDeque<Answer>,
    taken: Vec<i64>,
    requests: Vec<Vec<i64>>,
}

impl Post for Other {
    type Letter = i64;

    fn name(&self) -> &'static str {
        "other"
    }

    fn filter(&self) -> Filter {
        Filter::default()
    }

    fn most(&self) -> Most {
        Most {
            events: if self.batch == 0 { 4 } else { self.batch },
            bytes: 100,
        }
    }

    fn write(&self, event: &Stored) -> Result<(i64, usize), String> {
        match event.body.as_str() {
            "" => Err("nothing".to_owned()),
            body => Ok((event.seq, body.len())),
        }
    }

    async fn post(&mut self, letters: &[&i64]) -> Answer {
        let letters: Vec<i64> = letters.iter().copied().copied().collect();
        self.requests.push(letters.clone());
        match self.says.pop_front() {
            None => {}
            Some(Answer::Taken) => {
                self.taken.extend(letters);
                return Answer::Taken;
            }
            Some(other) => return other,
        }
        let has = |set: &BTreeSet<i64>| letters.iter().any(|it| set.contains(it));
        if self.is_away {
            return Answer::Again(trouble("away"));
        }
        if has(&self.denies) {
            return Answer::Denied(trouble("500"));
        }
        if has(&self.refuses) {
            return Answer::Refused("422".to_owned());
        }
        self.taken.extend(letters);
        match self.rejects {
            0 => Answer::Taken,
            some => Answer::TakenBut(some, "too old".to_owned()),
        }
    }
}

/// Without the pauses.
fn posts(other: Other) -> Posts<Other> {
    Posts {
        pause: Duration::ZERO,
        ..Posts::new(other)
    }
}

fn trouble(why: &str) -> Trouble {
    Trouble {
        why: why.to_owned(),
        retry_after: None,
    }
}

fn event(seq: i64, bytes: usize) -> Stored {
    Stored {
        seq,
        cursor: "1.0.0".parse::<Cursor>().unwrap(),
        kind: Kind::OomKill,
        id: format!("id-{seq}"),
        time_ns: 0,
        body: "x".repeat(bytes),
    }
}

fn events(through: i64) -> Vec<Stored> {
    (1..=through).map(|seq| event(seq, 10)).collect()
}

/// One pass over what is behind `done`.
fn pass(posts: &mut Posts<Other>, events: &[Stored], done: i64) -> Outcome {
    let rest = events.iter().filter(|it| it.seq > done);
    let rest: Vec<_> = rest.take(posts.at_most()).cloned().collect();
    let batch = Batch {
        events: &rest,
        through: rest.last().map_or(done, |it| it.seq),
        last: false,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .build()
        .unwrap();
    runtime.block_on(posts.deliver(batch))
}

/// Passes until everything is done; what was given up.
fn until_done(posts: &mut Posts<Other>, events: &[Stored]) -> Vec<DeadLetter> {
    passes(posts, events).0
}

/// The same, and how many passes had trouble.
fn passes(posts: &mut Posts<Other>, events: &[Stored]) -> (Vec<DeadLetter>, usize) {
    let mut done = 0;
    let mut dead = Vec::new();
    let mut troubles = 0;
    for _ in 0..200 {
        let outcome = pass(posts, events, done);
        assert_eq!(outcome.read, outcome.done);
        assert!(outcome.done >= done);
        done = outcome.done;
        dead.extend(outcome.refused);
        troubles += usize::from(outcome.trouble.is_some());
        if done >= events.last().map_or(0, |it| it.seq) {
            return (dead, troubles);
        }
    }
    panic!("not done behind {done}");
}

fn seqs(dead: &[DeadLetter]) -> Vec<i64> {
    dead.iter().map(|it| it.seq).collect()
}

#[test]
fn requests_are_bounded_in_events_and_bytes() {
    let mut posts = posts(Other::default());
    let mut events = events(6);
    events.push(event(7, 60));
    events.push(event(8, 60));
    events.push(event(9, 500));
    events.push(event(10, 0));
    let dead = until_done(&mut posts, &events);
    let wanted: [&[i64]; 5] = [&[1, 2, 3, 4], &[5, 6, 7], &[8], &[9], &[]];
    assert_eq!(posts.post.requests, wanted[..4]);
    assert_eq!(seqs(&dead), [10]);
    assert_eq!((dead[0].tries, dead[0].why.as_str()), (0, "nothing"));
}

#[test]
fn what_is_refused_is_found_among_others() {
    let mut posts = posts(Other {
        refuses: [2].into(),
        ..Other::default()
    });
    let dead = until_done(&mut posts, &events(6));
    let wanted: [&[i64]; 6] = [&[1, 2, 3, 4], &[1], &[2], &[3], &[4], &[5, 6]];
    assert_eq!(posts.post.requests, wanted);
    assert_eq!((seqs(&dead), dead[0].tries), (vec![2], 1));
}

#[test]
fn an_event_that_alone_is_denied_is_given_up_once_another_is_taken() {
    let mut posts = posts(Other {
        denies: [2, 3].into(),
        ..Other::default()
    });
    let dead = until_done(&mut posts, &events(5));
    assert_eq!(seqs(&dead), [2, 3]);
    assert!(dead.iter().all(|it| it.tries >= TRIES && it.why == "500"));
    assert_eq!(posts.post.taken, [1, 4, 5]);
}

#[test]
fn as_long_as_nothing_is_taken_nothing_is_given_up() {
    let mut posts = posts(Other {
        denies: (1..=20).collect(),
        ..Other::default()
    });
    let all = events(20);
    for _ in 0..50 {
        let outcome = pass(&mut posts, &all, 0);
        assert_eq!((outcome.done, outcome.refused), (0, Vec::new()));
        assert_eq!(outcome.trouble, Some(trouble("500")));
    }
    // The last one alone, likewise: there is nobody to compare it with, and nobody waits for it.
    posts.post.denies = [20].into();
    let outcome = pass(&mut posts, &all, 0);
    assert_eq!((outcome.done, outcome.refused), (19, Vec::new()));
    posts.post.denies.clear();
    assert_eq!(until_done(&mut posts, &all), []);
}

#[test]
fn an_end_that_is_away_is_nobodys_fault() {
    let mut posts = posts(Other {
        is_away: true,
        ..Other::default()
    });
    let all = events(3);
    for _ in 0..20 {
        let outcome = pass(&mut posts, &all, 0);
        assert_eq!((outcome.done, outcome.trouble), (0, Some(trouble("away"))));
    }
    posts.post.is_away = false;
    assert_eq!(until_done(&mut posts, &all), []);
    assert_eq!(posts.post.taken, [1, 2, 3]);
}

#[test]
fn a_run_of_events_that_are_denied_holds_up_nothing() {
    for (run, batch) in [(16, 1), (17, 4), (31, 1), (40, 1), (200, 1)] {
        let mut posts = posts(Other {
            denies: (1..=run).collect(),
            batch,
            ..Other::default()
        });
        let (dead, troubles) = passes(&mut posts, &events(run + 1));
        assert_eq!(seqs(&dead), (1..=run).collect::<Vec<_>>());
        assert!(dead.iter().all(|it| it.tries >= TRIES_AT_LEAST));
        assert_eq!(troubles, 4, "{run}");
        let wanted = [run + 1].repeat(1 + usize::try_from(run - 1).unwrap().div_ceil(PROBES));
        assert_eq!(posts.post.taken, wanted);
    }
}

#[test]
fn who_is_well_is_found_wherever_it_is() {
    for well in 2..=100 {
        let mut posts = posts(Other {
            denies: (1..=100).filter(|it| *it != well).collect(),
            ..Other::default()
        });
        let mut done = 0;
        let mut passes = 0;
        while done == 0 {
            done = pass(&mut posts, &events(100), 0).done;
            passes += 1;
        }
        assert!(passes <= 5 + 100 / 14, "{well}: {passes} passes");
        assert!(posts.post.taken.contains(&well));
    }
}

#[test]
fn who_is_away_is_asked_a_bounded_number_of_times() {
    let all = events(250);
    let mut posts = posts(Other {
        denies: (1..=250).collect(),
        ..Other::default()
    });
    for _ in 0..30 {
        posts.post.requests.clear();
        assert_eq!(pass(&mut posts, &all, 0).done, 0);
        assert!(posts.post.requests.len() <= 2 + PROBES);
    }
}

#[test]
fn who_falls_ill_behind_the_witness_loses_nothing() {
    let mut posts = posts(Other::default());
    let all = events(40);
    suspected(&mut posts, &all);
    posts.post.denies = (1..=40).collect();
    // It denies 1, takes another, and takes nothing from then on: of the others, nobody knows.
    posts.post.says = [Answer::Denied(trouble("500")), Answer::Taken].into();
    let outcome = pass(&mut posts, &all, 0);
    assert_eq!((outcome.done, seqs(&outcome.refused)), (1, vec![1]));
    assert_eq!(outcome.trouble, Some(trouble("500")));
}

/// Tries of the first event until it is suspected, without a word of others.
fn suspected(posts: &mut Posts<Other>, events: &[Stored]) {
    posts.post.denies = events.iter().map(|it| it.seq).collect();
    for _ in 0..TRIES {
        assert_eq!(pass(posts, events, 0).done, 0);
    }
    posts.post.denies.clear();
    posts.post.requests.clear();
}

#[test]
fn behind_an_address_some_may_be_well_already() {
    let mut posts = posts(Other::default());
    let all = events(3);
    suspected(&mut posts, &all);
    // The second of two ends is well again: 1 is told to the first, 2 to the second, and 1 to the first.
    let denied = Answer::Denied(trouble("500"));
    posts.post.says = [&denied, &Answer::Taken, &denied, &Answer::Taken]
        .map(Clone::clone)
        .into();
    let outcome = pass(&mut posts, &all, 0);
    assert_eq!((outcome.done, outcome.trouble), (3, None));
    assert_eq!((outcome.delivered, outcome.refused), (3, Vec::new()));
    assert_eq!(posts.post.requests, [[1], [2], [1], [1], [3]]);
}

#[test]
fn who_goes_away_amidst_a_comparison_has_not_said_anything() {
    let mut posts = posts(Other::default());
    let all = events(3);
    suspected(&mut posts, &all);
    let mut says = vec![Answer::Denied(trouble("500")), Answer::Taken];
    says.extend((0..ROUNDS).map(|_| Answer::Again(trouble("away"))));
    posts.post.says = says.into();
    let outcome = pass(&mut posts, &all, 0);
    assert_eq!((outcome.done, outcome.refused), (0, Vec::new()));
    assert_eq!(outcome.trouble, Some(trouble("away")));
    assert_eq!(until_done(&mut posts, &all), []);
}

#[test]
fn who_has_taken_nothing_yet_may_refuse_all_for_a_slip() {
    let mut posts = posts(Other {
        refuses: (1..=5).collect(),
        ..Other::default()
    });
    let all = events(5);
    for _ in 0..20 {
        let outcome = pass(&mut posts, &all, 0);
        assert_eq!((outcome.done, outcome.refused), (0, Vec::new()));
        assert_eq!(outcome.trouble, Some(trouble("422")));
    }
    // The right secret is there.
    posts.post.refuses.clear();
    assert_eq!(until_done(&mut posts, &all), []);
    assert_eq!(posts.post.taken, [1, 2, 3, 4, 5]);
}

#[test]
fn of_a_part_that_is_rejected_the_number_is_told() {
    let mut posts = posts(Other {
        rejects: 3,
        ..Other::default()
    });
    let outcome = pass(&mut posts, &events(4), 0);
    assert_eq!((outcome.delivered, outcome.done), (1, 4));
    assert_eq!((outcome.refused[0].count, outcome.refused[0].seq), (3, 1));
}

proptest! {
    // With its pauses, which are not quite none, a case takes a while.
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Whatever is refused and denied: each event is taken, or given up; the last may wait. Only a witness comes again.
    #[test]
    fn each_event_has_one_end(
        refuses in prop::collection::btree_set(1..40_i64, 0..40),
        denies in prop::collection::btree_set(1..40_i64, 0..40),
    ) {
        let mut posts = posts(Other { refuses: refuses.clone(), denies: denies.clone(), ..Other::default() });
        let dead = until_done(&mut posts, &events(40));
        let mut ends = seqs(&dead);
        let given_up: BTreeSet<i64> = ends.iter().copied().collect();
        prop_assert_eq!(&given_up, &(&refuses | &denies));
        let taken: BTreeSet<i64> = posts.post.taken.iter().copied().collect();
        prop_assert!(posts.post.taken.len() - taken.len() <= ends.len().div_ceil(PROBES));
        ends.extend(taken);
        ends.sort_unstable();
        prop_assert_eq!(ends, (1..=40).collect::<Vec<_>>());
    }
}
