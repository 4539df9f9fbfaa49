//! What `oom-agent run` takes about a collector of OpenTelemetry.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use super::{endpoint::EndpointParser, kinds};
use crate::{
    otlp::{Options, Protocol},
    outbound::Endpoint,
    question::Kinds,
};

#[derive(Debug, Args)]
pub(super) struct OtlpArgs {
    /// Tell kills to an OpenTelemetry collector as log records, and the metrics: https, or http on this machine;
    /// without the paths of signals. Who is on this machine can read it with its query: secrets belong in the file of
    /// headers.
    #[arg(long, value_name = "URL", value_parser = EndpointParser)]
    otlp: Option<Endpoint>,
    /// How to speak to it; grpc at port 4317 if nothing is said, else http/protobuf.
    #[arg(long, value_enum, requires = "otlp")]
    otlp_protocol: Option<Protocol>,
    /// Kinds of events to tell: all that tell of kills, if nothing is said.
    #[arg(long, value_name = "KIND,…", requires = "otlp")]
    otlp_kind: Option<Kinds>,
    /// An attribute of the resource, such as deployment.environment.name=prod; may be given again.
    #[arg(long, value_name = "KEY=VALUE", requires = "otlp", value_parser = pair)]
    otlp_resource: Vec<(String, String)>,
    /// A file with headers for requests, such as a token: one `Name: value` on a line.
    #[arg(long, value_name = "FILE", requires = "otlp")]
    otlp_headers_file: Option<PathBuf>,
    /// A file with the certificates (PEM) that are trusted, instead of those that the host trusts.
    #[arg(long, value_name = "FILE", requires = "otlp")]
    otlp_ca: Option<PathBuf>,
    /// Speak to another machine without TLS: whoever is on the way reads everything.
    #[arg(long, requires = "otlp")]
    otlp_insecure: bool,
    /// How often metrics are told, in seconds; 0: never.
    #[arg(long, value_name = "SECONDS", requires = "otlp", default_value_t = 60)]
    otlp_metrics_interval: u32,
}

impl OtlpArgs {
    pub(super) fn options(self) -> Option<Options> {
        Some(Options {
            to: self.otlp?,
            protocol: self.otlp_protocol,
            kinds: kinds(self.otlp_kind),
            resource: self.otlp_resource,
            headers: self.otlp_headers_file,
            ca: self.otlp_ca,
            insecure: self.otlp_insecure,
            metrics_interval: Duration::from_secs(self.otlp_metrics_interval.into()),
        })
    }
}

/// `KEY=VALUE`.
fn pair(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("not KEY=VALUE"),
    }
}
