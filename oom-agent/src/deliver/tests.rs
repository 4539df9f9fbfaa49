//! A delivery with a real store, and a sink that does as a test tells it.

use std::{
    path::PathBuf,
    sync::{Arc, Condvar, Mutex},
    time::{Duration, Instant},
};

use tempfile::TempDir;
use tokio::sync::watch;

use super::*;
use crate::{
    correlate::Host,
    event::{Event, Kind, OomInstance},
    store::{self, Entry, Offer, Reader, Retention, Run, Store, Storing},
    timestamp::Timestamp,
};

const DEADLINE: Duration = Duration::from_secs(20);

/// What the sink was handed, and what it is to say.
#[derive(Clone, Default)]
struct Told(Arc<(Mutex<Script>, Condvar)>);

#[derive(Default)]
struct Script {
    ids: Vec<String>,
    resumed: Vec<String>,
    lasts: usize,
    troubles: Vec<Option<Duration>>,
    tries: Vec<Instant>,
    refuses: bool,
    hangs: bool,
}

impl Told {
    fn with<T>(&self, work: impl FnOnce(&mut Script) -> T) -> T {
        work(&mut self.0.0.lock().unwrap())
    }

    fn wait(&self, what: &str, until: impl Fn(&Script) -> bool) {
        let script = self.0.0.lock().unwrap();
        let waited = self
            .0
            .1
            .wait_timeout_while(script, DEADLINE, |it| !until(it));
        let (script, timed_out) = waited.unwrap();
        assert!(!timed_out.timed_out(), "no {what}: {:?}", script.ids);
    }
}

struct Scripted(Told);

impl Sink for Scripted {
    fn name(&self) -> &'static str {
        "scripted"
    }

    fn filter(&self) -> Filter {
        Filter {
            kinds: vec![Kind::OomInstance],
            ..Filter::default()
        }
    }

    fn at_most(&self) -> usize {
        2
    }

    fn resume(&mut self, state: &str) {
        self.0.with(|it| it.resumed.push(state.to_owned()));
    }

    async fn deliver(&mut self, batch: Batch<'_>) -> Outcome {
        if self.0.with(|it| it.hangs) {
            std::future::pending::<()>().await;
        }
        let outcome = self.0.with(|it| {
            it.lasts += usize::from(batch.last);
            let ids = batch.events.iter().map(|event| event.id.clone());
            if !batch.events.is_empty() {
                it.tries.push(Instant::now());
                if let Some(retry_after) = it.troubles.pop() {
                    return Outcome {
                        trouble: Some(Trouble {
                            why: "away".to_owned(),
                            retry_after,
                        }),
                        ..Outcome::default()
                    };
                }
            }
            let mut outcome = Outcome {
                read: batch.through,
                done: batch.through,
                state: format!("through {}", batch.through),
                ..Outcome::default()
            };
            if it.refuses {
                let refused = |event: &Stored| DeadLetter {
                    seq: event.seq,
                    thing: event.id.clone(),
                    count: 1,
                    tries: 1,
                    why: "no such place".to_owned(),
                };
                outcome.refused = batch.events.iter().map(refused).collect();
            } else {
                outcome.delivered = batch.events.len() as u64;
                it.ids.extend(ids);
            }
            outcome
        });
        self.0.0.1.notify_all();
        outcome
    }
}

/// A store with its thread, as an agent has it.
struct Agent {
    path: PathBuf,
    offer: Offer,
    storing: Storing,
}

impl Agent {
    fn start(dir: &TempDir) -> Self {
        let path = dir.path().join("events.db");
        let run = Run {
            pid: 1,
            pid_start_ns: None,
            started: Timestamp::from_unix_ns(1),
            version: "1".into(),
            ring_generation: None,
            first_log: None,
        };
        let options = store::Options {
            path: path.clone(),
            host: Host::new("boot", "node"),
            keep_ns: 1,
            timing: crate::correlate::Timing::default(),
            retention: Retention::default(),
            run,
            ring_room: u64::MAX,
        };
        let store = Store::open(&path, "boot", 1).unwrap();
        let (offer, storing) = store::start(Some(store), options, Box::new(|_| ())).unwrap();
        Self {
            path,
            offer,
            storing,
        }
    }

