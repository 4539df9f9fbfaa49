//! What `oom-agent run` and `oom-agent fleet serve` take about who may ask them.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;

use crate::api::{self, TlsFiles};

#[derive(Debug, Args)]
#[command(next_help_heading = "API")]
pub(super) struct ServeArgs {
    /// Where others may ask: a Unix socket; if nothing is said /run/oom-agent/api.sock, of a fleet
    /// /run/oom-agent/fleet.sock. `none`: nowhere.
    #[arg(long, value_name = "PATH")]
    socket: Option<PathBuf>,
    /// The group that may ask there, by name or number; the agent's own if nothing is said.
    #[arg(long, value_name = "GROUP")]
    socket_group: Option<String>,
    /// A TCP address to be asked at, such as 127.0.0.1:9095; may be given again. One that other machines reach
    /// takes a token and TLS.
    #[arg(long, value_name = "ADDRESS:PORT")]
    listen: Vec<SocketAddr>,
    /// The certificate for TLS on these addresses, in PEM, with its chain. It is read again when it changes.
    #[arg(long, value_name = "FILE", requires = "tls_key", requires = "listen")]
    tls_cert: Option<PathBuf>,
    /// The key of that certificate, in PEM.
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    tls_key: Option<PathBuf>,
    /// A file with the token that is wanted on these addresses (`Authorization: Bearer TOKEN`). Probes of
    /// /livez and /readyz need none.
    #[arg(long, value_name = "FILE", requires = "listen")]
    token_file: Option<PathBuf>,
    /// Take addresses that other machines reach without a token and TLS: whoever reaches them reads
    /// everything.
    #[arg(long, requires = "listen")]
    insecure_listen_anywhere: bool,
}

impl ServeArgs {
    /// With this socket where none is named.
    pub(super) fn options(self, socket: &str) -> api::Options {
        api::Options {
            required: self.socket.is_some() || !self.listen.is_empty(),
            socket: (self.socket.or_else(|| Some(socket.into())))
                .filter(|path| path.as_os_str() != "none"),
            group: self.socket_group,
            listen: self.listen,
            tls: (self.tls_cert.zip(self.tls_key)).map(|(cert, key)| TlsFiles { cert, key }),
            token: self.token_file,
            insecure: self.insecure_listen_anywhere,
        }
    }
}
