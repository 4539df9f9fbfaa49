//! The sink: events into requests, with their signatures.
//!
//! Takes events of [`crate::deliver`]; makes one request after the other. Refuses nothing by itself.

use std::time::Duration;

use bytes::Bytes;
use hyper::{
    HeaderMap,
    header::{CONTENT_TYPE, HeaderName, HeaderValue},
};
use jiff::Timestamp;

use super::{Options, Secret, WebhookError, cloud_event};
use crate::{
    deliver::{Answer, Most, Post},
    event::Kind,
    host::Host,
    outbound::{Client, Endpoint, Roots, answer, read_headers},
    store::{Filter, Stored},
};

/// For a request and its answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// Bytes of one request, but for an event that is larger by itself.
const BYTES: usize = 1 << 20;

/// Posts events.
#[derive(Debug)]
pub struct Webhook {
    client: Client,
    to: Endpoint,
    kinds: Vec<Kind>,
    batch: usize,
    source: String,
    secret: Option<Secret>,
    headers: HeaderMap,
}

/// An event as it is told.
#[derive(Debug)]
pub struct Letter {
    id: String,
    json: String,
}

impl Webhook {
    /// Reads what it needs, for this node.
    pub fn new(options: &Options, host: &Host) -> Result<Self, WebhookError> {
        Self::patient(options, host, PATIENCE)
    }

    /// The same, with so long for each request.
    pub fn patient(
        options: &Options,
        host: &Host,
        patience: Duration,
    ) -> Result<Self, WebhookError> {
        if !options.to.is_private() && !options.insecure {
            return Err(WebhookError::Insecure(options.to.clone()));
        }
        let roots = options
            .to
            .is_tls()
            .then(|| Roots::read(options.ca.as_deref()));
        let roots = roots.transpose()?;
        let secret = options.secret.as_deref().map(Secret::read).transpose()?;
        let headers = options.headers.as_deref().map(read_headers).transpose()?;
        let source = options.source.clone();
        Ok(Self {
            client: Client::new(roots.as_ref(), patience)?,
            to: options.to.clone(),
            kinds: options.kinds.clone(),
            batch: options.batch,
            source: source.unwrap_or_else(|| cloud_event::source(host)),
            secret,
            headers: headers.unwrap_or_default(),
        })
    }

    /// Body, its type, and the id of the request.
    fn request(&self, letters: &[&Letter]) -> (Bytes, &'static str, String) {
        match letters {
            [one] if self.batch == 1 => (
                Bytes::copy_from_slice(one.json.as_bytes()),
                "application/cloudevents+json; charset=utf-8",
                one.id.clone(),
            ),
            all => {
                let events: Vec<_> = all.iter().map(|it| it.json.as_str()).collect();
                let first = all.first().map(|it| it.id.as_str()).unwrap_or_default();
                (
                    format!("[{}]", events.join(",")).into(),
                    "application/cloudevents-batch+json; charset=utf-8",
                    // What is tried again with more in it is another request.
                    format!("{first}+{}", all.len() - 1),
                )
            }
        }
    }

    fn headers(
        &self,
        kind: &'static str,
        id: &str,
        timestamp: i64,
        body: &[u8],
    ) -> Result<HeaderMap, hyper::header::InvalidHeaderValue> {
        let mut headers = self.headers.clone();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(kind));
        let mut put = |name: &'static str, value: &str| {
            headers.insert(HeaderName::from_static(name), value.parse()?);
            Ok(())
        };
        put("webhook-id", id)?;
        put("webhook-timestamp", &timestamp.to_string())?;
        if let Some(secret) = &self.secret {
            put("webhook-signature", &secret.sign(id, timestamp, body))?;
        }
        Ok(headers)
    }
}

impl Post for Webhook {
    type Letter = Letter;

    fn name(&self) -> &'static str {
        "webhook"
    }

    fn filter(&self) -> Filter {
        Filter {
            kinds: self.kinds.clone(),
            ..Filter::default()
        }
    }

    fn most(&self) -> Most {
        Most {
            events: self.batch,
            bytes: BYTES,
        }
    }

    fn write(&self, event: &Stored) -> Result<(Letter, usize), String> {
        let id = event.uid();
        let json = cloud_event::json(event, &id, &self.source);
        let json = json.map_err(|error| error.to_string())?;
        let bytes = json.len();
        Ok((Letter { id, json }, bytes))
    }

    async fn post(&mut self, letters: &[&Letter]) -> Answer {
        let (body, kind, id) = self.request(letters);
        let headers = self.headers(kind, &id, Timestamp::now().as_second(), &body);
        let headers = match headers {
            Ok(headers) => headers,
            Err(error) => return Answer::Refused(format!("{id:?}: {error}")),
        };
        let reply = self.client.post(&self.to, headers, body).await;
        answer(reply.as_ref().map_err(Clone::clone))
    }
}
