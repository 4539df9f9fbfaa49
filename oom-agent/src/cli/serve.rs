//! What `oom-agent run` takes about who may ask it.

use std::{net::SocketAddr, path::PathBuf};

use clap::Args;

use crate::api::{self, TlsFiles};

#[derive(Debug, Args)]
#[command(next_help_heading = "API")]
pub(super) struct ServeArgs {
    /// Where others may ask: a Unix socket, /run/oom-agent/api.sock if nothing is said. `none`: nowhere.
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

impl From<ServeArgs> for api::Options {
    fn from(args: ServeArgs) -> Self {
        let socket = args.socket;
        Self {
            required: socket.is_some() || !args.listen.is_empty(),
            socket: (socket.or_else(|| Some(api::SOCKET.into())))
                .filter(|path| path.as_os_str() != "none"),
            group: args.socket_group,
            listen: args.listen,
            tls: (args.tls_cert.zip(args.tls_key)).map(|(cert, key)| TlsFiles { cert, key }),
            token: args.token_file,
            insecure: args.insecure_listen_anywhere,
        }
    }
}
