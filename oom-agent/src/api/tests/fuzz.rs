//! Any text as a path or a query: an answer, or a problem that is the client's.

use axum::http::Uri;
use proptest::prelude::*;

use super::*;

const PATHS: [&str; 6] = [
    "/v1/events",
    "/v1/events/kill-1",
    "/v1/instances/oom-1",
    "/v1/events/stream",
    "/api/v1.3/events/c/a",
    "/api/v2.1/events",
];

const NAMES: [&str; 16] = [
    "since",
    "until",
    "kind",
    "cgroup",
    "subtree",
    "container",
    "pod",
    "pid",
    "scope",
    "limit",
    "order",
    "after",
    "after_seq",
    "stream",
    "max_events",
    "start_time",
];

const VALUES: [&str; 14] = [
    "",
    "0",
    "-1",
    "1",
    "true",
    "t",
    "1h",
    "OomKill",
    "99999999999999999999",
    "1.0.0",
    "memcg",
    "1970-01-01T00:00:00Z",
    "%00",
    "%F0%9F%92%A3",
];

fn query() -> impl Strategy<Value = String> {
    let word = prop_oneof![
        4 => prop::sample::select(&VALUES[..]).prop_map(str::to_owned),
        1 => "[ -~]{0,8}",
    ];
    let pair = (prop::sample::select(&NAMES[..]), word)
        .prop_map(|(name, value)| format!("{name}={value}"));
    prop_oneof![
        4 => prop::collection::vec(pair, 0..4).prop_map(|pairs| pairs.join("&")),
        1 => "[!-~]{0,24}",
    ]
}

#[test]
fn nothing_that_is_asked_is_the_servers_fault() {
    let mut node = Node::new();
    node.happen(kill(1, "a"));
    node.happen(report(1, "a"));
    node.commit(usize::MAX);
    // Streams end at once.
    node.end();
    let mut builder = tokio::runtime::Builder::new_current_thread();
    let runtime = builder.enable_all().build().unwrap();
    let path = prop_oneof![
        4 => prop::sample::select(&PATHS[..]).prop_map(str::to_owned),
        1 => "/(v1|api)/[!-~]{0,12}",
    ];
    let config = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::with_cases(768)
    };
    proptest!(config, |(path in path, query in query())| {
        let Ok(uri) = format!("{path}?{query}").parse::<Uri>() else {
            return Ok(());
        };
        let is_stream = query.contains("stream") || path.contains("stream");
        let response = runtime.block_on(node.ask(&uri.to_string(), None));
        let status = response.status();
        // That of an agent that stops.
        let is_ending = is_stream && status == StatusCode::SERVICE_UNAVAILABLE;
        prop_assert!(!status.is_server_error() || is_ending, "{uri}: {status}");
        if !status.is_success() {
            let kind = &response.headers()[header::CONTENT_TYPE];
            prop_assert_eq!(kind, "application/problem+json", "{}", uri);
        }
    });
}
