//! Storms, crashes and refusals, against a stand-in for the API server that counts kills.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;

const SECOND_NS: i64 = 1_000_000_000;

fn post(pod: u8, at_ns: i64, id: i64) -> Post {
    Post {
        object: Object::Pod {
            namespace: "shop".into(),
            name: format!("pod-{pod}"),
            uid: format!("uid-{pod}"),
            container: None,
        },
        what: What::Killed,
        name: format!("pod-{pod}.{id}"),
        time_ns: at_ns,
        note: "killed".into(),
    }
}

/// Events by name, and how many kills each tells of.
#[derive(Debug, Default)]
struct Server {
    events: BTreeMap<String, u32>,
    requests: usize,
}

impl Server {
    /// Takes what is due.
    fn serve(&mut self, book: &mut Book, now: Instant, at_once: bool) {
        while let Due::Now(at) = book.due(now, at_once) {
            self.requests += 1;
            let series = book.series(at);
            let (name, count) = (series.first.name.clone(), series.all().count);
            if !series.is_there() && self.events.contains_key(&name) {
                book.was_there(at, now);
                continue;
            }
            self.events.insert(name, count);
            book.told(at, now);
        }
    }

    fn kills(&self) -> u32 {
        self.events.values().sum()
    }
}

#[test]
fn the_first_is_told_at_once_and_a_storm_in_a_few_requests() {
    let (mut book, mut server) = (Book::default(), Server::default());
    let start = Instant::now();
    for n in 0..1000 {
        let now = start + Duration::from_millis(10) * u32::try_from(n).unwrap();
        assert_eq!(
            book.take(post(1, n * SECOND_NS / 100, n), n + 1, now),
            Taken::Yes
        );
        server.serve(&mut book, now, false);
        assert!(server.kills() > 0);
    }
    let Due::In(wait) = book.due(start + HOLD - Duration::from_millis(1), false) else {
        panic!("nothing is held back");
    };
    assert!(wait <= HOLD, "{wait:?}");
    assert_eq!(book.settle(1000), 1, "what is held back is not done");
    server.serve(&mut book, start + HOLD * 2, false);
    assert_eq!((server.kills(), server.requests), (1000, 2));
    assert_eq!(book.settle(1000), 1000);
    assert_eq!(book.due(start, false), Due::Never);
}

#[test]
fn later_kills_and_other_pods_have_events_of_their_own() {
    let (mut book, mut server) = (Book::default(), Server::default());
    let now = Instant::now();
    for (seq, (pod, at)) in [
        (1, 0),
        (2, 1),
        (1, WINDOW_NS - 1),
        (1, WINDOW_NS),
        (1, WINDOW_NS + 5),
    ]
    .into_iter()
    .enumerate()
    {
        let seq = i64::try_from(seq).unwrap() + 1;
        book.take(post(pod, at, seq), seq, now);
    }
    server.serve(&mut book, now, true);
    let events: Vec<_> = server
        .events
        .iter()
        .map(|(name, count)| (name.as_str(), *count))
        .collect();
    assert_eq!(events, [("pod-1.1", 2), ("pod-1.4", 2), ("pod-2.2", 1)]);
}

#[test]
fn what_failed_waits_behind_the_others() {
    let mut book = Book::default();
    let now = Instant::now();
    for pod in 0..3 {
        book.take(post(pod, 0, 0), i64::from(pod) + 1, now);
    }
    assert_eq!(book.due(now, false), Due::Now(0));
    book.failed(0);
    assert_eq!(book.due(now, false), Due::Now(1));
    book.told(1, now);
    book.told(2, now);
    assert_eq!(book.due(now, false), Due::Now(0));
    assert_eq!(book.settle(3), 0);
}

#[test]
fn what_is_refused_once_is_not_asked_for_again() {
    let mut book = Book::default();
    let now = Instant::now();
    book.take(post(1, 0, 1), 1, now);
    book.take(post(1, 1, 2), 1, now);
    assert_eq!(book.refused(0, "no namespace", now), 2);
    let refused = Taken::Refused("no namespace".into());
    assert_eq!(book.take(post(1, 2, 3), 2, now), refused);
    assert_eq!(book.due(now, true), Due::Never);
    assert_eq!(book.settle(2), 2);
    // So it is after a crash.
    let mut book = Book::resume(&book.state().unwrap(), now).unwrap();
    assert_eq!(book.take(post(1, 3, 4), 3, now), refused);
    // In ten minutes it may be.
    assert_eq!(book.take(post(1, WINDOW_NS, 5), 4, now), Taken::Yes);
}

#[test]
fn an_event_that_expired_is_made_anew_with_all_that_it_told() {
    let (mut book, mut server) = (Book::default(), Server::default());
    let now = Instant::now();
    book.take(post(1, 0, 1), 1, now);
    server.serve(&mut book, now, true);
    server.events.clear();
    book.take(post(1, 1, 2), 2, now);
    book.was_gone(0);
    assert!(!book.series(0).is_there());
    server.serve(&mut book, now, true);
    assert_eq!(server.kills(), 2);
}

#[test]
fn a_full_book_says_so_and_makes_room() {
    let mut book = Book::default();
    let now = Instant::now();
    for pod in 0..MOST {
        let mut post = post(0, 0, 0);
        post.name = pod.to_string();
        post.object = Object::Node {
            name: pod.to_string(),
        };
        assert!(!book.is_full());
        book.take(post, i64::try_from(pod).unwrap() + 1, now);
    }
    assert!(book.is_full());
    book.settle(600);
    assert!(book.is_full());
    Server::default().serve(&mut book, now, true);
    book.settle(600);
    assert!(!book.is_full());
}

