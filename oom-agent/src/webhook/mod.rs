//! Events as CloudEvents 1.0, posted over HTTPS to whoever wants them.
//!
//! ```text
//!  deliver ─ events ─▶ cloud_event (what is told) ─▶ signature ─▶ outbound ─▶ the other end
//!                                                     (what its answer means) ◀┘
//! ```
//! Reads events of the store, by [`crate::deliver`]; emits requests in structured mode
//! (<https://github.com/cloudevents/spec>), signed as Standard Webhooks has it
//! (<https://www.standardwebhooks.com>). The other end may get an event twice after a crash, when its answer was
//! lost, or when one before it was refused, and knows it by its id. Refuses plain HTTP to other machines unless that
//! is asked for, and to follow redirects.

mod cloud_event;
mod signature;
mod sink;

use std::path::PathBuf;

pub use self::{
    signature::{Secret, SecretError},
    sink::Webhook,
};
use crate::{event::Kind, outbound::Endpoint};

/// Where and how it is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where it is posted to.
    pub to: Endpoint,
    /// Which kinds.
    pub kinds: Vec<Kind>,
    /// Events of one request at most; with more than one, requests are batches.
    pub batch: usize,
    /// `source` of the events, instead of the node's.
    pub source: Option<String>,
    /// The key for signatures, in a file.
    pub secret: Option<PathBuf>,
    /// More headers, in a file.
    pub headers: Option<PathBuf>,
    /// Who is trusted, instead of those whom the host trusts.
    pub ca: Option<PathBuf>,
    /// Plain HTTP to another machine is as it should be.
    pub insecure: bool,
}

/// Why nothing can be told.
#[derive(Debug, thiserror::Error)]
pub enum WebhookError {
    /// Anybody could read it.
    #[error(
        "{0} is neither https nor on this machine: events name processes, pods and users; --webhook-insecure sends them all the same"
    )]
    Insecure(Endpoint),
    /// The key.
    #[error(transparent)]
    Secret(#[from] SecretError),
    /// A file, or TLS.
    #[error(transparent)]
    Outbound(#[from] crate::outbound::OutboundError),
}
