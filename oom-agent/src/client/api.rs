//! Questions over HTTP.
//!
//! Reads answers of the API; emits them, or the reason that the API gave. One connection is kept for all
//! questions; each answer has a deadline and a bound.

use std::time::Duration;

use http_body_util::{BodyExt as _, Empty, Limited};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1::{self, SendRequest},
    header,
};
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde_json::value::RawValue;
use tokio::{
    runtime::{self, Runtime},
    time::timeout,
};

use super::{ClientError, Page, Server};
use crate::{
    api::Problem,
    event::Kind,
    question::Question,
    store::{DeadLetters, Order},
};

/// An answer is there after this.
const PATIENCE: Duration = Duration::from_secs(30);

/// Bytes of an answer: more than a thousand reports.
const LONGEST: usize = 512 << 20;

/// An agent that is asked.
#[derive(Debug)]
pub struct Api {
    pub(super) runtime: Runtime,
    line: Line,
}

/// The connection.
#[derive(Debug)]
pub(super) struct Line {
    server: Server,
    open: Option<SendRequest<Empty<Bytes>>>,
}

/// Of a page.
#[derive(Serialize)]
struct Query<'a> {
    order: &'static str,
    limit: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    after: Option<&'a str>,
}

impl Api {
    pub(super) fn connect(server: Server) -> Result<Self, ClientError> {
        let mut builder = runtime::Builder::new_current_thread();
        let runtime = builder.enable_all().build().map_err(ClientError::Runtime)?;
        let mut line = Line { server, open: None };
        line.open = Some(runtime.block_on(line.connect())?);
        Ok(Self { runtime, line })
    }

    pub(super) fn page(
        &mut self,
        question: &Question,
        order: Order,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, ClientError> {
        let query = Query {
            order: match order {
                Order::NewestFirst => "newest",
                Order::OldestFirst => "oldest",
            },
            limit,
            after,
        };
        let query = serde_urlencoded::to_string(query)?;
        let question = serde_urlencoded::to_string(question)?;
        let path = format!("/v1/events?{query}&{question}");
        let page = self.get(path.trim_end_matches('&'))?;
        serde_json::from_slice(&page).map_err(|error| self.line.malformed(error))
    }

    pub(super) fn event(
        &mut self,
        kind: Option<Kind>,
        id: &str,
    ) -> Result<Option<Box<RawValue>>, ClientError> {
        let kind = kind.map_or_else(String::new, |kind| format!("?kind={}", kind.as_str()));
        match self.json(&format!("/v1/events/{}{kind}", segment(id))) {
            Err(ClientError::Refused { status: 404, .. }) => Ok(None),
            other => other.map(Some),
        }
    }

    pub(super) fn dead_letters(
        &mut self,
        sink: Option<&str>,
        limit: u16,
    ) -> Result<DeadLetters, ClientError> {
        let query = serde_urlencoded::to_string([("sink", sink.unwrap_or_default())])?;
        let query = sink.map_or_else(String::new, |_| format!("&{query}"));
        let answer = self.get(&format!("/v1/dead-letters?limit={limit}{query}"))?;
        serde_json::from_slice(&answer).map_err(|error| self.line.malformed(error))
    }

    pub(super) fn status(&mut self) -> Result<Box<RawValue>, ClientError> {
        self.json("/v1/status")
    }

    fn json(&mut self, path: &str) -> Result<Box<RawValue>, ClientError> {
        let body = self.get(path)?;
        serde_json::from_slice(&body).map_err(|error| self.line.malformed(error))
    }

    fn get(&mut self, path: &str) -> Result<Bytes, ClientError> {
        self.runtime.block_on(self.line.get(path))
    }

    /// For a stream, which lives on the same runtime.
    pub(super) fn into_parts(self) -> (Runtime, Line) {
        (self.runtime, self.line)
    }
}

impl Line {
    /// Who answers.
    pub(super) fn name(&self) -> String {
        self.server.to_string()
    }

    async fn connect(&self) -> Result<SendRequest<Empty<Bytes>>, ClientError> {
        let stream = TokioIo::new(self.server.connect().await?);
        let made = http1::handshake(stream).await;
        let (send, connection) = made.map_err(|error| self.broken(error))?;
        // It ends with the connection; what goes wrong on it is told to whoever waits for an answer.
        tokio::spawn(connection);
        Ok(send)
    }

