//! Events as log records, and what is counted as metrics, for OpenTelemetry (OTLP 1.x).
//!
//! ```text
//!  deliver ─ events ─▶ record ─┐
//!                              ├─▶ transport (gRPC, or HTTP) ─▶ a collector
//!  metrics ─ text ──▶ convert ─┘        answer ◀──────────────────┘
//! ```
//! Reads events of the store, by [`crate::deliver`], and the metrics as `/metrics` shows them; emits requests of
//! <https://opentelemetry.io/docs/specs/otlp/>. The cursor, the retries and what a partial success means are the
//! delivery's, so that an event is taken once or is told to be lost. A record may come twice, as with
//! any [`crate::deliver::Post`], and is known by its `log.record.uid`. Refuses plain text to other machines unless that is asked for.

mod answer;
mod attributes;
mod convert;
mod image;
mod openmetrics;
mod record;
mod resource;
mod sink;
mod transport;

use std::{
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

pub use self::sink::Otlp;
use crate::{event::Kind, metrics::Metrics, outbound::Endpoint, status::Board};

/// How it is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// gRPC over HTTP/2.
    Grpc,
    /// Protocol buffers over HTTP/1.1.
    #[value(name = "http/protobuf")]
    Http,
}

/// Where and how it is told.
#[derive(Clone, Debug)]
pub struct Options {
    /// The collector, without the paths of signals.
    pub to: Endpoint,
    /// How; `None`: gRPC at port 4317, HTTP elsewhere.
    pub protocol: Option<Protocol>,
    /// Which kinds.
    pub kinds: Vec<Kind>,
    /// More attributes of the resource.
    pub resource: Vec<(String, String)>,
    /// More headers, in a file.
    pub headers: Option<PathBuf>,
    /// Who is trusted, instead of those whom the host trusts.
    pub ca: Option<PathBuf>,
    /// Plain text to another machine is as it should be.
    pub insecure: bool,
    /// How often metrics are told; zero: never.
    pub metrics_interval: Duration,
}

impl Options {
    /// How it is spoken.
    #[must_use]
    pub fn protocol(&self) -> Protocol {
        self.protocol.unwrap_or(match self.to.port() {
            Some(4317) => Protocol::Grpc,
            _ => Protocol::Http,
        })
    }
}

/// What metrics are made of; empty until it has been started.
#[derive(Clone, Debug, Default)]
pub struct Counted {
    /// How the agent is.
    pub board: Arc<OnceLock<Board>>,
    /// What it has counted.
    pub metrics: Arc<OnceLock<Metrics>>,
}

/// Why nothing can be told.
#[derive(Debug, thiserror::Error)]
pub enum OtlpError {
    /// Anybody could read it.
    #[error(
        "{0} is neither https nor on this machine: events name processes, pods and users; --otlp-insecure sends them all the same"
    )]
    Insecure(Endpoint),
    /// A file, or TLS.
    #[error(transparent)]
    Outbound(#[from] crate::outbound::OutboundError),
    /// The address.
    #[error("cannot use {0}")]
    Grpc(Endpoint, #[source] tonic::transport::Error),
    /// The same.
    #[error("no address of a signal below {0}")]
    Path(Endpoint),
}
