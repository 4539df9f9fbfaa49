//! What is stored: pages, single events, cAdvisor's array, and what is refused.

use axum::http::{StatusCode, header};
use serde_json::{Value, json};

use super::*;

fn runtime() -> tokio::runtime::Runtime {
    let mut builder = tokio::runtime::Builder::new_current_thread();
    builder.enable_all().build().unwrap()
}

fn node(kills: u32) -> Node {
    let mut node = Node::new();
    for n in 1..=kills {
        let comm = if n % 2 == 0 { "even" } else { "odd" };
        node.happen(kill(n, comm));
        node.happen(report(n, comm));
    }
    node.commit(usize::MAX);
    node
}

fn ids(page: &Value) -> Vec<String> {
    let events = page["events"].as_array().unwrap().iter();
    events
        .map(|e| e["id"].as_str().unwrap().to_owned())
        .collect()
}

#[test]
fn pages_hold_every_event_once() {
    let node = node(25);
    runtime().block_on(async {
        for (order, first) in [("newest", "oom-25"), ("oldest", "kill-1")] {
            let asked = format!("/v1/events?order={order}&limit=7&since=1970-01-01T00:00:00Z");
            let mut all = Vec::new();
            let mut uri = asked.clone();
            loop {
                let (status, page) = node.json(&uri).await;
                assert_eq!(status, StatusCode::OK, "{page}");
                all.extend(ids(&page));
                let Some(next) = page["next"].as_str() else {
                    break;
                };
                uri = format!("{asked}&after={next}");
            }
            assert_eq!(all[0], first);
            all.sort();
            all.dedup();
            assert_eq!(all.len(), 50);
        }
        let (_, page) = node.json("/v1/events?comm=odd&kind=OomKill").await;
        assert_eq!(ids(&page).len(), 13);
        assert_eq!(page["next"], Value::Null);
        let (_, page) = node.json("/v1/events?cgroup=/c&limit=1000").await;
        assert_eq!(ids(&page).len(), 50);
        let (_, page) = node.json("/v1/events?cgroup=/c&subtree=false").await;
        assert_eq!(page, json!({ "events": [], "next": null }));
    });
}

#[test]
fn single_events_are_whole() {
    let node = node(3);
    runtime().block_on(async {
        let (_, event) = node.json("/v1/events/kill-2").await;
        assert_eq!(event, serde_json::to_value(&*node.offered[2]).unwrap());
        let (_, event) = node.json("/v1/instances/oom-2").await;
        assert_eq!(event["kills"][0]["id"], "kill-2");
        for (uri, status) in [
            ("/v1/events/oom-2?kind=OomInstance", 200),
            ("/v1/events/oom-2?kind=OomKill", 404),
            ("/v1/events/oom-2?kind=OomKill,OomInstance", 400),
            ("/v1/events/oom-2?id=1", 400),
            ("/v1/instances/kill-2", 404),
            ("/v1/instances/oom-2?kind=OomInstance", 400),
            ("/v1/events/%ff", 400),
            ("/v1/nothing", 404),
        ] {
            let (got, problem) = node.json(uri).await;
            assert_eq!(got.as_u16(), status, "{uri}: {problem}");
        }
    });
}

#[test]
fn what_is_not_understood_is_refused_by_its_name() {
    let node = node(1);
    runtime().block_on(async {
        for (query, words) in [
            ("limit=0", "limit: 0 is not 1 to 1000"),
            ("limit=1001", "limit: 1001"),
            ("limit=many", "limit: "),
            ("order=random", "order: unknown variant"),
            ("after=1.2", "after: not a cursor"),
            ("pods=x", "pods: unknown field"),
            ("pid=1&pid=1", "pid is given twice"),
            ("subtree=true", "subtree is said of a cgroup"),
            ("since=%ff", "not UTF-8"),
        ] {
            let (status, problem) = node.json(&format!("/v1/events?{query}")).await;
            assert_eq!(status, StatusCode::BAD_REQUEST, "{query}");
            let detail = problem["detail"].as_str().unwrap();
            assert!(detail.contains(words), "{query}: {detail}");
        }
    });
}

