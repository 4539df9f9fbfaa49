//! Which servers, and as whom.
//!
//! Reads options and the files that they name, before confinement; emits connections. Refuses secrets in URLs, a
//! certificate without its key, and TLS options for servers that are not to speak TLS.
//!
//! A connection ends when its server does: whoever uses it makes a new one and looks again at what has arrived.
//! So nothing waits in the client while nobody answers.

use std::{
    fmt, fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use async_nats::{
    Client, ConnectError, ConnectOptions, ServerAddr,
    jetstream::{Context, context::ContextBuilder},
};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _},
};

/// For a connection with all that belongs to it, and for each answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(5);

/// Messages that may be on their way unacknowledged.
pub(super) const IN_FLIGHT: usize = 256;

/// Whom to speak to.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `nats://HOST[:PORT]` or `tls://HOST[:PORT]`, servers of one cluster.
    pub servers: Vec<String>,
    /// A file of credentials (JWT and seed, as `nsc` writes it), or of a seed alone.
    pub creds: Option<PathBuf>,
    /// Whose certificates are trusted, instead of those of the host.
    pub ca: Option<PathBuf>,
    /// Certificate and key of our own.
    pub client: Option<(PathBuf, PathBuf)>,
    /// The stream of events.
    pub stream: String,
    /// Between two heartbeats.
    pub heartbeat: Duration,
}

/// Why nobody can be spoken to.
#[derive(Debug, thiserror::Error)]
pub enum AccessError {
    /// Not a URL of a server.
    #[error("{url:?} is not nats://HOST[:PORT] or tls://HOST[:PORT]")]
    Url {
        /// What was given.
        url: String,
    },
    /// It has a password in it.
    #[error(
        "the URL of {host} has a user or a password in it, which everybody can read: use --nats-creds"
    )]
    Secret {
        /// Which.
        host: String,
    },
    /// A file cannot be used.
    #[error("cannot use {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The host has no certificates to trust.
    #[error("the host's certificates cannot be read, and no --nats-ca")]
    NoRoots(#[source] io::Error),
    /// They do not fit together.
    #[error("TLS cannot be set up")]
    Tls(#[from] rustls::Error),
}

/// Servers and credentials. Its clones are the same.
#[derive(Clone)]
pub struct Access {
    servers: Vec<ServerAddr>,
    options: ConnectOptions,
    stream: Arc<str>,
}

impl fmt::Debug for Access {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Access")
            .field("servers", &self.servers)
            .field("stream", &self.stream)
            .finish_non_exhaustive()
    }
}

impl Access {
    /// Reads what they need.
    pub fn read(options: &Options) -> Result<Self, AccessError> {
        let servers = options.servers.iter().map(|url| address(url));
        let servers = servers.collect::<Result<Vec<_>, _>>()?;
        let mut connect = ConnectOptions::new()
            .connection_timeout(PATIENCE)
            .request_timeout(Some(PATIENCE))
            .ping_interval(PATIENCE)
            .client_capacity(IN_FLIGHT)
            // Each server once, and what it tells of others: then it is the caller's turn.
            .max_reconnects(servers.len().max(1));
        if servers.iter().any(ServerAddr::tls_required)
            || options.ca.is_some()
            || options.client.is_some()
        {
            connect = connect.require_tls(true).tls_client_config(tls(options)?);
        } else if let Some(server) = servers.iter().find(|it| !is_here(it.host())) {
            tracing::warn!(
                "nothing hides what is said to {} from those between: use tls://, or --nats-ca",
                server.host()
            );
        }
        if let Some(path) = &options.creds {
            connect = credentials(connect, path)?;
        }
        Ok(Self {
            servers,
            options: connect,
            stream: options.stream.as_str().into(),
        })
    }

    /// Name of the stream of events.
    #[must_use]
    pub fn stream(&self) -> &str {
        &self.stream
    }

    /// Connects under this name, which the servers show. What is asked for over it is answered within seconds, or
    /// has failed.
    pub async fn connect(&self, name: &str) -> Result<Context, ConnectError> {
        let client = self.client(name).await?;
        let context = ContextBuilder::new()
            .timeout(PATIENCE)
            .ack_timeout(PATIENCE)
            // And a sign of life.
            .max_ack_inflight(IN_FLIGHT + 1)
            .build(client);
        Ok(context)
    }

    async fn client(&self, name: &str) -> Result<Client, ConnectError> {
        let options = self.options.clone().name(name);
        options.connect(self.servers.as_slice()).await
    }
}

/// Whether a host is this one.
fn is_here(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    let address = address.parse::<IpAddr>();
    address.map_or(host == "localhost", |it| it.is_loopback())
}

