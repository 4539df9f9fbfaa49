//! A server that takes what sinks post over HTTP/1.1, plain or by TLS, and can be told to fail in each way in which
//! real ones do.
//!
//! Emits the requests that came, each with the status of its answer.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread::{self, JoinHandle},
    time::Instant,
};

use anyhow::{Context as _, Result, bail, ensure};
use axum::{
    body::Bytes,
    http::{HeaderMap, Request, Response, StatusCode, header},
};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    runtime,
    sync::oneshot,
};
use tokio_rustls::{TlsAcceptor, rustls::ServerConfig};

use crate::{agent::DEADLINE, certificate::Localhost};

/// How a request is answered instead.
#[derive(Clone, Debug)]
pub enum Fault {
    /// With this status, and `Retry-After`.
    Status(u16, Option<String>),
    /// By sending it elsewhere.
    Redirect(String),
    /// Not at all.
    Hangs,
    /// By a reset of the connection.
    Reset,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Sent {
    /// Where to.
    pub path: String,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body.
    pub body: Bytes,
    /// The status of its answer; 0 if there was none.
    pub status: u16,
    /// When.
    pub at: Instant,
}

/// The server. What it was sent outlives [`Receiver::stop`].
#[derive(Debug)]
pub struct Receiver {
    shared: Arc<Shared>,
    address: SocketAddr,
    tls: Option<(Arc<ServerConfig>, String)>,
    running: Option<(oneshot::Sender<()>, JoinHandle<()>)>,
}

#[derive(Debug, Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    requests: Vec<Sent>,
    faults: VecDeque<Fault>,
    poison: Option<(String, u16)>,
    answers: VecDeque<Bytes>,
}

impl Receiver {
    /// Without TLS.
    pub fn plain() -> Result<Self> {
        Self::start(None)
    }

    /// With TLS.
    pub fn tls() -> Result<Self> {
        let localhost = Localhost::new()?;
        let config = Arc::new(localhost.server()?);
        Self::start(Some((config, localhost.authority)))
    }

    fn start(tls: Option<(Arc<ServerConfig>, String)>) -> Result<Self> {
        let mut receiver = Self {
            shared: Arc::default(),
            address: ([127, 0, 0, 1], 0).into(),
            tls,
            running: None,
        };
        receiver.go_on()?;
        Ok(receiver)
    }

    /// Starts it again, at the same address.
    pub fn go_on(&mut self) -> Result<()> {
        let runtime = runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        let listener = {
            let socket = tokio::net::TcpSocket::new_v4()?;
            socket.set_reuseaddr(true)?;
            socket.bind(self.address)?;
            let _runtime = runtime.enter();
            socket.listen(128)?
        };
        self.address = listener.local_addr()?;
        let (stop, stopped) = oneshot::channel::<()>();
        let acceptor = self
            .tls
            .as_ref()
            .map(|(tls, _)| TlsAcceptor::from(tls.clone()));
        let shared = self.shared.clone();
        let thread = thread::spawn(move || {
            runtime.block_on(async {
                tokio::select! {
                    () = accept(listener, acceptor, shared) => {}
                    _ = stopped => {}
                }
            });
            // With all its connections.
            runtime.shutdown_background();
        });
        self.running = Some((stop, thread));
        Ok(())
    }

    /// Closes its port and all connections.
    pub fn stop(&mut self) {
        if let Some((stop, thread)) = self.running.take() {
            drop(stop);
            let _ = thread.join();
        }
    }

