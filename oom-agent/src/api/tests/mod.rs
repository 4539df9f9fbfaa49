//! The routes, over a store that a test fills and watchers that it feeds.

mod ask;
mod fuzz;
mod listen;
mod scrape;

use std::{sync::Arc, thread::JoinHandle};

use axum::{
    Router,
    body::{Body, to_bytes},
    http::{Request, StatusCode, header},
    response::Response,
};
use serde_json::Value;
use tempfile::TempDir;
use tower::ServiceExt as _;

use super::{Parts, Shared, router};
use crate::{
    clock::Now,
    event::{Cgroup, ContainerDeletion, Event, OomInstance, OomKill, Scope},
    host::Host,
    hub::Output as _,
    metrics,
    status::{Board, Facts},
    store::{Batch, Entry, Store},
    text::Comm,
    timestamp::Timestamp,
    watch::{Intake, Watchers},
};

/// A second.
const S: i128 = 1_000_000_000;

/// An agent without detection: the test says what happens, and when it is stored.
struct Node {
    dir: TempDir,
    store: Option<Store>,
    intake: Option<Intake>,
    watch: Option<JoinHandle<()>>,
    offered: Vec<Arc<Event>>,
    committed: usize,
    router: Router,
}

impl Node {
    fn new() -> Self {
        Self::with(true)
    }

    fn with(is_stored: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("s");
        let store = is_stored.then(|| Store::open(&path, "boot", 0).unwrap());
        let (watchers, intake, watch) = Watchers::start().unwrap();
        let facts = Facts {
            tier: "none".into(),
            ..Facts::default()
        };
        let board = Board::new(facts, Box::new(|| None), Box::new(|| 0), Box::new(Vec::new));
        let shared = Shared::new(Parts {
            board,
            store: Some(path),
            watchers,
            metrics: metrics::start(&metrics::Options::default(), None)
                .unwrap()
                .0,
            host_root: "/".into(),
            host: Host {
                boot_id: None,
                boot: "boot".into(),
                node: None,
                cluster: None,
            },
        });
        Self {
            dir,
            store,
            intake: Some(intake),
            watch: Some(watch),
            offered: Vec::new(),
            committed: 0,
            router: router(shared),
        }
    }

    fn happen(&mut self, event: Event) {
        let event = Arc::new(event);
        assert!(self.intake.as_mut().unwrap().offer(&event));
        self.offered.push(event);
    }

    /// The store takes the next so many.
    fn commit(&mut self, events: usize) {
        let mut batch = Batch::default();
        let next = self.offered[self.committed..].iter().take(events);
        batch.extend(next.cloned().map(Entry::Event));
        self.committed += batch.steps.len();
        let store = self.store.as_mut().unwrap();
        store.commit(&batch, &Now::read()).unwrap();
    }

    /// Nothing will happen any more.
    fn end(&mut self) {
        self.intake = None;
        self.watch.take().unwrap().join().unwrap();
    }

    async fn ask(&self, uri: &str, last_event_id: Option<&str>) -> Response {
        let mut request = Request::get(uri);
        if let Some(id) = last_event_id {
            request = request.header("last-event-id", id);
        }
        let request = request.body(Body::empty()).unwrap();
        self.router.clone().oneshot(request).await.unwrap()
    }

    /// Status and JSON of an answer.
    async fn json(&self, uri: &str) -> (StatusCode, Value) {
        let response = self.ask(uri, None).await;
        let status = response.status();
        let kind = response.headers()[header::CONTENT_TYPE].clone();
        let wanted = if status.is_success() {
            "application/json"
        } else {
            "application/problem+json"
        };
        assert_eq!(kind, wanted, "{uri}: {status}");
        let body = to_bytes(response.into_body(), usize::MAX).await.unwrap();
        let json: Value = serde_json::from_slice(&body).unwrap();
        if !status.is_success() {
            assert_eq!(json["status"], status.as_u16());
        }
        (status, json)
    }
}

fn cgroup(path: &str) -> Cgroup {
    Cgroup {
        path: Some(path.into()),
        id: None,
        version: None,
    }
}

/// A kill, so many seconds after the epoch.
fn kill(n: u32, comm: &str) -> Event {
    Event::OomKill(Box::new(of_kill(n, comm)))
}

fn of_kill(n: u32, comm: &str) -> OomKill {
    let mut kill = OomKill::for_tests();
    kill.id = format!("kill-{n}").into();
    kill.time = Some(Timestamp::from_unix_ns(i128::from(n) * S));
    kill.victim.tid = n;
    kill.victim.comm = Comm::new(comm.as_bytes());
    kill.cgroup = Some(cgroup(&format!("/c/{comm}")));
    kill
}

/// Its report.
fn report(n: u32, comm: &str) -> Event {
    let mut report = OomInstance::for_tests(vec![of_kill(n, comm)]);
    report.id = format!("oom-{n}").into();
    report.time = Some(Timestamp::from_unix_ns(i128::from(n) * S));
    report.scope = Some(Scope::System);
    Event::OomInstance(Box::new(report))
}

/// News of a container.
fn gone(n: u32, comm: &str) -> Event {
    let mut gone = ContainerDeletion::for_tests();
    gone.id = format!("gone-{n}").into();
    gone.time = Timestamp::from_unix_ns(i128::from(n) * S);
    gone.cgroup = cgroup(&format!("/c/{comm}"));
    Event::ContainerDeletion(Box::new(gone))
}
