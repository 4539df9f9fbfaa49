//! As much of the API server of Kubernetes as the agent speaks to: events, over TLS, with a bearer token.
//!
//! Takes `POST` and `PATCH` of `events.k8s.io/v1`, and refuses what the real one refuses
//! (pkg/apis/core/validation/events.go): fields that are missing, too long or must not be changed, events
//! outside the namespace of their object, namespaces that are not there. Emits what it was sent. Can be told to
//! fail in each way in which the real one does, for so many requests.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    path::Path,
    sync::Arc,
    time::Instant,
};

use anyhow::{Result, ensure};
use axum::{
    Json, Router,
    extract::{self, State},
    http::{HeaderMap, Request, StatusCode, header},
    response::{IntoResponse, Response},
    routing::{patch, post},
};
use hyper::body::Incoming;
use k8s_openapi::api::events::v1::Event;
use serde_json::{Map, Value, json};
use tokio_rustls::rustls::ServerConfig;
use tower::ServiceExt as _;

use crate::{
    agent::DEADLINE,
    answering::{self, Answer},
    certificate::Localhost,
    loopback::Loopback,
    watched::Watched,
};

/// What it takes for a token.
pub const TOKEN: &str = "a-token-of-the-tests";

/// How a request is answered instead.
#[derive(Clone, Debug)]
pub enum Fault {
    /// With this status, and seconds to wait.
    Status(u16, Option<u64>),
    /// With this status, and this `Status` as its body.
    Said(u16, Value),
    /// Not at all.
    Hangs,
    /// By a reset of the connection.
    Reset,
}

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Sent {
    /// `POST` or `PATCH`.
    pub method: String,
    /// The status of its answer; 0 if there was none.
    pub status: u16,
    /// When.
    pub at: Instant,
}

/// The server. Its events outlive [`ApiServer::stop`].
#[derive(Debug)]
pub struct ApiServer {
    shared: Arc<Shared>,
    tls: Arc<ServerConfig>,
    authority: String,
    server: Loopback,
}

type Shared = Watched<Held>;

#[derive(Debug, Default)]
struct Held {
    events: BTreeMap<(String, String), Value>,
    namespaces: BTreeSet<String>,
    requests: Vec<Sent>,
    faults: VecDeque<Fault>,
}

impl ApiServer {
    /// Starts it, with the namespaces `default` and `shop`.
    pub fn start() -> Result<Self> {
        let localhost = Localhost::new()?;
        let shared = Arc::<Shared>::default();
        shared.lock().namespaces = ["default", "shop"].map(str::to_owned).into();
        let mut server = Self {
            shared,
            tls: Arc::new(localhost.server()?),
            authority: localhost.authority,
            server: Loopback::new(),
        };
        server.go_on()?;
        Ok(server)
    }

    /// Starts it again, at the same address.
    pub fn go_on(&mut self) -> Result<()> {
        let (tls, shared) = (self.tls.clone(), self.shared.clone());
        let router = router(shared.clone());
        self.server.go_on(|listener| {
            answering::serve(listener, Some(tls), move |request| {
                answer(shared.clone(), router.clone(), request)
            })
        })
    }

    /// Closes its port and all connections.
    pub fn stop(&mut self) {
        self.server.stop();
    }

    /// Writes a kubeconfig with this token.
    pub fn kubeconfig(&self, path: &Path, token: &str) -> Result<()> {
        let authority = path.with_extension("crt");
        std::fs::write(&authority, &self.authority)?;
        // JSON is YAML.
        let config = json!({
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "tests",
            "contexts": [{"name": "tests", "context": {"cluster": "tests", "user": "agent"}}],
            "clusters": [{"name": "tests", "cluster": {
                // By a name, which is to be looked up.
                "server": format!("https://localhost:{}", self.server.port()),
                "certificate-authority": authority,
            }}],
            "users": [{"name": "agent", "user": {"token": token}}],
        });
        Ok(std::fs::write(path, config.to_string())?)
    }

    /// The next requests are answered so.
    pub fn fail(&self, faults: impl IntoIterator<Item = Fault>) {
        self.shared.lock().faults.extend(faults);
    }