fn address(url: &str) -> Result<ServerAddr, AccessError> {
    let refused = || AccessError::Url {
        url: url.to_owned(),
    };
    let mut schemes = ["nats://", "tls://"].into_iter();
    let host = schemes.find_map(|scheme| url.strip_prefix(scheme));
    if host.is_none_or(|host| host.is_empty() || host.starts_with([':', '/'])) {
        // May hold a password all the same.
        return Err(secret(url).unwrap_or_else(refused));
    }
    match secret(url) {
        Some(error) => Err(error),
        None => url.parse().map_err(|_| refused()),
    }
}

/// What stands behind the last `@` is all that may be said of a URL with a password.
fn secret(url: &str) -> Option<AccessError> {
    let (_, host) = url.rsplit_once('@')?;
    Some(AccessError::Secret {
        host: host.to_owned(),
    })
}

fn credentials(options: ConnectOptions, path: &Path) -> Result<ConnectOptions, AccessError> {
    let failed = |source| AccessError::File {
        path: path.to_owned(),
        source,
    };
    let text = fs::read_to_string(path).map_err(failed)?;
    let alone = text.trim();
    if !alone.contains(char::is_whitespace) && alone.starts_with("SU") {
        return Ok(options.nkey(alone.to_owned()));
    }
    options.credentials(&text).map_err(failed)
}

fn tls(options: &Options) -> Result<ClientConfig, AccessError> {
    let mut roots = RootCertStore::empty();
    if let Some(path) = &options.ca {
        for certificate in certificates(path)? {
            roots.add(certificate)?;
        }
    } else {
        let host = rustls_native_certs::load_native_certs();
        roots.add_parsable_certificates(host.certs);
        if roots.is_empty() {
            let why = host.errors.into_iter().next();
            let why = why.map_or_else(|| "there are none".into(), |why| why.to_string());
            return Err(AccessError::NoRoots(io::Error::other(why)));
        }
    }
    let ring = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(ring)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots);
    let Some((chain, key)) = &options.client else {
        return Ok(config.with_no_client_auth());
    };
    let private = PrivateKeyDer::from_pem_file(key).map_err(|error| AccessError::File {
        path: key.clone(),
        source: io::Error::other(error),
    })?;
    Ok(config.with_client_auth_cert(certificates(chain)?, private)?)
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, AccessError> {
    let failed = |error| AccessError::File {
        path: path.to_owned(),
        source: io::Error::other(error),
    };
    let found = CertificateDer::pem_file_iter(path).map_err(failed)?;
    let found = found.collect::<Result<Vec<_>, _>>().map_err(failed)?;
    if found.is_empty() {
        return Err(AccessError::File {
            path: path.to_owned(),
            source: io::Error::other("no certificate in it"),
        });
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(url: &str) -> Result<Access, AccessError> {
        Access::read(&Options {
            servers: vec![url.into()],
            stream: "OOM".into(),
            ..Options::default()
        })
    }

    #[test]
    fn servers_are_urls_without_secrets() {
        for url in [
            "nats://10.0.0.1",
            "nats://nats.example:4222",
            "nats://[::1]:4222",
        ] {
            assert!(read(url).is_ok(), "{url}");
        }
        for url in ["10.0.0.1:4222", "ws://nats", "http://nats", "nats://", ""] {
            assert!(matches!(read(url), Err(AccessError::Url { .. })), "{url}");
        }
        for url in [
            "nats://u:hunter2@nats",
            "nats://hunter2@nats",
            "u:hunter2@nats",
        ] {
            let error = read(url).unwrap_err();
            assert!(matches!(error, AccessError::Secret { .. }), "{url}");
            assert!(!error.to_string().contains("hunter2"), "{error}");
        }
    }

    #[test]
    fn only_loopback_is_here() {
        for (host, here) in [
            ("localhost", true),
            ("127.0.0.2", true),
            ("[::1]", true),
            ("::1", true),
            ("10.0.0.1", false),
            ("nats.example", false),
        ] {
            assert_eq!(is_here(host), here, "{host}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_used_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("nothing.pem");
        let options = Options {
            servers: vec!["tls://nats".into()],
            ca: Some(path.clone()),
            ..Options::default()
        };
        let error = Access::read(&options).unwrap_err();
        assert!(error.to_string().contains("nothing.pem"), "{error}");
        fs::write(&path, "no certificate").unwrap();
        assert!(Access::read(&options).is_err());
        let options = Options {
            servers: vec!["nats://nats".into()],
            creds: Some(path),
            ..Options::default()
        };
        assert!(Access::read(&options).is_err());
    }
}
