//! A server that takes what sinks post over HTTP/1.1, plain or by TLS, and can be told to fail in each way in which
//! real ones do.
//!
//! Emits the requests that came, each with the status of its answer.

use std::{collections::VecDeque, sync::Arc, time::Instant};

use anyhow::{Result, ensure};
use axum::{
    body::{Body, Bytes},
    http::{HeaderMap, Request, StatusCode, header},
    response::Response,
};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio_rustls::rustls::ServerConfig;

use crate::{
    agent::DEADLINE,
    answering::{self, Answer},
    certificate::Localhost,
    loopback::Loopback,
    watched::Watched,
};

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
    shared: Arc<Watched<State>>,
    tls: Option<(Arc<ServerConfig>, String)>,
    server: Loopback,
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
            tls,
            server: Loopback::new(),
        };
        receiver.go_on()?;
        Ok(receiver)
    }

    /// Starts it again, at the same address.
    pub fn go_on(&mut self) -> Result<()> {
        let tls = self.tls.as_ref().map(|(tls, _)| tls.clone());
        let shared = self.shared.clone();
        self.server.go_on(|listener| {
            answering::serve(listener, tls, move |request| {
                answer(shared.clone(), request)
            })
        })
    }

    /// Closes its port and all connections.
    pub fn stop(&mut self) {
        self.server.stop();
    }

    /// Where it is, by a name that is to be looked up.
    #[must_use]
    pub fn url(&self, path: &str) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://localhost:{}{path}", self.server.port())
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
        let (state, found) = self.shared.wait(DEADLINE, |state| found(&state.requests));
        let seen: Vec<_> = (state.requests.iter())
            .map(|it| (it.path.as_str(), it.status))
            .collect();
        ensure!(found, "no {what}: {seen:?}");
        Ok(())
    }
}

impl State {
    /// How a request with this body is to be answered.
    fn fault(&mut self, body: &[u8]) -> Option<Fault> {
        let text = String::from_utf8_lossy(body);
        let poisoned = self.poison.as_ref();
        let poisoned = poisoned.filter(|(poison, _)| text.contains(poison));
        let poisoned = poisoned.map(|(_, status)| Fault::Status(*status, None));
        poisoned.or_else(|| self.faults.pop_front())
    }
}

async fn answer(shared: Arc<Watched<State>>, request: Request<Incoming>) -> Result<Answer> {
    let (head, body) = request.into_parts();
    let mut sent = Sent {
        path: head.uri.path().to_owned(),
        headers: head.headers,
        body: body.collect().await?.to_bytes(),
        status: 0,
        at: Instant::now(),
    };
    let fault = shared.lock().fault(&sent.body);
    let mut response = Response::default();
    let answer = match fault {
        None => {
            let body = shared.lock().answers.pop_front();
            *response.body_mut() = Body::from(body.unwrap_or_default());
            Answer::With(response)
        }
        Some(Fault::Status(status, retry_after)) => {
            *response.status_mut() = StatusCode::from_u16(status)?;
            *response.body_mut() = Body::from("not this");
            if let Some(wait) = retry_after {
                response
                    .headers_mut()
                    .insert(header::RETRY_AFTER, wait.parse()?);
            }
            Answer::With(response)
        }
        Some(Fault::Redirect(to)) => {
            *response.status_mut() = StatusCode::TEMPORARY_REDIRECT;
            response.headers_mut().insert(header::LOCATION, to.parse()?);
            Answer::With(response)
        }
        Some(Fault::Hangs) => Answer::Never,
        Some(Fault::Reset) => Answer::Reset,
    };
    sent.status = answer.status();
    shared.change(|state| state.requests.push(sent));
    Ok(answer)
}