    /// There is such a namespace, or not any more.
    pub fn namespace(&self, name: &str, exists: bool) {
        let mut held = self.shared.lock();
        if exists {
            held.namespaces.insert(name.to_owned());
        } else {
            held.namespaces.remove(name);
        }
    }

    /// Events expire.
    pub fn forget(&self) {
        self.shared.lock().events.clear();
    }

    /// All its events.
    #[must_use]
    pub fn events(&self) -> Vec<Value> {
        self.shared.lock().events.values().cloned().collect()
    }

    /// All that it was asked.
    #[must_use]
    pub fn requests(&self) -> Vec<Sent> {
        self.shared.lock().requests.clone()
    }

    /// How many kills its events tell of.
    #[must_use]
    pub fn kills(&self) -> u64 {
        self.events().iter().map(kills).sum()
    }

    /// Waits until it has what is looked for.
    pub fn wait(&self, what: &str, mut found: impl FnMut(&[Value], &[Sent]) -> bool) -> Result<()> {
        let (held, found) = self.shared.wait(DEADLINE, |held| {
            let events: Vec<_> = held.events.values().cloned().collect();
            found(&events, &held.requests)
        });
        ensure!(found, "no {what}: {held:#?}");
        Ok(())
    }
}

/// How many kills an event tells of.
#[must_use]
pub fn kills(event: &Value) -> u64 {
    event["series"]["count"].as_u64().unwrap_or(1)
}

fn router(shared: Arc<Shared>) -> Router {
    let events = "/apis/events.k8s.io/v1/namespaces/{namespace}/events";
    Router::new()
        .route(events, post(create))
        .route(&format!("{events}/{{name}}"), patch(change))
        .with_state(shared)
}

async fn answer(shared: Arc<Shared>, router: Router, request: Request<Incoming>) -> Result<Answer> {
    let method = request.method().to_string();
    let fault = shared.lock().faults.pop_front();
    let answer = match fault {
        None => match router.oneshot(request).await {
            Ok(response) => Answer::With(response),
            Err(never) => match never {},
        },
        Some(Fault::Said(status, said)) => Answer::With((code(status), Json(said)).into_response()),
        Some(Fault::Status(status, retry_after)) => {
            let wait = retry_after.map(|seconds| (header::RETRY_AFTER, seconds.into()));
            let headers = HeaderMap::from_iter(wait);
            Answer::With((code(status), headers, "not now").into_response())
        }
        Some(Fault::Hangs) => Answer::Never,
        Some(Fault::Reset) => Answer::Reset,
    };
    let sent = Sent {
        method,
        status: answer.status(),
        at: Instant::now(),
    };
    shared.change(|held| held.requests.push(sent));
    Ok(answer)
}

async fn create(
    State(shared): State<Arc<Shared>>,
    extract::Path(namespace): extract::Path<String>,
    headers: HeaderMap,
    Json(event): Json<Value>,
) -> Result<Response, Response> {
    authorized(&headers)?;
    let mut held = shared.lock();
    held.has(&namespace)?;
    valid(&event, &namespace)?;
    let name = event["metadata"]["name"].as_str().unwrap_or_default();
    let key = (namespace, name.to_owned());
    if held.events.contains_key(&key) {
        let message = format!("events.events.k8s.io {name:?} already exists");
        return Err(status(409, "AlreadyExists", &message, "events"));
    }
    held.events.insert(key, event.clone());
    Ok((StatusCode::CREATED, Json(event)).into_response())
}

async fn change(
    State(shared): State<Arc<Shared>>,
    extract::Path((namespace, name)): extract::Path<(String, String)>,
    headers: HeaderMap,
    body: String,
) -> Result<Response, Response> {
    authorized(&headers)?;
    let kind = headers.get(header::CONTENT_TYPE);
    if kind.is_none_or(|kind| kind != "application/merge-patch+json") {
        return Err(status(415, "UnsupportedMediaType", "of a patch", ""));
    }
    let mut held = shared.lock();
    held.has(&namespace)?;
    let message = format!("events.events.k8s.io {name:?} not found");
    let gone = || status(404, "NotFound", &message, "events");
    let event = held.events.get_mut(&(namespace, name.clone()));
    let event = event.ok_or_else(gone)?;
    let patch: Map<String, Value> = serde_json::from_str(&body).map_err(|error| bad(&error))?;
    if let Some(other) = patch.keys().find(|field| *field != "series") {
        return Err(invalid(&format!("{other}: field is immutable")));
    }
    event["series"] = patch.get("series").cloned().unwrap_or_default();
    valid_series(event)?;
    let event = event.clone();
    Ok(Json(event).into_response())
}

