//! What `oom-agent run` takes about a webhook.

use std::path::PathBuf;

use clap::Args;

use super::{endpoint::EndpointParser, kinds};
use crate::{outbound::Endpoint, question::Kinds, webhook::Options};

#[derive(Debug, Args)]
pub(super) struct WebhookArgs {
    /// Post kills to this address, each as an event of cloudevents.io 1.0: https, or http on this machine. Who is on this
    /// machine can read it with its query: secrets belong in the files below.
    #[arg(long, value_name = "URL", value_parser = EndpointParser)]
    webhook: Option<Endpoint>,
    /// Kinds of events to post: all that tell of kills, if nothing is said.
    #[arg(long, value_name = "KIND,…", requires = "webhook")]
    webhook_kind: Option<Kinds>,
    /// Events of one request at most; with more than 1, requests are batches (application/cloudevents-batch+json).
    #[arg(long, value_name = "EVENTS", requires = "webhook", default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=256))]
    webhook_batch: u32,
    /// `source` of the events, instead of /oom-agent/CLUSTER/NODE.
    #[arg(long, value_name = "URI", requires = "webhook", value_parser = reference)]
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

impl WebhookArgs {
    pub(super) fn options(self) -> Option<Options> {
        Some(Options {
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

/// A reference to a resource (RFC 3986), as `source` must be one, as far as its characters go.
fn reference(text: &str) -> Result<String, &'static str> {
    let is_of_it = |c: char| c.is_ascii_graphic() && !r#""<>\^`{|}"#.contains(c);
    if !text.is_empty() && text.chars().all(is_of_it) {
        Ok(text.to_owned())
    } else {
        Err("no URI, nor a path of one (RFC 3986)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_is_told_as_it_is() {
        let help = WebhookArgs::augment_args(clap::Command::new("test")).render_long_help();
        let help = help.to_string();
        assert!(
            help.contains("instead of /oom-agent/CLUSTER/NODE"),
            "{help}"
        );
    }

    #[test]
    fn a_source_is_a_reference() {
        for text in [
            "/oom-agent/prod/node-1",
            "urn:uuid:1",
            "https://example.org/a?b#c",
        ] {
            assert_eq!(reference(text).as_deref(), Ok(text));
        }
        for text in ["", " ", "/node 1", "/a\n", "/<node>", "/knoten-ä"] {
            assert!(reference(text).is_err(), "{text:?}");
        }
    }
}
