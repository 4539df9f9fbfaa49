//! Why there is no answer, and what to do about it.

use std::{io, path::PathBuf};

use super::Url;
use crate::store::{NoCursor, QueryError};

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// Nobody listens on the socket.
    #[error("no agent answers at {}", socket.display())]
    NotRunning {
        /// The socket.
        socket: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The socket is not for us.
    #[error(
        "{} is not for this user: be root, or a member of the group that the socket belongs to",
        socket.display()
    )]
    Forbidden {
        /// The socket.
        socket: PathBuf,
    },
    /// No connection.
    #[error("cannot connect to {to}")]
    Connect {
        /// Whom.
        to: String,
        /// Why.
        source: io::Error,
    },
    /// A file that the connection needs.
    #[error("cannot use {}", path.display())]
    Config {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Anybody could say that he is the agent.
    #[error("{0}: say with --ca-file whose certificates are trusted")]
    Untrusted(Url),
    /// TLS cannot be set up.
    #[error("cannot set up TLS")]
    Tls(#[from] rustls::Error),
    /// It does not answer.
    #[error("{0} does not answer in time")]
    Silent(String),
    /// It answers with an error.
    #[error("{to} answers {status} {}", detail.as_deref().unwrap_or("and does not say why"))]
    Refused {
        /// Who.
        to: String,
        /// Status of HTTP.
        status: u16,
        /// Why, in its words.
        detail: Option<String>,
    },
    /// The connection broke.
    #[error("the connection to {to} broke")]
    Broken {
        /// Who.
        to: String,
        /// Why.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It answers something else than the API does.
    #[error("{to} does not speak the API of oom-agent")]
    Malformed {
        /// Who.
        to: String,
        /// What is wrong.
        source: serde_json::Error,
    },
    /// The question cannot be put into words.
    #[error("cannot ask")]
    Question(#[from] serde_urlencoded::ser::Error),
    /// No runtime.
    #[error("cannot start the client")]
    Runtime(#[source] io::Error),
    /// Only an agent can tell.
    #[error("only a running agent can tell, and a store is not one")]
    NoAgent,
    /// There is no store.
    #[error(transparent)]
    NoStore(QueryError),
    /// The store has no answer.
    #[error("{}", path.display())]
    Store {
        /// The store.
        path: PathBuf,
        /// Why.
        source: QueryError,
    },
    /// The store's directory is not for us.
    #[error("{} is not for this user: be root", path.display())]
    StoreForbidden {
        /// The store.
        path: PathBuf,
    },
    /// A place that is none.
    #[error(transparent)]
    Cursor(#[from] NoCursor),
}

impl ClientError {
    /// Whether asking again later may help.
    #[must_use]
    pub fn is_passing(&self) -> bool {
        match self {
            Self::NotRunning { .. }
            | Self::Connect { .. }
            | Self::Silent(_)
            | Self::Broken { .. } => true,
            Self::Refused { status, .. } => matches!(status, 429 | 502..=504),
            _ => false,
        }
    }
}