impl Held {
    #[expect(clippy::result_large_err, reason = "an answer is an answer")]
    fn has(&self, namespace: &str) -> Result<(), Response> {
        if self.namespaces.contains(namespace) {
            return Ok(());
        }
        let message = format!("namespaces {namespace:?} not found");
        Err(status(404, "NotFound", &message, "namespaces"))
    }
}

#[expect(clippy::result_large_err, reason = "an answer is an answer")]
fn authorized(headers: &HeaderMap) -> Result<(), Response> {
    let wanted = format!("Bearer {TOKEN}");
    let given = headers.get(header::AUTHORIZATION);
    if given.is_some_and(|given| *given == wanted) {
        return Ok(());
    }
    Err(status(401, "Unauthorized", "Unauthorized", ""))
}

/// What `ValidateEventCreate` demands.
#[expect(clippy::result_large_err, reason = "an answer is an answer")]
fn valid(event: &Value, namespace: &str) -> Result<(), Response> {
    let typed: Event = serde_json::from_value(event.clone()).map_err(|error| bad(&error))?;
    // Strict: nothing that the type does not know.
    let known = serde_json::to_value(&typed).map_err(|error| bad(&error))?;
    if known != *event {
        return Err(bad(&"unknown fields"));
    }
    let text = |pointer: &str| {
        event
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let object = text("/regarding/namespace");
    let is_there = if object.is_empty() {
        ["default", "kube-system"].contains(&namespace)
    } else {
        object == namespace
    };
    let bounded = |pointer| (1..=128).contains(&text(pointer).len());
    let checks = [
        (
            "metadata.namespace",
            text("/metadata/namespace") == namespace,
        ),
        ("metadata.name", is_subdomain(text("/metadata/name"))),
        ("regarding.namespace", is_there),
        ("eventTime", typed.event_time.is_some()),
        ("type", ["Normal", "Warning"].contains(&text("/type"))),
        ("note", text("/note").len() <= 1024),
        ("reason", bounded("/reason")),
        ("action", bounded("/action")),
        ("reportingInstance", bounded("/reportingInstance")),
        (
            "reportingController",
            !text("/reportingController").is_empty(),
        ),
    ];
    match checks.into_iter().find(|(_, holds)| !holds) {
        Some((field, _)) => Err(invalid(field)),
        None => valid_series(event),
    }
}

#[expect(clippy::result_large_err, reason = "an answer is an answer")]
fn valid_series(event: &Value) -> Result<(), Response> {
    let series = &event["series"];
    let counts = series["count"].as_u64().is_some_and(|count| count >= 2);
    if series.is_null() || counts && series["lastObservedTime"].is_string() {
        return Ok(());
    }
    Err(invalid("series: should be at least 2"))
}

fn is_subdomain(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    (1..=253).contains(&name.len())
        && name.split('.').all(|part| {
            part.starts_with(plain)
                && part.ends_with(plain)
                && part.chars().all(|c| plain(c) || c == '-')
        })
}

fn invalid(message: &str) -> Response {
    status(422, "Invalid", message, "Event")
}

fn bad(message: &dyn std::fmt::Display) -> Response {
    status(400, "BadRequest", &message.to_string(), "")
}

fn status(number: u16, reason: &str, message: &str, kind: &str) -> Response {
    let said = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "message": message,
        "reason": reason, "details": {"kind": kind}, "code": number,
    });
    (code(number), Json(said)).into_response()
}

fn code(number: u16) -> StatusCode {
    StatusCode::from_u16(number).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}
