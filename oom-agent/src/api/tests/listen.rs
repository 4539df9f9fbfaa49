//! Streams: every event once, whatever is stored when and however often a client breaks off.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::{Duration, Instant},
};

use axum::body::BodyDataStream;
use futures_util::StreamExt as _;
use proptest::prelude::*;
use tokio::time::timeout;

use super::*;
use crate::api::place::Place;

const PATIENCE: Duration = Duration::from_secs(20);

/// Long enough for what is there already.
const GLANCE: Duration = Duration::from_millis(3);

/// One that keeps the last id and comes again with it.
struct Client {
    body: Option<BodyDataStream>,
    text: String,
    /// As it was written.
    last: Option<String>,
    /// How often each event came.
    seen: BTreeMap<String, usize>,
    /// Those that came live, and may be stored behind the last id.
    unsure: BTreeSet<String>,
    /// Those that may come again: they were behind the last id when it broke off.
    again: BTreeSet<String>,
    gaps: usize,
}

impl Client {
    fn new(after: i64) -> Self {
        Self {
            body: None,
            text: String::new(),
            last: Some(after.to_string()),
            seen: BTreeMap::new(),
            unsure: BTreeSet::new(),
            again: BTreeSet::new(),
            gaps: 0,
        }
    }

    async fn connect(&mut self, node: &Node) {
        let response = node
            .ask("/v1/events/stream?comm=a", self.last.as_deref())
            .await;
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(
            response.headers()[header::CONTENT_TYPE],
            "text/event-stream"
        );
        self.body = Some(response.into_body().into_data_stream());
    }

    fn break_off(&mut self) {
        self.body = None;
        self.text.clear();
        self.again.append(&mut self.unsure);
    }

    /// Reads what comes within this time. False if nothing did.
    async fn read(&mut self, patience: Duration) -> bool {
        let body = self.body.as_mut().unwrap();
        let Ok(Some(chunk)) = timeout(patience, body.next()).await else {
            return false;
        };
        self.text += std::str::from_utf8(&chunk.unwrap()).unwrap();
        while let Some((message, rest)) = self.text.split_once("\n\n") {
            let (message, rest) = (message.to_owned(), rest.to_owned());
            self.message(&message);
            self.text = rest;
        }
        true
    }

    fn message(&mut self, message: &str) {
        let field = |name: &str| {
            let mut lines = message.lines();
            lines.find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
        };
        if field("event") == Some("gap") {
            self.gaps += 1;
        } else if let Some(data) = field("data") {
            let event: Value = serde_json::from_str(data).unwrap();
            assert_eq!(field("event"), event["kind"].as_str());
            let id = event["id"].as_str().unwrap().to_owned();
            let times = self.seen.entry(id.clone()).or_default();
            *times += 1;
            assert!(*times == 1 || self.again.remove(&id), "{id} came twice");
            self.unsure.insert(id);
        }
        if let Some(id) = field("id") {
            let place: Place = id.parse().unwrap();
            assert!(place.generation.is_some(), "{id}");
            let before: Option<Place> = self.last.as_ref().map(|last| last.parse().unwrap());
            let is_of_it = |before: &Place| before.generation == place.generation;
            if let Some(before) = before.filter(is_of_it) {
                assert!(before.seq <= place.seq, "{id} after {before}");
            }
            self.last = Some(id.to_owned());
            self.unsure.retain(|event| number(event) > place.seq);
        }
    }
}

/// The number in the store of an event of [`play`]: 20 of history, and then from 100 on.
fn number(id: &str) -> i64 {
    let n: i64 = id.strip_prefix("kill-").unwrap().parse().unwrap();
    if n < 100 { n + 1 } else { n - 100 + 21 }
}

#[derive(Clone, Debug)]
enum Act {
    Happen(bool),
    Commit(usize),
    Read(usize),
    Break,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        8 => any::<bool>().prop_map(Act::Happen),
        3 => (1_usize..8).prop_map(Act::Commit),
        4 => (1_usize..8).prop_map(Act::Read),
        1 => Just(Act::Break),
    ];
    prop::collection::vec(act, 0..160)
}

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