    fn tell(&self, id: &str, backfill: bool) {
        let mut report = OomInstance::for_tests(Vec::new());
        report.id = id.into();
        report.backfill = backfill;
        let event = Event::OomInstance(Box::new(report));
        self.offer.offer(Entry::Event(Arc::new(event)));
        self.offer.wake();
    }

    fn stored(&self, id: &str) {
        let end = Instant::now() + DEADLINE;
        let is_there = || Reader::open(&self.path)?.get(None, id);
        while is_there().unwrap().is_none() {
            assert!(Instant::now() < end, "{id} is not stored");
            std::thread::yield_now();
        }
    }

    fn deliver(&self, told: &Told) -> Delivery {
        let deliveries = self.storing.deliveries();
        Delivery::start(Scripted(told.clone()), self.path.clone(), deliveries).unwrap()
    }

    fn end(self, delivery: Delivery) {
        delivery.stop(DEADLINE);
        drop(self.offer);
        let _ = self.storing.finish(DEADLINE);
    }
}

#[test]
fn it_begins_with_the_present_and_goes_on_where_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::start(&dir);
    agent.tell("old", false);
    agent.stored("old");
    let told = Told::default();
    let delivery = agent.deliver(&told);
    agent.tell("history", true);
    for id in ["a", "b", "c"] {
        agent.tell(id, false);
    }
    told.wait("c", |it| it.ids.len() == 3);
    let health = delivery.health();
    agent.end(delivery);
    assert_eq!(told.with(|it| it.ids.clone()), ["a", "b", "c"]);
    assert_eq!(told.with(|it| it.lasts), 1);
    let status = health.status();
    assert_eq!(
        (status.up, status.delivered, status.through),
        (Some(true), 3, 5)
    );
    assert_eq!((status.behind, status.lost, status.refused), (0, 0, 0));

    // The second agent's delivery is late: what was told before it is not passed over.
    let agent = Agent::start(&dir);
    agent.tell("d", false);
    agent.stored("d");
    let told = Told::default();
    let delivery = agent.deliver(&told);
    told.wait("d", |it| it.ids.len() == 1);
    agent.end(delivery);
    assert_eq!(told.with(|it| it.ids.clone()), ["d"]);
    assert_eq!(told.with(|it| it.resumed.clone()), ["through 5"]);
}

#[test]
fn trouble_is_waited_out_and_nothing_is_lost_or_told_twice() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::start(&dir);
    let told = Told::default();
    let asked = Duration::from_millis(900);
    told.with(|it| it.troubles = vec![None, Some(asked)]);
    let delivery = agent.deliver(&told);
    let health = delivery.health();
    for id in ["a", "b", "c"] {
        agent.tell(id, false);
    }
    told.wait("c", |it| it.ids.len() == 3);
    agent.end(delivery);
    assert_eq!(told.with(|it| it.ids.clone()), ["a", "b", "c"]);
    let waited = told.with(|it| it.tries[1] - it.tries[0]);
    assert!(waited >= asked, "{waited:?}");
    let status = health.status();
    assert_eq!((status.up, status.retries), (Some(true), 2));
    assert_eq!(status.last_error.as_deref(), Some("away"));
}

#[test]
fn what_is_refused_is_counted_and_passed_over() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::start(&dir);
    let told = Told::default();
    told.with(|it| it.refuses = true);
    let delivery = agent.deliver(&told);
    let health = delivery.health();
    agent.tell("a", false);
    told.wait("a", |it| !it.tries.is_empty());
    agent.end(delivery);
    let status = health.status();
    assert_eq!((status.refused, status.delivered, status.behind), (1, 0, 0));
}

