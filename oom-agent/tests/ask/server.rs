//! A server on a Unix socket that answers each connection as it is told, and keeps what it was asked.

use std::{
    fs,
    io::{Read, Write as _},
    net::TcpListener,
    os::unix::net::UnixListener,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, channel},
    },
    thread,
};

use rcgen::{CertifiedKey, generate_simple_self_signed};
use rustls::{ServerConfig, ServerConnection, StreamOwned, pki_types::PrivateKeyDer};
use tempfile::TempDir;

/// What becomes of a connection after its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Then {
    Close,
    /// Open as long as the client wants.
    Wait,
}

/// A connection: nothing is read and answered if there is no text.
pub(crate) type Answer = (Option<String>, Then);

pub(crate) struct Server {
    dir: TempDir,
    asked: Receiver<String>,
}

impl Server {
    /// Answers one request on each connection.
    pub(crate) fn start(answers: Vec<Answer>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(dir.path().join("api.sock")).unwrap();
        let (tell, asked) = channel();
        thread::spawn(move || {
            for (answer, then) in answers {
                let Ok((mut stream, _)) = listener.accept() else {
                    return;
                };
                let Some(answer) = answer else { continue };
                let request = head(&mut stream);
                if tell.send(request).is_err() || stream.write_all(answer.as_bytes()).is_err() {
                    return;
                }
                if then == Then::Wait {
                    // Until the client has gone.
                    thread::spawn(move || stream.read(&mut [0]));
                }
            }
        });
        Self { dir, asked }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("api.sock")
    }

    /// The next request: its line and headers.
    pub(crate) fn asked(&self) -> String {
        self.asked.recv().unwrap()
    }
}

/// A whole answer.
pub(crate) fn answer(status: &str, body: &str) -> Answer {
    let length = body.len();
    let text = format!("HTTP/1.1 {status}\r\ncontent-length: {length}\r\n\r\n{body}");
    (Some(text), Then::Wait)
}

/// The beginning of a stream.
pub(crate) fn stream(body: &str, then: Then) -> Answer {
    let text = format!("HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\n{body}");
    (Some(text), then)
}

fn head(stream: &mut impl Read) -> String {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
        head.push(byte[0]);
    }
    String::from_utf8(head).unwrap()
}

/// A socket that nobody listens on.
pub(crate) fn deserted(dir: &Path) -> PathBuf {
    let path = dir.join("deserted.sock");
    drop(UnixListener::bind(&path).unwrap());
    path
}

/// A server on a TCP port, over TLS, for one connection.
pub(crate) struct TlsServer {
    pub(crate) url: String,
    /// Whom to trust.
    pub(crate) ca: PathBuf,
    pub(crate) asked: Receiver<String>,
}

impl TlsServer {
    pub(crate) fn start(dir: &Path, (answer, _): Answer) -> Self {
        let made = generate_simple_self_signed(vec!["localhost".into()]).unwrap();
        let CertifiedKey { cert, signing_key } = made;
        let ca = dir.join("ca.pem");
        fs::write(&ca, cert.pem()).unwrap();
        let key = PrivateKeyDer::try_from(signing_key.serialize_der()).unwrap();
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(ring)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![cert.der().clone()], key)
            .unwrap();
        let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
        let port = listener.local_addr().unwrap().port();
        let (tell, asked) = channel();
        thread::spawn(move || {
            let (stream, _) = listener.accept().unwrap();
            let connection = ServerConnection::new(Arc::new(config)).unwrap();
            let mut stream = StreamOwned::new(connection, stream);
            let _ = tell.send(head(&mut stream));
            let _ = stream.write_all(answer.unwrap_or_default().as_bytes());
            // Until the client has gone.
            let _ = stream.read(&mut [0]);
        });
        Self {
            url: format!("https://localhost:{port}"),
            ca,
            asked,
        }
    }
}