#[test]
fn what_is_denied_waits_alone_and_is_refused_in_the_end() {
    let mut book = Book::default();
    let mut now = Instant::now();
    book.take(post(0, 0, 0), 1, now);
    assert_eq!(book.denied(0, "quota", now), Then::Again);
    assert_eq!(book.due(now, false), Due::In(PAUSE));
    assert_eq!(book.due(now, true), Due::In(PAUSE), "nor at the end");
    // Another is not held up by it, and shows that the server is well.
    book.take(post(1, 0, 1), 2, now);
    assert_eq!(book.due(now, false), Due::Now(1));
    book.told(1, now);
    let (alone, mut tries) = (now, 0);
    let refused = loop {
        assert!(tries < 100);
        match book.due(now, false) {
            Due::Now(0) => match book.denied(0, "quota", now) {
                Then::AgainAlone => tries += 1,
                then => break then,
            },
            Due::In(wait) => now += wait,
            due => panic!("{due:?}"),
        }
    };
    assert_eq!((refused, book.settle(2)), (Then::Refused(1), 2));
    let patience = now - alone;
    assert!(
        (PATIENCE..PATIENCE + PAUSE_AT_MOST).contains(&patience),
        "{patience:?}"
    );
    assert!(tries < 12, "{tries}");
}

#[test]
fn what_is_denied_with_everything_else_is_never_refused() {
    let mut book = Book::default();
    let mut now = Instant::now();
    for pod in 0..2 {
        book.take(post(pod, 0, 0), i64::from(pod) + 1, now);
    }
    for _ in 0..100 {
        now += PAUSE_AT_MOST;
        assert_eq!(book.denied(0, "no right", now), Then::Again);
        assert_eq!(book.denied(1, "no right", now), Then::Again);
    }
    assert!(matches!(book.due(now, false), Due::In(_)));
    now += PAUSE_AT_MOST;
    book.told(0, now);
    // The right has been given: nothing waits longer.
    assert_eq!(book.due(now, false), Due::Now(1));
    assert_eq!(book.denied(1, "not yet everywhere", now), Then::AgainAlone);
}

#[test]
fn what_is_denied_makes_way_when_there_is_no_room() {
    let mut book = Book::default();
    let now = Instant::now();
    book.take(post(0, 0, 0), 1, now);
    book.denied(0, "quota", now);
    for seq in 2..=i64::try_from(MOST).unwrap() {
        let mut post = post(1, 0, seq);
        post.object = Object::Node {
            name: seq.to_string(),
        };
        book.take(post, seq, now);
        let at = book.series.len() - 1;
        book.told(at, now);
        assert_eq!(book.settle(seq), 0);
    }
    assert!(book.is_full());
    assert_eq!(book.due(now, false), Due::Now(0));
    assert_eq!(book.denied(0, "quota", now), Then::Refused(1));
    assert_eq!(book.settle(1000), 1000);
    assert!(!book.is_full());
}

#[test]
fn a_clock_that_was_ahead_does_not_end_all_series() {
    let (mut book, mut server) = (Book::default(), Server::default());
    let now = Instant::now();
    book.take(post(0, 86_400 * SECOND_NS, 0), 1, now);
    server.serve(&mut book, now, true);
    book.settle(1);
    for n in 1..5 {
        book.take(post(1, n * SECOND_NS, n), n + 1, now);
        server.serve(&mut book, now, true);
        book.settle(n + 1);
    }
    assert_eq!(server.events["pod-1.1"], 4);
}

proptest! {
    /// Whatever is cut off, wherever: every kill is told once.
    #[test]
    fn crashes_lose_nothing_and_double_nothing(
        kills in prop::collection::vec((0..3_u8, 0..WINDOW_NS * 2), 1..60),
        steps in prop::collection::vec((1..9_usize, any::<bool>(), any::<bool>()), 1..60),
    ) {
        let mut kills = kills;
        kills.sort_by_key(|(_, at)| *at);
        let mut server = Server::default();
        let (mut done, mut state) = (0, String::new());
        let mut book = Book::default();
        let (mut read, now) = (0, Instant::now());
        // Two kills in each report.
        let hand = |book: &mut Book, read: &mut usize, upto: usize| {
            while *read < upto.min(kills.len()) {
                let (pod, at) = kills[*read];
                *read += 1;
                let seq = i64::try_from(*read).unwrap();
                book.take(post(pod, at, seq * 2), seq, now);
                book.take(post(pod, at, seq * 2 + 1), seq, now);
            }
        };
        for (take, kept, crash) in steps {
            let upto = read + take;
            hand(&mut book, &mut read, upto);
            server.serve(&mut book, now, take % 2 == 0);
            let settled = book.settle(i64::try_from(read).unwrap());
            if kept {
                (done, state) = (settled, book.state().unwrap());
            }
            if crash {
                book = Book::resume(&state, now).unwrap();
                read = usize::try_from(done).unwrap();
            }
        }
        hand(&mut book, &mut read, kills.len());
        server.serve(&mut book, now, true);
        prop_assert_eq!(usize::try_from(server.kills()).unwrap(), kills.len() * 2, "{:?}", server.events);
        prop_assert_eq!(book.settle(i64::try_from(read).unwrap()), i64::try_from(kills.len()).unwrap());
    }
}
