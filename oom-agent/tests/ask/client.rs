//! The client: pages, failures, and following without losing or repeating anything.

use std::{
    fs,
    path::Path,
    time::{Duration, Instant},
};

use oom_agent::{
    client::{Client, ClientError, Follow, News, Server as At, Tcp, Url, Whom},
    event::Kind,
    question::{Kinds, Question},
    store::{Order, Store},
};

use crate::{
    kept::{self, BOOT},
    server::{Answer, Server, Then, TlsServer, answer, deserted, stream},
};

const PATIENCE: Duration = Duration::from_secs(30);

fn open(server: &Server) -> Result<Client, ClientError> {
    Client::open(Whom::Server(At::Unix(server.socket())))
}

fn first_page(answers: Vec<Answer>) -> Result<usize, ClientError> {
    let server = Server::start(answers);
    let mut client = open(&server)?;
    let page = client.page(&Question::default(), Order::NewestFirst, None, 10)?;
    Ok(page.events.len())
}

fn event(id: u32) -> String {
    format!("{{\"kind\":\"OomKill\",\"id\":\"{id}\"}}")
}

/// What comes next: the id of an event, or a word.
fn next(follow: &mut Follow) -> String {
    match follow.next(Some(Instant::now() + PATIENCE)).unwrap() {
        Some(News::Event(event)) => event.get().to_owned(),
        Some(News::Gap(at_most)) => format!("gap {at_most:?}"),
        Some(News::Gone(_)) => "gone".to_owned(),
        Some(News::Back) => "back".to_owned(),
        None => "nothing".to_owned(),
    }
}

#[test]
fn every_failure_has_a_name() {
    use ClientError as Of;

    let problem = r#"{"title":"Bad Request","status":400,"detail":"no kind \"x\""}"#;
    let refused = first_page(vec![answer("400 Bad Request", problem)]).unwrap_err();
    assert!(
        refused.to_string().ends_with("answers 400 no kind \"x\""),
        "{refused}"
    );
    assert!(!refused.is_passing());

    let other = first_page(vec![answer("404 Not Found", "<html>")]).unwrap_err();
    assert!(
        other.to_string().ends_with("and does not say why"),
        "{other}"
    );
    let busy = first_page(vec![answer("503 Service Unavailable", "")]).unwrap_err();
    assert!(busy.is_passing());

    let html = first_page(vec![answer("200 OK", "<html>")]).unwrap_err();
    assert!(matches!(html, Of::Malformed { .. }), "{html}");
    let noise = first_page(vec![(Some("SSH-2.0-x\r\n".into()), Then::Close)]).unwrap_err();
    assert!(matches!(noise, Of::Broken { .. }), "{noise}");
    let cut = Some("HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\n{".into());
    let cut = first_page(vec![(cut, Then::Close)]).unwrap_err();
    assert!(matches!(cut, Of::Broken { .. }), "{cut}");

    let dir = tempfile::tempdir().unwrap();
    for path in [deserted(dir.path()), dir.path().join("none")] {
        let nobody = Client::open(Whom::Server(At::Unix(path))).unwrap_err();
        assert!(matches!(nobody, Of::NotRunning { .. }), "{nobody}");
    }
}

