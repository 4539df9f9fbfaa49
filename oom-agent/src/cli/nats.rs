//! What is said of the fleet's servers on a command line: for `run`, and for `fleet`.

use std::{path::PathBuf, time::Duration};

use clap::Args;

use crate::nats::{HEARTBEAT, Options, STREAM};

/// As whom one speaks to servers, and how.
#[derive(Clone, Debug, Args)]
#[expect(clippy::struct_field_names, reason = "the names of the options")]
pub(super) struct AccessArgs {
    /// A file with credentials (JWT and seed, as nsc writes it), or with a seed alone.
    #[arg(long, value_name = "FILE", requires = "nats")]
    nats_creds: Option<PathBuf>,
    /// File with the certificates (PEM) that are trusted, instead of those of the host.
    #[arg(long, value_name = "FILE", requires = "nats")]
    nats_ca: Option<PathBuf>,
    /// File with a certificate of our own (PEM).
    #[arg(
        long,
        value_name = "FILE",
        requires = "nats",
        requires = "nats_client_key"
    )]
    nats_client_cert: Option<PathBuf>,
    /// File with its key (PEM).
    #[arg(long, value_name = "FILE", requires = "nats_client_cert")]
    nats_client_key: Option<PathBuf>,
    /// The stream of events; signs of life are in the one with _NODES behind its name.
    #[arg(long, value_name = "NAME", default_value = STREAM, value_parser = stream)]
    nats_stream: String,
}

/// Of an agent that publishes.
#[derive(Debug, Args)]
pub(super) struct PublishArgs {
    /// Publish events to the stream of a fleet (NATS), for `oom-agent fleet`: servers of one cluster, `nats://HOST[:PORT]` or
    /// `tls://HOST[:PORT]`. The stream is made by `oom-agent fleet init`.
    #[arg(
        long,
        value_name = "URL,…",
        value_delimiter = ',',
        requires = "cluster"
    )]
    nats: Vec<String>,
    #[command(flatten)]
    access: AccessArgs,
    /// Seconds between two signs of life.
    #[arg(long, value_name = "SECONDS", requires = "nats", default_value_t = HEARTBEAT.as_secs(), value_parser = clap::value_parser!(u64).range(1..=3600))]
    nats_heartbeat: u64,
}

/// Of somebody who reads.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Servers")]
pub(super) struct ServersArgs {
    /// Servers of one cluster: `nats://HOST[:PORT]` or `tls://HOST[:PORT]`.
    #[arg(
        long,
        env = "OOM_AGENT_NATS",
        value_name = "URL,…",
        value_delimiter = ',',
        required = true
    )]
    nats: Vec<String>,
    #[command(flatten)]
    access: AccessArgs,
}

impl PublishArgs {
    /// `None`: nothing is published.
    pub(super) fn options(self) -> Option<Options> {
        let heartbeat = Duration::from_secs(self.nats_heartbeat);
        let access = self.access;
        (!self.nats.is_empty()).then(|| access.options(self.nats, heartbeat))
    }
}

impl ServersArgs {
    pub(super) fn options(self) -> Options {
        self.access.options(self.nats, HEARTBEAT)
    }
}

impl AccessArgs {
    fn options(self, servers: Vec<String>, heartbeat: Duration) -> Options {
        Options {
            servers,
            creds: self.nats_creds,
            ca: self.nats_ca,
            client: self.nats_client_cert.zip(self.nats_client_key),
            stream: self.nats_stream,
            heartbeat,
        }
    }
}

/// A name that servers take for a stream.
fn stream(name: &str) -> Result<String, String> {
    let is_fit = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
    if !name.is_empty() && name.len() <= 200 && name.chars().all(is_fit) {
        return Ok(name.to_owned());
    }
    Err("letters, digits, - and _".to_owned())
}