#[test]
fn a_store_that_is_not_there_yet_is_asked_for_later() {
    let node = Node::with(false);
    runtime().block_on(async {
        for uri in [
            "/v1/events",
            "/v1/events/x",
            "/api/v1.3/events?oom_events=1",
        ] {
            let response = node.ask(uri, None).await;
            assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert_eq!(response.headers()[header::RETRY_AFTER], "1", "{uri}");
        }
        let response = node.ask("/v1/events/stream?after_seq=0", None).await;
        assert_eq!(response.status(), StatusCode::SERVICE_UNAVAILABLE);
        let mut store = Store::open(&node.dir.path().join("s"), "boot", 0).unwrap();
        let mut batch = Batch::default();
        batch.extend([Entry::Event(Arc::new(kill(1, "a")))]);
        store.commit(&batch, &Now::read()).unwrap();
        let (status, page) = node.json("/v1/events").await;
        assert_eq!((status, ids(&page).len()), (StatusCode::OK, 1));
    });
}

#[test]
fn a_store_that_was_begun_anew_is_opened_anew() {
    let mut node = node(3);
    runtime().block_on(async {
        assert_eq!(ids(&node.json("/v1/events").await.1).len(), 6);
        node.store = None;
        for end in ["", "-wal", "-shm"] {
            let path = node.dir.path().join(format!("s{end}"));
            if path.exists() {
                std::fs::rename(&path, node.dir.path().join(format!("aside{end}"))).unwrap();
            }
        }
        node.store = Some(Store::open(&node.dir.path().join("s"), "boot", 0).unwrap());
        node.happen(kill(4, "new"));
        node.commit(usize::MAX);
        assert_eq!(ids(&node.json("/v1/events").await.1), ["kill-4"]);
    });
}

#[test]
fn cadvisors_newest_come_oldest_first_and_the_filter_before_the_limit() {
    let mut node = node(30);
    node.happen(gone(31, "odd"));
    // One in the root itself, which is found by that and by what ran out.
    let mut kill = of_kill(0, "in-root");
    kill.cgroup = Some(cgroup("/"));
    let mut in_root = OomInstance::for_tests(vec![kill]);
    in_root.id = "oom-in-root".into();
    in_root.scope = Some(Scope::Cpuset);
    node.happen(Event::OomInstance(Box::new(in_root)));
    node.commit(usize::MAX);
    runtime().block_on(async {
        let names = |events: &Value| {
            let events = events.as_array().unwrap().iter();
            let of = events.map(|event| {
                let (what, at) = (&event["event_type"], &event["timestamp"]);
                format!("{} {}", what.as_str().unwrap(), at.as_str().unwrap())
            });
            of.collect::<Vec<_>>()
        };
        for version in ["v1.3", "v2.0", "v2.1"] {
            let uri = format!("/api/{version}/events/c/even?all_events=true&max_events=2");
            let (_, events) = node.json(&uri).await;
            assert_eq!(
                names(&events),
                ["oom 1970-01-01T00:00:28Z", "oom 1970-01-01T00:00:30Z"]
            );
            let uri = format!("/api/{version}/events?oom_kill_events=1");
            let (_, events) = node.json(&uri).await;
            assert_eq!(names(&events).len(), 10);
            assert_eq!(events[9]["container_name"], "/");
            assert_eq!(events[9]["event_data"]["oom"]["pid"], 30);
        }
        for (query, wanted) in [
            ("/c?subcontainers=true&all_events=1&max_events=-1", 31),
            ("/c?all_events=1", 0),
            ("/?subcontainers=true&all_events=1&max_events=-1", 63),
            ("/?all_events=1&max_events=-1", 32),
            ("/?all_events=1&max_events=1", 1),
            ("/?max_events=-1", 0),
            ("/?oom_events=1&max_events=-1", 1),
            ("/?deletion_events=1&max_events=-1", 0),
            ("/?oom_kill_events=1&max_events=-1", 31),
            ("/?oom_kill_events=1&subcontainers=1&max_events=-1", 31),
            ("/c/odd?deletion_events=1", 1),
            (
                "/c/odd?oom_events=1&start_time=1970-01-01T00:00:05Z&end_time=1970-01-01T00:00:09Z",
                3,
            ),
        ] {
            let (status, events) = node.json(&format!("/api/v1.3/events{query}")).await;
            assert_eq!(status, StatusCode::OK, "{query}: {events}");
            assert_eq!(events.as_array().unwrap().len(), wanted, "{query}");
        }
        let (status, _) = node.json("/api/v1.3/events/c?max_events=-2").await;
        assert_eq!(status, StatusCode::BAD_REQUEST);
    });
}

#[test]
fn the_document_is_served_and_other_methods_are_not() {
    let node = node(0);
    runtime().block_on(async {
        let (_, document) = node.json("/v1/openapi.json").await;
        assert_eq!(document, crate::api::document());
        let request = Request::post("/v1/events").body(Body::empty()).unwrap();
        let response = node.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED);
        assert_eq!(response.headers()[header::ALLOW], "GET,HEAD");
    });
}
