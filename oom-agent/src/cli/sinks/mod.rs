//! What `oom-agent run` takes about those to whom events are delivered.

#[cfg(any(feature = "otlp", feature = "webhook"))]
mod endpoint;
#[cfg(feature = "kubernetes")]
mod kubernetes;
#[cfg(feature = "otlp")]
mod otlp;
#[cfg(feature = "webhook")]
mod webhook;

use clap::Args;

#[cfg(feature = "nats")]
use super::nats::PublishArgs;
use crate::daemon::SinkOptions;
#[cfg(any(feature = "otlp", feature = "webhook"))]
use crate::{event::Kind, question::Kinds};

#[derive(Debug, Args)]
#[command(next_help_heading = "Delivery")]
pub(super) struct SinkArgs {
    #[cfg(feature = "kubernetes")]
    #[command(flatten)]
    kubernetes: kubernetes::KubernetesArgs,
    #[cfg(feature = "nats")]
    #[command(flatten)]
    nats: PublishArgs,
    #[cfg(feature = "otlp")]
    #[command(flatten)]
    otlp: otlp::OtlpArgs,
    #[cfg(feature = "webhook")]
    #[command(flatten)]
    webhook: webhook::WebhookArgs,
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
            kubernetes: args.kubernetes.options(),
            #[cfg(feature = "nats")]
            nats: args.nats.options(),
            #[cfg(feature = "otlp")]
            otlp: args.otlp.options(),
            #[cfg(feature = "webhook")]
            webhook: args.webhook.options(),
        }
    }
}
