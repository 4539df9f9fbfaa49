//! Posts over HTTP/1.1.
//!
//! Takes bodies and headers; emits status, headers and the beginning of each answer. Connections are kept and used
//! again. Refuses redirects (they are answers like any other), and answers that do not come in time.

use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::{HeaderMap, Request, StatusCode, body::Incoming, header::HeaderValue};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{
        self,
        connect::{HttpConnector, capture_connection},
    },
    rt::TokioExecutor,
};
use tokio::time::timeout;

use super::{Endpoint, OutboundError, Roots};
use crate::error::chain;

/// Bytes of an answer that are read.
const MOST: usize = 64 * 1024;

/// A host that does not answer is given up after this.
const CONNECTING: Duration = Duration::from_secs(5);

/// A connection that nobody used for so long is closed: many servers close theirs after a minute.
const IDLE: Duration = Duration::from_secs(30);

/// A client for one server.
#[derive(Clone, Debug)]
pub struct Client {
    client: legacy::Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    patience: Duration,
}

/// An answer.
#[derive(Clone, Debug)]
pub struct Reply {
    /// Its status.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body; empty if it is too long, or was broken off.
    pub body: Bytes,
}

/// There is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// Why.
    pub why: String,
    /// The request may have arrived.
    pub was_sent: bool,
}

impl Client {
    /// Trusts these, and waits so long for an answer. Connects to nothing yet.
    pub fn new(roots: Option<&Roots>, patience: Duration) -> Result<Self, OutboundError> {
        let mut tcp = HttpConnector::new();
        tcp.set_connect_timeout(Some(CONNECTING.min(patience)));
        tcp.set_nodelay(true);
        tcp.enforce_http(false);
        let config = match roots {
            Some(roots) => roots.client()?,
            None => Roots::nobody().client()?,
        };
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(config)
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let client = legacy::Client::builder(TokioExecutor::new())
            .pool_timer(hyper_util::rt::TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .build(connector);
        Ok(Self { client, patience })
    }

    /// Posts this.
    pub async fn post(
        &self,
        to: &Endpoint,
        headers: HeaderMap,
        body: Bytes,
    ) -> Result<Reply, Failure> {
        let mut request = Request::post(to.uri())
            .body(Full::new(body))
            .map_err(|error| Failure {
                why: error.to_string(),
                was_sent: false,
            })?;
        *request.headers_mut() = headers;
        let agent = concat!("oom-agent/", env!("CARGO_PKG_VERSION"));
        let agent = HeaderValue::from_static(agent);
        request
            .headers_mut()
            .insert(hyper::header::USER_AGENT, agent);
        let connection = capture_connection(&mut request);
        let late = |_| {
            let was_sent = connection.connection_metadata().is_some();
            let what = if was_sent { "answer" } else { "connection" };
            Failure {
                why: format!("no {what} within {:?}", self.patience),
                was_sent,
            }
        };
        timeout(self.patience, self.send(request))
            .await
            .map_err(late)?
    }

    async fn send(&self, request: Request<Full<Bytes>>) -> Result<Reply, Failure> {
        let response = self.client.request(request).await;
        let response: hyper::Response<Incoming> = response.map_err(|error| Failure {
            why: chain(&error),
            was_sent: !error.is_connect(),
        })?;
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MOST).collect().await;
        // The status tells enough.
        let body = body.map_or_else(|_| Bytes::new(), http_body_util::Collected::to_bytes);
        Ok(Reply {
            status: head.status,
            headers: head.headers,
            body,
        })
    }
}

impl Reply {
    /// The status, and what the other end says of it: one line, for logs.
    #[must_use]
    pub fn told(&self) -> String {
        const SAID: usize = 200;
        let text = String::from_utf8_lossy(&self.body);
        let line = text.lines().map(str::trim).find(|line| !line.is_empty());
        let line: String = line.unwrap_or_default().chars().take(SAID).collect();
        let line: String = line.chars().filter(|c| !c.is_control()).collect();
        if line.is_empty() {
            self.status.to_string()
        } else {
            format!("{}: {line}", self.status)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    /// What becomes of a request to somebody who accepts and says nothing.
    fn silence(scheme: &str) -> Failure {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let to: Endpoint = format!("{scheme}://{address}/").parse().unwrap();
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        let client = Client::new(None, Duration::from_millis(200)).unwrap();
        let reply = client.post(&to, HeaderMap::new(), Bytes::from_static(b"{}"));
        runtime.block_on(reply).unwrap_err()
    }

    #[test]
    fn only_what_was_sent_can_be_the_reason_of_silence() {
        let failure = silence("http");
        assert!(failure.was_sent, "{failure:?}");
        // Without TLS nothing is sent.
        let failure = silence("https");
        assert!(!failure.was_sent, "{failure:?}");
    }
}