    /// Where it is, by a name that is to be looked up.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://localhost:{}{path}", self.address.port())
    }

    /// The certificate of its authority, in PEM.
    #[must_use]
    pub fn authority(&self) -> &str {
        self.tls.as_ref().map_or("", |(_, authority)| authority)
    }

    /// The next requests are answered so.
    pub fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.shared.lock().faults.extend(faults);
    }

    /// Every request that has this text in it is answered with this status.
    pub fn poison(&self, text: &str, status: u16) {
        self.shared.lock().poison = Some((text.to_owned(), status));
    }

    /// The next good answers have these bodies.
    pub fn answer(&self, bodies: impl IntoIterator<Item = Bytes>) {
        self.shared.lock().answers.extend(bodies);
    }

    /// All that it was sent.
    #[must_use]
    pub fn requests(&self) -> Vec<Sent> {
        self.shared.lock().requests.clone()
    }

    /// What it has taken.
    #[must_use]
    pub fn taken(&self) -> Vec<Sent> {
        let mut requests = self.requests();
        requests.retain(|it| it.status == 200);
        requests
    }

    /// Waits until it was sent what is looked for.
    pub fn wait(&self, what: &str, mut found: impl FnMut(&[Sent]) -> bool) -> Result<()> {
        let state = self.shared.lock();
        let waiting = |state: &mut State| !found(&state.requests);
        let waited = self
            .shared
            .changed
            .wait_timeout_while(state, DEADLINE, waiting);
        let (state, timeout) = waited.unwrap_or_else(PoisonError::into_inner);
        let seen: Vec<_> = (state.requests.iter())
            .map(|it| (it.path.as_str(), it.status))
            .collect();
        ensure!(!timeout.timed_out(), "no {what}: {seen:?}");
        Ok(())
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How this one is to be answered.
    fn fault(&self, body: &[u8]) -> Option<Fault> {
        let mut state = self.lock();
        let text = String::from_utf8_lossy(body);
        let poisoned = state
            .poison
            .as_ref()
            .filter(|(poison, _)| text.contains(poison));
        let poisoned = poisoned.map(|(_, status)| Fault::Status(*status, None));
        poisoned.or_else(|| state.faults.pop_front())
    }

    fn note(&self, sent: Sent) {
        self.lock().requests.push(sent);
        self.changed.notify_all();
    }
}

async fn accept(listener: TcpListener, acceptor: Option<TlsAcceptor>, shared: Arc<Shared>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (acceptor, shared) = (acceptor.clone(), shared.clone());
        tokio::spawn(async move {
            // Whatever goes wrong on a connection is the client's to see.
            let _ = connection(stream, acceptor, shared).await;
        });
    }
}

async fn connection(
    stream: TcpStream,
    acceptor: Option<TlsAcceptor>,
    shared: Arc<Shared>,
) -> Result<()> {
    let raw = stream.into_std()?;
    let same = TcpStream::from_std(raw.try_clone()?)?;
    let stream = TcpStream::from_std(raw)?;
    match acceptor {
        Some(acceptor) => serve(acceptor.accept(stream).await?, &same, &shared).await,
        None => serve(stream, &same, &shared).await,
    }
}

async fn serve(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    same: &TcpStream,
    shared: &Shared,
) -> Result<()> {
    let answer = service_fn(|request: Request<Incoming>| async move {
        let (head, body) = request.into_parts();
        let mut sent = Sent {
            path: head.uri.path().to_owned(),
            headers: head.headers,
            body: body.collect().await?.to_bytes(),
            status: 0,
            at: Instant::now(),
        };
        let mut response = Response::new(Full::new(Bytes::new()));
        match shared.fault(&sent.body) {
            None => {
                let body = shared.lock().answers.pop_front();
                *response.body_mut() = Full::new(body.unwrap_or_default());
            }
            Some(Fault::Status(status, retry_after)) => {
                *response.status_mut() = StatusCode::from_u16(status)?;
                *response.body_mut() = Full::new(Bytes::from_static(b"not this"));
                if let Some(wait) = retry_after {
                    response
                        .headers_mut()
                        .insert(header::RETRY_AFTER, wait.parse()?);
                }
            }
            Some(Fault::Redirect(to)) => {
                *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
                response.headers_mut().insert(header::LOCATION, to.parse()?);
            }
            Some(Fault::Hangs) => {
                shared.note(sent);
                return std::future::pending().await;
            }
            Some(Fault::Reset) => {
                shared.note(sent);
                same.set_zero_linger()?;
                bail!("reset");
            }
        }
        sent.status = response.status().as_u16();
        shared.note(sent);
        anyhow::Ok(response)
    });
    let served = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
    served.await.context("serve")
}
