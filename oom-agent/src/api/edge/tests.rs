//! A real server with short limits, and clients of all kinds.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    sync::Arc,
    time::{Duration, Instant},
};

use axum::{body::Body, routing::get};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned,
    pki_types::{CertificateDer, ServerName, pem::PemObject as _},
};
use tempfile::TempDir;

use super::*;

/// Far more than anything here takes.
const DEADLINE: Duration = Duration::from_secs(20);

/// Of limits that are waited for.
const SHORT: Duration = Duration::from_millis(200);

/// More than sockets hold.
const LARGE: usize = 32 << 20;

struct Served {
    server: Option<Server>,
    dir: TempDir,
    addresses: Vec<SocketAddr>,
}

fn routes() -> Router {
    Router::new()
        .route("/", get(|| async { "here\n" }))
        .route("/livez", get(|| async { "ok\n" }))
        .route("/large", get(|| async { Body::from(vec![b'x'; LARGE]) }))
        .route("/never", get(std::future::pending::<()>))
        .route(
            "/soon",
            get(|| async {
                tokio::time::sleep(SHORT).await;
                "late\n"
            }),
        )
}

fn serve(limits: Limits, change: impl FnOnce(&TempDir, &mut Options)) -> Served {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options {
        socket: Some(dir.path().join("api.sock")),
        ..Options::default()
    };
    change(&dir, &mut options);
    let bound = Bound::open(&options).unwrap();
    let addresses = bound.addresses().collect();
    let server = Server::start_with(bound, routes(), limits).unwrap();
    Served {
        server: Some(server),
        dir,
        addresses,
    }
}

