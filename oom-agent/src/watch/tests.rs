//! Subscribers and followers, without a thread where the order of things matters.

use std::{
    collections::{BTreeMap, BTreeSet},
    task::Wake,
    time::{Duration, Instant},
};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::{
    clock::Now,
    event::{OomKill, Timestamp},
    store::{Batch, Entry, Reader, Store},
    text::Comm,
};

const PATIENCE: Duration = Duration::from_secs(20);

fn alert(n: u64, comm: &str) -> Arc<Event> {
    let mut kill = OomKill::for_tests();
    kill.id = format!("e{n}").into();
    kill.time = Some(Timestamp::from_unix_ns(0));
    kill.victim.comm = Comm::new(comm.as_bytes());
    Arc::new(Event::OomKill(Box::new(kill)))
}

fn of(comm: &str) -> Filter {
    Filter {
        comm: Some(comm.into()),
        ..Filter::default()
    }
}

/// Watchers whose events the test hands out.
fn by_hand() -> (Watchers, Intake) {
    let shared = Arc::new(Shared::default());
    (Watchers(shared.clone()), Intake(shared))
}

fn ids(subscription: &Subscription) -> Vec<String> {
    let mut ids = Vec::new();
    while let Polled::Item(item) = subscription.poll() {
        ids.push(match item {
            Item::Event(live) => live.event.id().to_string(),
            Item::Missed(missed) => {
                let (first, last) = (missed.first.id(), missed.last.event.id());
                format!("{} missed, {first} to {last}", missed.events)
            }
        });
    }
    ids
}

#[test]
fn a_thousand_subscribers_get_what_they_want() {
    let (watchers, mut intake, thread) = Watchers::start().unwrap();
    let subscriptions: Vec<_> = (0..1000)
        .map(|n| {
            watchers.subscribe(if n % 2 == 0 {
                Filter::default()
            } else {
                of("b")
            })
        })
        .collect();
    for n in 0..QUEUE as u64 {
        assert!(intake.offer(&alert(n, if n % 4 == 0 { "b" } else { "a" })));
    }
    drop(intake);
    thread.join().unwrap();
    for (n, subscription) in subscriptions.iter().enumerate() {
        let got = ids(subscription).len();
        assert_eq!(got, if n % 2 == 0 { QUEUE } else { QUEUE / 4 });
        assert!(matches!(subscription.poll(), Polled::Closed));
    }
    drop(subscriptions);
    assert_eq!((watchers.subscribers(), watchers.lost()), (0, 0));
}

#[test]
fn a_slow_subscriber_is_told_what_it_missed_in_its_place() {
    let (watchers, mut intake) = by_hand();
    let slow = watchers.subscribe_with(of("a"), 2);
    for n in 1..=5 {
        intake.offer(&alert(n, "a"));
        intake.offer(&alert(10 * n, "b"));
    }
    assert!(watchers.0.distribute());
    // Only when it has come to the gap does it get more.
    intake.offer(&alert(6, "a"));
    watchers.0.distribute();
    assert_eq!(ids(&slow), ["e1", "e2", "4 missed, e3 to e6"]);
    intake.offer(&alert(7, "a"));
    watchers.0.distribute();
    assert_eq!(ids(&slow), ["e7"]);
    assert_eq!(slow.missed(), 4);
}

#[test]
fn what_finds_the_intake_full_is_missed_by_all() {
    let (watchers, mut intake) = by_hand();
    let subscription = watchers.subscribe_with(Filter::default(), 2 * INTAKE);
    for n in 1..=INTAKE as u64 + 3 {
        intake.offer(&alert(n, "a"));
    }
    watchers.0.distribute();
    let got = ids(&subscription);
    assert_eq!(got.len(), INTAKE + 1);
    assert_eq!(got[INTAKE], "3 missed, e16385 to e16387");
    assert_eq!(watchers.lost(), 3);
}