async fn play(acts: &[Act]) {
    let mut node = Node::new();
    // Some history.
    for n in 0..20 {
        node.happen(kill(n, if n % 3 == 0 { "b" } else { "a" }));
    }
    node.commit(15);
    let mut client = Client::new(0);
    client.connect(&node).await;
    let mut n = 100;
    for act in acts {
        match act {
            Act::Happen(is_wanted) => {
                node.happen(kill(n, if *is_wanted { "a" } else { "b" }));
                n += 1;
            }
            Act::Commit(events) => node.commit(*events),
            Act::Read(chunks) => {
                for _ in 0..*chunks {
                    if !client.read(GLANCE).await {
                        break;
                    }
                }
            }
            Act::Break => {
                client.break_off();
                client.connect(&node).await;
            }
        }
    }
    node.commit(usize::MAX);
    let wanted = node.offered.iter().filter(|event| match &***event {
        Event::OomKill(kill) => kill.victim.comm.as_bytes() == b"a",
        _ => false,
    });
    let wanted: BTreeSet<_> = wanted.map(|event| event.id().to_string()).collect();
    let end = Instant::now() + PATIENCE;
    let place = i64::try_from(node.offered.len()).unwrap();
    let has_all = |client: &Client| client.seen.keys().cloned().collect::<BTreeSet<_>>() == wanted;
    while !has_all(&client) {
        let left = end.saturating_duration_since(Instant::now());
        assert!(
            !left.is_zero() && client.read(left).await,
            "at {:?} of {place}: {:?} of {wanted:?}",
            client.last,
            client.seen
        );
    }
    assert_eq!(client.gaps, 0);
    // Nothing comes twice after all.
    while client.read(GLANCE).await {}
}

#[test]
fn every_event_comes_once() {
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(12)
    };
    proptest!(config, |(acts in acts())| runtime().block_on(play(&acts)));
}

#[test]
fn one_who_does_not_read_is_told_all_from_the_store() {
    runtime().block_on(async {
        let mut node = Node::new();
        let mut slow = Client::new(0);
        slow.connect(&node).await;
        for n in 0..2000 {
            node.happen(kill(n, "a"));
        }
        node.commit(usize::MAX);
        let end = Instant::now() + PATIENCE;
        while slow.seen.len() < 2000 {
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero() && slow.read(left).await);
        }
    });
}

#[test]
fn one_who_begins_now_is_told_where_to_come_again() {
    runtime().block_on(async {
        let mut node = Node::new();
        node.happen(kill(1, "a"));
        node.commit(1);
        let mut client = Client::new(0);
        client.last = None;
        client.connect(&node).await;
        assert!(client.read(PATIENCE).await);
        let place: Place = client.last.as_ref().unwrap().parse().unwrap();
        assert_eq!((place.seq, client.seen.len()), (1, 0));
        client.break_off();
        node.happen(kill(2, "a"));
        node.commit(1);
        client.connect(&node).await;
        while client.seen.is_empty() {
            assert!(client.read(PATIENCE).await);
        }
        assert_eq!(client.seen.keys().collect::<Vec<_>>(), ["kill-2"]);
    });
}

#[test]
fn without_a_store_there_is_what_is_live() {
    runtime().block_on(async {
        let mut node = Node::with(false);
        let mut client = Client::new(0);
        client.last = None;
        client.connect(&node).await;
        node.happen(kill(1, "a"));
        while client.seen.is_empty() {
            assert!(client.read(PATIENCE).await);
        }
        assert_eq!((&client.last, client.seen.len()), (&None, 1));
        node.end();
        while client.read(PATIENCE).await {}
        assert_eq!((&client.last, client.seen.len()), (&None, 1));
    });
}

#[test]
fn what_is_no_place_is_refused() {
    runtime().block_on(async {
        let node = Node::new();
        for (uri, id) in [
            ("/v1/events/stream", Some("x")),
            ("/v1/events/stream", Some("-1")),
            ("/v1/events/stream?after_seq=1.1", None),
            ("/v1/events/stream?after_seq=-1", None),
            ("/v1/events/stream?limit=1", None),
        ] {
            let response = node.ask(uri, id).await;
            assert_eq!(response.status(), StatusCode::BAD_REQUEST, "{uri}");
        }
    });
}