#[test]
fn an_end_that_hangs_does_not_keep_the_agent_from_ending() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::start(&dir);
    let told = Told::default();
    told.with(|it| it.hangs = true);
    let delivery = agent.deliver(&told);
    agent.tell("a", false);
    agent.stored("a");
    let begun = Instant::now();
    agent.end(delivery);
    assert!(begun.elapsed() < DEADLINE / 2);
    // It is delivered by the next.
    told.with(|it| it.hangs = false);
    let agent = Agent::start(&dir);
    let delivery = agent.deliver(&told);
    told.wait("a", |it| it.ids.len() == 1);
    agent.end(delivery);
}

#[test]
fn a_store_that_was_begun_anew_is_news() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::start(&dir);
    let told = Told::default();
    let (commits, receiver) = watch::channel(0);
    let deliveries = agent.storing.deliveries().told_by(receiver);
    let sink = Scripted(told.clone());
    let delivery = Delivery::start(sink, agent.path.clone(), deliveries).unwrap();
    agent.tell("a", false);
    agent.stored("a");
    commits.send_replace(0);
    told.wait("a", |it| it.ids.len() == 1);
    // Another agent's takes its place.
    drop(agent.offer);
    let _ = agent.storing.finish(DEADLINE);
    std::fs::rename(&agent.path, dir.path().join("damaged")).unwrap();
    let agent = Agent::start(&dir);
    agent.tell("b", false);
    agent.stored("b");
    commits.send_replace(1);
    told.wait("b", |it| it.ids.len() == 2);
    agent.end(delivery);
    assert_eq!(told.with(|it| it.ids.clone()), ["a", "b"]);
    assert_eq!(told.with(|it| it.resumed.len()), 2);
}

#[test]
fn a_store_that_cannot_be_opened_at_first_holds_news() {
    let dir = tempfile::tempdir().unwrap();
    let agent = Agent::start(&dir);
    let told = Told::default();
    // As on a disk that is read-only until later.
    let (commits, receiver) = watch::channel(0);
    let deliveries = agent.storing.deliveries().told_by(receiver);
    let late = dir.path().join("late.db");
    let delivery = Delivery::start(Scripted(told.clone()), late.clone(), deliveries).unwrap();
    agent.tell("history", true);
    agent.tell("a", false);
    agent.stored("a");
    std::os::unix::fs::symlink(&agent.path, &late).unwrap();
    commits.send_replace(0);
    told.wait("a", |it| it.ids.len() == 1);
    agent.end(delivery);
    assert_eq!(told.with(|it| it.ids.clone()), ["a"]);
}

#[test]
fn the_other_end_is_up_again_when_nothing_waits_any_more() {
    let health = Health::new("scripted", 0);
    let up = || health.status().up;
    health.stumble("no store");
    assert_eq!((up(), health.status().retries), (None, 1));
    health.count(&Outcome::default());
    assert_eq!(up(), None, "there was nothing to tell");
    let denied = Outcome {
        read: 3,
        done: 1,
        denied: Some("quota".to_owned()),
        ..Outcome::default()
    };
    health.count(&denied);
    assert_eq!(up(), Some(false));
    health.stumble("no store");
    let waits = Outcome {
        denied: None,
        ..denied.clone()
    };
    health.count(&waits);
    assert_eq!(up(), Some(false), "it still waits");
    let others = Outcome {
        delivered: 1,
        ..denied
    };
    health.count(&others);
    assert_eq!(up(), Some(true), "it took another");
    let away = Outcome {
        trouble: Some(Trouble {
            why: "away".to_owned(),
            retry_after: None,
        }),
        ..waits
    };
    health.count(&away);
    assert_eq!(up(), Some(false));
    health.count(&Outcome {
        read: 3,
        done: 3,
        ..Outcome::default()
    });
    assert_eq!(up(), Some(true), "it has refused the rest");
    health.stumble("no store");
    assert_eq!(up(), Some(true), "the store is not the other end");
}
