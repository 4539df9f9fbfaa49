//! Whom the commands ask that ask: an agent, or the file of a store.
//!
//! Without a word about it, the agent on this machine; if none answers, its store, and that is said.

use std::path::PathBuf;

use clap::Args;

use super::output::Failure;
use crate::client::{Client, ClientError, SOCKET, STORE, Server, Tcp, Url, Whom};

/// An agent, or a store.
#[derive(Debug, Args)]
#[command(next_help_heading = "Whom to ask")]
pub(super) struct AskArgs {
    /// Read this store instead of asking an agent. Without this, the store of this machine is read where no
    /// agent answers.
    #[arg(long, value_name = "PATH", conflicts_with_all = ["socket", "url"])]
    store: Option<PathBuf>,
    #[command(flatten)]
    server: ServerArgs,
}

/// An agent.
#[derive(Debug, Args)]
#[command(next_help_heading = "Whom to ask")]
pub(super) struct ServerArgs {
    /// Socket of the agent, /run/oom-agent/api.sock if nothing is said.
    #[arg(long, value_name = "PATH", conflicts_with = "url")]
    socket: Option<PathBuf>,
    /// An agent on the network: `http://HOST:PORT` or `https://HOST:PORT`.
    #[arg(long, value_name = "URL")]
    url: Option<Url>,
    /// File with the token that the agent on the network asks for.
    #[arg(long, value_name = "FILE", requires = "url")]
    token_file: Option<PathBuf>,
    /// File with the certificates (PEM) that are trusted; needed for https.
    #[arg(long, value_name = "FILE", requires = "url")]
    ca_file: Option<PathBuf>,
}

impl AskArgs {
    /// Who answers, and how to reach him again.
    pub(super) fn open(self) -> Result<(Client, Whom), Failure> {
        if let Some(path) = self.store {
            return open(Whom::Store(path));
        }
        let any = self.server.is_any();
        match open(Whom::Server(self.server.server()?)) {
            Err(Failure::Client(ClientError::NotRunning { .. })) if any => {
                let store = PathBuf::from(STORE);
                if matches!(store.try_exists(), Ok(false)) {
                    return Err(Failure::Nobody);
                }
                let opened = open(Whom::Store(store))?;
                eprintln!("oom-agent: no agent answers at {SOCKET}: this is its store, {STORE}");
                Ok(opened)
            }
            other => other,
        }
    }
}

impl ServerArgs {
    /// The agent.
    pub(super) fn open(self) -> Result<Client, Failure> {
        let any = self.is_any();
        match open(Whom::Server(self.server()?)) {
            Err(Failure::Client(ClientError::NotRunning { .. })) if any => Err(Failure::NoAgent),
            other => Ok(other?.0),
        }
    }

    /// Nobody in particular.
    fn is_any(&self) -> bool {
        self.socket.is_none() && self.url.is_none()
    }

    fn server(self) -> Result<Server, ClientError> {
        let Some(url) = self.url else {
            let socket = self.socket.unwrap_or_else(|| SOCKET.into());
            return Ok(Server::Unix(socket));
        };
        let (token, ca) = (self.token_file.as_deref(), self.ca_file.as_deref());
        Ok(Server::Tcp(Tcp::new(url, token, ca)?))
    }
}

fn open(whom: Whom) -> Result<(Client, Whom), Failure> {
    Ok((Client::open(whom.clone())?, whom))
}