#[test]
fn cadvisors_stream_is_one_object_after_the_other() {
    runtime().block_on(async {
        let mut node = Node::new();
        let uri = "/api/v1.3/events/c?stream=true&subcontainers=true&all_events=true";
        let response = node.ask(uri, None).await;
        assert_eq!(response.status(), StatusCode::OK);
        let mut body = response.into_body().into_data_stream();
        node.happen(kill(1, "a"));
        node.happen(report(1, "a"));
        node.happen(gone(2, "a"));
        let mut text = String::new();
        while text.lines().filter(|line| !line.is_empty()).count() < 2 {
            let chunk = timeout(PATIENCE, body.next()).await.unwrap().unwrap();
            text += std::str::from_utf8(&chunk.unwrap()).unwrap();
        }
        // An empty line says that nothing has happened.
        assert_eq!(
            text.trim_start(),
            r#"{"container_name":"/c/a","timestamp":"1970-01-01T00:00:01Z","event_type":"oom","event_data":{}}
{"container_name":"/c/a","timestamp":"1970-01-01T00:00:02Z","event_type":"containerDeletion","event_data":{"container_deletion":{"exit_code":-1}}}
"#
        );
    });
}

#[test]
fn so_many_streams_and_no_more() {
    runtime().block_on(async {
        let node = Node::new();
        let mut open = Vec::new();
        for _ in 0..512 {
            let response = node.ask("/v1/events/stream", None).await;
            assert_eq!(response.status(), StatusCode::OK);
            open.push(response);
        }
        let response = node.ask("/v1/events/stream", None).await;
        assert_eq!(response.status(), StatusCode::TOO_MANY_REQUESTS);
        assert_eq!(response.headers()[header::RETRY_AFTER], "10");
        open.pop();
        let response = node.ask("/v1/events/stream", None).await;
        assert_eq!(response.status(), StatusCode::OK);
    });
}

/// Others' events come faster than keep-alives.
async fn hears_among_others(node: &mut Node, uri: &str, is_heard: impl Fn(&str, i64) -> bool) {
    let response = node.ask(uri, None).await;
    assert_eq!(response.status(), StatusCode::OK);
    let mut body = response.into_body().into_data_stream();
    let mut text = String::new();
    for n in 1..60 {
        node.happen(kill(n, "other"));
        node.commit(1);
        let chunk = timeout(Duration::from_millis(100), body.next()).await;
        if let Ok(chunk) = chunk {
            text += std::str::from_utf8(&chunk.unwrap().unwrap()).unwrap();
        }
        if is_heard(&text, n.into()) {
            return;
        }
    }
    panic!("{uri} says no more than {text:?}");
}

#[test]
fn one_who_is_told_nothing_hears_where_it_stands_whatever_happens_to_others() {
    runtime().block_on(async {
        let place = |text: &str, last: i64| (2..=last).any(|n| text.contains(&format!(".{n}\n\n")));
        hears_among_others(&mut Node::new(), "/v1/events/stream?comm=nobody", place).await;
        let uri = "/api/v1.3/events/c/nobody?stream=true&all_events=true";
        hears_among_others(&mut Node::new(), uri, |text, _| text == "\n").await;
    });
}

/// Follows until it has seen so many.
async fn see(client: &mut Client, events: usize) {
    while client.seen.len() < events {
        assert!(client.read(PATIENCE).await, "{:?}", client.seen);
    }
}

#[test]
fn one_who_comes_from_the_store_before_is_told_all_that_there_is_and_of_the_gap() {
    runtime().block_on(async {
        let mut before = Node::new();
        for n in 0..3 {
            before.happen(kill(n, "a"));
        }
        before.commit(usize::MAX);
        // The store after it has fewer events; and, later, more.
        for after in [1, 9] {
            let mut client = Client::new(0);
            client.connect(&before).await;
            see(&mut client, 3).await;
            assert_eq!(client.gaps, 0);
            client.break_off();
            client.seen.clear();
            let mut node = Node::new();
            for n in 0..after {
                node.happen(kill(10 + n, "a"));
            }
            node.commit(usize::MAX);
            client.connect(&node).await;
            see(&mut client, usize::try_from(after).unwrap()).await;
            assert_eq!(client.gaps, 1);
            // From here on it knows its place.
            client.break_off();
            node.happen(kill(90, "a"));
            node.commit(usize::MAX);
            client.connect(&node).await;
            see(&mut client, usize::try_from(after).unwrap() + 1).await;
            assert_eq!(client.gaps, 1);
        }
    });
}

#[test]
fn a_number_that_the_store_has_not_is_one_of_the_store_before() {
    runtime().block_on(async {
        let mut node = Node::new();
        node.happen(kill(1, "a"));
        node.commit(1);
        let mut client = Client::new(9);
        client.connect(&node).await;
        see(&mut client, 1).await;
        assert_eq!(client.gaps, 1);
    });
}