#[test]
fn one_who_waits_is_woken() {
    struct Flag(std::sync::mpsc::Sender<()>);
    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.send(()).unwrap();
        }
    }

    let (watchers, mut intake, thread) = Watchers::start().unwrap();
    let waiting = watchers.subscribe(Filter::default());
    let (woken, wakes) = std::sync::mpsc::channel();
    let flag = Arc::new(Flag(woken)).into();
    let context = std::task::Context::from_waker(&flag);
    assert!(waiting.poll_ready(&context).is_pending());
    intake.offer(&alert(1, "a"));
    wakes.recv_timeout(PATIENCE).unwrap();
    assert!(waiting.poll_ready(&context).is_ready());
    let deadline = Some(Instant::now() + PATIENCE);
    assert!(matches!(waiting.next(deadline), Some(Item::Event(_))));
    assert!(waiting.next(Some(Instant::now())).is_none());
    drop(intake);
    thread.join().unwrap();
    assert!(waiting.next(None).is_none());
    // One who comes too late does not wait, either.
    assert!(watchers.subscribe(Filter::default()).next(None).is_none());
}

/// Detection, a store that lags behind it, and one follower, a step at a time.
struct Scene {
    dir: TempDir,
    store: Store,
    watchers: Watchers,
    intake: Intake,
    offered: Vec<Arc<Event>>,
    committed: usize,
    now: Instant,
    told: Vec<String>,
    place: i64,
}

#[derive(Clone, Debug)]
enum Act {
    Offer {
        wanted: bool,
    },
    Distribute,
    Commit(usize),
    /// So many questions, after so many milliseconds.
    Ask(usize, u64),
    Restart,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        6 => any::<bool>().prop_map(|wanted| Act::Offer { wanted }),
        2 => Just(Act::Distribute),
        2 => (1_usize..6).prop_map(Act::Commit),
        4 => ((1_usize..6), (0_u64..40)).prop_map(|(times, ms)| Act::Ask(times, ms)),
    ];
    prop::collection::vec(act, 0..80)
}

impl Scene {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("s"), "boot", 0).unwrap();
        let (watchers, intake) = by_hand();
        Self {
            dir,
            store,
            watchers,
            intake,
            offered: Vec::new(),
            committed: 0,
            now: Instant::now(),
            told: Vec::new(),
            place: 0,
        }
    }

    fn reader(&self) -> Reader {
        Reader::open(&self.dir.path().join("s")).unwrap()
    }

    fn follow(&self) -> Follow {
        let subscription = self.watchers.subscribe_with(of("a"), 3);
        Follow::from_place(subscription, self.place, self.now)
    }

    fn act(&mut self, act: &Act, follow: &mut Follow, reader: &Reader) {
        match act {
            Act::Offer { wanted } => {
                let event = alert(self.offered.len() as u64, if *wanted { "a" } else { "b" });
                self.intake.offer(&event);
                self.offered.push(event);
            }
            Act::Distribute => self.distribute(),
            Act::Commit(events) => self.commit(*events),
            Act::Ask(times, ms) => {
                self.now += Duration::from_millis(*ms);
                for _ in 0..*times {
                    self.ask(follow, reader);
                }
            }
            Act::Restart => *follow = self.follow(),
        }
    }

    fn distribute(&self) {
        if !lock(&self.watchers.0.waiting).events.is_empty() {
            self.watchers.0.distribute();
        }
    }

    fn commit(&mut self, events: usize) {
        let mut batch = Batch::default();
        let next = self.offered[self.committed..].iter().take(events);
        batch.extend(next.cloned().map(Entry::Event));
        self.committed += batch.steps.len();
        self.store.commit(&batch, &Now::read()).unwrap();
    }

    /// False if nothing came.
    fn ask(&mut self, follow: &mut Follow, reader: &Reader) -> bool {
        let Next::Told(told) = follow.poll(reader, self.now).unwrap() else {
            return false;
        };
        match told {
            Told::Stored(stored) => {
                self.told.push(stored.id);
                self.place = stored.seq;
            }
            Told::Live(event) => self.told.push(event.id().to_string()),
            Told::Place(place) => self.place = place,
            Told::Gap(gap) => panic!("{gap:?}"),
        }
        // Everything up to the place has been told.
        let told: BTreeSet<_> = self.told.iter().map(String::as_str).collect();
        let stored = &self.offered[..usize::try_from(self.place).unwrap()];
        for event in stored.iter().filter(|event| of("a").matches(event)) {
            assert!(told.contains(event.id().as_ref()), "{} untold", event.id());
        }
        true
    }

    /// Until the follower has nothing more to tell.
    fn finish(&mut self, follow: &mut Follow, reader: &Reader) {
        self.distribute();
        self.commit(usize::MAX);
        for _ in 0..4 {
            self.now += Duration::from_secs(1);
            while self.ask(follow, reader) {}
            self.distribute();
        }
    }

    fn wanted(&self) -> Vec<String> {
        let wanted = self.offered.iter().filter(|event| of("a").matches(event));
        wanted.map(|event| event.id().to_string()).collect()
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(192))]

    #[test]
    fn a_follower_is_told_everything_once_and_in_order(before in acts(), acts in acts()) {
        let mut scene = Scene::new();
        let reader = scene.reader();
        // What is stored, and what is on its way, when it comes.
        let mut nobody = scene.follow();
        let not_asked = |act: &&Act| !matches!(act, Act::Ask(..));
        for act in before.iter().filter(not_asked) {
            scene.act(act, &mut nobody, &reader);
        }
        drop(nobody);
        let mut follow = scene.follow();
        let mut asked = 0;
        for act in &acts {
            if let Act::Ask(_, ms) = act {
                asked += ms;
            }
            scene.act(act, &mut follow, &reader);
        }
        let in_time = asked < 1000;
        scene.finish(&mut follow, &reader);
        let mut wanted = scene.wanted();
        if !in_time {
            wanted.sort();
            scene.told.sort();
        }
        prop_assert_eq!(scene.told, wanted);
    }

    /// It comes again with the last place that it knows.
    #[test]
    fn after_a_break_nothing_is_missing(acts in acts(), restarts in prop::collection::vec(0_usize..80, 1..6)) {
        let mut scene = Scene::new();
        let reader = scene.reader();
        let mut follow = scene.follow();
        for (at, act) in acts.iter().enumerate() {
            scene.act(act, &mut follow, &reader);
            if restarts.contains(&at) {
                scene.act(&Act::Restart, &mut follow, &reader);
            }
        }
        scene.finish(&mut follow, &reader);
        let mut times = BTreeMap::new();
        for id in &scene.told {
            *times.entry(id.clone()).or_insert(0) += 1;
        }
        let mut wanted = scene.wanted();
        wanted.sort();
        prop_assert_eq!(times.keys().cloned().collect::<Vec<_>>(), wanted);
        // Only what was live when it broke off comes twice.
        prop_assert!(times.values().all(|times| *times <= restarts.len() + 1));
    }
}

