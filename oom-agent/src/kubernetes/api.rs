//! Requests to the API server, and what their answers mean.
//!
//! Takes events; emits `POST` and `PATCH` of `events.k8s.io/v1`, and for each an [`Answer`]. An update changes the series alone: the API server takes nothing else
//! (`ValidateEventUpdate` in pkg/apis/core/validation/events.go).

use std::time::Duration;

use http_body_util::{BodyExt as _, Limited};
use hyper::{Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use k8s_openapi::api::events::v1::Event;
use kube::{
    Client,
    client::{Body, ClientBuilder},
    core::Status,
};
use serde_json::json;
use tokio::time::timeout;

use super::{
    Credentials,
    book::Series,
    post::{event, series},
};
use crate::{
    deliver::{Trouble, retry_after},
    error::chain,
};

/// Bytes of an answer that are read.
const MOST: usize = 64 * 1024;

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is as it should be.
    Done,
    /// The event that was to be made is there already.
    There,
    /// The event that was to be changed is not there any more.
    Gone,
    /// It never will be.
    Refused(String),
    /// It was not taken, for a reason that others may not have, and that may pass.
    Denied(String),
    /// Nothing is taken now.
    Again(Trouble),
}

/// The API server.
#[derive(Clone)]
pub(super) struct Api {
    client: Client,
    node: String,
    patience: Duration,
}

impl Api {
    /// To be called in a runtime. Connects to nothing yet.
    pub(super) fn new(
        credentials: Credentials,
        node: String,
        patience: Duration,
    ) -> Result<Self, kube::Error> {
        let mut config = credentials.into_config();
        // Whoever delivers knows better when to try again.
        config.default_retry = false;
        let client = ClientBuilder::try_from(config)?.build();
        Ok(Self {
            client,
            node,
            patience,
        })
    }

    /// Makes the event of a series, or brings it up to date.
    pub(super) async fn tell(&self, of: &Series) -> Answer {
        let all = of.all();
        let namespace = of.first.object.namespace();
        let events = format!("/apis/events.k8s.io/v1/namespaces/{namespace}/events");
        let told = if of.is_there() {
            let change = json!({"series": series(all.count, all.last_ns)});
            let path = format!("{events}/{}", of.first.name);
            (Method::PATCH, path, "application/merge-patch+json", change)
        } else {
            let event: Event = event(&of.first, all.count, all.last_ns, &self.node);
            (Method::POST, events, "application/json", json!(event))
        };
        let (method, path, kind, body) = told;
        let request = Request::builder()
            .method(method.clone())
            .uri(path)
            .header(CONTENT_TYPE, kind)
            .body(Body::from(body.to_string().into_bytes()));
        let request = match request {
            Ok(request) => request,
            Err(error) => return Answer::Refused(error.to_string()),
        };
        match timeout(self.patience, self.send(request)).await {
            Ok(Ok((status, retry_after, body))) => answer(&method, status, retry_after, &body),
            Ok(Err(why)) => again(why, None),
            Err(_) => again(format!("no answer within {:?}", self.patience), None),
        }
    }

    async fn send(
        &self,
        request: Request<Body>,
    ) -> Result<(StatusCode, Option<Duration>, Vec<u8>), String> {
        let response = self.client.send(request).await;
        let response: Response<Body> = response.map_err(|error| chain(&error))?;
        let (head, body) = response.into_parts();
        let retry_after = retry_after(&head.headers, jiff::Timestamp::now());
        let body = Limited::new(body, MOST).collect().await;
        // The status tells enough.
        let body = body.map_or_else(|_| Vec::new(), |body| body.to_bytes().to_vec());
        Ok((head.status, retry_after, body))
    }
}

fn again(why: String, retry_after: Option<Duration>) -> Answer {
    Answer::Again(Trouble { why, retry_after })
}