    async fn get(&mut self, path: &str) -> Result<Bytes, ClientError> {
        let answer = async {
            let response = self.ask(path, None).await?;
            self.body(response).await
        };
        if let Ok(answer) = timeout(PATIENCE, answer).await {
            return answer;
        }
        self.open = None;
        Err(ClientError::Silent(self.name()))
    }

    /// Asks for a stream of events; the answer ends when the agent does.
    pub(super) async fn stream(
        &mut self,
        path: &str,
        last_id: Option<&str>,
    ) -> Result<Incoming, ClientError> {
        let asked = timeout(PATIENCE, self.ask(path, last_id)).await;
        let response = asked.map_err(|_| ClientError::Silent(self.name()))??;
        Ok(response.into_body())
    }

    /// The next question is asked on a new connection.
    pub(super) fn hang_up(&mut self) {
        self.open = None;
    }

    /// An answer that is no error.
    async fn ask(
        &mut self,
        path: &str,
        last_id: Option<&str>,
    ) -> Result<Response<Incoming>, ClientError> {
        let request = self.request(path, last_id)?;
        let kept = match self.open.take() {
            Some(send) => Some(self.send(send, request.clone()).await),
            None => None,
        };
        let response = match kept {
            Some(Ok(response)) => response,
            Some(Err(error)) if error.is_parse() => return Err(self.broken(error)),
            // The agent may have closed a connection that was not used for long.
            Some(Err(_)) | None => {
                let send = self.connect().await?;
                let response = self.send(send, request).await;
                response.map_err(|error| self.broken(error))?
            }
        };
        let status = response.status();
        if status == StatusCode::OK {
            return Ok(response);
        }
        let body = self.body(response).await.unwrap_or_default();
        let problem = serde_json::from_slice::<Problem>(&body).ok();
        Err(ClientError::Refused {
            to: self.name(),
            status: status.as_u16(),
            detail: problem.map(|problem| problem.detail),
        })
    }

    fn request(
        &self,
        path: &str,
        last_id: Option<&str>,
    ) -> Result<Request<Empty<Bytes>>, ClientError> {
        let mut request = Request::get(path).header(header::HOST, self.server.host());
        if let Some(token) = self.server.token() {
            request = request.header(header::AUTHORIZATION, token.clone());
        }
        if let Some(id) = last_id {
            request = request.header("last-event-id", id);
        }
        request.body(Empty::new()).map_err(|e| self.broken(e))
    }

    async fn send(
        &mut self,
        mut send: SendRequest<Empty<Bytes>>,
        request: Request<Empty<Bytes>>,
    ) -> hyper::Result<Response<Incoming>> {
        send.ready().await?;
        let response = send.send_request(request).await?;
        self.open = Some(send);
        Ok(response)
    }

    async fn body(&self, response: Response<Incoming>) -> Result<Bytes, ClientError> {
        let body = Limited::new(response.into_body(), LONGEST).collect().await;
        let body = body.map_err(|source| ClientError::Broken {
            to: self.name(),
            source,
        })?;
        Ok(body.to_bytes())
    }

    pub(super) fn broken(
        &self,
        error: impl std::error::Error + Send + Sync + 'static,
    ) -> ClientError {
        ClientError::Broken {
            to: self.name(),
            source: Box::new(error),
        }
    }

    pub(super) fn malformed(&self, source: serde_json::Error) -> ClientError {
        ClientError::Malformed {
            to: self.name(),
            source,
        }
    }
}

/// A part of a path (RFC 3986, section 2.3: what need not be encoded).
fn segment(text: &str) -> String {
    use std::fmt::Write as _;

    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'.' | b'_' | b'~' => {
                encoded.push(char::from(byte));
            }
            _ => {
                let _ = write!(encoded, "%{byte:02X}");
            }
        }
    }
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_one_part_of_a_path() {
        assert_eq!(segment("b-1_2.~"), "b-1_2.~");
        assert_eq!(segment("a/../b c%?ü"), "a%2F..%2Fb%20c%25%3F%C3%BC");
    }
}