#[test]
fn one_who_begins_now_is_told_nothing_old() {
    let mut scene = Scene::new();
    let reader = scene.reader();
    let offer = Act::Offer { wanted: true };
    let mut follow = scene.follow();
    scene.act(&offer, &mut follow, &reader);
    scene.commit(1);
    let subscription = scene.watchers.subscribe(of("a"));
    let mut follow = Follow::from_place(subscription, reader.last_seq().unwrap(), scene.now);
    assert!(!scene.ask(&mut follow, &reader));
    scene.act(&offer, &mut follow, &reader);
    // As if it had been, for the scene's own check.
    scene.told.push("e0".into());
    scene.finish(&mut follow, &reader);
    assert_eq!(scene.told, ["e0", "e1"]);
    assert_eq!(scene.place, 2);
}

#[test]
fn a_store_that_gets_nothing_holds_up_nobody_for_long() {
    let mut scene = Scene::new();
    let reader = scene.reader();
    let mut follow = scene.follow();
    for _ in 0..5 {
        scene.act(&Act::Offer { wanted: true }, &mut follow, &reader);
    }
    scene.distribute();
    while scene.ask(&mut follow, &reader) {}
    // The queue holds three; the rest is waited for.
    assert_eq!(scene.told, ["e0", "e1", "e2"]);
    scene.act(&Act::Offer { wanted: true }, &mut follow, &reader);
    scene.distribute();
    assert!(matches!(follow.poll(&reader, scene.now), Ok(Next::Hold(_))));
    scene.now += Duration::from_secs(2);
    while scene.ask(&mut follow, &reader) {}
    assert_eq!(scene.told, ["e0", "e1", "e2", "e5"]);
    // It comes when it comes.
    scene.finish(&mut follow, &reader);
    assert_eq!(scene.told, ["e0", "e1", "e2", "e5", "e3", "e4"]);
}
