//! Requests to others over HTTP, for sinks: where to, whom to trust, and what comes back.
//!
//! Reads options before confinement; emits answers. Refuses plain HTTP to other machines unless that is asked for,
//! redirects, proxies, and answers that are long or late.

mod answer;
mod header_file;
mod http;
mod roots;
mod url;

pub use self::{
    answer::answer,
    header_file::read as read_headers,
    http::{Client, Failure, Reply},
    roots::Roots,
    url::{Endpoint, NoEndpoint},
};

use std::{io, path::PathBuf};

/// Why nothing can be sent.
#[derive(Debug, thiserror::Error)]
pub enum OutboundError {
    /// A file cannot be used.
    #[error("cannot use {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Nobody is trusted.
    #[error("no certificates of authorities on this host, and none were given: {0}")]
    NoRoots(String),
    /// TLS cannot be had.
    #[error("TLS cannot be used")]
    Tls(#[from] rustls::Error),
}

impl OutboundError {
    /// A file that does not hold what it should.
    pub(crate) fn malformed(path: &std::path::Path, why: impl Into<String>) -> Self {
        Self::File {
            path: path.to_owned(),
            source: io::Error::new(io::ErrorKind::InvalidData, why.into()),
        }
    }
}