/// What an answer means. What is not clearly for ever is tried again. Policies, quotas and webhooks deny one
/// event and take the next; who is unknown, comes too often, or finds nobody there, is denied whatever he tells.
fn answer(
    method: &Method,
    status: StatusCode,
    retry_after: Option<Duration>,
    body: &[u8],
) -> Answer {
    if status.is_success() {
        return Answer::Done;
    }
    let said: Option<Status> = serde_json::from_slice(body).ok();
    let why = match said.as_ref().map(|it| it.message.as_str()) {
        Some(message) if !message.is_empty() => format!("{status}: {message}"),
        _ => status.to_string(),
    };
    let details = said.as_ref().and_then(|it| it.details.as_ref());
    let makes = *method == Method::POST;
    match status {
        StatusCode::CONFLICT if makes => Answer::There,
        // Another 404 is that of a wrong address.
        StatusCode::NOT_FOUND => match details.map(|it| it.kind.as_str()) {
            Some("namespaces") => Answer::Refused(why),
            Some("events") if !makes => Answer::Gone,
            _ => again(why, retry_after),
        },
        StatusCode::FORBIDDEN => {
            let mut causes = details.into_iter().flat_map(|it| &it.causes);
            if causes.any(|it| it.reason == "NamespaceTerminating") {
                return Answer::Refused(why);
            }
            Answer::Denied(why)
        }
        StatusCode::BAD_REQUEST
        | StatusCode::UNPROCESSABLE_ENTITY
        | StatusCode::PAYLOAD_TOO_LARGE => Answer::Refused(why),
        StatusCode::UNAUTHORIZED | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
            again(why, retry_after)
        }
        // What a webhook breaks is an internal error.
        StatusCode::INTERNAL_SERVER_ERROR => Answer::Denied(why),
        status if status.is_client_error() => Answer::Denied(why),
        _ => again(why, retry_after),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn of(method: &Method, status: u16, body: &Value) -> Answer {
        let status = StatusCode::from_u16(status).unwrap();
        answer(method, status, None, body.to_string().as_bytes())
    }

    #[test]
    fn each_answer_has_its_meaning() {
        let gone = |kind| {
            json!({"kind": "Status", "status": "Failure", "message": "not found", "reason": "NotFound",
                   "details": {"name": "x", "kind": kind}, "code": 404})
        };
        let ending = json!({"status": "Failure", "message": "is being terminated", "reason": "Forbidden",
            "details": {"causes": [{"reason": "NamespaceTerminating", "message": "x", "field": ""}]}, "code": 403});
        let (post, patch) = (&Method::POST, &Method::PATCH);
        let none = &json!({});
        assert_eq!(of(post, 201, none), Answer::Done);
        assert_eq!(of(patch, 200, none), Answer::Done);
        assert_eq!(of(post, 409, none), Answer::There);
        assert_eq!(of(patch, 404, &gone("events")), Answer::Gone);
        let refused = |method: &Method, status, body: &Value| {
            let answer = of(method, status, body);
            assert!(matches!(answer, Answer::Refused(_)), "{status}: {answer:?}");
        };
        refused(post, 404, &gone("namespaces"));
        refused(patch, 404, &gone("namespaces"));
        refused(post, 403, &ending);
        for status in [400, 413, 422] {
            refused(post, status, none);
        }
        for (method, status, body) in [
            (post, 401, none),
            (post, 404, none),
            (post, 404, &json!("page not found")),
            (patch, 404, none),
            (post, 301, none),
            (post, 408, none),
            (post, 429, none),
            (post, 502, none),
            (post, 503, none),
        ] {
            let answer = of(method, status, body);
            assert!(matches!(answer, Answer::Again(_)), "{status}: {answer:?}");
        }
    }

    #[test]
    fn what_the_server_says_of_one_event_is_passed_on() {
        let said = json!({"message": "exceeded quota", "code": 403});
        let denied = Answer::Denied("403 Forbidden: exceeded quota".to_owned());
        assert_eq!(of(&Method::POST, 403, &said), denied);
        for (method, status) in [
            (Method::PATCH, 409),
            (Method::POST, 405),
            (Method::POST, 500),
        ] {
            let answer = of(&method, status, &json!({}));
            assert!(matches!(answer, Answer::Denied(_)), "{status}: {answer:?}");
        }
    }
}