impl Served {
    fn connect(&self) -> UnixStream {
        let stream = UnixStream::connect(self.dir.path().join("api.sock")).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    fn connect_tcp(&self) -> TcpStream {
        let stream = TcpStream::connect(self.addresses[0]).unwrap();
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream
    }

    fn stop(&mut self, at_most: Duration) {
        self.server.take().unwrap().stop(at_most);
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if self.server.is_some() {
            self.stop(Duration::ZERO);
        }
    }
}

/// All that comes until the other side has had enough.
fn all(mut stream: impl Read) -> String {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        // What was not read by the server is why; or TLS has no end.
        Err(error) => assert!(
            matches!(
                error.kind(),
                ErrorKind::ConnectionReset | ErrorKind::UnexpectedEof
            ),
            "{error}"
        ),
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn ask(mut stream: impl Read + Write, head: &str) -> String {
    let asked = stream.write_all(format!("{head}\r\nConnection: close\r\n\r\n").as_bytes());
    // It need not read to the end what it does not want.
    if let Err(error) = asked {
        let gone = [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset];
        assert!(gone.contains(&error.kind()), "{error}");
    }
    all(stream)
}

const PLAIN: &str = "GET / HTTP/1.1\r\nHost: localhost";

#[test]
fn what_is_too_large_is_said() {
    let served = serve(Limits::default(), |_, _| {});
    let long = "x".repeat(9 * 1024);
    let many = "\r\nx: y".repeat(80);
    let longest = "x".repeat(64 * 1024);
    for (head, wanted) in [
        (PLAIN.to_owned(), "200"),
        (format!("GET /?{long} HTTP/1.1\r\nHost: a"), "414"),
        (format!("{PLAIN}\r\nx: {longest}"), "431"),
        (format!("{PLAIN}{many}"), "431"),
        (format!("{PLAIN}\r\nContent-Length: 100000"), "413"),
        ("GET HTTP nonsense".to_owned(), "400"),
        (format!("GET / HTTP/2.0{long}"), "400"),
    ] {
        let answer = ask(served.connect(), &head);
        assert_eq!(answer.get(9..12), Some(wanted), "{head:.80} {answer:?}");
        assert!(
            matches!(wanted, "200" | "400" | "431") || answer.contains("application/problem+json"),
            "{answer}"
        );
    }
}

#[test]
fn two_hundred_slow_clients_do_not_hold_up_a_fast_one() {
    let limits = Limits {
        head: SHORT * 5,
        ..Limits::default()
    };
    let served = serve(limits, |_, _| {});
    let began = Instant::now();
    let slow: Vec<_> = (0..200)
        .map(|_| {
            let mut slow = served.connect();
            slow.write_all(b"GET / HTTP/1.1\r\nHo").unwrap();
            slow
        })
        .collect();
    assert!(ask(served.connect(), PLAIN).ends_with("here\n"));
    // Not one of them was waited for.
    let fast = began.elapsed();
    // Who does not come to an end is dismissed.
    for slow in slow {
        assert_eq!(all(slow), "");
    }
    assert!(began.elapsed() >= limits.head, "{fast:?}");
    assert!(fast < began.elapsed());
}

#[test]
fn who_says_nothing_more_is_dismissed() {
    let limits = Limits {
        head: SHORT,
        ..Limits::default()
    };
    let served = serve(limits, |_, _| {});
    let mut kept = served.connect();
    kept.write_all(format!("{PLAIN}\r\n\r\n").as_bytes())
        .unwrap();
    assert!(all(kept).ends_with("here\n"));
    assert_eq!(all(served.connect()), "");
}

#[test]
fn who_does_not_read_is_cut_off() {
    let limits = Limits {
        unread: SHORT,
        connections: 1,
        ..Limits::default()
    };
    let served = serve(limits, |_, _| {});
    let mut slow = served.connect();
    slow.write_all(b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    // There is room for the next one when that one is gone.
    assert!(ask(served.connect(), PLAIN).ends_with("here\n"));
    assert!(all(slow).len() < LARGE);
}

#[test]
fn an_answer_that_does_not_come_is_said() {
    let limits = Limits {
        answer: SHORT,
        requests: 1,
        ..Limits::default()
    };
    let served = serve(limits, |_, _| {});
    let never = "GET /never HTTP/1.1\r\nHost: a";
    // One has the only place, and another waits for it; a probe does not.
    let mut waits = [served.connect(), served.connect()];
    for waits in &mut waits {
        waits
            .write_all(format!("{never}\r\n\r\n").as_bytes())
            .unwrap();
    }
    let probe = "GET /livez HTTP/1.1\r\nHost: a";
    assert!(ask(served.connect(), probe).ends_with("ok\n"));
    let answer = ask(served.connect(), never);
    assert!(answer.contains(" 503 "), "{answer}");
    assert!(answer.contains("retry-after: 1\r\n"), "{answer}");
}

#[test]
fn more_connections_wait_for_their_turn() {
    let limits = Limits {
        connections: 2,
        ..Limits::default()
    };
    let served = serve(limits, |_, _| {});
    let first = [served.connect(), served.connect()];
    for mut first in &first {
        first
            .write_all(b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n")
            .unwrap();
    }
    let third = served.connect();
    third.set_read_timeout(Some(SHORT)).unwrap();
    (&third)
        .write_all(format!("{PLAIN}\r\n\r\n").as_bytes())
        .unwrap();
    let error = (&third).read(&mut [0; 1]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::WouldBlock);
    drop(first);
    third.set_read_timeout(Some(DEADLINE)).unwrap();
    let mut answer = [0; 12];
    (&third).read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
}

/// Seven hundred connections cost nobody but those who made them.
#[test]
fn who_says_nothing_takes_nobody_s_place() {
    let limits = Limits {
        head: DEADLINE * 2,
        ..Limits::default()
    };
    let served = serve(limits, |_, options| {
        options.listen = vec!["127.0.0.1:0".parse().unwrap()];
    });
    let over_tcp: Vec<_> = (0..700).map(|_| served.connect_tcp()).collect();
    let probe = "GET /livez HTTP/1.1\r\nHost: localhost";
    assert!(ask(served.connect_tcp(), probe).ends_with("ok\n"));
    // The first ones have left; the others may stay.
    let (gone, there) = over_tcp.split_at(700 - limits.of_one_peer());
    assert!(gone.iter().all(|it| all(it).is_empty()));
    for mut it in there.iter().skip(1) {
        it.write_all(format!("{PLAIN}\r\n\r\n").as_bytes()).unwrap();
        assert_eq!(it.read(&mut [0]).unwrap(), 1);
    }
    let over_unix: Vec<_> = (0..700).map(|_| served.connect()).collect();
    assert!(ask(served.connect(), probe).ends_with("ok\n"));
    drop(over_unix);
}

#[test]
fn what_is_asked_is_answered_at_the_end_and_the_socket_goes() {
    let mut served = serve(Limits::default(), |_, _| {});
    let idle = served.connect();
    let mut asked = served.connect();
    asked
        .write_all(b"GET /soon HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    // Answered on the same thread: it has been accepted, and so has the one before.
    assert!(ask(served.connect(), PLAIN).ends_with("here\n"));
    let began = Instant::now();
    served.stop(DEADLINE);
    assert!(began.elapsed() < DEADLINE);
    assert!(all(asked).ends_with("late\n"));
    assert_eq!(all(idle), "");
    let socket = served.dir.path().join("api.sock");
    assert!(!socket.exists());
}

#[test]
fn nobody_is_waited_for_longer_than_that() {
    let mut served = serve(Limits::default(), |_, _| {});
    let mut stuck = served.connect();
    stuck
        .write_all(b"GET /never HTTP/1.1\r\nHost: a\r\n\r\n")
        .unwrap();
    assert!(ask(served.connect(), PLAIN).ends_with("here\n"));
    let began = Instant::now();
    served.stop(SHORT);
    let took = began.elapsed();
    assert!((SHORT..DEADLINE / 4).contains(&took), "{took:?}");
    assert_eq!(all(stuck), "");
}

#[test]
fn others_are_let_in_with_a_token_and_tls_alone() {
    let dir = tempfile::tempdir().unwrap();
    let everywhere = "0.0.0.0:0".parse().unwrap();
    let mut options = Options {
        listen: vec!["[::1]:0".parse().unwrap(), everywhere],
        ..Options::default()
    };
    let refused = |options: &Options| {
        let error = Bound::open(options).unwrap_err();
        assert!(matches!(error, ApiError::Exposed { address } if address == everywhere));
    };
    refused(&options);
    options.token = Some(dir.path().join("none"));
    refused(&options);
    options.token = None;
    options.insecure = true;
    options.listen.remove(0);
    assert_eq!(Bound::open(&options).unwrap().addresses().count(), 1);
    assert!(is_loopback("[::ffff:127.0.0.1]:1".parse().unwrap()));
}

#[test]
fn loopback_is_asked_by_its_own_names_alone() {
    let served = serve(Limits::default(), |_, options| {
        options.listen = vec!["127.0.0.1:0".parse().unwrap()];
    });
    assert!(ask(served.connect_tcp(), PLAIN).ends_with("here\n"));
    let evil = "GET /livez HTTP/1.1\r\nHost: evil.example";
    let answer = ask(served.connect_tcp(), evil);
    assert!(answer.contains(" 403 "), "{answer}");
    // The mode of the socket says who may.
    assert!(ask(served.connect(), evil).ends_with("ok\n"));
}

#[test]
fn who_asks_too_often_is_told_when_to_come_again() {
    let served = serve(Limits::default(), |_, options| {
        options.listen = vec!["127.0.0.1:0".parse().unwrap()];
    });
    let mut stream = served.connect_tcp();
    stream
        .write_all(format!("{PLAIN}\r\n\r\n").repeat(400).as_bytes())
        .unwrap();
    let answers = ask(stream, PLAIN);
    assert!(answers.matches("HTTP/1.1 200").count() >= 200, "{answers}");
    assert!(answers.contains("HTTP/1.1 429"), "{answers}");
    assert!(answers.contains("retry-after: 1\r\n"), "{answers}");
}

/// A certificate for `localhost` that is its own authority.
fn certificate(files: &TlsFiles) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    fs::write(&files.key, made.signing_key.serialize_pem()).unwrap();
    fs::write(&files.cert, made.cert.pem()).unwrap();
}

fn trusting(files: &TlsFiles) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_file(&files.cert).unwrap())
        .unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

fn over_tls(served: &Served, config: &ClientConfig) -> StreamOwned<ClientConnection, TcpStream> {
    let name = ServerName::try_from("localhost").unwrap();
    let client = ClientConnection::new(Arc::new(config.clone()), name).unwrap();
    StreamOwned::new(client, served.connect_tcp())
}

#[test]
fn a_token_over_tls_opens_and_renewed_certificates_are_used() {
    let mut files = None;
    let served = serve(Limits::default(), |dir, options| {
        let tls = TlsFiles {
            cert: dir.path().join("tls.crt"),
            key: dir.path().join("tls.key"),
        };
        certificate(&tls);
        let token = dir.path().join("token");
        fs::write(&token, "s3cret\n").unwrap();
        options.listen = vec!["0.0.0.0:0".parse().unwrap()];
        options.token = Some(token);
        options.tls = Some(tls.clone());
        files = Some(tls);
    });
    let files = files.unwrap();
    let config = trusting(&files);
    let with = format!("{PLAIN}\r\nAuthorization: Bearer s3cret");
    assert!(ask(over_tls(&served, &config), &with).ends_with("here\n"));
    let answer = ask(over_tls(&served, &config), PLAIN);
    assert!(answer.contains(" 401 ") && answer.contains("www-authenticate: Bearer"));
    let probe = "GET /livez HTTP/1.1\r\nHost: evil.example";
    assert!(ask(over_tls(&served, &config), probe).ends_with("ok\n"));
    // The Unix socket takes neither.
    assert!(ask(served.connect(), PLAIN).ends_with("here\n"));
    // Who does not speak it gets nothing.
    assert!(!ask(served.connect_tcp(), PLAIN).contains("200"));

    certificate(&files);
    let config = trusting(&files);
    let end = Instant::now() + DEADLINE;
    loop {
        let mut stream = over_tls(&served, &config);
        if stream
            .write_all(b"GET /livez HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
            .is_ok()
        {
            assert!(all(stream).ends_with("ok\n"));
            break;
        }
        assert!(Instant::now() < end, "the renewed certificate is not used");
        thread::yield_now();
    }
}