#[test]
fn a_connection_that_was_closed_is_made_again() {
    let empty = answer("200 OK", r#"{"events":[],"next":null}"#);
    // The first is closed before anything is asked.
    assert_eq!(first_page(vec![(None, Then::Close), empty]).unwrap(), 0);
}

#[test]
fn the_question_is_in_the_query() {
    let page = format!(r#"{{"events":[{}],"next":"1.2.3"}}"#, event(1));
    let server = Server::start(vec![answer("200 OK", &page)]);
    let mut client = open(&server).unwrap();
    let question = Question {
        kind: Some(Kinds(vec![Kind::OomKill, Kind::OomInstance])),
        cgroup: Some("/a b&c".into()),
        ..Question::default()
    };
    let page = client
        .page(&question, Order::OldestFirst, Some("1.1.1"), 7)
        .unwrap();
    assert_eq!(page.events[0].get(), event(1));
    assert_eq!(page.next.as_deref(), Some("1.2.3"));
    let asked = server.asked();
    let line = asked.lines().next().unwrap();
    assert_eq!(
        line,
        "GET /v1/events?order=oldest&limit=7&after=1.1.1&kind=OomKill%2COomInstance&cgroup=%2Fa+b%26c HTTP/1.1"
    );
}

#[test]
fn an_agent_on_the_network_is_trusted_by_its_certificate() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    fs::write(&token, "s3cret\n").unwrap();
    let empty = answer("200 OK", r#"{"events":[],"next":null}"#);
    let server = TlsServer::start(dir.path(), empty.clone());
    let url: Url = server.url.parse().unwrap();
    let to = |token: Option<&Path>| Tcp::new(url.clone(), token, Some(&server.ca)).unwrap();
    let mut client = Client::open(Whom::Server(At::Tcp(to(Some(&token))))).unwrap();
    let page = client.page(&Question::default(), Order::NewestFirst, None, 1);
    assert_eq!(page.unwrap().events.len(), 0);
    let asked = server.asked.recv().unwrap();
    assert!(
        asked.contains("authorization: Bearer s3cret\r\n"),
        "{asked}"
    );

    // Somebody else with the same name.
    let elsewhere = tempfile::tempdir().unwrap();
    let other = TlsServer::start(elsewhere.path(), empty);
    let to = Tcp::new(other.url.parse().unwrap(), None, Some(&server.ca)).unwrap();
    let refused = Client::open(Whom::Server(At::Tcp(to))).unwrap_err();
    assert!(matches!(refused, ClientError::Connect { .. }), "{refused}");
}

#[test]
fn a_token_is_not_told_over_a_connection_that_anybody_reads() {
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    fs::write(&token, "s3cret").unwrap();
    let to = |url: &str| Tcp::new(url.parse().unwrap(), Some(&token), None);
    for local in ["http://127.0.0.1:1", "http://[::1]:1", "http://localhost:1"] {
        assert!(to(local).is_ok(), "{local}");
    }
    let refused = to("http://node:1").unwrap_err();
    assert!(matches!(refused, ClientError::Config { .. }), "{refused}");
    assert!(!format!("{:?}", to("http://localhost:1")).contains("s3cret"));
}

#[test]
fn a_stream_goes_on_where_it_broke_off() {
    let message = |id: u32| format!("id: {id}\nevent: OomKill\ndata: {}\n\n", event(id));
    let live = |id: u32| format!("event: OomKill\ndata: {}\n\n", event(id));
    let first = [": hello\n\n", &message(7), &live(8)].concat();
    // The second begins behind 7, and so tells 8 again.
    let gap = "event: gap\ndata: {\"through\":9,\"at_most\":2}\n\nid: 9\n\n";
    let second = [&message(8), gap, &live(10)].concat();
    let server = Server::start(vec![
        stream(&first, Then::Close),
        stream(&second, Then::Close),
        stream(&message(10), Then::Close),
        answer("400 Bad Request", "{}"),
    ]);
    let mut follow = open(&server).unwrap().follow(Question::default()).unwrap();
    let told: Vec<_> = (0..9).map(|_| next(&mut follow)).collect();
    let (one, two, three) = (event(7), event(8), event(10));
    assert_eq!(
        told,
        [
            &*one,
            &two,
            "gone",
            "back",
            "gap Some(2)",
            &three,
            "gone",
            "back",
            "gone"
        ]
    );
    let refused = follow.next(Some(Instant::now() + PATIENCE)).unwrap_err();
    assert!(
        matches!(refused, ClientError::Refused { status: 400, .. }),
        "{refused}"
    );
    let ids: Vec<_> = (0..3).map(|_| last_id(&server.asked())).collect();
    assert_eq!(ids, [None, Some("7".to_owned()), Some("9".to_owned())]);
}

fn last_id(request: &str) -> Option<String> {
    let line = request
        .lines()
        .find(|line| line.starts_with("last-event-id:"))?;
    Some(line.split_once(": ")?.1.to_owned())
}

#[test]
fn a_stream_without_a_place_begins_at_its_own_beginning() {
    let live = format!("data: {}\n\n", event(1));
    let server = Server::start(vec![stream(&live, Then::Close), stream(&live, Then::Wait)]);
    let mut follow = open(&server).unwrap().follow(Question::default()).unwrap();
    assert_eq!(next(&mut follow), event(1));
    assert_eq!(next(&mut follow), "gone");
    assert_eq!(next(&mut follow), "back");
    assert!(server.asked().starts_with("GET /v1/events/stream? HTTP"));
    let again = server.asked();
    assert!(
        again.contains("?since=") && again.contains("&after_seq=0 "),
        "{again}"
    );
    let now = follow.next(Some(Instant::now())).unwrap();
    assert!(now.is_none(), "told twice: {now:?}");
}

#[test]
fn without_a_store_what_is_missing_is_not_known() {
    let live = |id: u32| format!("data: {}\n\n", event(id));
    let gap = "event: gap\ndata: {\"through\":null,\"at_most\":null}\n\n";
    let server = Server::start(vec![
        stream(&[&live(1), gap].concat(), Then::Close),
        answer("503 Service Unavailable", "{}"),
        stream(&live(2), Then::Wait),
    ]);
    let mut follow = open(&server).unwrap().follow(Question::default()).unwrap();
    let told: Vec<_> = (0..6).map(|_| next(&mut follow)).collect();
    let (one, two) = (event(1), event(2));
    assert_eq!(told, [&*one, "gap None", "gone", "back", "gap None", &two]);
}

#[test]
fn a_store_is_followed_too() {
    let dir = tempfile::tempdir().unwrap();
    let path = kept::store(dir.path());
    let client = Client::open(Whom::Store(path.clone())).unwrap();
    let question = Question {
        kind: Some(Kinds(vec![Kind::OomInstance])),
        ..Question::default()
    };
    let mut follow = client.follow(question).unwrap();
    assert!(follow.next(Some(Instant::now())).unwrap().is_none());
    let mut store = Store::open(&path, BOOT, u64::MAX).unwrap();
    kept::put(&mut store, kept::happened("6.12-single", 0, 4711, None));
    let told = next(&mut follow);
    assert!(told.contains(&kept::report_id(4711)), "{told}");
    assert!(follow.next(Some(Instant::now())).unwrap().is_none());
}
