//! What `oom-agent run` takes about those to whom events are delivered.

#[cfg(any(feature = "kubernetes", feature = "otlp", feature = "webhook"))]
use std::path::PathBuf;
#[cfg(feature = "otlp")]
use std::time::Duration;

use clap::Args;

#[cfg(feature = "nats")]
use super::nats::PublishArgs;

use crate::daemon::SinkOptions;
#[cfg(feature = "kubernetes")]
use crate::kubernetes;
#[cfg(feature = "otlp")]
use crate::otlp;
#[cfg(feature = "webhook")]
use crate::webhook;
#[cfg(any(feature = "otlp", feature = "webhook"))]
use crate::{event::Kind, outbound::Endpoint, question::Kinds};

#[derive(Debug, Args)]
#[command(next_help_heading = "Delivery")]
pub(super) struct SinkArgs {
    #[cfg(feature = "kubernetes")]
    #[command(flatten)]
    kubernetes: KubernetesArgs,
    #[cfg(feature = "nats")]
    #[command(flatten)]
    nats: PublishArgs,
    #[cfg(feature = "otlp")]
    #[command(flatten)]
    otlp: OtlpArgs,
    #[cfg(feature = "webhook")]
    #[command(flatten)]
    webhook: WebhookArgs,
}

#[cfg(feature = "kubernetes")]
#[derive(Debug, Args)]
struct KubernetesArgs {
    /// Post kills as events of Kubernetes: on the pod that a process died in, and on the node that ran out of
    /// memory. The name of the node must be that of Kubernetes (--node).
    #[arg(long)]
    kubernetes: bool,
    /// Where the API server is and as whom to speak to it, instead of the service account of the agent's pod.
    #[arg(long, value_name = "PATH", requires = "kubernetes")]
    kubeconfig: Option<PathBuf>,
}

#[cfg(feature = "webhook")]
#[derive(Debug, Args)]
struct WebhookArgs {
    /// Post kills to this address, each as an event of cloudevents.io 1.0: https, or http on this machine.
    #[arg(long, value_name = "URL")]
    webhook: Option<Endpoint>,
    /// Kinds of events to post: all that tell of kills, if nothing is said.
    #[arg(long, value_name = "KIND,…", requires = "webhook")]
    webhook_kind: Option<Kinds>,
    /// Events of one request at most; with more than 1, requests are batches (application/cloudevents-batch+json).
    #[arg(long, value_name = "EVENTS", requires = "webhook", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    webhook_batch: u32,
    /// `source` of the events, instead of /oom-agent/NODE.
    #[arg(long, value_name = "URI", requires = "webhook")]
    webhook_source: Option<String>,
    /// A file with the secret that requests are signed with (Standard Webhooks): whsec_ and base64.
    #[arg(long, value_name = "FILE", requires = "webhook")]
    webhook_secret_file: Option<PathBuf>,
    /// A file with more headers for requests, such as a token: one `Name: value` on a line.
    #[arg(long, value_name = "FILE", requires = "webhook")]
    webhook_headers_file: Option<PathBuf>,
    /// A file with the certificates (PEM) that are trusted, instead of those that the host trusts.
    #[arg(long, value_name = "FILE", requires = "webhook")]
    webhook_ca: Option<PathBuf>,
    /// Post to another machine without TLS: whoever is on the way reads everything.
    #[arg(long, requires = "webhook")]
    webhook_insecure: bool,
}

#[cfg(feature = "webhook")]
impl WebhookArgs {
    fn options(self) -> Option<webhook::Options> {
        Some(webhook::Options {
            to: self.webhook?,
            kinds: kinds(self.webhook_kind),
            batch: usize::try_from(self.webhook_batch).unwrap_or(1),
            source: self.webhook_source,
            secret: self.webhook_secret_file,
            headers: self.webhook_headers_file,
            ca: self.webhook_ca,
            insecure: self.webhook_insecure,
        })
    }
}

#[cfg(feature = "otlp")]
#[derive(Debug, Args)]
struct OtlpArgs {
    /// Tell kills to an OpenTelemetry collector as log records, and the metrics: https, or http on this machine;
    /// without the paths of signals.
    #[arg(long, value_name = "URL")]
    otlp: Option<Endpoint>,
    /// How to speak to it; grpc at port 4317 if nothing is said, else http/protobuf.
    #[arg(long, value_enum, requires = "otlp")]
    otlp_protocol: Option<otlp::Protocol>,
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

#[cfg(feature = "otlp")]
impl OtlpArgs {
    fn options(self) -> Option<otlp::Options> {
        Some(otlp::Options {
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
#[cfg(feature = "otlp")]
fn pair(text: &str) -> Result<(String, String), &'static str> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("not KEY=VALUE"),
    }
}

/// Those, or all that tell of kills.
#[cfg(any(feature = "otlp", feature = "webhook"))]
fn kinds(given: Option<Kinds>) -> Vec<Kind> {
    let all = Kind::ALL.into_iter().filter(|kind| kind.is_of_kill());
    given.map_or_else(|| all.collect(), |Kinds(kinds)| kinds)
}

impl From<SinkArgs> for SinkOptions {
    #[cfg_attr(
        not(feature = "sinks"),
        expect(unused_variables, reason = "there is none in this build")
    )]
    fn from(args: SinkArgs) -> Self {
        Self {
            #[cfg(feature = "kubernetes")]
            kubernetes: (args.kubernetes.kubernetes).then_some(kubernetes::Options {
                kubeconfig: args.kubernetes.kubeconfig,
            }),
            #[cfg(feature = "nats")]
            nats: args.nats.options(),
            #[cfg(feature = "otlp")]
            otlp: args.otlp.options(),
            #[cfg(feature = "webhook")]
            webhook: args.webhook.options(),
        }
    }
}
